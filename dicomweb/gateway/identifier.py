"""The identifier of a C-FIND, C-MOVE or C-GET as it comes: information model, level, keys.

Facts this module keeps:

- The SOP class says which information model is meant, and with it which levels there are (PS3.4 C.6; G-060).
- The level stands in (0008,0052), and has a unique key; so has every level above it (PS3.4 C.4.1.1.3.1; G-061).
- What is wrong with an identifier is A900 with the element and a comment (PS3.4 Table C.4-1; G-074).
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydicom.datadict import keyword_for_tag

from dicomweb.gateway.call import Call, WrongIdentifier
from dicomweb.gateway.decoding import decoded
from storage.dicom.data_set import Bounds
from storage.errors import InvalidDicom
from storage.matching.attributes import Level, Tag8, tag_of

OF_SEARCH: Final = Bounds(length=4 << 20, elements=4096, values=1 << 16)
"""What the identifier of a C-FIND may have; real ones have some hundred bytes, unless they list UIDs."""
OF_RETRIEVAL: Final = Bounds(length=16 << 20, elements=4096)
"""What that of a C-MOVE or C-GET may have; a list of 200 000 UIDs takes 13 million bytes."""

QUERY_RETRIEVE_LEVEL: Final = tag_of("QueryRetrieveLevel")
UNIQUE_KEYS: Final[Mapping[Level, Tag8]] = {
    Level.PATIENT: tag_of("PatientID"),
    Level.STUDY: tag_of("StudyInstanceUID"),
    Level.SERIES: tag_of("SeriesInstanceUID"),
    Level.IMAGE: tag_of("SOPInstanceUID"),
}
"""By level (PS3.4 C.6.1.1, C.6.2.1)."""

PATIENT_ROOT: Final = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)
STUDY_ROOT: Final = (Level.STUDY, Level.SERIES, Level.IMAGE)
PATIENT_STUDY_ONLY: Final = (Level.PATIENT, Level.STUDY)

_MODELS: Final = {
    "1.2.840.10008.5.1.4.1.2.1.": PATIENT_ROOT,
    "1.2.840.10008.5.1.4.1.2.2.": STUDY_ROOT,
    "1.2.840.10008.5.1.4.1.2.3.": PATIENT_STUDY_ONLY,  # retired
}
FIND: Final = {f"{model}1": levels for model, levels in _MODELS.items()}
MOVE: Final = {f"{model}2": levels for model, levels in _MODELS.items()}
GET: Final = {f"{model}3": levels for model, levels in _MODELS.items()}
"""SOP classes -> the levels of their information model, the highest first (PS3.4 C.6)."""

LEVELS: Final = {**FIND, **MOVE, **GET}
"""The same, of all of them."""


@dataclass(frozen=True, slots=True)
class Identifier:
    """What is asked for.

    Attributes
    ----------
    levels : tuple of Level
        Of the information model, the highest first.
    level : Level
        What is asked for.
    keys : dict
        DICOM JSON object of the identifier, text in Unicode.
    character_set : str
        (0008,0005) as the peer gave it, "" when it gave none.
    """

    levels: tuple[Level, ...]
    level: Level
    keys: dict[Tag8, dict[str, Any]]
    character_set: str = ""

    @property
    def levels_above(self) -> tuple[Level, ...]:
        """The levels of the model above the one asked for, the highest first."""
        return tuple(level for level in self.levels if level < self.level)

    def values(self, tag: Tag8) -> tuple[str, ...]:
        """Return the values of a top-level key as text; none when it is absent or empty."""
        return key_values(self.keys.get(tag, {}))


async def read(call: Call) -> Identifier:
    """Read the identifier of a request.

    Raises
    ------
    WrongIdentifier
        It has no level, or one that its SOP class has not.
    InvalidDicom
        There is none, or it cannot be read.
    LimitExceeded
        It is too long, or has too many elements or values.
    """
    sop_class_uid = call.message.context.abstract_syntax
    found = await decoded(call.message, OF_SEARCH if sop_class_uid in FIND else OF_RETRIEVAL)
    if found is None:
        raise InvalidDicom("The request has no identifier.")
    return understood(found.dataset, LEVELS[sop_class_uid], found.character_set)


def understood(dataset: dict[Tag8, dict[str, Any]], levels: tuple[Level, ...], character_set: str = "") -> Identifier:
    """Find the level in a data set that is an identifier.

    Raises
    ------
    WrongIdentifier
        There is none, or one that the information model has not.
    """
    named = key_values(dataset.get(QUERY_RETRIEVE_LEVEL, {}))
    allowed = {level.name: level for level in levels}
    if len(named) != 1 or named[0] not in allowed:
        raise WrongIdentifier(f"QueryRetrieveLevel must be one of {', '.join(allowed)}.", QUERY_RETRIEVE_LEVEL)
    return Identifier(levels, allowed[named[0]], dataset, character_set)


def key_values(attribute: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the values of a key as matching takes them: text; names with `=` between their groups."""
    if "InlineBinary" in attribute:  # a private key in Implicit VR: all that is known is that it is text
        text = base64.b64decode(attribute["InlineBinary"]).decode("latin-1").strip(" \0")
        return (text,) if text else ()
    return tuple(_text(value) for value in attribute.get("Value", ()) if value is not None)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "=".join(value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    return str(value)


def name_of(tag: Tag8) -> str:
    """Return what messages call an attribute: its keyword, else its tag."""
    return keyword_for_tag(int(tag, 16)) or f"({tag[:4]},{tag[4:]})"
