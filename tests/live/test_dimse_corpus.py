"""Every file that says what it is goes in by C-STORE in its own transfer syntax and comes out by WADO-RS unchanged.

The sender is pynetdicom, which streams the bytes of a file undecoded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx2
import pynetdicom
import pytest
from pynetdicom import AE

from storage.elements import Dataset
from storage.errors import ArchiveError
from storage.part10 import BytesSource, read_header
from storage.record import UID
from storage.transfer_syntax import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, TRANSFER_SYNTAXES
from tests.corpus import corpus_files, wheel_files
from tests.live.exchange import path_of, retrieve, store
from tests.live_server import LiveServer, running_server

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

UIDS = (0x00080016, 0x0020000D, 0x0020000E, 0x00080018)
MEDIA_STORAGE_UIDS = (0x00020002, 0x00020003)


@dataclass
class Sendable:
    """A file that can be sent as it is.

    Attributes
    ----------
    key : tuple of str
        Study, Series and SOP Instance UID.
    data_set : bytes
        Without what precedes it in the file.
    """

    path: Path
    transfer_syntax: str
    sop_class: str
    key: tuple[str, str, str]
    data_set: bytes


def text(dataset: Dataset, tag: int) -> str:
    """A UID of a data set."""
    element = dataset.get(tag)
    return element.value.rstrip(b"\0 ").decode() if element and isinstance(element.value, bytes) else ""


@pytest.fixture(scope="module")
def sendable() -> list[Sendable]:
    """Files whose file meta information tells the truth, one for each key, by transfer syntax."""
    found: dict[tuple[str, str, str], Sendable] = {}
    for path in corpus_files() + wheel_files():
        data = path.read_bytes()
        try:
            header, _ = read_header(BytesSource(data))
        except ArchiveError:
            continue
        sop_class, *key = (text(header.dataset, tag) for tag in UIDS)
        named = [text(header.file_meta, tag) for tag in MEDIA_STORAGE_UIDS]
        can_be_kept = all(map(UID.fullmatch, (sop_class, *key))) and named == [sop_class, key[2]]
        if can_be_kept and header.has_preamble and header.transfer_syntax_uid in TRANSFER_SYNTAXES:
            data_set = data[header.dataset_offset :]
            study, series, instance = key
            each = Sendable(path, header.transfer_syntax_uid, sop_class, (study, series, instance), data_set)
            found.setdefault(each.key, each)
    return sorted(found.values(), key=lambda each: (each.transfer_syntax, each.path))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """An empty server."""
    with running_server(tmp_path_factory.mktemp("dimse-corpus") / "data", "--workers", "1") as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def statuses(live: LiveServer, sendable: list[Sendable]) -> dict[Path, Any]:
    """The status each file was answered with; one association for each transfer syntax."""
    found: dict[Path, Any] = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pynetdicom._config, "STORE_SEND_CHUNKED_DATASET", True)
        for transfer_syntax, group in groupby(sendable, lambda each: each.transfer_syntax):
            files = list(group)
            ae = AE("CORPUS")
            for sop_class in sorted({each.sop_class for each in files}):
                ae.add_requested_context(sop_class, transfer_syntax)
            association = ae.associate("127.0.0.1", live.dimse_port, ae_title="DICOMWEB")
            assert association.is_established
            for each in files:
                found[each.path] = association.send_c_store(each.path).get("Status")
            association.release()
    return found


def test_everything_is_taken(statuses: dict[Path, Any], sendable: list[Sendable]) -> None:
    """G-001, G-040, G-053: success for every SOP class and transfer syntax of the corpus."""
    assert {path.name: status for path, status in statuses.items() if status != 0} == {}
    assert len(statuses) > 300
    assert len({each.transfer_syntax for each in sendable}) >= 14


def test_every_data_set_is_kept_byte_for_byte(
    live: LiveServer, statuses: dict[Path, Any], sendable: list[Sendable]
) -> None:
    """Promise 3, G-041, G-049: the stored file is what was sent, below file meta information that fits it."""
    stored: dict[str, tuple[str, bytes]] = {}
    for path in (live.data_dir / "blobs").glob("2*/*/*.dcm"):
        file = path.read_bytes()
        header, _ = read_header(BytesSource(file))
        assert header.has_preamble, path
        stored[text(header.dataset, UIDS[3])] = header.transfer_syntax_uid, file[header.dataset_offset :]
    wrong = [each.path.name for each in sendable if stored[each.key[2]] != (each.transfer_syntax, each.data_set)]
    assert wrong == []


def test_every_data_set_comes_back_byte_for_byte(
    live: LiveServer, statuses: dict[Path, Any], sendable: list[Sendable]
) -> None:
    """Promise 3: bytes in by DIMSE, out by WADO-RS, but for encodings it does not let out (PS3.18 8.7.3)."""
    wrong = []
    with httpx2.Client(base_url=live.root, timeout=60) as client:
        for each in sendable:
            (file,) = retrieve(client, path_of(each.key))
            header, _ = read_header(BytesSource(file))
            if each.transfer_syntax in (IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE):
                assert header.transfer_syntax_uid == EXPLICIT_LE
            elif (header.transfer_syntax_uid, file[header.dataset_offset :]) != (each.transfer_syntax, each.data_set):
                wrong.append(each.path.name)
    assert wrong == []


def test_what_came_by_c_store_is_no_conflict_by_stow(
    live: LiveServer, statuses: dict[Path, Any], sendable: list[Sendable]
) -> None:
    """G-048, B-042: the same file by both doors is one instance."""
    with httpx2.Client(base_url=live.root, timeout=60) as client:
        refused = [each.path.name for each in sendable[::7] if store(client, each.path.read_bytes()).status_code != 200]
        counted = sum(item["00201208"]["Value"][0] for item in client.get("studies?limit=5000").json())
    assert refused == []
    assert counted == len(sendable)
