"""The identifier of a C-MOVE or C-GET request: which instances it asks for; pure.

Facts kept here:

- Query/Retrieve Level and unique keys only; whatever else is there is ignored (PS3.4 C.4.2.2.1; G-093).
- Lists are allowed for UIDs, one value for Patient ID. Nothing is matched by wildcard.
- The unique keys above the level must be there, one value each, unless relational retrieval was negotiated or is
  tolerated (PS3.4 C.4.2.3.2.1; G-107); then one key suffices, at the level or above it. Keys below are ignored.
- Without any unique key nothing is meant, never everything.
"""

from collections.abc import Mapping
from typing import Any, Final

from storage.attributes import Level, tag_of
from storage.errors import InvalidQuery
from storage.json_values import values_of
from storage.selection import UniqueKeys

LEVELS: Final = {"PATIENT": Level.PATIENT, "STUDY": Level.STUDY, "SERIES": Level.SERIES, "IMAGE": Level.IMAGE}
_KEYS: Final = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}


def unique_keys(identifier: Mapping[str, Any], *, root: Level, relational: bool) -> UniqueKeys:
    """Return the unique keys of an identifier.

    Parameters
    ----------
    identifier : mapping
        As a DICOM JSON object.
    root : Level
        The highest level of the information model: PATIENT or STUDY.
    relational : bool
        Whether keys above the level may be left out.

    Raises
    ------
    InvalidQuery
        The level is missing or not one of the model, or a key is missing or has several values.

    Standard
    --------
    PS3.4 C.4.2.2.1, C.4.3.2.1, C.6.1, C.6.2.
    """
    stated = "".join(_values(identifier, "QueryRetrieveLevel")[:1])
    level = LEVELS.get(stated)
    if level is None or level < root:
        allowed = ", ".join(name for name, each in LEVELS.items() if each >= root)
        raise InvalidQuery(f"Query/Retrieve Level must be one of {allowed}.")
    found: dict[Level, list[str]] = {}
    for each in (each for each in Level if root <= each <= level):
        values = found[each] = _values(identifier, _KEYS[each])
        if not values and not relational:
            raise InvalidQuery(f"{_KEYS[each]} must be given at level {stated}.")
        if len(values) > 1 and (each is Level.PATIENT or (each < level and not relational)):
            raise InvalidQuery(f"{_KEYS[each]} must be a single value at level {stated}.")
    if not any(found.values()):
        raise InvalidQuery(f"{_KEYS[level]} must be given at level {stated}.")
    return UniqueKeys(*(tuple(found.get(each, ())) for each in Level))


def _values(identifier: Mapping[str, Any], keyword: str) -> list[str]:
    texts = (value for value in values_of(identifier.get(tag_of(keyword))) if isinstance(value, str))
    stripped = (text.strip(" \0") for text in texts)
    return [text for text in stripped if text and "\0" not in text]
