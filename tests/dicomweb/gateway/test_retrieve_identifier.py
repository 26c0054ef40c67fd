"""Which instances the identifier of a retrieve request means."""

from typing import Any

import pytest

from dicomweb.gateway.call import WrongIdentifier
from dicomweb.gateway.identifier import PATIENT_ROOT, STUDY_ROOT, Identifier, understood
from dicomweb.gateway.retrieve_identifier import unique_keys
from storage.matching.attributes import Level, tag_of, vr_of
from storage.retrieval.selection import UniqueKeys

PATIENT, STUDY, SERIES, IMAGE = "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"


def identifier(root: Level, level: str | None, values: dict[str, Any]) -> Identifier:
    """A request in a model whose highest level is `root`; values are single or lists."""
    keys = values if level is None else {"QueryRetrieveLevel": level, **values}
    dataset = {
        tag_of(keyword): {"vr": vr_of(tag_of(keyword))} | ({"Value": value if isinstance(value, list) else [value]})
        for keyword, value in keys.items()
    }
    return understood(dataset, PATIENT_ROOT if root is Level.PATIENT else STUDY_ROOT)


@pytest.mark.parametrize(
    ("root", "level", "values", "expected"),
    [
        (Level.STUDY, "STUDY", {STUDY: "1.2"}, UniqueKeys((), ("1.2",))),
        (Level.STUDY, "STUDY", {STUDY: ["1.2", "1.3"]}, UniqueKeys((), ("1.2", "1.3"))),
        (Level.STUDY, "SERIES", {STUDY: "1", SERIES: ["2", "3"]}, UniqueKeys((), ("1",), ("2", "3"))),
        (Level.STUDY, "IMAGE", {STUDY: "1", SERIES: "2", IMAGE: "3"}, UniqueKeys((), ("1",), ("2",), ("3",))),
        (Level.PATIENT, "PATIENT", {PATIENT: "P1"}, UniqueKeys(("P1",))),
        (Level.PATIENT, "STUDY", {PATIENT: "P1", STUDY: "1"}, UniqueKeys(("P1",), ("1",))),
        (Level.STUDY, "STUDY", {STUDY: " 1.2 ", "StudyDate": "2024-", PATIENT: "P9"}, UniqueKeys((), ("1.2",))),
        (Level.STUDY, "STUDY", {STUDY: "1.2", SERIES: "1.3", IMAGE: "1.4"}, UniqueKeys((), ("1.2",))),
    ],
)
@pytest.mark.parametrize("relational", [False, True])
def test_unique_keys_at_and_above_the_level(
    root: Level, level: str, values: dict[str, Any], expected: UniqueKeys, relational: bool
) -> None:
    """Lists at the level, padding means nothing, other keys and lower ones are ignored (PS3.4 C.4.2.2.1; G-093)."""
    assert unique_keys(identifier(root, level, values), relational=relational) == expected


@pytest.mark.parametrize(
    ("root", "level", "values", "expected"),
    [
        (Level.STUDY, "SERIES", {SERIES: "2"}, UniqueKeys((), (), ("2",))),
        (Level.STUDY, "IMAGE", {IMAGE: ["3", "4"]}, UniqueKeys((), (), (), ("3", "4"))),
        (Level.STUDY, "IMAGE", {STUDY: "1", IMAGE: []}, UniqueKeys((), ("1",))),
        (Level.STUDY, "SERIES", {STUDY: ["1", "2"], SERIES: "3"}, UniqueKeys((), ("1", "2"), ("3",))),
        (Level.PATIENT, "STUDY", {STUDY: "1"}, UniqueKeys((), ("1",))),
        (Level.PATIENT, "STUDY", {PATIENT: "P1"}, UniqueKeys(("P1",))),
    ],
)
def test_keys_above_may_be_missing_in_relational_retrieval_only(
    root: Level, level: str, values: dict[str, Any], expected: UniqueKeys
) -> None:
    """Refused with A900 otherwise (PS3.4 C.4.2.3.2.1; G-107)."""
    assert unique_keys(identifier(root, level, values), relational=True) == expected
    with pytest.raises(WrongIdentifier):
        unique_keys(identifier(root, level, values), relational=False)


@pytest.mark.parametrize(
    ("root", "level", "values", "message", "at_fault"),
    [
        (Level.STUDY, None, {STUDY: "1"}, "STUDY, SERIES, IMAGE", "QueryRetrieveLevel"),
        (Level.STUDY, "PATIENT", {PATIENT: "P1"}, "STUDY, SERIES, IMAGE", "QueryRetrieveLevel"),
        (Level.PATIENT, "FRAME", {PATIENT: "P1"}, "PATIENT, STUDY", "QueryRetrieveLevel"),
        (Level.STUDY, "STUDY", {}, "StudyInstanceUID must be given", STUDY),
        (Level.STUDY, "STUDY", {PATIENT: "P1"}, "StudyInstanceUID must be given", STUDY),
        (Level.STUDY, "STUDY", {STUDY: ["", "\0"]}, "StudyInstanceUID must be given", STUDY),
        (Level.STUDY, "STUDY", {STUDY: ["1\0.2"]}, "StudyInstanceUID must be given", STUDY),
        (Level.STUDY, "IMAGE", {}, "SOPInstanceUID must be given", IMAGE),
        (Level.PATIENT, "PATIENT", {PATIENT: ["P1", "P2"]}, "single", PATIENT),
    ],
)
def test_what_cannot_be_meant_is_refused(
    root: Level, level: str | None, values: dict[str, Any], message: str, at_fault: str
) -> None:
    """No level, a level the model has not, no key at all: never the whole archive (Table C.4-2; G-105, G-020)."""
    with pytest.raises(WrongIdentifier, match=message) as refused:
        unique_keys(identifier(root, level, values), relational=True)
    assert refused.value.tag == tag_of(at_fault)
