"""Verification: C-ECHO (PS3.4 Annex A)."""

from typing import Final

from dicomweb.dimse.negotiation import VERIFICATION
from dicomweb.gateway.call import Call

SOP_CLASSES: Final = frozenset({VERIFICATION})


async def echo(call: Call) -> None:
    """Answer that we are here.

    Standard
    --------
    PS3.7 9.1.5; checklist G-030.
    """
    await call.respond(0x0000)
