"""The head of an element, also where it is not written as its transfer syntax wants: where the value starts, and ends.

Facts kept here:
- PS3.5 7.1.2: the VRs of Table 7.1-2 have a 16-bit length; every other one, those of the future included, has two
  reserved bytes and a 32-bit length.
- Two bytes that are no upper-case letters are no VR. Who writes "??", spaces, hyphens or NULs there writes a 16-bit
  length after them, and DCMTK reads it so. Some writers switch to Implicit VR (7.1.3) in between instead, others to
  Explicit VR within Implicit VR.

Which of these it is, is told by what follows the value: the end, a delimiter, or an element that can come next. The
readings are tried in the order of their likelihood; where none is followed by anything, the first one is taken.
"""

import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from storage.dicom.elements import Tag
from storage.dicom.fragments import UNDEFINED
from storage.dicom.source import Source
from storage.dicom.vr import LONG_VR, SHORT_VR, standard_vr

ITEM: Final = 0xFFFEE000
ITEM_DELIMITER: Final = 0xFFFEE00D
SEQUENCE_DELIMITER: Final = 0xFFFEE0DD

UNKNOWN: Final = ""
"""What is stated as a VR, but is none that is known."""

_NO_LETTERS: Final = b"\0\0"

Unpack = Callable[..., Any]


class HeadForms(NamedTuple):
    """How heads are taken apart in one byte order: with VR and 16-bit length; without VR; a 32-bit length alone."""

    explicit: Unpack
    implicit: Unpack
    long_length: Unpack


LITTLE_ENDIAN: Final = HeadForms(*(struct.Struct("<" + form).unpack_from for form in ("HH2sH", "HHL", "L")))
BIG_ENDIAN: Final = HeadForms(*(struct.Struct(">" + form).unpack_from for form in ("HH2sH", "HHL", "L")))


class Head(NamedTuple):
    """Where the value of an element lies, and what its head says of it.

    Attributes
    ----------
    vr : str or None
        As stated; UNKNOWN for one that is not known; None for Implicit VR.
    length : int
        Bytes of the value, or UNDEFINED.
    size : int
        Bytes of the head.
    regular : bool
        Whether the head is written as the encoding of the data set wants it.
    """

    vr: str | None
    length: int
    size: int
    regular: bool = True


class Place(NamedTuple):
    """Where an element is: its position, the end of the data set or item, and whether it is in an item."""

    position: int
    end: int
    nested: bool


class HeadReader:
    """Reads the heads of elements in one byte order.

    Parameters
    ----------
    source : Source
        The file; a few bytes of it are read at a time.
    forms : HeadForms
        The byte order of tags and lengths.
    """

    def __init__(self, source: Source, forms: HeadForms) -> None:
        self._source = source
        self._explicit, self._implicit, self._long_length = forms

    def explicit(self, header: bytes, place: Place) -> Head:
        """Return the head of an element of an Explicit VR data set; `header` is the first 12 bytes (8 at the end)."""
        code = header[4:6]
        if code in SHORT_VR or code in LONG_VR:
            return self._stated(header, code)
        short, long = self._short(header), self._long(header)
        implicit = Head(None, self._implicit(header)[2], 8, regular=False)
        if _is_future(code):
            readings = (long._replace(regular=True), short, implicit)
        elif code == _NO_LETTERS or _is_printable(code):
            readings = (short, long, implicit)
        else:
            readings = (implicit, short, long)
        fitting = (head for head in readings if self._fits(head, header, place, before_implicit=head.vr is None))
        return next(fitting, readings[0])

    def implicit(self, header: bytes, place: Place) -> Head:
        """Return the head of an element of an Implicit VR data set; one that only makes sense in Explicit VR is so."""
        implicit = Head(None, self._implicit(header)[2], 8)
        if implicit.length == UNDEFINED or place.position + 8 + implicit.length <= place.end:
            return implicit
        code = header[4:6]
        if code in SHORT_VR or code in LONG_VR:
            explicit = self._stated(header, code)._replace(regular=False)
            if self._fits(explicit, header, place, before_implicit=True):
                return explicit
        return implicit

    def is_explicit(self, place: Place, expected: bool) -> bool:
        """Whether the data set or item at a place is in Explicit VR, by its first element."""
        header = self._source.read(place.position, min(12, place.end - place.position))
        if len(header) < 8 or self._implicit(header)[0] == 0xFFFE:
            return expected
        code = header[4:6]
        known = code in SHORT_VR or code in LONG_VR
        if known == expected:
            return expected
        if expected:
            return self.explicit(header, place).vr is not None
        implicit = Head(None, self._implicit(header)[2], 8)
        if self._fits(implicit, header, place, before_implicit=True):
            return False
        explicit = self._stated(header, code)
        return self._fits(explicit, header, place, before_implicit=False) or _ends(
            explicit, place
        ) <= place.end < _ends(implicit, place)

    def _stated(self, header: bytes, code: bytes) -> Head:
        if code in SHORT_VR:
            return self._short(header)._replace(vr=SHORT_VR[code], regular=True)
        return self._long(header)._replace(vr=LONG_VR[code], regular=True)

    def _short(self, header: bytes) -> Head:
        return Head(UNKNOWN, self._explicit(header)[3], 8, regular=False)

    def _long(self, header: bytes) -> Head:
        return Head(UNKNOWN, self._long_length(header, 8)[0] if len(header) >= 12 else 0, 12, regular=False)

    def _fits(self, head: Head, header: bytes, place: Place, *, before_implicit: bool) -> bool:
        """Whether what follows a value can follow it; that may be an element in Implicit VR, or may not."""
        group, number, _ = self._implicit(header)
        if head.length == UNDEFINED:
            return self._tag_at(place.position + head.size) in (ITEM, SEQUENCE_DELIMITER)
        after = _ends(head, place)
        following = self._source.read(after, 12) if after + 8 <= place.end else b""
        if len(following) < 8:
            return after == place.end
        tag = group << 16 | number
        return self._follows(tag, following, place._replace(position=after)) or (
            before_implicit and self._follows_implicitly(tag, following, place._replace(position=after))
        )

    def _tag_at(self, position: int) -> Tag | None:
        header = self._source.read(position, 8)
        if len(header) < 8:
            return None
        group, number, _ = self._implicit(header)
        return Tag(group << 16 | number)

    def _follows(self, before: Tag, header: bytes, place: Place) -> bool:
        """Whether a delimiter or an element in Explicit VR is there that can come after a tag."""
        group, number, code, _ = self._explicit(header)
        tag = group << 16 | number
        if group == 0xFFFE:
            return place.nested and tag in (ITEM_DELIMITER, SEQUENCE_DELIMITER)
        if tag <= before:
            return False
        if code not in SHORT_VR and code not in LONG_VR:
            return group == before >> 16 and _is_printable(code)
        head = self._stated(header, code)
        in_bounds = head.length == UNDEFINED or _ends(head, place) <= place.end
        return in_bounds and (group == before >> 16 or group & 1 == 1 or standard_vr(tag) is not None)

    def _follows_implicitly(self, before: Tag, header: bytes, place: Place) -> bool:
        """Whether an element in Implicit VR can come after a tag here; as any bytes are one, the tag counts."""
        group, number, length = self._implicit(header)
        tag = group << 16 | number
        if tag <= before or (length != UNDEFINED and place.position + 8 + length > place.end):
            return False
        if group == before >> 16:
            return True
        return 0x10 <= number <= 0xFF if group & 1 else standard_vr(tag) is not None


def _ends(head: Head, place: Place) -> int:
    return place.position + head.size + head.length


def _is_future(code: bytes) -> bool:
    return len(code) == 2 and code.isalpha() and code.isupper()


def _is_printable(code: bytes) -> bool:
    return len(code) == 2 and all(0x20 <= byte < 0x7F for byte in code)
