"""How fast a whole series of files comes out.

python -m scripts.bench.retrieve [--instances 300] [--requests 5] [--workers 2]
"""

import argparse
from collections.abc import Iterator

from scripts.bench.load import Connection, run_clients, table, timed
from scripts.bench.series import SERIES_PATH, store_series
from scripts.bench.server import BenchServer, bench_server

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def retrieve(server: BenchServer, clients: int, requests: int) -> list[object]:
    """Read the series from so many clients; returns a row of the table."""

    def work(_: int) -> Iterator[tuple[float, int]]:
        connection = Connection(server.port)
        for _ in range(requests):
            yield timed(lambda: connection.get(SERIES_PATH, ACCEPT))

    measured = run_clients(clients, work)
    return [clients, measured.p50, measured.moved / len(measured.seconds) / 1e6, measured.megabytes_per_second]


def main() -> None:
    """Measure one client and four."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--requests", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with bench_server("--workers", str(options.workers)) as server:
        store_series(server, options.instances, 512)
        server.reset_peaks()
        rows = [retrieve(server, clients, options.requests) for clients in (1, 4)]
        table(["clients", "p50 ms", "MB", "MB/s"], rows)
        server.print_peaks()


if __name__ == "__main__":
    main()
