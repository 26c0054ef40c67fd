"""How fast studies are found among many: by patient ID, by date range and modality, by a piece of a name.

python -m scripts.bench.qido [--studies 1000 100000] [--requests 200] [--clients 1]
"""

import argparse
import asyncio
import random
from collections.abc import Callable, Iterator

from scripts.bench.data import FAMILY_NAMES, insert_studies
from scripts.bench.load import Connection, run_clients, table, timed
from scripts.bench.server import BenchServer, bench_server

ROOT = "/dicom-web/studies"
JSON = "application/dicom+json"

SEARCHES: dict[str, Callable[[random.Random, int], str]] = {
    "patient ID": lambda chance, studies: f"PatientID=PAT{chance.randrange(studies // 2):07}",
    "date range and modality": lambda chance, studies: (
        f"StudyDate=20{chance.randrange(15, 24)}0301-20{chance.randrange(24, 25)}0401&ModalitiesInStudy=MR&limit=25"
    ),
    "one week": lambda chance, studies: "StudyDate={0}0301-{0}0307&limit=25".format(chance.randrange(2015, 2025)),
    "inside a name": lambda chance, studies: (
        f"PatientName=*{chance.choice(FAMILY_NAMES)[1:].lower()}{chance.randrange(977)}*&limit=25"
    ),
    "fuzzy name": lambda chance, studies: (
        f"PatientName={chance.choice(FAMILY_NAMES)}{chance.randrange(977)}&fuzzymatching=true&limit=25"
    ),
    "newest 25": lambda chance, studies: "limit=25",
    "newest 25, page 40": lambda chance, studies: "limit=25&offset=975",
}


def search(server: BenchServer, name: str, studies: int, clients: int, requests: int) -> list[object]:
    """Run one kind of search from so many clients; returns a row of the table."""

    def work(client: int) -> Iterator[tuple[float, int]]:
        chance = random.Random(client)
        connection = Connection(server.port)
        for _ in range(requests // clients):
            path = f"{ROOT}?{SEARCHES[name](chance, studies)}"
            yield timed(lambda path=path: connection.get(path, JSON))

    run_clients(1, lambda _: list(work(999))[:5])  # warm up
    measured = run_clients(clients, work)
    size = measured.moved / len(measured.seconds) / 1000
    return [name, studies, clients, measured.p50, measured.p95, measured.per_second, size]


def main() -> None:
    """Measure every kind of search at every size of the archive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=1)
    options = parser.parse_args()
    with bench_server() as server:
        present, rows = 0, []
        for studies in sorted(options.studies):
            asyncio.run(insert_studies(server.database_url, studies - present, present))
            present = studies
            rows += [search(server, name, studies, options.clients, options.requests) for name in SEARCHES]
        table(["search", "studies", "clients", "p50 ms", "p95 ms", "a second", "kB"], rows)
        server.print_peaks()


if __name__ == "__main__":
    main()
