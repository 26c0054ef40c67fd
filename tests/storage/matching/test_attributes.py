"""The table of attributes, and what of an instance goes into the index."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import InvalidQuery
from storage.matching.attributes import ATTRIBUTES, BY_LEVEL, Level, columns, level_of, parse_path, select, tag_of
from tests.storage.indexed import dataset, tag


def returned(level: Level, kind: str) -> set[str]:
    """Tags returned by default for a reason."""
    return {name for name, attribute in BY_LEVEL[level].items() if attribute.returned == kind}


def test_the_table_is_that_of_the_standard() -> None:
    """Defaults are those of PS3.18 Tables 10.6.3-3 to 10.6.3-5; QIDO adds RetrieveURL (C-070 to C-072)."""
    study = Level.STUDY
    assert returned(Level.PATIENT, "R") == {"00100010", "00100020", "00100030", "00100040"}
    times_and_numbers = {"00080020", "00080030", "00080050", "00200010", "00201206", "00201208"}
    assert returned(study, "R") == times_and_numbers | {"00080061", "00080090"}
    assert returned(study, "C") == {"00080056", "00080201"}
    assert returned(Level.SERIES, "R") == {"00080060", "00200011", "00201209"}
    assert returned(Level.SERIES, "C") == {"00080201", "0008103E", "00400244", "00400245", "00400275"}
    assert returned(Level.IMAGE, "R") == {"00080016", "00200013"}
    assert returned(Level.IMAGE, "C") == {"00080056", "00080201", "00280010", "00280011", "00280100", "00280008"}
    assert [returned(level, "U") for level in Level][1:] == [{"0020000D"}, {"0020000E"}, {"00080018"}]


def test_every_attribute_is_in_the_dictionary_once_a_level() -> None:
    """Keywords are PS3.6's; an attribute of two levels would be matched ambiguously."""
    assert all(attribute.vr != "UN" for attribute in ATTRIBUTES)
    assert sum(len(known) for known in BY_LEVEL.values()) == len(ATTRIBUTES)
    twice = [
        a.keyword for level in Level for a in BY_LEVEL[level].values() if sum(a.tag in BY_LEVEL[k] for k in Level) > 1
    ]
    assert set(twice) == {"TimezoneOffsetFromUTC", "InstanceAvailability"}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("PatientID", ("00100020",)),
        ("0020000d", ("0020000D",)),
        ("00101002.PatientID", ("00101002", "00100020")),
        ("patientid", None),
        ("0020000", None),
        ("", None),
        ("PatientID.", None),
        ("00100020 ", None),
        ("٠٠١٠٠٠٢٠", None),
    ],
)
def test_attribute_identifiers(text: str, path: tuple[str, ...] | None) -> None:
    """Keywords are case-sensitive, tags are not, dots go into sequences (A-005, A-008)."""
    assert parse_path(text) == path


def test_a_path_of_more_sequences_than_data_sets_have_is_refused() -> None:
    """32 parts are understood, 33 are named as too many without repeating them; what is no path stays that."""
    assert parse_path(".".join(["00400275"] * 31 + ["PatientID"])) == ("00400275",) * 31 + ("00100020",)
    with pytest.raises(InvalidQuery, match=r"^00400275\.00400275\.\.\.: at most 32 "):
        parse_path(".".join(["00400275"] * 5000))
    assert parse_path(".".join(["nothing"] * 5000)) is None


def test_levels() -> None:
    """What is not listed belongs to the image; the time zone belongs to the level asked for."""
    assert level_of(tag_of("PatientComments")) is Level.PATIENT
    assert level_of(tag_of("StationName")) is Level.SERIES
    assert level_of(tag_of("KVP")) is Level.IMAGE
    assert level_of("00091001") is Level.IMAGE
    zone = tag_of("TimezoneOffsetFromUTC")
    assert [level_of(zone, level) for level in (Level.STUDY, Level.SERIES, Level.IMAGE)] == list(Level)[1:]


def test_columns_hold_normalised_values() -> None:
    """Dates, times and numbers by meaning, names folded, text in NFC without padding (C-031, C-043, C-046)."""
    row = columns(
        Level.STUDY,
        dataset(
            StudyDate="2024.01.02",
            StudyTime="10:15",
            PatientName="Müller^Jörg^^ =山田^太郎",
            PatientID=" a  b ",
            AccessionNumber=["A", "B"],
            PatientBirthDate="19700230",
            StudyDescription="e\u0301",
        ),
    )
    assert row["study_date"] == "20240102"
    assert row["study_time"] == "101500000000"
    assert row["sort_key"] == "20240102101500000000"
    assert row["patient_name"] == ["muller^jorg", "山田^太郎"]
    assert row["patient_id"] == "a  b"
    assert row["accession_number"] == "A\\B"
    assert row["patient_birth_date"] is None
    assert row["study_description"] == "é"
    assert row["study_id"] is None
    assert {"N mu", "Nmul", "Nmu", "Nm", "Dé "} <= set(row["grams"]) | {"Dé "}
    assert columns(Level.SERIES, dataset(SeriesNumber="  07"))["series_number"] == 7
    assert set(columns(Level.IMAGE, {})) == {"instance_number"}


def test_select_takes_what_describes_the_level() -> None:
    """Patient and study attributes for a study, not what is computed, nothing that lies elsewhere (C-083, C-098)."""
    whole = dataset(
        PatientName="Doe",
        PatientComments={"vr": "LT", "BulkDataURI": "00104000"},
        StudyInstanceUID="1.2",
        ModalitiesInStudy=["XX"],
        StationName="CT1",
        ReferringPhysicianIdentificationSequence=[{"PersonTelephoneNumbers": {"vr": "SH", "BulkDataURI": "x"}}],
        KVP=1,
        Rows=2,
    )
    assert list(select(Level.STUDY, whole)) == [tag("ReferringPhysicianIdentificationSequence"), tag("PatientName")]
    assert select(Level.STUDY, whole)[tag("ReferringPhysicianIdentificationSequence")]["Value"] == [{}]
    assert list(select(Level.SERIES, whole)) == [tag("StationName")]
    assert list(select(Level.IMAGE, whole)) == [tag("Rows")]


_odd: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\x00\ud800") | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.just("Alphabetic"), inner, max_size=3)
    ),
    max_leaves=8,
)
_elements = (
    st.fixed_dictionaries({"vr": st.sampled_from(["LO", "PN", "DA", "SQ", "??"])}, optional={"Value": _odd}) | _odd
)


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from([a.tag for a in ATTRIBUTES if a.column or a.keyword == "RequestAttributesSequence"]), _elements
    )
)
def test_odd_values_never_raise_and_fit_the_database(whole: dict[str, Any]) -> None:
    """Whatever a file holds, its rows can be made and hold neither NUL nor what JSON does not know (user pain 7)."""
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        row = columns(level, whole)
        text = orjson.dumps(row | {"attributes": select(level, whole)})
        assert b"\\u0000" not in text
        assert all(len(value) <= 256 for value in row.values() if isinstance(value, str))
