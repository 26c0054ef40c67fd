"""The keys of a remote search: from what people write to the data set of a C-FIND (PS3.4 C.4.1.1.3); pure."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from storage.dicom.json_attribute import stated_value
from storage.errors import InvalidQuery
from storage.matching.attributes import tag_of, vr_of

RetrieveLevel = Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]
LEVELS: Final = ("PATIENT", "STUDY", "SERIES", "IMAGE")
UNIQUE_KEYS: Final = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
"""Of each level (PS3.4 C.6.1.1, C.6.2.1)."""

RETURNED: Final[Mapping[str, tuple[str, ...]]] = {
    "PATIENT": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    "STUDY": (
        *("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
        *("StudyDescription", "ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
    ),
    "SERIES": (
        *("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "NumberOfSeriesRelatedInstances"),
    ),
    "IMAGE": ("SOPInstanceUID", "SOPClassUID", "InstanceNumber"),
}
"""What is asked for at each level whether or not it is searched for."""

_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_CREATED_FOR_US: Final = ("UN", "OB", "OW", "OD", "OF", "OL", "OV")


def identifier(level: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Make the data set of a C-FIND.

    Parameters
    ----------
    level : str
        One of `LEVELS`.
    keys : mapping
        Keyword or tag of eight digits to what it must match: text as DICOM writes it (`"DOE^*"`, `"20260101-"`, "" for
        anything), a number, a list of those (UIDs), or an attribute of the DICOM JSON Model.

    Returns
    -------
    dict
        A DICOM JSON object, `RETURNED` of the level included.

    Raises
    ------
    InvalidQuery
        A key or value cannot be; the message names the key.

    Standard
    --------
    PS3.4 C.4.1.1.3.1.
    """
    if level not in LEVELS:
        raise InvalidQuery(f"The level is one of {', '.join(LEVELS)}.")
    found = {tag_of(keyword): _attribute(tag_of(keyword), "") for keyword in RETURNED[level]}
    for name, value in keys.items():
        tag = _tag(name)
        try:
            found[tag] = _attribute(tag, value)
        except ValueError as error:
            raise InvalidQuery(f"{name}: {error}") from None
    found[tag_of("QueryRetrieveLevel")] = {"vr": "CS", "Value": [level]}
    return dict(sorted(found.items()))


def uids(level: str, **unique: str | list[str]) -> dict[str, Any]:
    """Make the data set of a C-MOVE or C-GET: unique keys by keyword alone (PS3.4 C.4.2.1.4.1)."""
    found = {tag_of(keyword): _attribute(tag_of(keyword), value) for keyword, value in unique.items()}
    found[tag_of("QueryRetrieveLevel")] = {"vr": "CS", "Value": [level]}
    return dict(sorted(found.items()))


def value_of(dataset: Mapping[str, Any], name: str) -> str:
    """Return the first value of an attribute, named by keyword or tag, as text; empty when there is none."""
    values = dataset.get(_tag(name), {}).get("Value") or [""]
    value = values[0]
    if isinstance(value, dict):
        value = value.get("Alphabetic", "")
    return "" if value is None else str(value)


def _tag(name: str) -> str:
    if _TAG.fullmatch(name):
        return name.upper()
    try:
        return tag_of(name)
    except LookupError:
        raise InvalidQuery(f"{name} is neither a keyword of the data dictionary nor a tag of 8 digits.") from None


def _attribute(tag: str, value: Any) -> dict[str, Any]:
    """Return an attribute of the DICOM JSON Model; raises ValueError."""
    if isinstance(value, Mapping):
        stated_value(tag, value)
        return dict(value)
    vr = vr_of(tag) or "LO"
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str | int | float) and not isinstance(each, bool) for each in values):
        raise ValueError("a key is text, a number, a list of those, or an attribute of the DICOM JSON Model")
    values = [each for each in values if each != ""]
    if vr == "SQ" and values:
        raise ValueError("a sequence is searched by an attribute of the DICOM JSON Model")
    if vr in _CREATED_FOR_US and values:
        raise ValueError("binary values are not searched for")
    if not values:
        return {"vr": vr}
    if vr == "PN":
        return {"vr": vr, "Value": [_name(str(each)) for each in values]}
    if vr == "UI":
        values = [uid for each in values for uid in str(each).split("\\")]
    return {"vr": vr, "Value": values}


def _name(text: str) -> dict[str, str]:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return {name: group for name, group in groups if group}
