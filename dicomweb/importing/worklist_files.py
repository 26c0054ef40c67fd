"""Worklist items in files: DICOM worklist files, DICOM JSON, tables.

Facts this module keeps:

- `.wl` files are DICOM data sets with or without file meta information, as DCMTK's wlmscpfs reads and dump2dcm writes
  them; their text is in their Specific Character Set.
- A JSON file holds one DICOM JSON object or an array of them.
- The columns of a table are keywords of PS3.6 or dotted paths of them; case, spaces, hyphens and underscores do not
  matter (`patient_name`, `Patient Name`). What describes a step needs no `ScheduledProcedureStepSequence.` before it.
  Rows of one order (study, accession number or requested procedure ID) and patient are the steps of one item.
- In a folder only files named `*.wl`, `*.dcm`, `*.json` and `*.csv` are read: others, such as lock files, lie about.
  Links out of it are not followed.
"""

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
from pydicom.datadict import DicomDictionary  # type: ignore[attr-defined]

from dicomweb.importing.found_files import leads_out
from storage.dicom import dicomjson
from storage.dicom.part10 import BytesSource, read_header
from storage.errors import ArchiveError
from storage.matching.attributes import tag_of, vr_of
from storage.matching.date_time import stored_date, stored_time
from storage.system.errors import in_words
from storage.worklist.item import ACCESSION, REQUESTED_PROCEDURE, STEPS, STUDY, path_in_item

SUFFIXES: Final = (".wl", ".dcm", ".json", ".csv")
LONGEST: Final = 256 << 20
"""Bytes of one file: items are kept in memory while it is read."""

_ORDER: Final = (STUDY, ACCESSION, REQUESTED_PROCEDURE)
_PATIENT: Final = (tag_of("PatientID"), tag_of("IssuerOfPatientID"))
_NUMBERS: Final = {"IS": int, "DS": float, "FD": float, "FL": float, "US": int, "UL": int, "SS": int, "SL": int}
_KEYWORDS: Final = {entry[4].lower(): entry[4] for entry in DicomDictionary.values() if entry[4] and not entry[3]}
_UNIMPORTANT: Final = re.compile(r"[\s_\-]")
_SHORT_HOUR: Final = re.compile(r"[0-9](?=:)")


class UnreadableFile(ArchiveError):
    """A file holds no worklist items; the message says why."""


def found(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files that are named, and those in the folders that are named, in their order."""
    for path in paths:
        if path.is_dir():
            files = (each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES and each.is_file())
            yield from sorted(each for each in files if not leads_out(each, Path(os.path.realpath(path))))
        else:
            yield path


def items_in(path: Path) -> list[tuple[str, Any]]:
    """Read a file.

    Returns
    -------
    list of (str, object)
        Where in the file, empty when there is but one place, and what should be the DICOM JSON object of an item.

    Raises
    ------
    UnreadableFile
        It cannot be read, or is none of the formats.
    """
    try:
        if path.stat().st_size > LONGEST:
            raise UnreadableFile(f"is larger than {LONGEST >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {in_words(error)}") from None
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _rows(data)
    if suffix == ".json" or data.lstrip()[:1] in (b"{", b"["):
        return _objects(data)
    try:
        header, _ = read_header(BytesSource(data))
    except ArchiveError as error:
        raise UnreadableFile(f"is not a DICOM data set: {error}") from None
    return [("", dicomjson.encode(header, bulk_threshold=LONGEST).dataset)]


def _objects(data: bytes) -> list[tuple[str, Any]]:
    try:
        value = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise UnreadableFile(f"is not JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(value, list):
        return [("", value)]
    return [(f"item {number}", entry) for number, entry in enumerate(value, 1)]


def _rows(data: bytes) -> list[tuple[str, Any]]:
    """Read a table; the delimiter is the one of comma, semicolon and tab that its first line has most of."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableFile("is not UTF-8") from None
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    try:
        names = next(reader, [])
        columns = [column_path(name) for name in names]
        rows = [(reader.line_num, row) for row in reader if any(value.strip() for value in row)]
    except csv.Error as error:
        raise UnreadableFile(f"is not a table: {error}") from None
    orders: dict[tuple[str, ...], tuple[str, dict[str, Any]]] = {}
    for line, row in rows:
        if len(row) > len(columns):
            raise UnreadableFile(f"line {line} has more values than there are columns")
        values = {path: value.strip() for path, value in zip(columns, row, strict=False) if value.strip()}
        item = _item(values)
        order = tuple(values.get((tag,), "") for tag in _ORDER)
        key = (*order, *(values.get((tag,), "") for tag in _PATIENT)) if any(order) else (str(line),)
        if key in orders:
            orders[key][1][STEPS]["Value"] += item[STEPS]["Value"]
        else:
            orders[key] = f"line {line}", item
    return list(orders.values())


def column_path(name: str) -> tuple[str, ...]:
    """Return the tags a column name stands for, from the outermost sequence inwards.

    Raises
    ------
    UnreadableFile
        One of them is no attribute.
    """
    keywords = tuple(_KEYWORDS.get(_UNIMPORTANT.sub("", part).lower(), "") for part in name.split("."))
    tags = tuple(tag_of(keyword) for keyword in keywords if keyword)
    if not all(keywords) or any(vr_of(tag) != "SQ" for tag in tags[:-1]):
        raise UnreadableFile(f"has a column {name.strip()[:64]!r}, which is no attribute of PS3.6")
    if vr_of(tags[-1]) == "SQ":
        raise UnreadableFile(
            f"has a column {name.strip()[:64]!r}: name the attribute in it, as in {keywords[-1]}.CodeValue"
        )
    return path_in_item(tags)


def _item(values: Mapping[tuple[str, ...], str]) -> dict[str, Any]:
    """Return the DICOM JSON object of one row."""
    whole: dict[str, Any] = {STEPS: {"vr": "SQ", "Value": [{}]}}
    for path, text in values.items():
        holder = whole
        for sequence in path[:-1]:
            holder = holder.setdefault(sequence, {"vr": "SQ", "Value": [{}]})["Value"][0]
        tag = path[-1]
        vr = vr_of(tag) or "LO"
        holder[tag] = {"vr": vr, "Value": [_value(vr, value) for value in _split(vr, text)]}
    return whole


def _split(vr: str, text: str) -> list[str]:
    return [text] if vr in ("LT", "ST", "UT", "UR") else [value.strip() for value in text.split("\\")]


def _value(vr: str, text: str) -> Any:
    """Return a value as DICOM JSON has it; a date may be written as 2026-11-21, a time as 08:30 or 8:30."""
    if vr == "DA":
        return stored_date(text) or text
    if vr == "TM":
        return _time(text)
    if vr == "PN":
        groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
        return {group: part for group, part in groups if part}
    try:
        return _NUMBERS[vr](text) if vr in _NUMBERS else text
    except ValueError:
        raise UnreadableFile("has a value that is not a number where one belongs") from None


def _time(text: str) -> str:
    """Return a time without colons; an hour before a colon needs no leading zero. What is no time stays as it is."""
    padded = "0" + text if _SHORT_HOUR.match(text) else text
    return padded.replace(":", "") if stored_time(padded) else text
