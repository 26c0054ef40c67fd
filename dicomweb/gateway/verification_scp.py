"""Verification: C-ECHO (PS3.4 Annex A)."""

from typing import Final

from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicomweb.gateway.call import Call

SOP_CLASSES: Final = frozenset({str(Verification)})


async def echo(call: Call) -> None:
    """Answer that we are here.

    Standard
    --------
    PS3.7 9.1.5; checklist G-030.
    """
    await call.respond(0x0000)
