"""Keys of a remote search, from what people write."""

from typing import Any

import pytest

from dicomweb.scu.identifier import identifier, uids, value_of
from storage.errors import InvalidDicom, InvalidQuery


def test_keys_are_written_by_keyword_or_tag_and_the_usual_attributes_are_asked_for() -> None:
    """Text goes as DICOM writes it, unique keys may be lists, tags ascend, the level is there (PS3.4 C.4.1.1.3.1)."""
    keys = identifier(
        "STUDY",
        {"PatientName": "DOE^*=X", "00080020": "20260101-", "StudyInstanceUID": ["1.2", "1.3"], "PatientID": ""},
    )
    assert list(keys) == sorted(keys)
    assert keys["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "DOE^*", "Ideographic": "X"}]}
    assert keys["00080020"] == {"vr": "DA", "Value": ["20260101-"]}
    assert keys["0020000D"] == {"vr": "UI", "Value": ["1.2", "1.3"]}
    assert keys["00100020"] == {"vr": "LO"}
    assert keys["00080061"] == {"vr": "CS"}, "what people want to know is asked for anyway"
    assert value_of(keys, "QueryRetrieveLevel") == value_of(keys, "00080052") == "STUDY"


def test_a_retrieval_has_unique_keys_alone() -> None:
    """The identifier of C-MOVE and C-GET holds the level and unique keys, nothing else (PS3.4 C.4.2.1.4.1, G-093)."""
    assert uids("SERIES", StudyInstanceUID="1.2", SeriesInstanceUID=["1.3", "1.4"]) == {
        "00080052": {"vr": "CS", "Value": ["SERIES"]},
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
        "0020000E": {"vr": "UI", "Value": ["1.3", "1.4"]},
    }


@pytest.mark.parametrize(
    ("level", "keys", "says"),
    [
        ("FRAME", {}, "PATIENT, STUDY, SERIES, IMAGE"),
        ("STUDY", {"PatientNmae": "x"}, "PatientNmae is neither"),
        ("STUDY", {"PatientName": {"vr": "XX"}}, "PatientName: its vr"),
        ("STUDY", {"PatientName": None}, "PatientName: a key is text"),
        ("STUDY", {"PatientName": True}, "PatientName: a key is text"),
        ("STUDY", {"ProcedureCodeSequence": "x"}, "ProcedureCodeSequence: a sequence"),
        ("STUDY", {"PixelData": "x"}, "PixelData: binary"),
    ],
)
def test_a_key_that_cannot_be_is_named(level: str, keys: dict[str, Any], says: str) -> None:
    """A wrong key is refused before a peer is asked, by its name."""
    with pytest.raises((InvalidQuery, InvalidDicom), match=says):
        identifier(level, keys)
