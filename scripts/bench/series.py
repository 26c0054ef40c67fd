"""A stored CT series for the measurements of reading."""

from collections.abc import Iterator

from scripts.bench.data import MULTIPART, ct_image, stow_body, uid
from scripts.bench.load import Connection, run_clients, timed
from scripts.bench.server import BenchServer

SERIES_PATH = f"/dicom-web/studies/{uid(1, 1)}/series/{uid(2, 1)}"
BATCH = 25


def instance_path(number: int) -> str:
    """Return the path of an instance of the series; numbers count from 0."""
    return f"{SERIES_PATH}/instances/{uid(3, number)}"


def store_series(server: BenchServer, instances: int, rows: int) -> None:
    """Store a series of so many images of rows x rows samples."""

    def work(_: int) -> Iterator[tuple[float, int]]:
        connection = Connection(server.port)
        for start in range(0, instances, BATCH):
            numbers = range(start, min(start + BATCH, instances))
            body = stow_body([ct_image(1, 1, number, rows) for number in numbers])
            yield timed(lambda body=body: connection.post("/dicom-web/studies", MULTIPART, [body], len(body)))

    run_clients(1, work)
