"""Values out of the DICOM JSON Model (PS3.18 Annex F) by keyword, whatever a sender wrote there.

Facts this module keeps:

- Nothing here raises for a value of the wrong form: a picture or a report must come out of any stored instance.
- The attributes have their long texts and numbers in place (`Renderer.attributes`). One that is a BulkDataURI all the
  same could not be read: as text it is `NOT_SHOWN`, and `absent_values` names it.
"""

import base64
import binascii
import math
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from pydicom.datadict import dictionary_description

from storage.dicom.dicomjson import BINARY
from storage.dicom.vr import tag_of

Attributes = Mapping[str, Any]
"""A data set, or an item of a sequence, in the DICOM JSON Model: `{"00280010": {"vr": "US", "Value": [512]}}`."""

BulkData = Mapping[str, bytes]
"""Values that are not in the JSON, little endian, by the path of their BulkDataURI such as `60003000`."""

NOT_SHOWN: Final = "[This value is not shown: it is too long, or cannot be read.]"
"""What stands for a text that is not at hand."""


@cache
def key_of(keyword: str) -> str:
    """Return the key of an attribute: 8 uppercase hexadecimal digits."""
    return f"{tag_of(keyword):08X}"


def vr_of(attributes: Attributes, keyword: str) -> str:
    """Return the VR the attribute is given with, "" when it is absent."""
    attribute = attributes.get(key_of(keyword))
    return str(attribute.get("vr", "")) if isinstance(attribute, Mapping) else ""


def values(attributes: Attributes, keyword: str) -> list[Any]:
    """Return the values of an attribute as the JSON has them; empty when there are none."""
    attribute = attributes.get(key_of(keyword))
    found = attribute.get("Value") if isinstance(attribute, Mapping) else None
    return found if isinstance(found, list) else []


def as_number(value: Any) -> float | None:
    """Return a JSON number, or a number written as a string, if it is finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def numbers(attributes: Attributes, keyword: str) -> list[float]:
    """Return all values of an attribute if every one is a number, else an empty list."""
    found = [as_number(value) for value in values(attributes, keyword)]
    return [number for number in found if number is not None] if None not in found else []


def number(attributes: Attributes, keyword: str) -> float | None:
    """Return the first value of an attribute if it is a number."""
    found = values(attributes, keyword)
    return as_number(found[0]) if found else None


def integer(attributes: Attributes, keyword: str, default: int = 0) -> int:
    """Return the first value of an attribute as a whole number, or the default when it is none."""
    found = number(attributes, keyword)
    return default if found is None else int(found)


def text(attributes: Attributes, keyword: str) -> str:
    """Return the first value of an attribute as text, of a name its first group; "" when there is none."""
    found = values(attributes, keyword)
    if found:
        return as_text(found[0])
    return NOT_SHOWN if is_elsewhere(attributes, keyword) else ""


def as_text(value: Any) -> str:
    """Return one JSON value as text: of a name the first component group that is there."""
    if isinstance(value, Mapping):
        groups = (value.get(group) for group in ("Alphabetic", "Ideographic", "Phonetic"))
        return next((group for group in groups if isinstance(group, str) and group), "")
    return str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def items(attributes: Attributes, keyword: str) -> list[Attributes]:
    """Return the items of a sequence; empty when there are none."""
    return [item for item in values(attributes, keyword) if isinstance(item, Mapping)]


def item(attributes: Attributes, keyword: str) -> Attributes | None:
    """Return the first item of a sequence."""
    found = items(attributes, keyword)
    return found[0] if found else None


def bulk_data_path(attribute: Any) -> str | None:
    """Return the path of a BulkDataURI, whether it stands alone or at the end of a URL."""
    uri = attribute.get("BulkDataURI") if isinstance(attribute, Mapping) else None
    return uri.rpartition("/bulkdata/")[2] if isinstance(uri, str) else None


def is_elsewhere(attributes: Attributes, keyword: str) -> bool:
    """Return whether an attribute has a value that is not in the attributes."""
    return bulk_data_path(attributes.get(key_of(keyword))) is not None


def absent_values(attributes: Attributes) -> list[str]:
    """Return the names of the attributes at any depth whose texts or numbers are not at hand, each once."""
    found: dict[str, None] = {}
    for key, attribute in attributes.items():
        if not isinstance(attribute, Mapping):
            continue
        if bulk_data_path(attribute) is not None and attribute.get("vr") not in BINARY:
            found[name_of(key)] = None
        if attribute.get("vr") == "SQ":
            nested = attribute.get("Value")
            for entry in nested if isinstance(nested, list) else ():
                found |= dict.fromkeys(absent_values(entry)) if isinstance(entry, Mapping) else {}
    return list(found)


def name_of(path: str) -> str:
    """Return what people call the attribute at a path such as `00701000/1/00700022`: its name, or else its tag."""
    key = path[-8:]
    try:
        return dictionary_description(int(key, 16))
    except (KeyError, ValueError):
        return f"({key[:4]},{key[4:]})"


def binary(attribute: Any, bulk: BulkData) -> bytes:
    """Return the bytes of a binary attribute, inline or among `bulk`; empty when it is in neither."""
    if not isinstance(attribute, Mapping):
        return b""
    inline = attribute.get("InlineBinary")
    if isinstance(inline, str):
        try:
            return base64.b64decode(inline)
        except (binascii.Error, ValueError):
            return b""
    path = bulk_data_path(attribute)
    return bulk.get(path, b"") if path is not None else b""
