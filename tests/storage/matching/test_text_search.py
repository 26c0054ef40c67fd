"""One text for the patient's name, the patient ID and the accession number."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from storage.matching.attributes import Level
from storage.matching.conditions import Query, conditions
from storage.matching.search_text import SPACE_OR_PLUS
from tests.storage.indexed import add_instance, connected, dataset
from tests.storage.searching import key, search, uids

STUDIES = {
    "1": ("Doe^Jane", "PAT 001", "ACC-77"),
    "2": ("Yamada^Tarou=山田^太郎", "pat+002", "A1"),
    "3": ("Pat^Ronald", "77", "x_9"),
    "4": ("", "9", "PAT%"),
}


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    """A connection to an index of the four studies."""
    opened = await connected(database_url)
    for number, (name, patient_id, accession) in STUDIES.items():
        known = {"PatientName": name or [], "PatientID": patient_id, "AccessionNumber": accession}
        await add_instance(opened, dataset(StudyInstanceUID=number, StudyDescription="Pat", **known))
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("doe", "1"),
        ("jane doe", "1"),
        ("山田太郎", "2"),
        ("PAT 001", "1"),
        ("pat", "1234"),
        ("pat 0", "1"),
        (f"pat{SPACE_OR_PLUS}0", "12"),
        ("ACC-77", "1"),
        ("acc-7", "1"),
        (" 77 ", "3"),
        ("*77", "13"),
        ("*77*", "13"),
        ("x_9", "3"),
        ("PAT%", "4"),
        ("a?", "2"),
        ("001", ""),
        ("7", "3"),
        ("", "1234"),
        ("**", "1234"),
        ("nobody", ""),
    ],
)
async def test_a_text_is_a_name_an_id_or_an_accession_number(connection: Any, text: str, numbers: str) -> None:
    """Whatever the case; the same with the index and without, at every level, and beside other keys."""
    for scans in ("on", "off"):
        await connection.execute(f"SET enable_seqscan = {scans}")
        for level in (Level.STUDY, Level.IMAGE):
            assert sorted(uids(await search(connection, level, text=text))) == list(numbers)
    page = await search(connection, Level.STUDY, key("PatientID", "77"), text=text)
    assert uids(page) == [number for number in numbers if number == "3"]


async def test_the_index_is_asked(connection: Any) -> None:
    """Every part of the condition can be looked up; one that cannot would make all of them a look at every row."""
    await connection.execute("SET enable_seqscan = off")
    for text in ("Doe", "PAT 001", "a+b c"):
        found = conditions(Query(Level.STUDY, text=text))
        rows = await connection.fetch(
            f"EXPLAIN SELECT FROM studies st WHERE {' AND '.join(found.sql)}", *found.bindings.values
        )
        plan = "\n".join(row[0] for row in rows)
        assert plan.count("Bitmap Index Scan on studies_grams") >= 3 and "Seq Scan" not in plan
