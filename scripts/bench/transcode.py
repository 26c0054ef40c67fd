"""How fast pixels come in another transfer syntax: against the codec alone, and a frame list against many requests.

python -m scripts.bench.transcode [--frames 500] [--requests 300] [--rows 512]
"""

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np

from scripts.bench.data import MULTIPART, stow_body, uid
from scripts.bench.load import Connection, run_clients, table, timed
from scripts.bench.server import BenchServer, bench_server
from storage.dicom.transfer_syntax import EXPLICIT_LE, JPEG_2000_LOSSLESS, JPEG_LS_LOSSLESS
from storage.pixels.pixel_data import encode_frame
from tests.builders import encapsulated
from tests.pixels import picture

ONE = f"/dicom-web/studies/{uid(1, 1)}/series/{uid(2, 1)}/instances"
NATIVE = f"application/octet-stream; transfer-syntax={EXPLICIT_LE}"
OCTETS = 'multipart/related; type="application/octet-stream"'
FILE = f"application/dicom; transfer-syntax={EXPLICIT_LE}"


def cine(number: int, frames: int, codestream: bytes, rows: int) -> bytes:
    """Return a file of JPEG 2000 frames that are all alike."""
    described = {"Rows": rows, "Columns": rows, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
    uids = {"StudyInstanceUID": uid(1, 1), "SeriesInstanceUID": uid(2, 1), "SOPInstanceUID": uid(3, number)}
    return encapsulated([codestream] * frames, transfer_syntax=JPEG_2000_LOSSLESS, **described, **uids)


def bare_codec(codestream: bytes, requests: int, threads: int) -> list[object]:
    """Decode in this process as the server has to: the codec and the bytes of the samples, nothing else."""

    def decode(_: int) -> float:
        start = time.perf_counter()
        np.ascontiguousarray(imagecodecs.jpeg2k_decode(codestream, numthreads=1)).tobytes()
        return time.perf_counter() - start

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(decode, range(4)))
        start = time.perf_counter()
        taken = sorted(pool.map(decode, range(requests)))
        elapsed = time.perf_counter() - start
    return [1000 * taken[requests // 2], 1000 * taken[int(requests * 0.95)], requests / elapsed]


def read(server: BenchServer, path: str, accept: str, clients: int, requests: int) -> list[object]:
    """Ask for one thing again and again; returns p50 and p95 in milliseconds and how many a second."""

    def work(_: int) -> Iterator[tuple[float, int]]:
        connection = Connection(server.port)
        for _request in range(requests // clients):
            yield timed(lambda: connection.get(path, accept))

    run_clients(clients, lambda client: list(work(client))[:1])
    measured = run_clients(clients, work)
    return [measured.p50, measured.p95, measured.per_second]


def frame_list(server: BenchServer, frames: int, accept: str) -> tuple[float, float]:
    """Return the seconds for all frames by one request each, one after the other, and by one request."""
    connection = Connection(server.port)
    connection.get(f"{ONE}/{uid(3, 2)}/frames/1", accept)
    start = time.perf_counter()
    for number in range(1, frames + 1):
        connection.get(f"{ONE}/{uid(3, 2)}/frames/{number}", accept)
    between = time.perf_counter()
    connection.get(f"{ONE}/{uid(3, 2)}/frames/1-{frames}", accept)
    return between - start, time.perf_counter() - between


def main() -> None:
    """Measure one client and several against the codec, then lists of frames."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--rows", type=int, default=512)
    options = parser.parse_args()
    image = picture((options.rows, options.rows), bits=12)
    encoded = encode_frame(image, JPEG_2000_LOSSLESS, photometric_interpretation="MONOCHROME2", bits_stored=12)
    codestream = encoded.data
    with bench_server("--workers", "1") as server:
        connection = Connection(server.port)
        for number, frames in ((1, 1), (2, options.frames)):
            body = stow_body([cine(number, frames, codestream, options.rows)])
            assert connection.post("/dicom-web/studies", MULTIPART, [body], len(body)).status == 200
        rows: list[list[object]] = []
        for clients in (1, 2):
            rows.append(["bare codec", clients, *bare_codec(codestream, options.requests, clients)])
            for name, path, accept in (("frame", "/frames/1", NATIVE), ("file", "", FILE)):
                rows.append(
                    [name, clients, *read(server, f"{ONE}/{uid(3, 1)}{path}", accept, clients, options.requests)]
                )
        table(["JPEG 2000 to Explicit LE", "clients or threads", "p50 ms", "p95 ms", "per second"], rows)
        server.reset_peaks()
        rows = []
        for name, accept in (("decoded", OCTETS), ("as stored", f"{OCTETS}; transfer-syntax=*")):
            single, together = frame_list(server, options.frames, accept)
            rows.append([name, options.frames, single, together, single / together])
        for name, uid_wanted in (("file decoded", EXPLICIT_LE), ("file to JPEG-LS", JPEG_LS_LOSSLESS)):
            start = time.perf_counter()
            wanted = f"application/dicom; transfer-syntax={uid_wanted}"
            Connection(server.port).get(f"{ONE}/{uid(3, 2)}", wanted)  # an idle one is closed meanwhile
            rows.append([name, options.frames, "", time.perf_counter() - start, ""])
        table(["frames", "number", "one by one s", "as one list s", "times faster"], rows)
        server.print_peaks()


if __name__ == "__main__":
    main()
