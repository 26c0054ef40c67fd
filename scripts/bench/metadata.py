"""How fast a viewer gets the metadata of a whole CT series, warm; as it is and compressed.

python -m scripts.bench.metadata [--instances 1000] [--requests 20] [--workers 2]
"""

import argparse
from collections.abc import Iterator

from scripts.bench.load import Connection, run_clients, table, timed
from scripts.bench.series import SERIES_PATH, store_series
from scripts.bench.server import BenchServer, bench_server

JSON = "application/dicom+json"


def read(server: BenchServer, name: str, headers: str, requests: int, clients: int = 1) -> list[object]:
    """Read the metadata again and again; returns a row of the table."""

    def work(_: int) -> Iterator[tuple[float, int]]:
        connection = Connection(server.port)
        for _ in range(requests):
            yield timed(lambda: connection.get(f"{SERIES_PATH}/metadata", JSON, headers=headers))

    run_clients(1, lambda client: list(work(client))[:1])
    measured = run_clients(clients, work)
    size = measured.moved / len(measured.seconds) / 1e6
    return [name, clients, measured.p50, measured.p95, measured.per_second, size]


def main() -> None:
    """Measure plain and gzip, one client and four."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with bench_server("--workers", str(options.workers)) as server:
        store_series(server, options.instances, 64)
        server.reset_peaks()
        kinds = {"plain": "Accept-Encoding: identity\r\n", "gzip": "Accept-Encoding: gzip\r\n"}
        table(
            ["encoding", "clients", "p50 ms", "p95 ms", "a second", "MB"],
            [
                read(server, name, headers, options.requests, clients)
                for clients in (1, 4)
                for name, headers in kinds.items()
            ],
        )
        server.print_peaks()


if __name__ == "__main__":
    main()
