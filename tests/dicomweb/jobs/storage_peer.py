"""pynetdicom as the storage of somebody else, that can be told what to answer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, evt

from storage.work.peers import Peer
from tests.live_server import free_port


@dataclass
class StoragePeer:
    """What it has received: SOP Instance UIDs in order, as often as they came; `answer` decides the status."""

    peer: Peer
    received: list[str] = field(default_factory=list)
    answer: Callable[[str], int] = lambda uid: 0


@contextmanager
def storage_peer(ae_title: str = "STORE", port: int | None = None) -> Iterator[StoragePeer]:
    """Run one on a free port, or on the one given."""
    running = StoragePeer(Peer(ae_title, "127.0.0.1", port or free_port()))

    def store(event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        running.received.append(uid)
        status = running.answer(uid)
        if status < 0:
            event.assoc.abort()
            return 0
        return status

    entity = AE(ae_title)
    entity.supported_contexts = AllStoragePresentationContexts
    server = entity.start_server(("127.0.0.1", running.peer.port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield running
    finally:
        server.shutdown()
