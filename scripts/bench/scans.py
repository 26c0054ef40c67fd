"""How long the list and STOW wait while others search by what has no index.

python -m scripts.bench.scans [--instances 100000] [--searches 24]
"""

import argparse
import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable

import asyncpg
import httpx2

from scripts.bench.data import MULTIPART, ct_image, insert_studies, stow_body
from scripts.bench.load import table
from scripts.bench.server import BenchServer, bench_server

STUDIES = 2_000
SCAN = "/dicom-web/instances?ImageComments=nothing*"
SERIES_OF_INSTANCES = """
INSERT INTO instances (series, sop_instance_uid, sop_class_uid, instance_number, transfer_syntax_uid, blob, size,
                       sha256, layout, attributes, metadata)
SELECT (SELECT min(id) FROM series) + n % $2, '1.2.3.' || n, i.sop_class_uid, n, i.transfer_syntax_uid, 'bench/' || n,
       i.size, i.sha256, i.layout, i.attributes, i.metadata
FROM (SELECT * FROM instances LIMIT 1) i, generate_series(1, $1) n
"""


async def insert_instances(database_url: str, count: int) -> None:
    """Write copies of the one instance there is into the index, without files: for searches only."""
    await insert_studies(database_url, STUDIES, first=1)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(SERIES_OF_INSTANCES, count, STUDIES, timeout=3600)
        await connection.execute("VACUUM (ANALYZE)", timeout=3600)
    finally:
        await connection.close()


def beside(ended: threading.Event, work: Callable[[int], httpx2.Response]) -> tuple[list[float], Counter[int]]:
    """Do something again and again until the event; returns the milliseconds of each time, and the statuses."""
    spent, statuses = [], Counter[int]()
    while not ended.is_set() or not spent:
        began = time.perf_counter()
        statuses[work(len(spent)).status_code] += 1
        spent.append((time.perf_counter() - began) * 1000)
        time.sleep(0.05)
    return sorted(spent), statuses


def measure(server: BenchServer, searches: int) -> list[list[object]]:
    """Run so many searches at once, and list and store beside them; returns the rows of the table."""
    url = server.live.url
    ended = threading.Event()
    found: dict[str, tuple[list[float], Counter[int]]] = {}

    def list_studies(_: int) -> httpx2.Response:
        return client.get(f"{url}/dicom-web/studies?limit=25")

    def store(number: int) -> httpx2.Response:
        body = stow_body([ct_image(900_000, 900_000, 900_000 + number, rows=64)])
        return client.post(f"{url}/dicom-web/studies", content=body, headers={"Content-Type": MULTIPART})

    def scan(number: int) -> None:
        began = time.perf_counter()
        answer = client.get(url + SCAN)
        scans.append(((time.perf_counter() - began) * 1000, answer.status_code))

    def run(name: str, work: Callable[[int], httpx2.Response]) -> None:
        found[name] = beside(ended, work)

    scans: list[tuple[float, int]] = []
    with httpx2.Client(timeout=300, limits=httpx2.Limits(max_connections=searches + 8)) as client:
        others = [threading.Thread(target=run, args=pair) for pair in (("list", list_studies), ("STOW", store))]
        asking = [threading.Thread(target=scan, args=(number,)) for number in range(searches)]
        for thread in (*asking, *others):
            thread.start()
        for thread in asking:
            thread.join()
        ended.set()
        for thread in others:
            thread.join()
    found["search without index"] = sorted(each for each, _ in scans), Counter(status for _, status in scans)
    return [
        [
            name,
            len(spent),
            spent[len(spent) // 2],
            spent[-1],
            ", ".join(f"{n} x {status}" for status, n in told.items()),
        ]
        for name, (spent, told) in found.items()
    ]


def main() -> None:
    """Measure without such searches, and with them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=24)
    options = parser.parse_args()
    with bench_server("--workers", "2", "--no-dimse") as server:
        first = stow_body([ct_image(0, 0, 0, rows=64)])
        httpx2.post(
            f"{server.live.root}/studies", content=first, headers={"Content-Type": MULTIPART}
        ).raise_for_status()
        asyncio.run(insert_instances(server.database_url, options.instances))
        for searches in (1, options.searches):
            print(f"{searches} searches at once among {options.instances} instances", flush=True)
            table(["what", "times", "p50 ms", "worst ms", "statuses"], measure(server, searches))
        server.print_peaks()


if __name__ == "__main__":
    main()
