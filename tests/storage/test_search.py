"""Searches in a real database: what they find, return, in which order and page by page."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from storage.attributes import Level, parse_path
from storage.errors import InvalidQuery, QueryTooBroad
from storage.matching import Include, Key, Query
from storage.search import COUNT_LIMIT, Page, find

from tests.storage.indexed import CT, add_instance, connected, dataset, tag


def key(name: str, *values: str, creator: str | None = None) -> Key:
    """A key by keywords joined by dots."""
    path = parse_path(name)
    assert path is not None
    return Key(path, values, name, creator)


def include(name: str, creator: str | None = None) -> Include:
    """An attribute to return."""
    path = parse_path(name)
    assert path is not None
    return Include(path, creator)


def uids(page: Page, keyword: str = "StudyInstanceUID") -> list[str]:
    """One UID of each row."""
    return [row[tag(keyword)]["Value"][0] for row in page.rows]


def values(row: dict[str, Any], keyword: str) -> Any:
    """The values of an attribute; None when it is absent, [] when it is empty."""
    element = row.get(tag(keyword))
    return None if element is None else element.get("Value", [])


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    """A connection to an empty index."""
    opened = await connected(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def two_studies(connection: Any) -> Any:
    """Study 1.1 with a CT series of two instances and an MR series of one; study 1.2, older, with one US instance."""
    first: dict[str, Any] = {
        "StudyInstanceUID": "1.1",
        "StudyDate": "20240102",
        "StudyTime": "101500",
        "PatientName": "Müller^Jörg=山田^太郎=やまだ^たろう",
        "PatientID": "P-1",
        "AccessionNumber": "A100",
        "StudyDescription": "CT 50%_of chest",
        "TimezoneOffsetFromUTC": "+0100",
        "PatientComments": "quiet",
    }
    ct = {
        "SeriesInstanceUID": "1.1.1",
        "Modality": "CT",
        "SeriesNumber": 2,
        "SeriesDescription": "thorax",
        "StationName": "CT1",
        "RequestAttributesSequence": [
            {"ScheduledProcedureStepID": "S1", "RequestedProcedureID": "R1", "RequestedProcedureDescription": "one"},
            {"ScheduledProcedureStepID": "S2", "RequestedProcedureID": "R2"},
        ],
    }
    for number in (2, 1):
        await add_instance(
            connection,
            dataset(**first, **ct, SOPInstanceUID=f"1.1.1.{number}", InstanceNumber=number, Rows=512, KVP=120.5),
        )
    mr = {"SeriesInstanceUID": "1.1.2", "Modality": "MR", "SeriesNumber": 1}
    await add_instance(connection, dataset(**first, **mr, SOPInstanceUID="1.1.2.1", SOPClassUID="1.2.3.4"))
    second = {"StudyInstanceUID": "1.2", "StudyDate": "20230101", "PatientName": "Doe^Jane", "PatientID": "P-2"}
    await add_instance(
        connection, dataset(**second, Modality="US", SeriesInstanceUID="1.2.1", SOPInstanceUID="1.2.1.1")
    )
    return connection


async def test_study_search_returns_the_required_attributes_newest_first(two_studies: Any) -> None:
    """R attributes come even without a value, C only when known, the unique key always (C-070, C-074, C-075, C-116)."""
    page = await find(two_studies, Query(Level.STUDY))
    assert uids(page) == ["1.1", "1.2"]
    newest, oldest = page.rows
    assert list(newest) == sorted(newest)
    assert values(newest, "ModalitiesInStudy") == ["CT", "MR"]
    assert values(newest, "NumberOfStudyRelatedSeries") == [2]
    assert values(newest, "NumberOfStudyRelatedInstances") == [3]
    assert values(newest, "InstanceAvailability") == ["ONLINE"]
    assert values(newest, "TimezoneOffsetFromUTC") == ["+0100"]
    assert newest[tag("PatientName")]["Value"][0]["Ideographic"] == "山田^太郎"
    assert oldest[tag("AccessionNumber")] == {"vr": "SH"}
    assert oldest[tag("ReferringPhysicianName")] == {"vr": "PN"}
    assert tag("TimezoneOffsetFromUTC") not in oldest
    assert tag("StudyDescription") not in newest
    assert (page.remaining, page.next_cursor, page.total) == (0, None, None)


async def test_series_search_of_a_study_returns_series_attributes_only(two_studies: Any) -> None:
    """Series come by number, with the study's UID and two attributes of each request (C-071, C-073, C-116)."""
    page = await find(two_studies, Query(Level.SERIES, study_instance_uid="1.1"))
    assert uids(page, "SeriesInstanceUID") == ["1.1.2", "1.1.1"]
    ct = page.rows[1]
    assert values(ct, "StudyInstanceUID") == ["1.1"]
    assert values(ct, "NumberOfSeriesRelatedInstances") == [2]
    assert tag("PatientName") not in ct
    items = values(ct, "RequestAttributesSequence")
    assert [sorted(item) for item in items] == [[tag("ScheduledProcedureStepID"), tag("RequestedProcedureID")]] * 2
    assert tag("RequestAttributesSequence") not in page.rows[0]


async def test_searches_over_all_studies_bring_the_attributes_above(two_studies: Any) -> None:
    """/series adds the study's, /instances both, /studies/{s}/instances the series' (C-077)."""
    series = await find(two_studies, Query(Level.SERIES))
    assert values(series.rows[0], "PatientID") == ["P-1"]
    instances = await find(two_studies, Query(Level.IMAGE))
    assert len(instances.rows) == 4
    assert {"PatientID", "Modality", "InstanceNumber"} <= {k for k in _keywords(instances.rows[0])}
    of_study = await find(two_studies, Query(Level.IMAGE, study_instance_uid="1.1"))
    assert "Modality" in _keywords(of_study.rows[0])
    assert "PatientID" not in _keywords(of_study.rows[0])
    of_series = await find(two_studies, Query(Level.IMAGE, study_instance_uid="1.1", series_instance_uid="1.1.1"))
    assert uids(of_series, "SOPInstanceUID") == ["1.1.1.1", "1.1.1.2"]
    assert values(of_series.rows[0], "SOPClassUID") == [CT]
    assert values(of_series.rows[0], "Rows") == [512]
    assert "Modality" not in _keywords(of_series.rows[0])


def _keywords(row: dict[str, Any]) -> set[str]:
    from pydicom.datadict import keyword_for_tag

    return {keyword_for_tag(name) for name in row}


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ([("PatientID", "P-1")], ["1.1"]),
        ([("PatientID", "p-1")], []),
        ([("PatientID", "P*")], ["1.1", "1.2"]),
        ([("PatientID", "*-2")], ["1.2"]),
        ([("PatientID", "P?1")], ["1.1"]),
        ([("PatientID", "*")], ["1.1", "1.2"]),
        ([("PatientID",)], ["1.1", "1.2"]),
        ([("PatientName", "muller^jorg")], ["1.1"]),
        ([("PatientName", "MÜLLER^JÖRG^^^")], ["1.1"]),
        ([("PatientName", "muller")], []),
        ([("PatientName", "*ull*")], ["1.1"]),
        ([("PatientName", "*u*")], ["1.1"]),
        ([("PatientName", "*lr*")], []),
        ([("PatientName", "山田*")], ["1.1"]),
        ([("PatientName", "=山田*")], ["1.1"]),
        ([("PatientName", "山田*=")], []),
        ([("PatientName", "doe^*")], ["1.2"]),
        ([("StudyDescription", "*50%_of*")], ["1.1"]),
        ([("StudyDescription", "*50_%of*")], []),
        ([("StudyDescription", "*5%chest*")], []),
        ([("StudyInstanceUID", "1.1", "1.2")], ["1.1", "1.2"]),
        ([("StudyInstanceUID", "1.2\\1.7")], ["1.2"]),
        ([("ModalitiesInStudy", "MR")], ["1.1"]),
        ([("ModalitiesInStudy", "US,MR")], ["1.1", "1.2"]),
        ([("ModalitiesInStudy", "US", "XA")], ["1.2"]),
        ([("ModalitiesInStudy", "C*")], ["1.1"]),
        ([("Modality", "CT")], ["1.1"]),
        ([("SOPClassesInStudy", "1.2.3.4")], ["1.1"]),
        ([("NumberOfStudyRelatedInstances", "3")], ["1.1"]),
        ([("InstanceAvailability", "ONLINE")], ["1.1", "1.2"]),
        ([("InstanceAvailability", "OFFLINE")], []),
        ([("StudyDate", "20230101-20231231")], ["1.2"]),
        ([("StudyDate", "-20230101")], ["1.2"]),
        ([("StudyDate", "2024.01.02")], ["1.1"]),
        ([("StudyDate", "20240102"), ("StudyTime", "1015")], ["1.1"]),
        ([("StudyTime", "10")], []),
        ([("StudyTime", "10-10")], ["1.1"]),
        ([("StudyTime", "-1014")], []),
        ([("PatientComments", "quiet")], ["1.1"]),
        ([("PatientComments", "Q*")], []),
        ([("SpecificCharacterSet", "ISO_IR 192")], ["1.1", "1.2"]),
    ],
)
async def test_study_keys_find_what_the_standard_says(two_studies: Any, keys: Any, found: list[str]) -> None:
    """Each kind of matching at study level (C-010, C-014, C-030 to C-053, C-061)."""
    page = await find(two_studies, Query(Level.STUDY, tuple(key(name, *given) for name, *given in keys)))
    assert uids(page) == found
    assert page.warnings == []
