"""Whether the gateway answers: what the HTTP workers ask it for `/health/ready`.

Facts this module keeps:

- The question is a C-ECHO on an association of its own, under the archive's own title, as any peer would ask it.
- Whoever asks often gets the answer of a second ago; whoever asks at the same time, the same answer.
- A gateway that is full says so, and answers: it is busy, and well.
"""

import asyncio
import time
from typing import Final

from dicomweb.dimse.command_set import Operation
from dicomweb.dimse.errors import AssociationError, AssociationRejected
from dicomweb.dimse.message import Timeouts
from dicomweb.dimse.negotiation import VERIFICATION
from dicomweb.dimse.requestor import Address, connect
from dicomweb.process.listener import reachable
from dicomweb.settings import Settings
from storage.dicom.transfer_syntax import IMPLICIT_LE
from storage.errors import Busy, Unavailable

VALID_FOR: Final = 1.0
"""Seconds."""
PATIENCE: Final = 3.0
"""Seconds for all of it."""
LOCAL_LIMIT_EXCEEDED: Final = (3, 2)
"""Source and reason of a rejection (PS3.8 Table 9-21)."""


class GatewayProbe:
    """Asks the gateway whether it is well.

    Parameters
    ----------
    settings : Settings
        Where it listens: `dimse_port` is the real one.
    """

    def __init__(self, settings: Settings) -> None:
        host = reachable(settings.dimse_host or settings.host)
        self._address = Address(host, settings.dimse_port, settings.aet)
        self._lock = asyncio.Lock()
        self._asked = 0.0
        self._failure: Unavailable | None = None

    async def ask(self) -> None:
        """Return when the gateway answers.

        Raises
        ------
        Busy
            It answers that it has no place.
        Unavailable
            It does not answer, or with an error.
        """
        async with self._lock:
            if not self._asked or time.monotonic() - self._asked > VALID_FOR:
                self._failure = await self._echo()
                self._asked = time.monotonic()
        if self._failure is not None:
            raise type(self._failure)(str(self._failure))

    async def _echo(self) -> Unavailable | None:
        timeouts = Timeouts(connect=PATIENCE, acse=PATIENCE, dimse=PATIENCE)
        try:
            async with (
                asyncio.timeout(PATIENCE),
                await connect(
                    self._address,
                    calling_ae_title=self._address.ae_title,
                    contexts=[(VERIFICATION, [IMPLICIT_LE])],
                    timeouts=timeouts,
                ) as association,
            ):
                context = association.context_for(VERIFICATION)
                if context is None:
                    return Unavailable("The DIMSE gateway refuses verification.")
                answer = await association.request(
                    context, {"CommandField": Operation.C_ECHO, "AffectedSOPClassUID": VERIFICATION}
                )
                if answer.status == 0:
                    return None
                return Unavailable(f"The DIMSE gateway answers C-ECHO with {answer.status:04X}.")
        except AssociationRejected as error:
            if (error.source, error.reason) == LOCAL_LIMIT_EXCEEDED:
                return Busy("The DIMSE gateway has as many associations as it works for at once.")
            return Unavailable(f"The DIMSE gateway rejects verification: {error}.")
        except (AssociationError, TimeoutError):
            return Unavailable("The DIMSE gateway does not answer.")
