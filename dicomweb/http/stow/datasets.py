"""The data sets in metadata parts, one at a time: a part is an array in a file, and never in memory as a whole.

Facts this module keeps:

* A few bytes of JSON become hundreds in memory: `{}` takes 64, its place in an array 8. So what is read at once is one
  data set, and of that the values are counted before they are made.
* Where one element of the array ends and the next begins is told by commas that stand in no string and in no other
  array or object. What an element says, and whether it is JSON at all, the parser judges.
* A backslash matters before a quote and before another backslash only; a chunk never ends between the two.
* Pure but for reading files: no event loop.
"""

import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from dicomweb.http.stow.body import BodyError
from storage.dicom import dicomxml
from storage.dicom.elements import Limits
from storage.errors import InvalidDicom, LimitExceeded

VALUES_AN_ELEMENT: Final = 4
"""An attribute with one value, as the DICOM JSON Model writes it: the object, its array, and two commas."""

MOST_VALUES: Final = VALUES_AN_ELEMENT * Limits().max_elements
"""Most objects, arrays and commas of one data set: what a DICOM file may have of elements, as JSON."""

_CHUNK: Final = 1 << 18
_BLANK: Final = b" \t\r\n"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_QUOTE, _COMMA, _ARRAY, _ARRAY_END = b'",[]'
_STEPS: Final = np.zeros(256, np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1


def datasets(documents: Iterable[Path], most: int) -> Iterator[Any]:
    """Read the data sets of JSON documents, which may be anything that JSON can be.

    Parameters
    ----------
    documents : iterable of Path
        Files; each holds one array of data sets, or one data set.
    most : int
        How many data sets there may be, of all documents.

    Raises
    ------
    BodyError
        400 when a document is no JSON or an empty array; 413 when there are too many data sets, or too many values in
        one of them.

    Standard
    --------
    PS3.18 10.5.1.4, F.2.1.
    """
    number = 0
    for document in documents:
        for element in _elements(document):
            number += 1
            if number > most:
                raise BodyError(413, f"The metadata has more than {most} data sets (max_parts); send several requests.")
            try:
                yield orjson.loads(element)
            except orjson.JSONDecodeError as error:
                where = f"line {error.lineno} of data set {number}"
                raise BodyError(400, f"The metadata is no JSON: {error.msg} at {where}.") from None


def as_json(document: Path) -> bytes:
    """Return the data set of an XML document as JSON.

    Raises
    ------
    InvalidDicom
        It is no NativeDicomModel.
    LimitExceeded
        It has more elements and attributes than `MOST_VALUES`, or nests too deeply.

    Standard
    --------
    PS3.19 A.1.5.
    """
    text = document.read_bytes()
    # Both are one byte in every encoding that the parser knows.
    if text.count(b"<") + text.count(b"=") > MOST_VALUES:
        raise LimitExceeded(f"The metadata has more than {MOST_VALUES} XML elements and attributes.")
    try:
        return orjson.dumps(dicomxml.decode(text))
    except TypeError:  # integers beyond 64 bits
        raise InvalidDicom("the metadata cannot be written as JSON (RFC 8259)") from None


def _elements(document: Path) -> Iterator[bytes]:
    """Yield the elements of the array in a file, each as JSON with blanks around it; what is no array is one."""
    with document.open("rb") as file:
        head = file.read(_CHUNK)
        begin = len(_BYTE_ORDER_MARK) if head.startswith(_BYTE_ORDER_MARK) else 0
        blanks = len(head) - begin - len(head[begin:].lstrip(_BLANK))
        if not head[begin:].strip(_BLANK):
            raise BodyError(400, "The metadata is no JSON: there is nothing in it.")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            first = begin + blanks
            if text[first] != _ARRAY:
                for _ in _cuts(text, first, array=False):
                    pass
                yield text[first:]
                return
            start = first + 1
            for cut in _cuts(text, first, array=True):
                yield _element(text, start, cut, lonely=start == first + 1)
                start = cut + 1
            if text[start - 1] != _ARRAY_END or text[start:].strip(_BLANK):
                raise BodyError(400, "The metadata is no JSON: its array is not closed, or something follows it.")


def _element(text: mmap.mmap, start: int, end: int, *, lonely: bool) -> bytes:
    element = text[start:end]
    if lonely and text[end] == _ARRAY_END and not element.strip(_BLANK):
        raise BodyError(400, "The metadata is an empty array.")
    return element


def _cuts(text: mmap.mmap, start: int, *, array: bool) -> Iterator[int]:
    """Yield the places of the commas between the elements of the array that begins at `start`, and of its end."""
    in_string, depth, values = False, 0, 0
    while start < len(text):
        chunk = text[start : start + _CHUNK]
        if (len(chunk) - len(chunk.rstrip(b"\\"))) % 2 and start + len(chunk) < len(text):
            chunk = chunk[:-1]  # what it escapes is in the next one
        plain = np.frombuffer(chunk.replace(b"\\\\", b"__").replace(b'\\"', b"__"), np.uint8)
        outside = np.logical_xor.accumulate(plain == _QUOTE) == in_string
        in_string = not outside[-1]
        steps = _STEPS[plain] * outside
        depths = depth + np.cumsum(steps, dtype=np.int64)
        commas = (plain == _COMMA) & outside
        counts = values + np.cumsum(commas | (steps > 0), dtype=np.int64)
        ends = np.flatnonzero((commas & (depths == 1)) | ((steps < 0) & (depths == 0))) if array else np.empty(0, int)
        before = np.concatenate(([0], counts[ends]))
        if max(np.diff(before, append=counts[-1])) > MOST_VALUES:
            raise BodyError(413, f"A data set of the metadata has more than {MOST_VALUES} objects, arrays and values.")
        for end in ends:
            yield start + int(end)
            if depths[end] == 0:
                return
        depth, values = int(depths[-1]), int(counts[-1] - before[-1])
        start += len(chunk)
