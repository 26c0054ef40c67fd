"""Archives to measure side by side over DIMSE: ours, DCMTK's dcmqrscp and Orthanc, each on a fresh folder."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from scripts.bench.server import bench_server
from tests.dcmtk import find_program
from tests.live_server import free_port

SINK = "SINK"
"""AE title of the destination of every C-MOVE."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A running archive: its name in the tables, where it listens, and its AE title."""

    name: str
    port: int
    ae_title: str


@contextmanager
def ours(folder: Path, sink_port: int) -> Iterator[Measured]:
    """Run `dicomweb serve` with the sink as its peer."""
    with bench_server(keep_in=folder) as server:
        peer = json.dumps({"host": "127.0.0.1", "port": sink_port}).encode()
        headers = {"Content-Type": "application/json"}
        urlopen(Request(f"{server.live.url}/api/peers/{SINK}", peer, headers, method="PUT")).close()
        yield Measured("dicomweb", server.live.dimse_port, "DICOMWEB")


@contextmanager
def dcmqrscp(folder: Path, sink_port: int) -> Iterator[Measured]:
    """Run DCMTK's Query/Retrieve SCP, which keeps an index file and never brings anything to disk on purpose."""
    port = free_port()
    (folder / "files").mkdir(parents=True)
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 64\n"
        f"HostTable BEGIN\nsink = ({SINK}, 127.0.0.1, {sink_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQRSCP {folder / 'files'} RW (9999, 4096mb) ANY\nAETable END\n"
    )
    with _running([program("dcmqrscp"), "-c", str(configuration)], port):
        yield Measured("dcmqrscp", port, "QRSCP")


@contextmanager
def orthanc(folder: Path, sink_port: int) -> Iterator[Measured]:
    """Run Orthanc with its own SQLite index."""
    port = free_port()
    folder.mkdir(parents=True)
    configuration = folder / "orthanc.json"
    allowed = dict.fromkeys((f"DicomAlwaysAllow{what}" for what in ("Echo", "Store", "Find", "Get", "Move")), True)
    settings = {
        "StorageDirectory": str(folder / "files"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": free_port(),
        "DicomPort": port,
        "DicomAet": "ORTHANC",
        "DicomModalities": {"sink": [SINK, "127.0.0.1", sink_port]},
        "Plugins": [],
        **allowed,
    }
    configuration.write_text(json.dumps(settings))
    with _running([program("Orthanc"), str(configuration)], port):
        yield Measured("Orthanc", port, "ORTHANC")


ARCHIVES: tuple[Callable[[Path, int], object], ...] = (ours, dcmqrscp, orthanc)
PROGRAMS = {dcmqrscp: "dcmqrscp", orthanc: "Orthanc"}


@contextmanager
def sink() -> Iterator[int]:
    """Run DCMTK's storescp, which takes images and forgets them; yields its port."""
    port = free_port()
    with _running([program("storescp"), "--ignore", "--fork", "-aet", SINK, "+xa", str(port)], port):
        yield port


@contextmanager
def every_archive(folder: Path) -> Iterator[list[Measured]]:
    """Run the sink and all archives whose programs are installed."""
    with ExitStack() as stack:
        sink_port = stack.enter_context(sink())
        found: list[Measured] = []
        for start in ARCHIVES:
            if start in PROGRAMS and find_program(PROGRAMS[start]) is None:
                print(f"{PROGRAMS[start]} is not installed and left out")
                continue
            found.append(stack.enter_context(start(folder / start.__name__, sink_port)))  # type: ignore[arg-type]
        yield found


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    echo = [program("echoscu"), "-aec", "ANY-SCP", "127.0.0.1", str(port)]
    for _ in range(100):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with status {process.returncode}")
        # A rejected association is an answer as well.
        answer = subprocess.run(echo, capture_output=True, text=True)
        if answer.returncode == 0 or "Rejected" in answer.stderr:
            return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args} does not answer")


def program(name: str) -> str:
    """Return the path of a program, or end with a readable error."""
    found = find_program(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed (Debian: dcmtk, orthanc)")
    return found
