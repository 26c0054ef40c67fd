"""Attributes of a DICOM JSON object that somebody else wrote, checked before they are encoded (PS3.18 F.2.2)."""

from collections.abc import Mapping
from typing import Any, Final

from storage.dicomjson import Attribute, key_of
from storage.errors import InvalidDicom
from storage.vr import LONG_VR, SHORT_VR, standard_vr

VRS: Final = frozenset((*SHORT_VR.values(), *LONG_VR.values()))
FORMS: Final = ("Value", "InlineBinary", "BulkDataURI")


def normalised(dataset: Any) -> dict[str, Attribute]:
    """Return the attributes that are written, by their keys in upper case; no group 0002, no group lengths.

    Raises
    ------
    InvalidDicom
        It is no object of tags and objects.
    """
    if not isinstance(dataset, Mapping):
        raise InvalidDicom("a data set must be a JSON object (PS3.18 F.2.2)")
    attributes: dict[str, Attribute] = {}
    for name, attribute in dataset.items():
        tag = tag_of_key(name)
        if not isinstance(attribute, Mapping):
            raise InvalidDicom(f"{shown(key_of(tag))}: an attribute must be a JSON object (PS3.18 F.2.2)")
        if is_written(tag):
            attributes[key_of(tag)] = dict(attribute)
    return attributes


def tag_of_key(name: Any) -> int:
    """Return the tag a key of the JSON object stands for, in upper or lower case; raises InvalidDicom."""
    try:
        tag = int(name, 16) if len(name) == 8 and name.isalnum() and name.isascii() else -1
    except (TypeError, ValueError):
        tag = -1
    if tag < 0:
        raise InvalidDicom(f"{str(name)[:40]!r} is no tag of 8 hexadecimal digits (PS3.18 F.2.2)")
    return tag


def is_written(tag: int) -> bool:
    """Whether an attribute belongs into a data set: file meta information and group lengths do not (D-159)."""
    return bool(tag & 0xFFFF) and tag >> 16 != 2


def stated_value(key: str, attribute: Mapping[str, Any]) -> tuple[str, str, Any]:
    """Return VR, form and value of an attribute.

    Returns
    -------
    vr : str
        As stated, else the dictionary's.
    form : str
        "Value", "InlineBinary" or "BulkDataURI"; "Value" for an attribute without a value.
    value : object
        A list for "Value".

    Raises
    ------
    ValueError
        The attribute breaks PS3.18 F.2.2.
    """
    vr = attribute.get("vr")
    values = attribute.get("Value")
    if type(vr) is str and vr in VRS and type(values) is list and len(attribute) == 2:  # nearly always
        return vr, "Value", values
    vr = vr or standard_vr(int(key, 16))
    if not isinstance(vr, str) or vr not in VRS:
        raise ValueError("its vr is missing or none of PS3.5 Table 6.2-1")
    forms = [form for form in FORMS if attribute.get(form) is not None]
    if len(forms) > 1:
        raise ValueError(f"only one of {' and '.join(forms)} may be there (PS3.18 F.2.2)")
    if forms not in ([], ["Value"]):
        if vr == "SQ":
            raise ValueError("a sequence must have its items in Value (PS3.18 F.2.2)")
        return vr, forms[0], attribute[forms[0]]
    values = values if forms else []
    if not isinstance(values, list):
        raise ValueError("Value must be an array (PS3.18 F.2.2)")
    return vr, "Value", values


def shown(key: str) -> str:
    """Return a tag as messages write it."""
    return f"({key[:4]},{key[4:]})"
