"""Names of attributes and of UIDs, for people who read metadata in a browser; from pydicom's dictionaries."""

from typing import Any, Final

import orjson
from pydicom import _dicom_dict as tables
from pydicom._uid_dict import UID_dictionary

NAMED: Final = ("Transfer Syntax", "SOP Class", "Meta SOP Class", "Well-known SOP Instance", "Coding Scheme")
"""Types of UIDs that stand in data sets and mean something by themselves."""


def dictionary() -> bytes:
    """Return the JSON object of names.

    Returns
    -------
    bytes
        `attributes`: tag of eight hexadecimal digits to [VR, name, keyword, multiplicity]; `repeated` the same with
        an `x` for each digit that may be any; `uids`: UID to name.
    """
    attributes = {f"{tag:08X}": _entry(entry) for tag, entry in tables.DicomDictionary.items()}
    repeated = {mask.upper().replace("X", "x"): _entry(entry) for mask, entry in tables.RepeatersDictionary.items()}
    uids = {str(uid): entry[0] for uid, entry in UID_dictionary.items() if entry[1] in NAMED and entry[0]}
    return orjson.dumps({"attributes": attributes, "repeated": repeated, "uids": uids})


def _entry(entry: Any) -> list[str]:
    vr, multiplicity, name, _, keyword = entry
    return [vr, name, keyword, multiplicity]
