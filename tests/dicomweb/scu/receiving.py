"""Storage SCPs by pynetdicom that keep what they are sent, and misbehave when told to."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from dicomweb.dimse.requestor import Address
from tests.builders import EXPLICIT_LE, IMPLICIT_LE

CT = str(CTImageStorage)
TITLE = "RECEIVER"


@dataclass(frozen=True)
class Received:
    """One instance as it came in: its data set as bytes, and what the command said."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: bytes
    priority: int
    originator: tuple[str | None, int | None]
    calling_ae_title: str


@dataclass
class Receiver:
    """What a receiver was sent; `associations` counts those it accepted."""

    port: int
    received: list[Received] = field(default_factory=list)
    associations: int = 0
    released: int = 0
    shut_down: Callable[[], None] = lambda: None

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address("127.0.0.1", self.port, TITLE)

    @property
    def data(self) -> dict[str, bytes]:
        """Data sets by SOP Instance UID."""
        return {one.sop_instance_uid: one.data for one in self.received}


@contextmanager
def receiver(
    sop_classes: Iterable[str] = (CT,),
    transfer_syntaxes: Sequence[str] = (EXPLICIT_LE, IMPLICIT_LE),
    *,
    title: str = TITLE,
    on_store: Callable[[Any, Receiver], int] | None = None,
) -> Iterator[Receiver]:
    """Run a Storage SCP.

    Parameters
    ----------
    on_store : callable, optional
        Given pynetdicom's event before anything is kept; its status is the answer. It may abort `event.assoc`.
    """
    entity = AE(title)
    entity.maximum_pdu_size = 0
    entity.require_called_aet = True
    for sop_class_uid in sop_classes:
        entity.add_supported_context(sop_class_uid, list(transfer_syntaxes))
    result = Receiver(0)
    lock = threading.Lock()

    def store(event: Any) -> int:
        status = on_store(event, result) if on_store is not None else 0
        request = event.request
        with lock:
            result.received.append(
                Received(
                    str(request.AffectedSOPClassUID),
                    str(request.AffectedSOPInstanceUID),
                    str(event.context.transfer_syntax),
                    request.DataSet.getvalue(),
                    request.Priority,
                    (request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID),
                    event.assoc.requestor.ae_title,
                )
            )
        return status

    def opened(_: Any) -> None:
        result.associations += 1

    def released(_: Any) -> None:
        result.released += 1

    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_ACCEPTED, opened), (evt.EVT_RELEASED, released)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
    assert server is not None
    result.port = server.server_address[1]

    def shut_down() -> None:
        if entity._servers:  # the port first, or the sender is back before it is closed
            server.shutdown()
        entity.shutdown()  # aborts what is open

    result.shut_down = shut_down
    try:
        yield result
    finally:
        shut_down()
