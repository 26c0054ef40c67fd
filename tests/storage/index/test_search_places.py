"""Searches that have to read a whole table take turns; all others never wait for them (PS3.4 C.4.1)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from storage.archive import Archive
from storage.database import pool as database
from storage.errors import Busy
from storage.index import search
from storage.index.search_cost import DEAR, may_scan
from storage.index.search_places import WARNING, SearchPlaces
from storage.matching.attributes import Level
from storage.matching.query import Query
from tests.builders import ct_slice
from tests.storage.searching import key

COMMENTS = Query(Level.IMAGE, (key("ImageComments", "nothing*"),))
"""No index knows it: the metadata of every instance is looked at."""
LIST = Query(Level.STUDY, limit=25)
SLOW = """
CREATE OR REPLACE FUNCTION metadata_json(metadata bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $$ BEGIN PERFORM pg_sleep(1); RETURN '{}'; END $$
"""


@pytest.mark.parametrize(
    ("level", "keys", "options", "expected"),
    [
        (Level.STUDY, [], {}, False),
        (Level.STUDY, [], {"offset": 975}, False),
        (Level.STUDY, [("PatientID", "1")], {}, False),
        (Level.STUDY, [("PatientName", "*oe*")], {}, True),
        (Level.STUDY, [("PatientName", "*doe*")], {}, False),
        (Level.STUDY, [("PatientName", "doe")], {"fuzzy": True}, False),
        (Level.STUDY, [("StudyDescription", "CT*")], {}, True),
        (Level.STUDY, [("StudyDate", "20240101-20241231"), ("ModalitiesInStudy", "MR")], {}, False),
        (Level.STUDY, [("StudyDate", "20240101-20241231"), ("PatientSex", "F")], {}, True),
        (Level.STUDY, [("AccessionNumber", "A1"), ("PatientSex", "F")], {}, False),
        (Level.STUDY, [("AccessionNumber", "A*"), ("PatientSex", "F")], {}, True),
        (Level.STUDY, [("AccessionNumber", '""')], {"empty_value": True}, True),
        (Level.STUDY, [("PatientSex", "*")], {}, False),
        (Level.STUDY, [], {"text": "doe"}, False),
        (Level.STUDY, [], {"text": "d*"}, True),
        (Level.STUDY, [], {"order_by": ("StudyDescription",)}, True),
        (Level.STUDY, [], {"count_total": True}, True),
        (Level.STUDY, [], {"offset": 10_000_000}, True),
        (Level.PATIENT, [], {}, True),
        (Level.SERIES, [("Modality", "MR")], {}, True),
        (Level.SERIES, [], {"study_instance_uid": "1.2"}, False),
        (Level.IMAGE, [("SOPInstanceUID", "1.2")], {}, False),
        (Level.IMAGE, [("ImageComments", "x")], {}, True),
        (Level.IMAGE, [("ImageComments", "x")], {"study_instance_uid": "1.2"}, False),
    ],
)
def test_what_an_index_serves_is_known_by_its_keys(
    level: Level, keys: list[tuple[str, str]], options: dict[str, Any], expected: bool
) -> None:
    """Nothing is asked about those; of any other the database estimates the cost."""
    assert may_scan(Query(level, tuple(key(*each) for each in keys), **options)) is expected


@pytest.fixture
async def filled(archive: Archive) -> Archive:
    """An archive with a few instances."""
    for _ in "123":
        await archive.store(ct_slice())
    return archive


@pytest.fixture
async def pool(filled: Archive, database_url: str) -> AsyncIterator[Any]:
    """Two connections, and metadata that takes a second an instance to be looked at."""
    await filled.pool.execute(SLOW)
    opened = await database.connect(database_url, max_size=2)
    yield opened
    await opened.close()


async def _begun(archive: Archive) -> None:
    """Return when a scan runs in the database."""
    running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'"
    while not await archive.pool.fetchval(running):
        await asyncio.sleep(0.02)


async def test_others_do_not_wait_for_scans(filled: Archive, pool: Any) -> None:
    """More scans than there are connections: one runs, and what an index serves is found at once meanwhile."""
    places = SearchPlaces(pool, dear=0)
    scans = [asyncio.create_task(places.find(COMMENTS)) for _ in range(4)]
    await _begun(filled)
    for _ in range(3):
        assert len((await places.find(LIST)).rows) == 3
    assert not any(scan.done() for scan in scans)
    (only,) = await filled.pool.fetch("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    assert only
    for scan in scans:
        scan.cancel()
    await asyncio.gather(*scans, return_exceptions=True)


async def test_a_scan_without_a_place_is_told_to_come_again(filled: Archive, pool: Any) -> None:
    """Busy, which is a 503 with Retry-After; the place is there again when the scan before is over."""
    places = SearchPlaces(pool, dear=0, wait_within=0.2)
    first = asyncio.create_task(places.find(COMMENTS))
    await _begun(filled)
    with pytest.raises(Busy, match="study date, patient ID or accession number"):
        await places.find(COMMENTS)
    assert not first.done()
    assert (await first).warnings == [WARNING]
    assert (await places.find(COMMENTS)).rows == []


async def test_few_wait_for_a_place(filled: Archive, pool: Any) -> None:
    """Of two dozen at once most are told at once, whatever the patience of those that wait."""
    places = SearchPlaces(pool, dear=0, wait_within=600)
    scans = [asyncio.create_task(places.find(COMMENTS)) for _ in range(24)]
    while sum(scan.done() for scan in scans) < 24 - 1 - 8:
        await asyncio.sleep(0.02)
    assert all(isinstance(scan.exception(), Busy) for scan in scans if scan.done())
    for scan in scans:
        scan.cancel()
    await asyncio.gather(*scans, return_exceptions=True)


async def test_a_small_table_is_read_without_a_word(filled: Archive) -> None:
    """What costs little needs no place and gets no warning."""
    places = SearchPlaces(filled.pool)
    async with database.searching(filled.pool) as connection:
        assert 0 < await search.cost(connection, COMMENTS) < DEAR
    pages = await asyncio.gather(*(places.find(COMMENTS) for _ in range(6)))
    assert [page.warnings for page in pages] == [[]] * 6


async def test_the_cost_is_that_of_all_rows(filled: Archive) -> None:
    """A LIMIT does not make a scan cheap: where its rows are found, the planner can only guess."""
    await filled.pool.execute(
        "INSERT INTO studies (study_instance_uid, sort_key, attributes) "
        "SELECT '9.' || n, '', '{}' FROM generate_series(1, 20000) n"
    )
    await filled.pool.execute("ANALYZE studies")
    async with database.searching(filled.pool) as connection:
        costs = [
            await search.cost(connection, Query(Level.STUDY, (key("PatientComments", "x"),), limit=limit))
            for limit in (1, 5000)
        ]
    assert costs[0] == pytest.approx(costs[1], rel=0.2)
    assert costs[0] > 1000
