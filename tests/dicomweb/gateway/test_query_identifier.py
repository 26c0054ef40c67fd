"""From the identifier of a C-FIND to a search and back, without a network."""

from typing import Any

import pytest

from dicomweb.gateway import identifier
from dicomweb.gateway.call import WrongIdentifier
from dicomweb.gateway.identifier import FIND, Identifier, key_values
from dicomweb.gateway.query_identifier import Negotiated, Search, negotiate, understand
from storage.dicom import data_set
from storage.errors import InvalidDicom
from storage.matching.attributes import Level
from tests.builders import EXPLICIT_LE
from tests.dicomweb.gateway.querying import PATIENT_ROOT, STUDY_ROOT
from tests.storage.indexed import dataset, tag


def understood(root: str = STUDY_ROOT, offered: bytes = b"", *, relational: bool = True, **keys: Any) -> Search:
    asked = Identifier(FIND[root], Level[keys["QueryRetrieveLevel"]], dataset(**keys))
    return understand(asked, Negotiated.of(negotiate(root, offered)), ae_title="DICOMWEB", relational=relational)


def parse(raw: bytes) -> Identifier:
    """An identifier of the study root as it is read from a message."""
    read = data_set.read(raw, EXPLICIT_LE)
    return identifier.understood(read.dataset, FIND[STUDY_ROOT], read.character_set)


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        (b"\1", b"\1"),
        (b"\0\0\0", b"\0\0\0"),
        (b"\1\1\1\1\1", b"\1\1\1\1\0"),
        (b"\1\1\1\1\1\1\1", b"\1\1\1\1\0\1\1"),
        (b"\1" * 9, b"\1\1\1\1\0\1\1\0\0"),
        (b"", b""),
        (b"\xff\2", b"\1\1"),
    ],
)
def test_as_many_bytes_are_answered_as_were_offered(offered: bytes, answered: bytes) -> None:
    """G-015, G-067: and none grants more than was asked for or than we do."""
    assert negotiate(STUDY_ROOT, offered) == answered


def test_what_was_not_negotiated_is_off() -> None:
    """PS3.4 C.5.1.1: an SCU that offers nothing gets the baseline."""
    assert Negotiated.of(b"") == Negotiated()
    assert Negotiated.of(b"\1\1\0\1") == Negotiated(relational=True, combined_datetime=True, timezone=True)
    query = understood(QueryRetrieveLevel="STUDY").query
    assert not (query.combined_datetime or query.fuzzy or query.empty_value or query.multiple_value or query.defaults)


@pytest.mark.parametrize(
    ("attribute", "values"),
    [
        ({"vr": "PN", "Value": [{"Alphabetic": "A", "Phonetic": "C"}, {"Ideographic": "B"}]}, ("A==C", "=B")),
        ({"vr": "IS", "Value": [3, None]}, ("3",)),
        ({"vr": "DS", "Value": [0.5]}, ("0.5",)),
        ({"vr": "UN", "InlineBinary": "YWIg"}, ("ab",)),
        ({"vr": "LO"}, ()),
    ],
)
def test_values_are_taken_as_text(attribute: dict[str, Any], values: tuple[str, ...]) -> None:
    """PS3.4 C.2.2.2: the form in which keys of QIDO-RS come, too."""
    assert key_values(attribute) == values


def test_an_answer_is_made_of_a_row() -> None:
    """G-069, G-070: every key that is supported, zero length without a value, and nothing else of the row."""
    search = understood(
        QueryRetrieveLevel="SERIES", StudyInstanceUID="1.2", Modality=[], SeriesDescription=[], RetrieveURL=[]
    )
    row = dataset(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", Modality="CT", SeriesNumber=1)
    assert dict(sorted(search.answer(row).items())) == dataset(
        QueryRetrieveLevel="SERIES",
        RetrieveAETitle="DICOMWEB",
        Modality="CT",
        SeriesDescription=[],
        StudyInstanceUID="1.2",
    )
    assert search.status == 0xFF01  # Retrieve URL is nothing a DIMSE peer could use


@pytest.mark.parametrize("keyword", ["NumberOfStudyRelatedSeries", "ModalitiesInStudy", "StudyDate", "PatientComments"])
def test_optional_keys_of_the_level_are_supported(keyword: str) -> None:
    """G-064, G-071: FF00 as long as everything is."""
    assert understood(QueryRetrieveLevel="STUDY", **{keyword: []}).status == 0xFF00


def test_a_key_that_cannot_be_matched_is_returned() -> None:
    """G-071: existence and matching are two things; FF01 for either."""
    search = understood(PATIENT_ROOT, QueryRetrieveLevel="PATIENT", NumberOfPatientRelatedStudies=3)
    assert search.status == 0xFF01
    row = dataset(NumberOfPatientRelatedStudies=2)
    assert search.answer(row)[tag("NumberOfPatientRelatedStudies")] == row[tag("NumberOfPatientRelatedStudies")]


def test_the_time_zone_is_returned_and_counts_when_negotiated() -> None:
    """PS3.4 C.5.1.1.4: (0008,0201) says in which zone the keys are; it is never matched."""
    keys = {"QueryRetrieveLevel": "STUDY", "TimezoneOffsetFromUTC": "+0100"}
    for offered in (b"", b"\0\0\0\1"):
        search = understood(offered=offered, **keys)
        assert bool(search.query.keys) == bool(offered)
        assert (search.status, search.answer({})[tag("TimezoneOffsetFromUTC")]) == (0xFF00, {"vr": "SH"})


def test_values_that_lie_elsewhere_stay_out_of_answers() -> None:
    """PS3.4 C.4.1.1.3.2: what is not in the index of an instance is not supported as a return key."""
    search = understood(QueryRetrieveLevel="IMAGE", ContentSequence=[], EncapsulatedDocument=[])
    row = dataset(ContentSequence=[{"TextValue": {"vr": "UT", "BulkDataURI": "x"}, "RelationshipType": "CONTAINS"}])
    row[tag("EncapsulatedDocument")] = {"vr": "OB", "BulkDataURI": "00420011"}
    found = search.answer(row)
    assert (
        found[tag("ContentSequence")]
        == dataset(ContentSequence=[{"RelationshipType": "CONTAINS"}])[tag("ContentSequence")]
    )
    assert tag("EncapsulatedDocument") not in found


def test_few_rows_are_read_at_once_when_each_may_be_long() -> None:
    """Promise 6: memory is bounded, also for what only the whole header of an instance tells."""
    assert understood(QueryRetrieveLevel="IMAGE", InstanceNumber=[], Rows=[]).page_rows == 500
    assert understood(QueryRetrieveLevel="IMAGE", SliceThickness=[]).page_rows < 50


def test_an_identifier_that_cannot_be_read_is_refused() -> None:
    """G-061, G-074."""
    with pytest.raises(WrongIdentifier) as caught:
        parse(b"")
    assert caught.value.tag == tag("QueryRetrieveLevel")
    with pytest.raises(InvalidDicom):
        parse(data_set.encode(dataset(QueryRetrieveLevel="STUDY"), EXPLICIT_LE)[:-2])
    read = parse(
        data_set.encode(dataset(QueryRetrieveLevel="STUDY", PatientName="山"), EXPLICIT_LE, character_set="GB18030")
    )
    assert (read.character_set, read.level, read.values(tag("PatientName"))) == ("GB18030", Level.STUDY, ("山",))
