"""DCMTK's `dcmqrscp` as the archive of somebody else."""

import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE, build_context

from storage.work.peers import Peer
from tests.dcmtk import program
from tests.live_server import free_port

STARTED_WITHIN = 30.0

CONFIGURATION = """
NetworkTCPPort = {port}
MaxPDUSize = 65536
MaxAssociations = 16
HostTable BEGIN
us = (DICOMWEB, 127.0.0.1, {our_port})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
REMOTE {folder} RW (500, 1024mb) ANY
AETable END
"""


@contextmanager
def remote_archive(folder: Path, our_port: int, *files: bytes, compressed: bool = True) -> Iterator[Peer]:
    """Run one that has the files and knows us, DICOMWEB, on `our_port`; skips the test when there is no dcmqrscp.

    It takes lossless JPEG when `compressed`, but then proposes nothing else to those it sends to by C-MOVE.
    """
    stored = folder / "remote"
    stored.mkdir()
    port = free_port()
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(CONFIGURATION.format(port=port, our_port=our_port, folder=stored))
    preference = "--prefer-lossless" if compressed else "--prefer-uncompr"
    command = [program("dcmqrscp"), "--config", str(configuration), "-ll", "warn", preference]
    with (folder / "dcmqrscp.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        wait_for_port(port, process)
        fill(port, files)
        yield Peer("REMOTE", "127.0.0.1", port)
    finally:
        process.terminate()
        process.wait(STARTED_WITHIN)


def wait_for_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Return when somebody listens there."""
    deadline = time.monotonic() + STARTED_WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, "the remote archive did not start"
            time.sleep(0.02)
        else:
            return


def fill(port: int, files: Iterable[bytes]) -> None:
    """Store files there, each in its own transfer syntax, with pynetdicom."""
    data_sets = [dcmread(BytesIO(file)) for file in files]
    if not data_sets:
        return
    entity = AE("SOURCE")
    kinds = {(data_set.SOPClassUID, data_set.file_meta.TransferSyntaxUID) for data_set in data_sets}
    entity.requested_contexts = [build_context(*kind) for kind in sorted(kinds)]
    association = entity.associate("127.0.0.1", port, ae_title="REMOTE")
    assert association.is_established
    for data_set in data_sets:
        assert association.send_c_store(data_set).Status == 0
    association.release()
