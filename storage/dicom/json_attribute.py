"""Attributes of a DICOM JSON object that somebody else wrote, checked before they are encoded (PS3.18 F.2.2).

Facts kept here:

* An attribute has `vr` and one of Value, InlineBinary and BulkDataURI; Pixel Data may have DataFragment instead, an
  extension (see `data_fragments`). Letter case matters.
* A member that is none of these is refused when it may hold what the attribute has not said otherwise. When nothing can
  be lost with it (it is empty, a description, or beside a value) it is left out, and can be told: `unknown_members`.
* Read from XML, an unknown element is `<name>`, an unknown XML attribute `@name`.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydicom.datadict import dictionary_description, dictionary_keyword

from storage.dicom.dicomjson import Attribute, key_of
from storage.dicom.vr import LONG_VR, SHORT_VR, standard_vr
from storage.errors import InvalidDicom

VRS: Final = frozenset((*SHORT_VR.values(), *LONG_VR.values()))
FRAGMENTS: Final = "DataFragment"
FORMS: Final = ("Value", "InlineBinary", "BulkDataURI", FRAGMENTS)
STRAY: Final = "#text"
"""The member that text beside the elements of an attribute in XML becomes."""
_DESCRIBING: Final = frozenset({"keyword", "privatecreator", "tag"})
"""Members, spelt small, that say what an attribute is, as the Native DICOM Model has them (PS3.19 A.1.6)."""

_SPELT: Final = frozenset((*(form.lower() for form in FORMS), "item", "items", "personname", "bulkdata", STRAY))


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
            if key_of(tag) in attributes:
                raise InvalidDicom(f"{shown(key_of(tag))}: the attribute is there twice (PS3.18 F.2.2)")
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
        One of `FORMS`; "Value" for an attribute without a value.
    value : object
        A list for "Value".

    Raises
    ------
    ValueError
        The attribute breaks PS3.18 F.2.2, or has a member that may hold its value under another name.
    """
    vr = attribute.get("vr")
    values = attribute.get("Value")
    if type(vr) is str and vr in VRS and type(values) is list and len(attribute) == 2:  # nearly always
        return vr, "Value", values
    for member in unknown_members(attribute):
        if _may_hold_the_value(key, attribute, member):
            raise ValueError(f"{_quoted(member)} is no member of an attribute; its value would be lost (PS3.18 F.2.2)")
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


def unknown_members(attribute: Mapping[str, Any]) -> list[str]:
    """Return the names of the members that the DICOM JSON Model does not have."""
    return [member for member in attribute if member != "vr" and member not in FORMS]


def ignored_members(attributes: Mapping[str, Attribute]) -> list[tuple[str, str]]:
    """Return key and name of the members of a data set that `stated_value` lets pass and nobody reads."""
    return [(key, member) for key, attribute in attributes.items() for member in unknown_members(attribute)]


def _may_hold_the_value(key: str, attribute: Mapping[str, Any], member: str) -> bool:
    content = attribute[member]
    if content in (None, "", [], {}):
        return False
    has_value = any(attribute.get(form) not in (None, "", []) for form in FORMS)
    if has_value:
        return member.strip("<>@").lower() in _SPELT
    return member.strip("<>@").lower() not in _DESCRIBING and not _describes(int(key, 16), content)


def _describes(tag: int, content: Any) -> bool:
    """Whether a text only says what the attribute is called."""
    try:
        return content in (dictionary_keyword(tag), dictionary_description(tag))
    except KeyError:
        return False


def _quoted(name: str) -> str:
    return f'"{name[:40]}"'


def shown(key: str) -> str:
    """Return a tag as messages write it."""
    return f"({key[:4]},{key[4:]})"
