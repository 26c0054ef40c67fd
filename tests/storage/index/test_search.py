"""Searches in a real database: what they find, what they return and in which order."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from storage.errors import InvalidQuery, QueryTooBroad
from storage.index.search import find
from storage.matching.attributes import Level
from storage.matching.conditions import Query
from tests.storage.indexed import CT, add_instance, connected, dataset, tag
from tests.storage.searching import include, key, search, uids, values


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
    assert {"PatientID", "Modality", "InstanceNumber"} <= _keywords(instances.rows[0])
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


async def test_series_and_instance_keys(two_studies: Any) -> None:
    """Numbers by value, attributes with and without a column (C-011, C-012, C-015, C-061, C-098)."""
    for name, value, found in (
        ("SeriesNumber", "02", ["1.1.1"]),
        ("SeriesNumber", "2.5", []),
        ("SeriesInstanceUID", "1.1.2", ["1.1.2"]),
        ("SeriesDescription", "tho*", ["1.1.1"]),
        ("StationName", "CT1", ["1.1.1"]),
        ("StationName", "C?1", ["1.1.1"]),
        ("PatientID", "P-2", ["1.2.1"]),
        ("Modality", "CT,US", ["1.1.1", "1.2.1"]),
    ):
        page = await search(two_studies, Level.SERIES, key(name, value))
        assert sorted(uids(page, "SeriesInstanceUID")) == found, name
        assert all(tag(name) in row for row in page.rows)
    for name, value, found in (
        ("InstanceNumber", "1", ["1.1.1.1"]),
        ("SOPClassUID", "1.2.3.4", ["1.1.2.1"]),
        ("Rows", "512", ["1.1.1.1", "1.1.1.2"]),
        ("KVP", "120.50", ["1.1.1.1", "1.1.1.2"]),
        ("KVP", "1205e-1", ["1.1.1.1", "1.1.1.2"]),
        ("AvailableTransferSyntaxUID", "1.2.840.10008.1.2", []),
        ("Modality", "MR", ["1.1.2.1"]),
    ):
        page = await search(two_studies, Level.IMAGE, key(name, value))
        assert sorted(uids(page, "SOPInstanceUID")) == found, name
        assert all(tag(name) in row for row in page.rows)


async def test_sequence_keys_hold_in_one_item(two_studies: Any) -> None:
    """Both keys must be in the same item, an empty key returns the whole sequence (C-049, C-050)."""
    step, procedure = "RequestAttributesSequence.ScheduledProcedureStepID", "RequestAttributesSequence.00401001"
    assert uids(await search(two_studies, Level.SERIES, key(step, "S1"), key(procedure, "R1")))
    assert not uids(await search(two_studies, Level.SERIES, key(step, "S1"), key(procedure, "R2")))
    page = await search(two_studies, Level.SERIES, key("RequestAttributesSequence"), key("Modality", "CT"))
    item = values(page.rows[0], "RequestAttributesSequence")[0]
    assert tag("RequestedProcedureDescription") in item


async def test_combined_and_independent_ranges(connection: Any) -> None:
    """Two ranges are one for QIDO, two for a C-FIND that did not negotiate it (C-044, C-045, G-068)."""
    for uid, date, time in (
        ("1.1", "20240101", "1200"),
        ("1.2", "20240102", "0100"),
        ("1.3", "20240103", "0900"),
        ("1.4", "20240103", "2300"),
        ("1.5", "20240103", []),
    ):
        await add_instance(connection, dataset(StudyInstanceUID=uid, StudyDate=date, StudyTime=time))

    async def found(date: str, time: str, **options: Any) -> list[str]:
        page = await search(connection, Level.STUDY, key("StudyDate", date), key("StudyTime", time), **options)
        return sorted(uids(page))

    assert await found("20240101-20240103", "11-12") == ["1.1", "1.2", "1.3"]
    assert await found("20240101-20240103", "11-12", combined_datetime=False) == ["1.1"]
    assert await found("20240101-20240103", "2200-1000") == ["1.2", "1.3"]
    assert await found("20240103-", "10-") == ["1.4"]
    assert await found("-20240102", "-0030") == ["1.1"]
    assert await found("20240103-20240103", "00-23") == ["1.3", "1.4", "1.5"]
    assert await found("20240103", "23") == ["1.4"]
    with pytest.raises(InvalidQuery, match="StudyTime"):
        await found("20240103-20240103", "12-11")
    with pytest.raises(InvalidQuery, match="StudyTime"):
        await found("20240101-20240103", "12-11", combined_datetime=False)


async def test_times_of_a_requester_in_another_zone(connection: Any) -> None:
    """TimezoneOffsetFromUTC says in which zone the request's times are; it never matches itself (C-048)."""
    when = {"StudyDate": "20240101", "StudyTime": "2330"}
    await add_instance(connection, dataset(StudyInstanceUID="1.1", TimezoneOffsetFromUTC="-0500", **when))
    await add_instance(connection, dataset(StudyInstanceUID="1.2", **when))
    zone = key("TimezoneOffsetFromUTC", "+0030")
    for date, time, found in (
        ("20240102", "0500", ["1.1"]),
        ("20240102-20240103", "0459-06", ["1.1"]),
        ("20240101", "2330", ["1.2"]),
        ("00010101-99991231", "00-23", ["1.1", "1.2"]),
    ):
        page = await search(connection, Level.STUDY, key("StudyDate", date), key("StudyTime", time), zone)
        assert sorted(uids(page)) == found


async def test_a_leap_second_is_a_moment_like_any_other(connection: Any) -> None:
    """A stored second of 60, with a fraction too, is found by its own time and fails no search with a zone."""
    for uid, time in (("1.1", "235960.5"), ("1.2", "235960"), ("1.3", "120060.5")):
        when = {"StudyDate": "20161231", "PerformedProcedureStepStartDate": "20161231"}
        times = {"StudyTime": time, "PerformedProcedureStepStartTime": time}
        moment = {"AcquisitionDateTime": "20161231" + time}
        offset = {"TimezoneOffsetFromUTC": "+0000"}
        await add_instance(connection, dataset(StudyInstanceUID=uid, **when, **times, **moment, **offset))
    zone = key("TimezoneOffsetFromUTC", "+0100")
    for level, name in (Level.STUDY, "Study"), (Level.SERIES, "PerformedProcedureStepStart"):
        for date, time, found in (
            ("20161231-20170102", "00-23", ["1.1", "1.2", "1.3"]),
            ("20161231", "130060.5", ["1.3"]),
            ("20170101", "005960", ["1.2"]),
            ("20170101-20170101", "005960.1-01", ["1.1"]),
            ("99991231-99991231", "00-235960.999999", []),
        ):
            page = await search(connection, level, key(f"{name}Date", date), key(f"{name}Time", time), zone)
            assert sorted(uids(page)) == found, (name, date, time)
    for value, uid in ("20161231235960.5", "1.1"), ("20161231235960", "1.2"), ("20161231120060.5", "1.3"):
        page = await search(connection, Level.IMAGE, key("AcquisitionDateTime", value))
        assert uids(page) == [uid]


async def test_date_times_compare_in_utc(connection: Any) -> None:
    """Offsets count, a hyphen that can be an offset is one, bad stored values never fail (C-042)."""
    for uid, value in (
        ("1", "20240101120000+0200"),
        ("2", "20240101110000"),
        ("3", "2024"),
        ("4", "nonsense"),
        ("5", "20240230"),
        ("6", "0000"),
    ):
        await add_instance(connection, dataset(SOPInstanceUID=uid, AcquisitionDateTime=value))
    for value, found in (
        ("20240101100000", ["1"]),
        ("20240101060000-0500", ["2"]),
        ("20240101100000-20240101110000", ["1", "2"]),
        ("-2024", ["1", "2", "3", "5"]),
        ("20240301-", ["5"]),
        ("2024-0000", ["3"]),
        ("20240101120000+0200-20240101120000+0200", ["1"]),
        ("20240101050000-0500-20240101050000-0500", ["1"]),
    ):
        page = await search(connection, Level.IMAGE, key("AcquisitionDateTime", value))
        assert sorted(uids(page, "SOPInstanceUID")) == found, value
    with pytest.raises(InvalidQuery):
        await search(connection, Level.IMAGE, key("AcquisitionDateTime", "2024-2023"))


async def test_names_without_a_column_match_like_those_with_one(connection: Any) -> None:
    """Accents, case and groups are treated alike by Python and by PostgreSQL (C-031, C-032, user pain 13)."""
    names = [
        "Øster Æbelø^Łukasz",
        "ГРОЗНЫЙ^Иван",
        "ΣΊΣΥΦΟΣ",
        "Straße^İnci",
        "O'Brien-Smith^É.",
        "YAMADA^Taro=山田^太郎=が",
    ]
    for number, name in enumerate(names):
        other = {"OperatorsName": name, "PatientName": name, "ContentCreatorName": name}
        await add_instance(connection, dataset(SOPInstanceUID=str(number), **other))
    for number, wanted in enumerate(
        ("oster aebelo^lukasz", "грозный^*", "σίσυφοσ", "STRASSE^INCI", "*brien-SMITH^e.", "山田^*")
    ):
        for name in ("OperatorsName", "PatientName", "ContentCreatorName"):
            page = await search(connection, Level.IMAGE, key(name, wanted))
            assert uids(page, "SOPInstanceUID") == [str(number)], (name, wanted)
    for name in ("OperatorsName", "PatientName"):
        for wanted, found in (("obrien", ["4"]), ("smi o'b", ["4"]), ("rien", []), ("太", ["5"]), ("luk ost", ["0"])):
            page = await search(connection, Level.IMAGE, key(name, wanted), fuzzy=True)
            assert uids(page, "SOPInstanceUID") == found, (name, wanted)


async def test_empty_and_multiple_value_matching(two_studies: Any) -> None:
    """Two quotation marks find what has no value; every value of a list must be there (C-054, C-055)."""
    for name, found in (
        ("AccessionNumber", ["1.2"]),
        ("PatientComments", ["1.2"]),
        ("ReferringPhysicianName", ["1.1", "1.2"]),
        ("ModalitiesInStudy", []),
    ):
        page = await search(two_studies, Level.STUDY, key(name, '""'), empty_value=True)
        assert uids(page) == found, name
        assert uids(await search(two_studies, Level.STUDY, key(name, '""'))) == []
    page = await search(two_studies, Level.STUDY, key("ModalitiesInStudy", "MR", "CT"), multiple_value=True)
    assert uids(page) == ["1.1"]
    page = await search(two_studies, Level.STUDY, key("ModalitiesInStudy", "MR", "US"), multiple_value=True)
    assert uids(page) == []
    nested = key("RequestAttributesSequence.RequestedProcedureDescription", '""')
    assert uids(await search(two_studies, Level.SERIES, nested, empty_value=True)) == ["1.1"]


async def test_texts_match_whatever_their_case_when_asked_to(connection: Any) -> None:
    """Whole or in part, in a column, a document or a sequence; codes are in capitals, and names never had a case."""
    long = "Knee " + "x" * 2000
    texts = {"PatientID": "AB_12", "StudyDescription": "Thorax pa", "PatientComments": "Calm", "AccessionNumber": long}
    item = {"RequestedProcedureDescription": "Chest"}
    await add_instance(connection, dataset(**texts, RequestAttributesSequence=[item], ImageType=["ORIGINAL"]))
    for name, wanted, found in (
        ("PatientID", "ab_12", 1),
        ("PatientID", "ab?12", 1),
        ("PatientID", "abx12", 0),
        ("PatientID", "b_1", 0),
        ("StudyDescription", "*THORAX*", 1),
        ("StudyDescription", "thorax_pa", 0),
        ("AccessionNumber", long.upper(), 1),
        ("PatientComments", "calm", 1),
        ("RequestAttributesSequence.RequestedProcedureDescription", "chest", 1),
        ("ImageType", "original", 0),
    ):
        for level in (Level.STUDY, Level.IMAGE):
            if level is Level.STUDY and name.startswith(("Request", "Image")):
                continue
            page = await search(connection, level, key(name, wanted), ignore_case=True)
            assert len(page.rows) == found, (name, wanted[:10])
            assert not (await search(connection, level, key(name, wanted))).rows or wanted in texts.values()


async def test_a_multi_valued_attribute_matches_by_any_value_and_returns_all(connection: Any) -> None:
    """Any value counts (C-051), all of them are asked for with multiplevaluematching (C-054)."""
    await add_instance(connection, dataset(SoftwareVersions=["V1", "V2"], ImageType=["ORIGINAL", "PRIMARY"]))
    for level in (Level.SERIES, Level.IMAGE):
        page = await search(connection, level, key("SoftwareVersions", "V2"))
        assert values(page.rows[0], "SoftwareVersions") == ["V1", "V2"]
    assert uids(await search(connection, Level.IMAGE, key("ImageType", "PRIM*")))
    for wanted, count in ((("PRIMARY", "ORIGINAL"), 1), (("PRIMARY", "DERIVED"), 0)):
        page = await search(connection, Level.IMAGE, key("ImageType", *wanted), multiple_value=True)
        assert len(page.rows) == count


async def test_odd_stored_values_never_fail_a_search(connection: Any) -> None:
    """NUL, text in numbers, bad dates and broken metadata cost only themselves (user pain 7)."""
    odd = dataset(
        StudyDate="2024013",
        StudyTime="late",
        PatientName={"vr": "PN", "Value": [None, "text", {"Alphabetic": 7}]},
        PatientID={"vr": "LO", "Value": ["a\x00b", 3]},
        SeriesNumber={"vr": "IS", "Value": ["x", "12"]},
        InstanceNumber={"vr": "IS", "Value": ["99999999999999999999999"]},
        WindowCenter={"vr": "DS", "Value": ["1,5", "2", None]},
        ImageComments="back\\\\u0000slash \x00 \\u0041",
        RequestAttributesSequence={"vr": "SQ", "Value": [None, {}, "x"]},
        StudyDescription="x" * 20_000,
    )
    await add_instance(connection, odd | {tag("SOPInstanceUID"): {"vr": "UI", "Value": ["1"]}})
    await add_instance(connection, dataset(SOPInstanceUID="2"))
    await connection.execute("UPDATE instances SET metadata = '\\xff00' WHERE sop_instance_uid = '2'")
    for name, value, found in (
        ("WindowCenter", "2", ["1"]),
        ("WindowCenter", "1", []),
        ("ImageComments", "*slash*", ["1"]),
        ("ImageComments", "*\\u0041", ["1"]),
        ("SeriesNumber", "12", ["1"]),
        ("PatientID", "ab", ["1"]),
        ("StudyDescription", "x" * 300, ["1"]),
        ("StudyDate", "20240101-", []),
        ("OperatorsName", "*a*", []),
        ("RequestAttributesSequence.RequestedProcedureID", "x", []),
    ):
        page = await search(connection, Level.IMAGE, key(name, value))
        assert uids(page, "SOPInstanceUID") == found, name


async def test_keys_of_other_levels_and_unsupported_ones_are_named(two_studies: Any) -> None:
    """Ignored, and said so (C-018, C-019)."""
    page = await search(two_studies, Level.STUDY, key("SeriesDescription", "x"), key("PixelData", "x"))
    assert len(page.rows) == 2
    assert len(page.warnings) == 2
    page = await search(two_studies, Level.SERIES, key("PatientID", "x"), study_instance_uid="1.1")
    assert (len(page.rows), len(page.warnings)) == (2, 1)
    page = await search(two_studies, Level.IMAGE, key("PatientID.PatientName", "x"), key("RetrieveURL", "x"))
    assert (len(page.rows), len(page.warnings)) == (4, 2)


async def test_include_adds_attributes_of_the_level_and_above(two_studies: Any) -> None:
    """Paths into sequences, higher levels, private never; lower levels are left out silently (C-090 to C-099)."""
    options = {"include": (include("StudyDescription"), include("Modality"), include("PatientWeight"))}
    row = (await search(two_studies, Level.STUDY, **options)).rows[0]
    assert values(row, "StudyDescription") == ["CT 50%_of chest"]
    assert tag("Modality") not in row
    assert tag("PatientWeight") not in row
    nested = include("RequestAttributesSequence.RequestedProcedureDescription")
    row = (await search(two_studies, Level.SERIES, key("Modality", "CT"), include=(nested,))).rows[0]
    assert len(values(row, "RequestAttributesSequence")[0]) == 3
    row = (await search(two_studies, Level.IMAGE, include=(include("KVP"), include("PatientComments")))).rows[0]
    assert {"KVP", "PatientComments"} & _keywords(row) == {"PatientComments"} or values(row, "KVP") == [120.5]
    row = (await search(two_studies, Level.IMAGE, key("Modality", "CT"), include_all=True)).rows[0]
    assert {"KVP", "PatientComments", "StationName", "AvailableTransferSyntaxUID"} <= _keywords(row)
    only = (await search(two_studies, Level.STUDY, key("PatientID"), defaults=False)).rows[0]
    assert _keywords(only) == {"PatientID", "StudyInstanceUID"}


async def test_counts_of_a_patient(two_studies: Any) -> None:
    """Studies, series and instances of the patient, on request (C-082)."""
    wanted = tuple(include(f"NumberOfPatientRelated{what}") for what in ("Studies", "Series", "Instances"))
    row = (await search(two_studies, Level.STUDY, include=wanted)).rows[0]
    assert [values(row, f"NumberOfPatientRelated{what}") for what in ("Studies", "Series", "Instances")] == [
        [1],
        [2],
        [3],
    ]


async def test_patients_are_distinct_by_id_and_issuer(connection: Any) -> None:
    """One row a patient ID and issuer, however many studies; only patient attributes (G-063, G-080)."""
    for patient, issuer, study in (("1", "A", "1.1"), ("1", "A", "1.2"), ("1", "B", "1.3"), ("2", [], "1.4")):
        await add_instance(
            connection, dataset(PatientID=patient, IssuerOfPatientID=issuer, StudyInstanceUID=study, PatientName="X")
        )
    for anonymous in ("Y^1", "Y^2"):
        await add_instance(connection, dataset(PatientName=anonymous))
    page = await search(connection, Level.PATIENT, include=(include("IssuerOfPatientID"),), count_total=True)
    found = [(values(row, "PatientID"), values(row, "IssuerOfPatientID")) for row in page.rows]
    assert found == [([], None), ([], None), (["1"], ["A"]), (["1"], ["B"]), (["2"], [])]
    assert page.total == 5
    assert tag("StudyInstanceUID") not in page.rows[0]
    page = await search(connection, Level.PATIENT, key("PatientName", "x"), limit=2)
    assert (len(page.rows), page.remaining) == (2, 1)
    rest = await search(connection, Level.PATIENT, key("PatientName", "x"), limit=2, cursor=page.next_cursor)
    assert (len(rest.rows), rest.remaining) == (1, 0)


async def test_a_search_that_takes_too_long_is_named(two_studies: Any) -> None:
    """The database cuts the statement off; the requester is told to narrow down (C-118)."""
    await two_studies.execute("SET statement_timeout = 1")
    slow = tuple(key(name, "*a*b*c*d*") for name in ("ImageComments", "DerivationDescription", "BurnedInAnnotation"))
    with pytest.raises(QueryTooBroad):
        for _ in range(200):
            await search(two_studies, Level.IMAGE, *slow)
