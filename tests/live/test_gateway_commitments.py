"""The three ways of a storage commitment report, through a real server, its restart and modalities that are away."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from storage.work.commitments import Reference
from tests.builders import ct_slice, new_uid, sop_instance_uid
from tests.dicomweb.gateway.committing import CT, Modality, committed, failed
from tests.live.exchange import store
from tests.live_server import LiveServer, free_port

WITHIN = 60.0
SHORT = {"DICOMWEB_COMMITMENT_RETRY_SECONDS": "0.2"}


def put_instances(server: LiveServer) -> list[Reference]:
    """Store two instances, damage the file of the second on disk; these two and one that was never stored."""
    files = [ct_slice(), ct_slice()]
    with httpx2.Client(base_url=server.root, timeout=60) as client:
        assert store(client, *files).status_code == 200
    damage(server.data_dir, files[1])
    return [Reference(CT, sop_instance_uid(file)) for file in files] + [Reference(CT, new_uid())]


def damage(folder: Path, file: bytes) -> None:
    """Change one byte of the stored file of an instance."""
    (path,) = [each for each in (folder / "blobs").glob("2*/*/*.dcm") if each.read_bytes() == file]
    changed = bytearray(file)
    changed[-1] ^= 1
    path.chmod(0o640)
    path.write_bytes(changed)


def commitments(server: LiveServer) -> dict[str, dict[str, Any]]:
    """The commitments as `/api` shows them, by Transaction UID."""
    listed = httpx2.get(f"{server.url}/api/commitments", timeout=60).json()
    return {each["transaction_uid"]: each for each in listed}


def wait_for(server: LiveServer, transaction_uid: str, **wanted: Any) -> None:
    """Wait until a commitment is as asked for."""
    deadline = time.monotonic() + WITHIN
    while any(commitments(server)[transaction_uid][name] != value for name, value in wanted.items()):
        assert time.monotonic() < deadline, f"{commitments(server)}\n{server.log_tail()}"
        time.sleep(0.05)


@contextmanager
def asked(server: LiveServer, modality: Modality, transaction_uid: str, about: list[Reference]) -> Iterator[Any]:
    """Ask for commitment; the association stays open until the end of the block."""
    association = modality.open(server.dimse_port)
    assert modality.ask(association, transaction_uid, about).Status == 0x0000
    try:
        yield association
    finally:
        association.release()


def test_the_three_ways_through_a_restart(serve: Callable[..., LiveServer]) -> None:
    """Issue 4: on the same association while it is open; the server is restarted, then on a new one to a modality that
    was away for a while, and on the next one that opens. Sound, damaged (0110) and missing (0112) are told apart in
    each (PS3.4 J.3.3.1.2, Table J.3-2; G-122, G-125 to G-132)."""
    server = serve("--workers", "1", environment=SHORT)
    references = put_instances(server)
    sound, damaged, missing = (reference.sop_instance_uid for reference in references)
    same, new, following = (Modality(title) for title in ("CT1", "CT2", "CT3"))

    def is_right(modality: Modality) -> bool:
        _, event_type, report = modality.report()
        return (event_type, committed(report), failed(report)) == (2, [sound], {damaged: 0x0110, missing: 0x0112})

    with asked(server, same, "1.2.1", references) as association:
        assert is_right(same)
        assert same.reports[0][0] is association
        wait_for(server, "1.2.1", state="reported", delivered_by="same")
    port = free_port()
    peer = {"host": "127.0.0.1", "port": port, "commitment_delivery": ["new"]}
    assert httpx2.put(f"{server.url}/api/peers/CT2", json=peer).status_code == 201
    for modality, uid in ((new, "1.2.2"), (following, "1.2.3")):
        with asked(server, modality, uid, references):
            pass
    wait_for(server, "1.2.2", state="reporting")
    server.stop()
    assert (new.reports, following.reports) == ([], [])

    server = serve("--workers", "1", data_dir=server.data_dir, environment=SHORT)
    attempts = commitments(server)["1.2.2"]["attempts"]
    while commitments(server)["1.2.2"]["attempts"] == attempts:
        time.sleep(0.05)
    assert "new: " in commitments(server)["1.2.2"]["problem"]
    with new.listening(port):
        assert is_right(new)
        wait_for(server, "1.2.2", state="reported", delivered_by="new")
    association = following.open(server.dimse_port)
    assert is_right(following)
    assert following.reports[0][0] is association
    wait_for(server, "1.2.3", state="reported", delivered_by="next")
    association.release()
