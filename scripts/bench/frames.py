"""How fast single frames come out: 512 x 512 x 16 bit, in random order, as a viewer scrolls.

python -m scripts.bench.frames [--instances 200] [--requests 4000] [--clients 16] [--workers 1 2]
"""

import argparse
import random
from collections.abc import Iterator

from scripts.bench.load import Connection, run_clients, table, timed
from scripts.bench.series import instance_path, store_series
from scripts.bench.server import BenchServer, bench_server

ACCEPT = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


def read(server: BenchServer, instances: int, clients: int, requests: int) -> list[object]:
    """Read frames from so many clients; returns the end of a row of the table."""

    def work(client: int) -> Iterator[tuple[float, int]]:
        chance = random.Random(client)
        connection = Connection(server.port)
        for _ in range(requests // clients):
            path = f"{instance_path(chance.randrange(instances))}/frames/1"
            yield timed(lambda path=path: connection.get(path, ACCEPT))

    run_clients(clients, lambda client: list(work(client))[:1])
    measured = run_clients(clients, work)
    return [clients, measured.p50, measured.p95, measured.per_second, measured.megabytes_per_second]


def main() -> None:
    """Measure one client and many, with each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    rows = []
    for workers in options.workers:
        with bench_server("--workers", str(workers)) as server:
            store_series(server, options.instances, 512)
            server.reset_peaks()
            for clients in sorted({1, options.clients}):
                measured = read(server, options.instances, clients, options.requests)
                rows.append([workers, *measured, max(server.peaks().values())])
    table(["workers", "clients", "p50 ms", "p95 ms", "frames/s", "MB/s", "peak MiB"], rows)


if __name__ == "__main__":
    main()
