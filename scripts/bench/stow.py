"""How fast images are stored: 512 x 512 CT images of 0.5 MB, each durable before it is acknowledged.

python -m scripts.bench.stow [--instances 400] [--workers 2] [--one-study]
"""

import argparse
from collections.abc import Iterator

from scripts.bench.data import MULTIPART, ct_image, stow_body
from scripts.bench.load import Connection, run_clients, table, timed
from scripts.bench.server import BenchServer, bench_server

PATH = "/dicom-web/studies"


def store(server: BenchServer, clients: int, batch: int, instances: int, run: int, one_study: bool) -> list[object]:
    """Store `instances` images from so many clients at once, `batch` in a request; returns a row of the table."""
    requests = max(1, instances // clients // batch)

    def work(client: int) -> Iterator[tuple[float, int]]:
        connection = Connection(server.port)
        place = run * 100 + client
        study = run * 100 if one_study else place
        bodies = [
            stow_body([ct_image(study, place, place * 100_000 + request * batch + n) for n in range(batch)])
            for request in range(requests)
        ]
        for body in bodies:
            yield timed(lambda body=body: connection.post(PATH, MULTIPART, [body], len(body)), moved=len(body))

    measured = run_clients(clients, work)
    stored = clients * requests * batch
    rate = stored / measured.elapsed
    return [clients, batch, stored, rate, measured.megabytes_per_second, measured.p50, measured.p95]


def main() -> None:
    """Measure 1 and 8 clients with 1 and 50 images a request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=400, help="images to store in each line of the table")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--one-study", action="store_true", help="all clients store into one study")
    options = parser.parse_args()
    with bench_server("--workers", str(options.workers)) as server:
        store(server, 2, 1, 10, 1, options.one_study)  # warm up
        cases = [(clients, batch) for clients in (1, 8) for batch in (1, 50)]
        table(
            ["clients", "a request", "stored", "images/s", "MB/s", "p50 ms", "p95 ms"],
            [
                store(server, clients, batch, options.instances, run, options.one_study)
                for run, (clients, batch) in enumerate(cases, start=2)
            ],
        )
        server.print_peaks()


if __name__ == "__main__":
    main()
