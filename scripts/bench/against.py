"""How fast this version is against another commit: two servers side by side, asked in turn, so that noise meets both.

python -m scripts.bench.against COMMIT [--rounds 12] [--requests 60] [--only NAME ...]

A row is the median over the rounds: how long a request of one client takes, what it costs all processes of the server,
and how many a second four clients get. A ratio above 1 is to this version's credit.
"""

import argparse
import random
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from scripts.bench.data import MULTIPART, ct_image, stow_body, uid
from scripts.bench.load import Connection, run_clients, table, timed
from scripts.bench.series import SERIES_PATH, instance_path, store_series
from scripts.bench.server import BenchServer
from storage.dicom.transfer_syntax import (
    EXPLICIT_LE,
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from storage.pixels.pixel_data import encode_frame
from tests.builders import encapsulated
from tests.live_server import REPOSITORY, running_server
from tests.pixels import picture

INSTANCES = 50
FIRST_TRANSCODED = 1000
CLIENTS = 4
TRANSCODED = {
    "HTJ2K": HTJ2K_LOSSLESS,
    "JPEG 2000": JPEG_2000_LOSSLESS,
    "JPEG-LS": JPEG_LS_LOSSLESS,
    "RLE": RLE_LOSSLESS,
}
NATIVE = f"application/octet-stream; transfer-syntax={EXPLICIT_LE}"
FILE = 'multipart/related; type="application/dicom"'

Request = Callable[[Connection, int], tuple[float, int]]
"""Does one request, given a number that never comes twice."""


@dataclass
class Side:
    """One of the two servers, and what was measured of it: of each row, a list of each figure."""

    server: BenchServer
    seconds: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)


def _get(path: str, accept: str = "*/*") -> Request:
    return lambda connection, number: timed(
        lambda: connection.get(path.format(instance=instance_path(number % INSTANCES), n=number), accept)
    )


def _store(connection: Connection, number: int) -> tuple[float, int]:
    body = stow_body([ct_image(2, 2, 10_000 + number)])
    return timed(lambda: connection.post("/dicom-web/studies", MULTIPART, [body], len(body)))


REQUESTS: dict[str, Request] = {
    "frame as stored": _get("{instance}/frames/1"),
    "instance": _get("{instance}", FILE),
    "series of 54 instances": _get(SERIES_PATH, f"{FILE}; transfer-syntax=*"),
    "rendered, every window new": _get("{instance}/frames/1/rendered?window={n},2000,linear", "image/jpeg"),
    "rendered, remembered": _get("{instance}/frames/1/rendered?window=1000,2000,linear", "image/jpeg"),
    "rendered as PNG, every window new": _get("{instance}/frames/1/rendered?window={n},2000,linear", "image/png"),
    **{
        f"{name} frame to native": _get(f"{SERIES_PATH}/instances/{uid(3, FIRST_TRANSCODED + at)}/frames/1", NATIVE)
        for at, name in enumerate(TRANSCODED)
    },
    "search for a study": _get("/dicom-web/studies?PatientID=PAT0000001", "application/dicom+json"),
    "metadata of a series": _get(f"{SERIES_PATH}/metadata", "application/dicom+json"),
    "STOW of an instance": _store,
}


def main() -> None:
    """Measure all rows, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--only", nargs="+", default=[], help="rows whose names contain one of these")
    options = parser.parse_args()
    rows: list[list[object]] = []
    with _tree(options.commit) as other, _serving(other) as before, _serving(REPOSITORY) as after:
        for name, request in REQUESTS.items():
            if options.only and not any(part in name for part in options.only):
                continue
            sides = [Side(before), Side(after)]
            for side in sides:
                _measure(side, request, options.requests, first=0)
                side.seconds, side.cost, side.rate = [], [], []
            for number in range(options.rounds):
                for side in random.sample(sides, 2):
                    _measure(side, request, options.requests, first=(number + 1) * options.requests * 8)
            rows.append([name, *_figures(*sides)])
            print(*rows[-1], flush=True)
    figures = [f"{name} {side}" for name in ("ms", "CPU ms", "a second") for side in ("before", "after", "ratio")]
    table(["what", *figures], rows)


@contextmanager
def _tree(commit: str) -> Iterator[Path]:
    """Check out a commit into a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="dicomweb-before-") as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)


@contextmanager
def _serving(tree: Path) -> Iterator[BenchServer]:
    """Run a server of that tree, with something in it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dicomweb-bench-")))
        python = {"PYTHONPATH": str(tree)}
        live = stack.enter_context(running_server(folder / "data", "--workers", "1", environment=python))
        server = BenchServer(live)
        store_series(server, INSTANCES, 512)
        connection = Connection(server.port)
        for number, syntax in enumerate(TRANSCODED.values(), FIRST_TRANSCODED):
            body = stow_body([_compressed(number, syntax)])
            assert connection.post("/dicom-web/studies", MULTIPART, [body], len(body)).status == 200
        yield server


def _compressed(number: int, syntax: str) -> bytes:
    image = picture((512, 512), bits=12)
    encoded = encode_frame(image, syntax, photometric_interpretation="MONOCHROME2", bits_stored=12)
    described = {"Rows": 512, "Columns": 512, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
    uids = {"StudyInstanceUID": uid(1, 1), "SeriesInstanceUID": uid(2, 1), "SOPInstanceUID": uid(3, number)}
    return encapsulated([encoded.data], transfer_syntax=syntax, **described, **uids)


def _measure(side: Side, request: Request, requests: int, first: int) -> None:
    """Ask one client's requests, then those of several, and note the figures."""

    def work(client: int) -> Iterator[tuple[float, int]]:
        connection = Connection(side.server.port)
        for number in range(requests):
            yield request(connection, first + client * requests + number)

    begun = _processor_time(side.server)
    side.seconds.append(run_clients(1, work).p50)
    side.cost.append((_processor_time(side.server) - begun) / requests * 1000)
    side.rate.append(run_clients(CLIENTS, lambda client: work(client + 1)).per_second)


def _processor_time(server: BenchServer) -> float:
    """Return the seconds of processor time of all processes of the server, the database included."""
    total = 0
    for pid in server.live.processes():
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def _figures(before: Side, after: Side) -> list[object]:
    row: list[object] = []
    for figure, is_rate in (("seconds", False), ("cost", False), ("rate", True)):
        one, two = (statistics.median(getattr(side, figure)) for side in (before, after))
        ratio = two / one if is_rate else one / max(two, 1e-9)
        row += [f"{one:.2f}", f"{two:.2f}", f"{ratio:.2f}"]
    return row


if __name__ == "__main__":
    main()
