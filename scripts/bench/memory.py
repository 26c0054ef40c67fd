"""How much memory a huge multi-frame object needs on its way in and out; by default 4 GB.

python -m scripts.bench.memory [--gigabytes 4] [--workers 1]
"""

import argparse
import struct
import time
from collections.abc import Iterator

from pydicom.uid import EnhancedCTImageStorage

from scripts.bench.data import BOUNDARY, MULTIPART
from scripts.bench.load import Answer, Connection, run_clients, table, timed
from scripts.bench.server import BenchServer, bench_server
from tests.builders import ct_slice

FRAME = 512 * 512 * 2  # bytes
STUDY, SERIES, INSTANCE = "1.2.3.1", "1.2.3.2", "1.2.3.3"
PATH = f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{INSTANCE}"


def body(frames: int) -> tuple[bytes, bytes]:
    """Return what comes before and after the frames in a request that stores them as one instance."""
    image = ct_slice(
        STUDY, SERIES, INSTANCE, rows=512, columns=512, NumberOfFrames=frames, SOPClassUID=str(EnhancedCTImageStorage)
    )
    header = image[: -FRAME - 4] + struct.pack("<L", frames * FRAME)
    part = b"--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n"
    return part + header, b"\r\n--" + BOUNDARY + b"--\r\n"


def upload(server: BenchServer, frames: int) -> Answer:
    """Store one instance of so many frames."""
    before, after = body(frames)
    frame = bytes(range(256)) * (FRAME // 256)

    def chunks() -> Iterator[bytes]:
        yield before
        for _ in range(frames):
            yield frame
        yield after

    length = len(before) + frames * FRAME + len(after)
    return Connection(server.port).post("/dicom-web/studies", MULTIPART, chunks(), length)


def measure(server: BenchServer, frames: int) -> Iterator[list[object]]:
    """Yield a row of the table for the upload, the download, the metadata and the last frame."""
    jobs = {
        "upload": (lambda: upload(server, frames), ""),
        "download": (None, 'multipart/related; type="application/dicom"; transfer-syntax=*'),
        "metadata": (None, "application/dicom+json"),
        "last frame": (None, 'multipart/related; type="application/octet-stream"; transfer-syntax=*'),
    }
    paths = {"download": PATH, "metadata": f"{PATH}/metadata", "last frame": f"{PATH}/frames/{frames}"}
    for name, (send, accept) in jobs.items():
        server.reset_peaks()
        request = send or (lambda path=paths[name], accept=accept: Connection(server.port).get(path, accept))
        begin = time.perf_counter()
        measured = run_clients(1, lambda _, request=request: [timed(request)])
        seconds = time.perf_counter() - begin
        moved = frames * FRAME if name == "upload" else measured.moved
        yield [name, moved / 1e6, seconds * 1000, moved / seconds / 1e6, max(server.peaks().values())]


def main() -> None:
    """Store and read one huge instance and print the peak memory of the largest process of the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=4, help="at most 4.29, which an explicit length can say")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    frames = int(options.gigabytes * 1e9) // FRAME
    with bench_server("--workers", str(options.workers)) as server:
        print(f"{frames} frames of 512 x 512 x 16 bit")
        server.print_peaks()
        table(["", "MB", "ms", "MB/s", "peak MiB"], measure(server, frames))
        server.print_peaks()


if __name__ == "__main__":
    main()
