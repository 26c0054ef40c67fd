"""How fast pictures come out: JPEG of 512 x 512 x 16 bit frames, made for each request and remembered.

python -m scripts.bench.rendered [--instances 50] [--requests 1500] [--clients 8] [--workers 1 2]
"""

import argparse
import random
from collections.abc import Iterator

from scripts.bench.load import Connection, Measured, run_clients, table, timed
from scripts.bench.series import instance_path, store_series
from scripts.bench.server import BenchServer, bench_server


def read(server: BenchServer, query: str, instances: int, clients: int, requests: int) -> Measured:
    """Read rendered frames; what is in braces in the query becomes a number that never comes twice."""

    def work(client: int) -> Iterator[tuple[float, int]]:
        chance = random.Random(client)
        connection = Connection(server.port)
        for request in range(requests // clients):
            number = (clients * 1000 + client) * requests + request
            path = f"{instance_path(chance.randrange(instances))}/{query.format(1000 + number / 1e6)}"
            yield timed(lambda path=path: connection.get(path, "image/jpeg"))

    return run_clients(clients, work)


def main() -> None:
    """Measure new windows, windows seen before, and thumbnails, with each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=50)
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    rows: list[list[object]] = []
    for workers in options.workers:
        with bench_server("--workers", str(workers)) as server:
            store_series(server, options.instances, 512)
            server.reset_peaks()
            for name, query, warm in (
                ("rendered, every window new", "frames/1/rendered?window={:.6f},2000,linear", False),
                ("rendered, remembered", "frames/1/rendered?window=1000,2000,linear", True),
                ("thumbnail, remembered", "thumbnail", True),
            ):
                for clients in sorted({1, options.clients}):
                    if warm:
                        read(server, query, options.instances, clients, options.instances * 10 * workers)
                    measured = read(server, query, options.instances, clients, options.requests)
                    speed = [measured.p50, measured.p95, measured.per_second, measured.megabytes_per_second]
                    rows.append([name, workers, clients, *speed, max(server.peaks().values())])
    table(["what", "workers", "clients", "p50 ms", "p95 ms", "pictures/s", "MB/s", "peak MiB"], rows)


if __name__ == "__main__":
    main()
