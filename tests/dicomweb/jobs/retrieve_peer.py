"""pynetdicom as the archive of somebody else, that can be told what it answers and when."""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom import Dataset, dcmread
from pynetdicom import AE, build_context, evt

from dicomweb.scu.find import STUDY_ROOT
from dicomweb.scu.retrieval import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from storage.work.peers import Peer
from tests.live_server import free_port

CT = "1.2.840.10008.5.1.4.1.1.2"
UNIQUE_KEYS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass
class RetrievePeer:
    """What it was asked and may answer.

    Attributes
    ----------
    our_port : int
        Where it sends to by C-MOVE.
    levels : collection of str
        On which it searches; others are answered A900.
    sends : callable
        Given a SOP Instance UID, whether it sends that; called before.
    about_to_send : callable
        Called with the SOP Instance UID of each that is sent next.
    sent : list of str
        SOP Instance UIDs, as often as they were sent.
    """

    peer: Peer
    files: list[Dataset]
    our_port: int = 1
    levels: Collection[str] = ("STUDY", "SERIES", "IMAGE")
    sends: Callable[[str], bool] = lambda uid: True
    about_to_send: Callable[[str], object] = lambda uid: None
    sent: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def chosen(self, identifier: Dataset) -> list[Dataset]:
        """What an identifier asks for."""
        found = self.files
        for keyword in UNIQUE_KEYS:
            if wanted := identifier.get(keyword):
                listed = [wanted] if isinstance(wanted, str) else list(wanted)
                found = [file for file in found if file[keyword].value in listed]
        return found

    def find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        """Answer C-FIND."""
        level = str(event.identifier.QueryRetrieveLevel)
        if level not in self.levels:
            yield 0xA900, None
            return
        seen = set()
        for file in self.chosen(event.identifier):
            match = Dataset()
            for element in event.identifier:
                match.add_new(element.tag, element.VR, file.get(element.keyword) or "")
            match.QueryRetrieveLevel = level
            if str(match) not in seen:
                seen.add(str(match))
                yield 0xFF00, match

    def move(self, event: Any) -> Iterator[Any]:
        """Answer C-MOVE."""
        yield "127.0.0.1", self.our_port, {"contexts": [build_context(CT)]}
        yield from self.get(event)

    def get(self, event: Any) -> Iterator[Any]:
        """Answer C-GET."""
        chosen = [file for file in self.chosen(event.identifier) if self.sends(file.SOPInstanceUID)]
        yield len(chosen)
        for file in chosen:
            with self.lock:
                self.sent.append(file.SOPInstanceUID)
            self.about_to_send(file.SOPInstanceUID)
            yield 0xFF00, file


@contextmanager
def retrieve_peer(*files: bytes, levels: Collection[str] = ("STUDY", "SERIES", "IMAGE")) -> Iterator[RetrievePeer]:
    """Run one that has CT images; without any level it does not search at all."""
    running = RetrievePeer(Peer("REMOTE", "127.0.0.1", free_port()), [dcmread(BytesIO(file)) for file in files])
    running.levels = levels
    entity = AE("REMOTE")
    for sop_class in (STUDY_ROOT_GET, STUDY_ROOT_MOVE, *([STUDY_ROOT] if levels else [])):
        entity.add_supported_context(sop_class)
    entity.add_supported_context(CT, scu_role=True, scp_role=True)
    handlers: Any = [(evt.EVT_C_FIND, running.find), (evt.EVT_C_MOVE, running.move), (evt.EVT_C_GET, running.get)]
    server = entity.start_server(("127.0.0.1", running.peer.port), block=False, evt_handlers=handlers)
    try:
        yield running
    finally:
        server.shutdown()
