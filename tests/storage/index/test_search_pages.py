"""Searches page by page: nothing twice, nothing missed, and how much remains."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from storage.errors import InvalidQuery
from storage.index.search import COUNT_LIMIT
from storage.matching.attributes import Level
from tests.storage.indexed import add_instance, connected, dataset
from tests.storage.searching import key, search, uids

SORTABLE = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName", "StudyID", "StudyDescription", "Modality", "SeriesDescription"),
    *("SeriesNumber", "BodyPartExamined", "-InstanceNumber", "SOPClassUID"),
)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    """A connection to an empty index."""
    opened = await connected(database_url)
    yield opened
    await opened.close()


async def test_pages_neither_repeat_nor_skip_while_others_store(connection: Any) -> None:
    """The cursor goes on after the last row given out, whatever was stored meanwhile (C-115, user pain 11)."""
    for number in range(7):
        await add_instance(connection, dataset(StudyInstanceUID=f"1.{number}", StudyDate=f"2024010{number % 3 + 1}"))
    for order in ((), ("StudyDate",), ("-PatientName", "AccessionNumber"), ("-StudyInstanceUID",)):
        seen: list[str] = []
        cursor = None
        while True:
            page = await search(
                connection,
                Level.STUDY,
                key("StudyDate", "20240101-20240109"),
                limit=2,
                cursor=cursor,
                order_by=order,
            )
            seen += uids(page)
            cursor = page.next_cursor
            if cursor is None:
                break
            await add_instance(connection, dataset(StudyDate="20240109" if not order else "20240101"))
        old = [uid for uid in seen if uid.startswith("1.") and len(uid) == 3]
        assert sorted(old) == [f"1.{number}" for number in range(7)], order
        assert len(seen) == len(set(seen))


async def test_unknown_numbers_come_last_and_paging_passes_them(connection: Any) -> None:
    """Series and instances without a number follow the numbered ones, in both directions of a sort (C-116, C-117)."""
    study = {"StudyInstanceUID": "1", "SeriesInstanceUID": "1.1"}
    for uid, number in (("a.1", 2), ("a.2", []), ("a.3", 1), ("a.4", []), ("a.5", 1)):
        await add_instance(connection, dataset(**study, SOPInstanceUID=uid, InstanceNumber=number))
    for order, expected in ((), "35124"), (("-InstanceNumber",), "13524"):
        seen: list[str] = []
        cursor = None
        for _ in range(5):
            page = await search(connection, Level.IMAGE, study_instance_uid="1", limit=1, cursor=cursor, order_by=order)
            seen += uids(page, "SOPInstanceUID")
            cursor = page.next_cursor
        assert cursor is None
        assert "".join(uid[2:] for uid in seen) == expected
        offset = await search(connection, Level.IMAGE, study_instance_uid="1", offset=3, order_by=order)
        assert uids(offset, "SOPInstanceUID") == seen[3:]
    with pytest.raises(InvalidQuery, match="cursor"):
        await search(connection, Level.IMAGE, cursor="WzFd")
    with pytest.raises(InvalidQuery, match="orderby"):
        await search(connection, Level.IMAGE, order_by=("KVP",))


async def test_an_order_has_a_sensible_number_of_keys(connection: Any) -> None:
    """A key that is given again changes nothing, in either direction; more than 16 keys are refused."""
    for number in range(3):
        await add_instance(connection, dataset(StudyInstanceUID=f"1.{number}", PatientID=str(number)))
    repeated = ("-PatientID", "PatientID", "-00100020") * 600
    page = await search(connection, Level.STUDY, limit=2, order_by=repeated)
    assert uids(page) == ["1.2", "1.1"]
    page = await search(connection, Level.STUDY, limit=2, order_by=("-PatientID",), cursor=page.next_cursor)
    assert uids(page) == ["1.0"]
    with pytest.raises(InvalidQuery, match="orderby: at most 16"):
        await search(connection, Level.IMAGE, order_by=SORTABLE)
    assert len((await search(connection, Level.IMAGE, order_by=SORTABLE[:16])).rows) == 3


async def test_remaining_rows_are_counted_up_to_a_limit(connection: Any) -> None:
    """Exact up to the limit, "at least" beyond it, total only when asked for (C-111, C-114, C-117)."""
    await connection.execute(
        "INSERT INTO studies (study_instance_uid, sort_key, attributes) "
        "SELECT '1.' || n, '', '{}' FROM generate_series(1, $1::int) n",
        COUNT_LIMIT + 15,
    )
    page = await search(connection, Level.STUDY, limit=20)
    assert (page.remaining, page.remaining_is_minimum, page.total) == (COUNT_LIMIT - 5, False, None)
    page = await search(connection, Level.STUDY, limit=10, count_total=True)
    assert (page.remaining, page.remaining_is_minimum, page.total) == (COUNT_LIMIT, True, COUNT_LIMIT + 15)
    page = await search(connection, Level.STUDY, limit=10, offset=COUNT_LIMIT)
    assert (page.remaining, page.next_cursor is None) == (5, False)
    page = await search(connection, Level.STUDY, limit=0)
    assert (page.rows, page.remaining, page.next_cursor) == ([], COUNT_LIMIT, None)
    page = await search(connection, Level.STUDY, offset=10**18)
    assert (page.rows, page.remaining) == ([], 0)
