"""The DICOM JSON of every real file agrees with pydicom's own reading, element by element (PS3.18 Annex F).

Where the two differ on purpose:

* FL and FD with NaN or infinities are bulk data here (D-149).
* IS and DS that are no numbers, or have more than 15 digits, are strings here (D-146); pydicom drops or rounds them.
* Text without a usable character set is read as UTF-8 when it is, pydicom always reads Latin-1; code strings and
  other VRs that should be ASCII are read in the character set of the data set here.
* pydicom strips fewer spaces, and leaves NUL inside text.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from storage.dicom import dicomjson
from storage.dicom.elements import Header
from storage.dicom.part10 import read_header
from storage.dicom.source import BytesSource
from storage.dicom.vr import WORD_BYTES
from storage.errors import ArchiveError
from tests.corpus import corpus_files, wheel_files

BINARY = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
TEXT = ("LT", "ST", "UR", "UT")


def read(path: Path) -> tuple[Dataset, Header] | None:
    """Both readings of a file, None when either cannot read it."""
    try:
        data = pydicom.dcmread(path, force=True)
        header, _ = read_header(BytesSource(path.read_bytes()))
    except (ArchiveError, pydicom.errors.InvalidDicomError, EOFError, ValueError, KeyError, NotImplementedError):
        return None
    return data, header


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.parametrize("files", [corpus_files, wheel_files], ids=["corpus", "wheels"])
def test_every_file_gives_the_values_pydicom_reads(files: Any) -> None:
    """D-140 to D-166, user pains 7, 14, 33: numbers, names, texts and bytes of all readable files are equal."""
    compared = 0
    wrong: list[str] = []
    for path in files():
        readings = read(path)
        if readings is None:
            continue
        data, header = readings
        encoded = dicomjson.encode(header)
        json.loads(dicomjson.dumps(encoded.dataset), parse_constant=refuse)
        found = list(differences(data, encoded.dataset, "", header.encoding.little_endian))
        wrong += [f"{path.name} {difference}" for difference in found]
        compared += 1
    assert not wrong, wrong[:20]
    assert compared > 100


def differences(data: Dataset, encoded: dict[str, Any], prefix: str, little_endian: bool) -> Iterator[str]:
    for element in raw_elements(data):
        key = f"{int(element.tag):08X}"
        if element.tag.element == 0 or element.tag.group == 2 or element.tag == 0x00080005:
            continue
        if key not in encoded:
            yield f"{prefix}{key} is missing"
            continue
        ours = encoded[key]
        try:
            theirs = data[element.tag]
        except Exception:  # pydicom cannot read this value; ours must only be legal
            continue
        if theirs.VR == "SQ" and ours["vr"] == "SQ":
            items = ours.get("Value", [])
            if len(items) != len(theirs.value):
                yield f"{prefix}{key} has {len(items)} items and not {len(theirs.value)}"
            for number, (item, other) in enumerate(zip(items, theirs.value, strict=False), 1):
                yield from differences(other, item, f"{prefix}{key}/{number}/", little_endian)
        elif "BulkDataURI" not in ours and ours["vr"] == theirs.VR and not equal(ours, theirs, little_endian):
            yield f"{prefix}{key} {ours} is not {theirs.value!r}"


def raw_elements(data: Dataset) -> Iterator[RawDataElement | DataElement]:
    for tag in sorted(data.keys()):
        yield data.get_item(tag)


def swapped(vr: str, raw: bytes, little_endian: bool) -> bytes:
    """What pydicom leaves in the byte order of the file, in little endian."""
    return raw if little_endian else np.frombuffer(raw, f">u{WORD_BYTES.get(vr, 1)}").byteswap().tobytes()


def equal(ours: dict[str, Any], theirs: DataElement, little_endian: bool) -> bool:
    vr = ours["vr"]
    if vr in BINARY:
        return base64.b64decode(ours.get("InlineBinary", "")) == swapped(vr, theirs.value or b"", little_endian)
    value = theirs.value
    many = value if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
    values = [None if other in ("", None) or str(other).strip(" \0") == "" else other for other in many]
    mine = ours.get("Value", [None])
    return len(mine) == len(values or [None]) and all(
        same(vr, one, other) for one, other in zip(mine, values, strict=False)
    )


def same(vr: str, ours: Any, theirs: Any) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    if vr in ("IS", "DS") and isinstance(ours, str):
        return ours.strip() == str(getattr(theirs, "original_string", theirs)).strip()
    if vr in ("IS", "DS", "US", "SS", "UL", "SL", "UV", "SV", "FD", "FL"):
        return bool(np.float32(ours) == np.float32(theirs)) if vr == "FL" else float(ours) == float(theirs)
    if vr == "AT":
        return bool(ours == f"{int(theirs):08X}")
    if vr == "PN":
        groups = [group.rstrip(" \0") for group in (theirs.alphabetic, theirs.ideographic, theirs.phonetic)]
        return {key: group for key, group in zip(dicomjson.NAME_GROUPS, groups, strict=True) if group} == ours
    theirs = str(theirs)
    if vr not in TEXT:
        theirs, ours = theirs.strip(" \0"), ours.strip()
    return comparable(theirs) == comparable(ours)


def comparable(text: str) -> str:
    """Without what is read differently on purpose: undeclared UTF-8, and NUL inside text."""
    try:
        text = text.encode("latin_1").decode("utf_8")
    except UnicodeError:
        pass
    return text.rstrip(" \0").replace("\0", "\ufffd")
