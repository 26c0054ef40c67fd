"""The applications that come with pynetdicom, as a person runs them, against a real server.

`echoscu` and `storescu` are in test_storescu.py, `findscu` with every extended negotiation in test_findscu.py.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from pydicom import dcmread

from tests.builders import ct_slice
from tests.dicomweb.scu.remote_archive import wait_for_port
from tests.live.test_commands import run as run_command
from tests.live_server import LiveServer, free_port, running_server

STUDY = "1.2.77"
COUNT = 8
KEYS = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}")

QRSCP = """
[DEFAULT]
ae_title: QRSCP
port: {port}
max_pdu: 16382
acse_timeout: 30
dimse_timeout: 30
network_timeout: 30
bind_address: 127.0.0.1
instance_location: {folder}/instances
database_location: {folder}/instances.sqlite
log_identifier: False

[DICOMWEB]
address: 127.0.0.1
port: {our_port}
"""


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """A study."""
    return [ct_slice(STUDY, f"{STUDY}.1", rows=16, columns=16, instance_number=number + 1) for number in range(COUNT)]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, files: list[bytes]) -> Iterator[LiveServer]:
    """A server to which `storescu` has sent the study."""
    folder = tmp_path_factory.mktemp("applications")
    (folder / "out").mkdir()
    for number, file in enumerate(files):
        (folder / "out" / f"{number}.dcm").write_bytes(file)
    with running_server(folder / "data", "--workers", "1") as server:
        said = run(server, folder, "storescu", str(folder / "out"), "-r", "-cx")
        assert said.count("Received Store Response (Status: 0x0000") == COUNT, said
        yield server
        assert "Traceback" not in server.log.read_text()


def run(live: LiveServer, folder: Path, application: str, *options: str) -> str:
    """Run an application in a folder to its end; what it says."""
    command = [sys.executable, "-m", "pynetdicom", application, "127.0.0.1", str(live.dimse_port), *options]
    ran = subprocess.run(
        [*command, "-v", "-aec", "DICOMWEB"], capture_output=True, text=True, timeout=60, check=False, cwd=folder
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


def peer(live: LiveServer, ae_title: str, port: int) -> None:
    """Make an application a peer."""
    answer = httpx2.put(f"{live.url}/api/peers/{ae_title}", json={"host": "127.0.0.1", "port": port})
    assert answer.status_code == 201


def pixels(paths: list[Path] | list[bytes]) -> list[bytes]:
    """The pixels of files, in any order."""
    return sorted(dcmread(path).PixelData for path in paths)


@pytest.fixture(scope="module")
def sent(live: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The pixels of what was sent."""
    return pixels(list((live.data_dir.parent / "out").iterdir()))


def test_findscu_finds_what_storescu_sent(live: LiveServer, tmp_path: Path) -> None:
    """G-060, G-063: one study, with its counts."""
    said = run(live, tmp_path, "findscu", *KEYS, "-k", "NumberOfStudyRelatedInstances", "-w")
    assert "0x0000 (Success)" in said or "0x0000 - Success" in said, said
    (found,) = [dcmread(path) for path in tmp_path.glob("rsp*.dcm")]
    assert (found.StudyInstanceUID, found.NumberOfStudyRelatedInstances) == (STUDY, COUNT)


def test_getscu_gets_it(live: LiveServer, tmp_path: Path, sent: list[bytes]) -> None:
    """G-110 to G-113."""
    said = run(live, tmp_path, "getscu", *KEYS, "-od", "in")
    assert pixels(list((tmp_path / "in").iterdir())) == sent, said


def test_movescu_receives_it_itself(live: LiveServer, tmp_path: Path, sent: list[bytes]) -> None:
    """G-090 to G-095: it asks, and is the destination as well."""
    port = free_port()
    peer(live, "STORESCP", port)
    receiving = ("--store", "--store-port", str(port), "--store-aet", "STORESCP")
    said = run(live, tmp_path, "movescu", *KEYS, "-aem", "STORESCP", *receiving, "-od", "in")
    assert pixels(list((tmp_path / "in").iterdir())) == sent, said


@contextmanager
def qrscp(folder: Path, our_port: int) -> Iterator[int]:
    """Run pynetdicom's archive, which knows us; gives its port. A relative path would be one beside its program."""
    if importlib.util.find_spec("sqlalchemy") is None:
        pytest.skip("pynetdicom's qrscp needs sqlalchemy")
    port = free_port()
    (folder / "qrscp.ini").write_text(QRSCP.format(port=port, our_port=our_port, folder=folder))
    command = [sys.executable, "-m", "pynetdicom", "qrscp", "-c", "qrscp.ini"]
    with (folder / "qrscp.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        wait_for_port(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def test_qrscp_is_sent_a_study_and_gives_it_back(live: LiveServer, tmp_path: Path, sent: list[bytes]) -> None:
    """Issue 4, 7: another archive takes a study by our C-MOVE, is searched by us, and a second server of ours, which
    has nothing, pulls the study from it by C-MOVE (G-031, G-092)."""
    with running_server(tmp_path / "data", "--workers", "1") as empty, qrscp(tmp_path, empty.dimse_port) as port:
        peer(live, "QRSCP", port)
        run(live, tmp_path, "movescu", *KEYS, "-aem", "QRSCP")
        folder = ("--data-dir", str(empty.data_dir))
        assert run_command(tmp_path, "peers", "add", "QRSCP", "127.0.0.1", str(port), *folder)[0] == 0
        found = run_command(tmp_path, "peers", "find", "QRSCP", "-k", f"StudyInstanceUID={STUDY}", *folder)[1]
        assert STUDY in found
        status, out, err = run_command(tmp_path, "peers", "pull", "QRSCP", STUDY, *folder)
        assert (status, f"{COUNT} done, 0 failed" in out) == (0, True), out + err
        (tmp_path / "in").mkdir()
        run(empty, tmp_path, "getscu", *KEYS, "-od", "in")
        assert pixels(list((tmp_path / "in").iterdir())) == sent
