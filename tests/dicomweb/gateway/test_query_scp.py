"""C-FIND over real associations, pynetdicom asking: levels, matching, answers, character sets, cancelling."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydicom import Dataset, config
from pynetdicom import AE

from dicomweb.dimse.requestor import Address, connect
from dicomweb.scu.find import search
from storage.archive import Archive
from storage.errors import QueryTooBroad
from storage.index.search import Page
from storage.matching.conditions import Query
from tests.builders import IMPLICIT_LE, dataset_of, dicom_file
from tests.dicomweb.gateway.querying import (
    FRENCH,
    GREEK,
    JAPANESE,
    KOREAN,
    PATIENT_ROOT,
    PATIENT_STUDY_ONLY,
    STUDY_ROOT,
    ask,
    matches,
    store_many,
    store_studies,
)
from tests.dicomweb.gateway.serving import listening
from tests.storage.indexed import dataset, tag

BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
ALL_STUDIES = ["1.9.1", "1.9.2", "1.9.3", "1.9.4", "1.9.5", "1.9.6"]


@pytest.fixture
async def port(archive: Archive) -> AsyncIterator[int]:
    """A gateway over an archive with a few studies."""
    await store_studies(archive)
    async with listening(archive) as number:
        yield number


def study(**keys: Any) -> dict[str, Any]:
    return {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": None, **keys}


def series(**keys: Any) -> dict[str, Any]:
    return {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.9.1", "SeriesInstanceUID": None, **keys}


def image(**keys: Any) -> dict[str, Any]:
    above = {"StudyInstanceUID": "1.9.1", "SeriesInstanceUID": "1.9.1.1", "SOPInstanceUID": None}
    return {"QueryRetrieveLevel": "IMAGE", **above, **keys}


async def uids(port: int, keys: dict[str, Any], keyword: str = "StudyInstanceUID", **options: Any) -> list[str]:
    """The sorted UIDs of the matches."""
    return sorted(str(found[keyword].value) for found in matches(await ask(port, keys, **options)))


# Levels


async def test_both_roots_find_at_every_level(port: int) -> None:
    """G-060 to G-063: patient root and study root, down to the image."""
    assert await uids(port, study(AccessionNumber="A1")) == ["1.9.1"]
    assert await uids(port, series(), "SeriesInstanceUID") == ["1.9.1.1", "1.9.1.2", "1.9.1.3"]
    assert await uids(port, image(), "SOPInstanceUID") == ["1.9.1.1.1", "1.9.1.1.2"]
    patient = {"PatientID": "P1"}
    assert await uids(port, study(**patient), root=PATIENT_ROOT) == ["1.9.1", "1.9.2"]
    found = await uids(port, series(**patient), "SeriesInstanceUID", root=PATIENT_ROOT)
    assert found == ["1.9.1.1", "1.9.1.2", "1.9.1.3"]
    assert await uids(port, image(**patient), "SOPInstanceUID", root=PATIENT_ROOT) == ["1.9.1.1.1", "1.9.1.1.2"]
    assert await uids(port, study(**patient), root=PATIENT_STUDY_ONLY) == ["1.9.1", "1.9.2"]


async def test_patients_with_one_id_of_two_issuers_are_two(port: int) -> None:
    """G-080: rows of the patient level are kept apart by issuer."""
    keys = {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1", "IssuerOfPatientID": None, "PatientName": None}
    answers = await ask(port, keys | {"NumberOfPatientRelatedInstances": None}, root=PATIENT_ROOT)
    found = [
        (str(each.PatientName), each.IssuerOfPatientID, each.NumberOfPatientRelatedInstances)
        for each in matches(answers)
    ]
    assert found == [("Doe^Jane", "H1", 4), ("Doe^Jane", "H2", 1)]
    assert {status.Status for status, _ in answers} == {0xFF00, 0x0000}


@pytest.mark.parametrize("level", [None, "", "PATIENT", "IMAGES", "STUDY\\SERIES"])
async def test_a_level_the_model_has_not_is_refused(port: int, level: str | None) -> None:
    """G-061: A900, with what is wrong and where."""
    keys: dict[str, Any] = {"PatientID": "P1"} if level is None else {"PatientID": "P1", "QueryRetrieveLevel": level}
    ((status, nothing),) = await ask(port, keys)
    assert (status.Status, status.OffendingElement, nothing) == (0xA900, 0x00080052, None)
    assert status.ErrorComment == "QueryRetrieveLevel must be one of STUDY, SERIES, IMAGE."


async def test_without_relational_queries_the_hierarchy_is_required(archive: Archive) -> None:
    """G-065, G-066: A900 for a missing, listed or foreign key above the level; all the same when negotiated."""
    await store_studies(archive)
    wrong = [
        (series(StudyInstanceUID=None), 0x0020000D),
        (series(StudyInstanceUID=["1.9.1", "1.9.2"]), 0x0020000D),
        (series(PatientName="Doe*"), 0x00100010),
        (image(SeriesInstanceUID=None), 0x0020000E),
    ]
    async with listening(archive, dimse_relational_queries=False) as port:
        for keys, tag in wrong:
            ((status, _),) = await ask(port, keys)
            assert (status.Status, status.OffendingElement) == (0xA900, tag)
            await uids(port, keys, offered=b"\1")
        assert len(matches(await ask(port, series(PatientName=None)))) == 3
        assert await uids(port, study(), root=PATIENT_ROOT, offered=b"\1") == ALL_STUDIES
    async with listening(archive) as port:  # as it is by default
        assert await uids(port, series(StudyInstanceUID=None, Modality="SR"), "SeriesInstanceUID") == ["1.9.1.3"]
        assert len(matches(await ask(port, image(StudyInstanceUID=None, SeriesInstanceUID=None, PatientID="P1")))) == 5


# Matching


MATCHES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ALL_STUDIES),
    ({"PatientID": "P1"}, ["1.9.1", "1.9.2"]),
    ({"PatientID": "p1"}, []),
    ({"PatientName": "DOE^JANE"}, ["1.9.1", "1.9.2"]),
    ({"PatientName": "doe*"}, ["1.9.1", "1.9.2"]),
    ({"PatientName": "d?e^*"}, ["1.9.1", "1.9.2"]),
    ({"AccessionNumber": "A?"}, ["1.9.1", "1.9.2"]),
    ({"AccessionNumber": "*"}, ALL_STUDIES),
    ({"StudyInstanceUID": ["1.9.1", "1.9.6", "1.2"]}, ["1.9.1", "1.9.6"]),
    ({"StudyDate": "20240220"}, ["1.9.2"]),
    ({"StudyDate": "20240201-"}, ["1.9.2"]),
    ({"StudyDate": "-20240201"}, ["1.9.1", "1.9.3", "1.9.4", "1.9.5", "1.9.6"]),
    ({"StudyDate": "20240120-20240301"}, ["1.9.2"]),
    ({"StudyTime": "22-"}, ["1.9.2"]),
    ({"ModalitiesInStudy": "SR"}, ["1.9.1"]),
    ({"ModalitiesInStudy": ["SR", "CT"]}, ["1.9.1", "1.9.2"]),
    ({"NumberOfStudyRelatedInstances": 4}, ["1.9.1"]),
    ({"SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.2"}, ["1.9.1", "1.9.2"]),
    ({"ReferringPhysicianName": "Refer*", "PatientID": "P3"}, ["1.9.3"]),
    ({"StudyDescription": "Phan*", "PatientID": "P1"}, ["1.9.1"]),
    ({"PatientBirthDate": "19700203", "PatientSex": "F", "PatientID": "P1"}, ["1.9.1", "1.9.2"]),
]


async def test_every_kind_of_match_finds_what_it_should(port: int) -> None:
    """PS3.4 C.2.2.2, G-062, G-064, G-078: single values, lists, wildcards, ranges; the same ones as QIDO-RS."""
    for keys, expected in MATCHES:
        assert await uids(port, study(**keys)) == expected, keys


async def test_keys_inside_sequences_match_items(port: int) -> None:
    """PS3.4 C.2.2.2.6: one item in the request; the answer has of the items what was asked for."""
    keys = series(RequestAttributesSequence=[{"RequestedProcedureID": "R*", "ScheduledProcedureStepDescription": None}])
    found = matches(await ask(port, keys))
    assert [each.SeriesInstanceUID for each in found] == ["1.9.1.1", "1.9.1.2"]
    (item,) = found[0].RequestAttributesSequence
    assert [element.keyword for element in item] == ["ScheduledProcedureStepDescription", "RequestedProcedureID"]
    ((status, _),) = await ask(port, series(RequestAttributesSequence=[{}, {}]))
    assert (status.Status, status.OffendingElement) == (0xA900, 0x00400275)
    everything = matches(await ask(port, series(RequestAttributesSequence=[])))
    assert everything[0].RequestAttributesSequence[0].ScheduledProcedureStepID == "S1"
    assert "RequestAttributesSequence" in everything[2]


async def test_dates_and_times_are_one_range_only_when_negotiated(port: int) -> None:
    """G-068, PS3.4 C.2.2.2.5.4: otherwise each day from ten to twelve."""
    keys = study(StudyDate="20240115-20240220", StudyTime="100000-120000", PatientID="P1")
    assert await uids(port, keys) == ["1.9.1"]
    keys = study(StudyDate="20240115-20240220", StudyTime="100000-235959", PatientID="P1")
    assert await uids(port, keys, offered=b"\0\1") == ["1.9.1", "1.9.2"]
    keys = study(StudyDate="20240115-20240220", StudyTime="110000-235959", PatientID="P1")
    assert await uids(port, keys, offered=b"\0\1") == ["1.9.2"]


async def test_what_is_negotiated_counts_and_nothing_else(port: int) -> None:
    """G-067: fuzzy names, empty values and multiple values are off until both sides agree."""
    assert await uids(port, study(PatientName="Jane Doe")) == []
    assert await uids(port, study(PatientName="Jane Doe"), offered=b"\0\0\1") == ["1.9.1", "1.9.2"]
    seven = b"\1\1\1\1\1\1\1"
    assert await uids(port, study(AccessionNumber='""')) == []
    assert await uids(port, study(AccessionNumber='""'), offered=seven) == ["1.9.3", "1.9.4", "1.9.5", "1.9.6"]
    assert await uids(port, study(ModalitiesInStudy=["SR", "CT"]), offered=seven + b"\1\1") == ["1.9.1"]
    both = study(ModalitiesInStudy=["SR", "CT"], PatientName="doe*", PatientID="P?")
    assert await uids(port, both, offered=seven) == ["1.9.1"], "other keys have their wildcards"


@pytest.mark.parametrize(
    ("keys", "tag"),
    [
        ({"StudyDate": "2024-01-15-"}, 0x00080020),
        ({"StudyTime": "noon"}, 0x00080030),
        ({"StudyInstanceUID": "1.9.*"}, 0x0020000D),
    ],
)
async def test_a_value_that_is_none_is_refused(port: int, keys: dict[str, Any], tag: int) -> None:
    """G-074: A900 names the element; no match is sent before."""
    ((status, _),) = await ask(port, raw(study(**keys)))
    assert (status.Status, status.OffendingElement) == (0xA900, tag)
    assert status.ErrorComment


def raw(keys: dict[str, Any]) -> Dataset:
    """An identifier with values that pydicom would refuse to write."""
    before, config.settings.writing_validation_mode = config.settings.writing_validation_mode, config.IGNORE
    try:
        return dataset_of(keys)
    finally:
        config.settings.writing_validation_mode = before


# Answers


async def test_an_answer_has_what_was_asked_for(port: int) -> None:
    """G-069, G-070, G-077: the keys, the level, who has it; zero length for what has no value; FF00."""
    keys = study(
        AccessionNumber="A2", StudyDescription=None, InstanceAvailability=None, NumberOfStudyRelatedSeries=None
    )
    answers = await ask(port, keys)
    (found,) = matches(answers)
    assert [element.keyword for element in found] == [
        "AccessionNumber",
        "QueryRetrieveLevel",
        "RetrieveAETitle",
        "InstanceAvailability",
        "StudyDescription",
        "StudyInstanceUID",
        "NumberOfStudyRelatedSeries",
    ]
    assert (found.QueryRetrieveLevel, found.RetrieveAETitle, found.InstanceAvailability) == (
        "STUDY",
        "DICOMWEB",
        "ONLINE",
    )
    assert (found.StudyDescription, found.NumberOfStudyRelatedSeries) == ("", 1)
    assert answers[0][0].Status == 0xFF00


async def test_unique_keys_of_the_levels_above_come_along(port: int) -> None:
    """G-069: also when they were not asked for."""
    keys = {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": "1.9.1.1.2", "InstanceNumber": None, "Rows": None}
    (found,) = matches(await ask(port, keys, root=PATIENT_ROOT))
    unique = (found.PatientID, found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID)
    assert unique == ("P1", "1.9.1", "1.9.1.1", "1.9.1.1.2")
    assert (found.InstanceNumber, found.Rows) == (2, 8)
    (found,) = matches(await ask(port, keys))
    assert "PatientID" not in found


async def test_what_is_not_supported_is_left_out_and_said(port: int) -> None:
    """G-070, G-071: FF01 with an attribute of a lower level, an unknown one, or one that cannot be matched."""
    identifier = dataset_of(study(AccessionNumber="A1", SliceThickness=None, Modality="SR"))
    identifier.add_new(0x00091001, "LO", "x")
    identifier.add_new(0x00080001, "UN", b"")
    (pending, found), (final, _) = await ask(port, identifier)
    assert (pending.Status, final.Status) == (0xFF01, 0x0000)
    assert found is not None
    assert {element.keyword for element in found} == {
        *("AccessionNumber", "QueryRetrieveLevel", "RetrieveAETitle", "StudyInstanceUID")
    }


async def test_any_attribute_of_an_instance_can_be_asked_for(archive: Archive) -> None:
    """PS3.4 C.6: optional keys are whatever was stored, private ones with their creator; large values stay out."""
    private = {0x00090010: ("LO", "ACME"), 0x00091001: ("LO", "secret"), 0x00420011: ("OB", b"%PDF" * 2000)}
    await archive.store(dicom_file(SOPInstanceUID="1.7", elements=private, ImageType=["ORIGINAL", "PRIMARY"]))
    async with listening(archive) as port:
        identifier = dataset_of({"QueryRetrieveLevel": "IMAGE", "ImageType": "PRIMARY", "SOPInstanceUID": "1.7"})
        identifier.add_new(0x00090010, "LO", "ACME")
        identifier.add_new(0x00091001, "LO", "sec*")
        identifier.add_new(0x00420011, "OB", b"")
        for syntax in (IMPLICIT_LE, "1.2.840.10008.1.2.1"):
            (found,) = matches(await ask(port, identifier, syntax=syntax))
            assert found.ImageType == ["ORIGINAL", "PRIMARY"]
            assert (found[0x00090010].value, found[0x00091001].value) in (("ACME", "secret"), ("ACME", b"secret"))
            assert 0x00420011 not in found


async def test_no_match_is_success_alone(port: int) -> None:
    """G-072: one response, 0000, without identifier."""
    assert matches(await ask(port, study(PatientID="nobody"))) == []


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, BIG_ENDIAN, DEFLATED])
async def test_every_uncompressed_transfer_syntax_is_spoken(port: int, syntax: str) -> None:
    """G-002, PS3.5 10.1."""
    (found,) = matches(await ask(port, study(AccessionNumber="A1", NumberOfStudyRelatedInstances=None), syntax=syntax))
    assert (found.StudyInstanceUID, found.NumberOfStudyRelatedInstances) == ("1.9.1", 4)


# Character sets


@pytest.mark.parametrize(
    ("declared", "key", "uid", "name"),
    [
        (["", "ISO 2022 IR 87"], "=山田^*", "1.9.3", JAPANESE),
        (["", "ISO 2022 IR 87"], "Yamada*", "1.9.3", JAPANESE),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "==やまだ*", "1.9.3", JAPANESE),
        (["", "ISO 2022 IR 149"], "*吉洞*", "1.9.4", KOREAN),
        ("ISO_IR 126", "διον*", "1.9.5", GREEK),
        ("ISO_IR 100", "buc^jérôme", "1.9.6", FRENCH),
        ("ISO_IR 192", "=山田^太郎", "1.9.3", JAPANESE),
        ("GB18030", "=山田*", "1.9.3", JAPANESE),
    ],
)
async def test_names_are_asked_and_answered_in_the_set_of_the_request(
    port: int, declared: Any, key: str, uid: str, name: str
) -> None:
    """G-076: (0008,0005) of the request says how keys are read and how answers are written."""
    (found,) = matches(await ask(port, study(SpecificCharacterSet=declared, PatientName=key)))
    assert found.StudyInstanceUID == uid
    assert str(found.PatientName) == name
    assert found.SpecificCharacterSet in (declared, [*declared][1:])


async def test_utf_8_is_answered_when_the_set_of_the_request_will_not_do(port: int) -> None:
    """G-076: never a question mark; plain ASCII answers need no character set."""
    for declared in ("ISO_IR 100", None):
        keys = study(PatientID="P3", PatientName=None) | ({"SpecificCharacterSet": declared} if declared else {})
        (found,) = matches(await ask(port, keys))
        assert (found.SpecificCharacterSet, str(found.PatientName)) == ("ISO_IR 192", JAPANESE)
    (found,) = matches(await ask(port, study(AccessionNumber="A1", PatientName=None)))
    assert "SpecificCharacterSet" not in found


# Many matches


async def test_ten_thousand_matches_come_in_order_and_in_bounded_memory(archive: Archive) -> None:
    """G-072, promise 6: each once, newest first; memory does not grow with their number."""
    await store_studies(archive)
    await store_many(archive, 10_000)
    async with listening(archive) as port:
        keys = study(AccessionNumber="MANY", StudyDate=[], PatientName=[], NumberOfStudyRelatedInstances=[])
        keys["StudyInstanceUID"] = []
        found: list[str] = []
        blocks: list[int] = []
        async for match in streamed(port, keys):
            found.append(match[tag("StudyInstanceUID")]["Value"][0])
            if len(found) % 500 == 0:
                blocks.append(sys.getallocatedblocks())
        assert found == [f"1.8.{number}" for number in range(10_000, 0, -1)]
        assert max(blocks[1:]) - blocks[1] < 150_000  # two pages; all rows would take over a million


async def streamed(port: int, keys: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """The matches one by one, by our own SCU, which keeps none."""
    contexts = [(STUDY_ROOT, [IMPLICIT_LE])]
    address = Address("127.0.0.1", port, "DICOMWEB")
    async with await connect(address, calling_ae_title="FINDER", contexts=contexts) as association:
        async for match in search(association, dataset(**keys)):
            yield match


async def test_cancel_ends_a_search_of_ten_thousand_soon(archive: Archive) -> None:
    """G-073, PS3.4 C.4.1.3.1: FE00 after the matches that were on their way, and the association goes on."""
    await store_studies(archive)
    await store_many(archive, 10_000)
    async with listening(archive) as port:
        answers = await ask(port, study(AccessionNumber="MANY"), cancel_after=10)
        assert (answers[-1][0].Status, answers[-1][1]) == (0xFE00, None)
        assert 10 < len(answers) < 9_000


class SlowArchive(Archive):
    """An archive whose searches take a while, or too long."""

    cancelled = False
    error: Exception | None = None

    async def find(self, query: Query) -> Page:
        if self.error:
            raise self.error
        try:
            await self.pool.execute("SELECT pg_sleep(20)")
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return await super().find(query)


async def test_cancel_ends_the_search_in_the_database(archive: Archive) -> None:
    """G-073: the peer does not wait for a statement that nobody wants."""
    archive.__class__ = SlowArchive
    async with listening(archive) as port:
        begun = time.perf_counter()
        ((status, _),) = await asyncio.to_thread(cancel_at_once, port, study())
        assert status.Status == 0xFE00
        assert time.perf_counter() - begun < 15
        assert archive.cancelled  # type: ignore[attr-defined]


def cancel_at_once(port: int, keys: dict[str, Any]) -> list[Any]:
    entity = AE("FINDER")
    entity.add_requested_context(STUDY_ROOT)
    association = entity.associate("127.0.0.1", port, ae_title="DICOMWEB")
    try:
        responses = association.send_c_find(dataset_of(keys), STUDY_ROOT, msg_id=7)
        association.send_c_cancel(7, query_model=STUDY_ROOT)
        return list(responses)
    finally:
        association.release()


async def test_a_search_that_takes_too_long_is_out_of_resources(archive: Archive) -> None:
    """G-074: A700, and the association goes on."""
    archive.__class__ = SlowArchive
    archive.error = QueryTooBroad("The search took too long.")  # type: ignore[attr-defined]
    async with listening(archive) as port:
        ((status, _),) = await ask(port, study())
        assert (status.Status, status.ErrorComment) == (0xA700, "The search took too long.")
