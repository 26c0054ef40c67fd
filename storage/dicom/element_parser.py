"""The elements of a data set, from bytes: one pass, lenient, with places in the file at any depth.

Facts kept here:
- PS3.5 7.1: Explicit VR elements have a 16-bit or, after two reserved bytes, a 32-bit length; Implicit VR a 32-bit one.
  How a head is read that is neither is the matter of `element_head`.
- PS3.5 7.5: sequences and items have a defined length, or an undefined one (FFFFFFFF) and a delimiter.
- PS3.5 6.2.2: the content of UN is Implicit VR Little Endian, that of a sequence too (CP-246), and is read by the VR of
  the dictionary; a value too long for the 16-bit length of its VR is UN as well (CP-1066).
- PS3.5 A.4: encapsulated Pixel Data is items (fragments) up to a sequence delimiter.

Leniency follows pydicom, file by file (the tests compare), except where more can be read: a sequence delimiter or an
item met inside an item closes it, stray delimiters between elements are skipped, what a truncated file still has stays.

Rules for editors: the loop in `_elements` is the cost of an ingest; whatever is rare belongs into `_rare`. Nothing may
be allocated from a length in the file without comparing it to what the file really has.
"""

from collections.abc import Callable
from typing import Any

from storage.dicom.element_head import (
    BIG_ENDIAN,
    ITEM,
    ITEM_DELIMITER,
    LITTLE_ENDIAN,
    SEQUENCE_DELIMITER,
    UNKNOWN,
    Head,
    HeadReader,
    Place,
)
from storage.dicom.elements import Dataset, Element, Limits, Tag
from storage.dicom.fragments import UNDEFINED, span_to_delimiter
from storage.dicom.loss import Loss, has_loss
from storage.dicom.source import Source
from storage.dicom.vr import (
    AMBIGUOUS,
    LONG_VR,
    PIXEL_DATA,
    PLAIN_VR,
    SHORT_VR,
    WORD_BYTES,
    private_vr,
    resolve,
    standard_vr,
    tag_of,
)
from storage.errors import InvalidDicom, LimitExceeded

FIRST_WINDOW = 1 << 16
LARGEST_WINDOW = 1 << 20
KEPT_BYTES = 1 << 27
"""Once so much was read, values above `SCARCE_KEEP` bytes stay in the file, so that memory is bounded."""
SCARCE_KEEP = 1024
LUT_KEEP = 1 << 18
MAX_WARNINGS = 50
MAX_GROUP_ELEMENTS = 1000

LUT_DATA_TAGS = frozenset(
    tag_of(keyword)
    for keyword in (
        "RedPaletteColorLookupTableData",
        "GreenPaletteColorLookupTableData",
        "BluePaletteColorLookupTableData",
        "SegmentedRedPaletteColorLookupTableData",
        "SegmentedGreenPaletteColorLookupTableData",
        "SegmentedBluePaletteColorLookupTableData",
        "LUTData",
    )
)


class ElementParser:
    """Reads data sets from a source, as far as its limits allow.

    Parameters
    ----------
    source : Source
        The file.
    limits : Limits
        Depth of nesting and number of elements.
    keep : int
        Values longer than so many bytes are left in the file.
    little_endian : bool
        The byte order of tags, lengths and values.

    Attributes
    ----------
    overran : bool
        Whether a value was longer than what contains it.
    regular : bool
        Whether the heads of all elements so far were written as their encoding wants them.
    """

    def __init__(self, source: Source, limits: Limits, keep: int, *, little_endian: bool = True) -> None:
        forms = LITTLE_ENDIAN if little_endian else BIG_ENDIAN
        self.warnings: list[str] = []
        self.overran = False
        self.regular = True
        self.read_bytes = 0
        self._source = source
        self._limits = limits
        self._keep = keep
        self._little_endian = little_endian
        self._explicit_header, self._implicit_header, self._long_length = forms
        self._heads = HeadReader(source, forms)
        self._window = b""
        self._base = 0
        self._window_bytes = FIRST_WINDOW
        self._count = 0
        self._ambiguous: list[tuple[Tag, tuple[Dataset, ...], bool]] = []

    def data_set(self, start: int, end: int, *, explicit: bool) -> tuple[Dataset, int]:
        """Parse the top-level data set between two positions.

        Returns
        -------
        dataset : Dataset
            Its elements in ascending order of tag; of elements given twice, the last.
        position : int
            Where parsing ended.

        Raises
        ------
        LimitExceeded
            Nesting or the number of elements goes beyond the limits.
        """
        dataset: Dataset = {}
        position = self._elements(dataset, start, end, end, explicit, ())
        for tag, levels, was_explicit in self._ambiguous:
            element = levels[0][tag]
            if element.vr in AMBIGUOUS:
                vr = resolve(tag, element.vr, levels, explicit=was_explicit, little_endian=self._little_endian)
                levels[0][tag] = element._replace(vr=vr)
        self._ambiguous.clear()
        return dataset, position

    def group_end(self, start: int, group: int, *, explicit: bool) -> int:
        """Return the position after the elements of one group, which start at a position (file meta information)."""
        position = start
        for _ in range(MAX_GROUP_ELEMENTS):
            header = self._bytes(position, 12)
            if len(header) < 8:
                break
            found, number, _ = self._implicit_header(header)
            if found != group:
                break
            _, length, head = self._head(header, group << 16 | number, explicit, position, self._source.length, False)
            if length == UNDEFINED:
                break
            position += head + length
        return position

    def is_explicit(self, position: int, end: int, expected: bool, *, nested: bool) -> bool:
        """Whether the data set or item at a position is in Explicit VR, as expected or not."""
        code = self._bytes(position, 6)[4:]
        if (code in SHORT_VR or code in LONG_VR) == expected:
            return expected
        return self._heads.is_explicit(Place(position, end, nested), expected)

    def warn(self, text: str) -> None:
        """Note something odd, once, and not without end; that something was lost is noted in any case."""
        if text in self.warnings:
            return
        if len(self.warnings) < MAX_WARNINGS or (isinstance(text, Loss) and not has_loss(self.warnings)):
            self.warnings.append(text)

    def _elements(
        self, dataset: Dataset, start: int, end: int, limit: int, explicit: bool, enclosing: tuple[Dataset, ...]
    ) -> int:
        """Parse elements into `dataset` from `start` until `end` or a delimiter, no value beyond `limit`."""
        header: Callable[..., Any] = self._explicit_header if explicit else self._implicit_header
        short_vr, plain_vr, keep = SHORT_VR.get, PLAIN_VR.get, self._keep
        position, previous, disordered = start, -1, False
        window, base, last, bound = self._view(limit)
        while position < end:
            at = position - base
            if not 0 <= at <= last:
                self._refill(position, len(dataset))
                window, base, last, bound = self._view(limit)
                keep = self._keep
                at = 0
                if len(window) < 8:
                    if window.strip(b"\0 \r\n"):
                        self.warn(Loss("The data set ends within the head of an element."))
                    break
            if explicit:
                group, number, code, length = header(window, at)
                tag = group << 16 | number
                vr = short_vr(code)
            else:
                group, number, length = header(window, at)
                tag = group << 16 | number
                vr = plain_vr(tag)
            if tag <= previous:
                if tag == 0 and not enclosing and self._is_padding(position, end):
                    position = end
                    break
                disordered = True
                self._count += 1
            previous = tag
            stop = at + 8 + length
            if vr is not None and length <= keep and stop <= bound:
                dataset[tag] = Element(tag, vr, window[at + 8 : stop], position + 8, length)
                position = base + stop
                continue
            after = self._rare(dataset, tag, explicit, position, end, limit, enclosing)
            window, base, last, bound = self._view(limit)
            if after < 0:  # a delimiter: the data set ends where the complement says
                position = ~after
                break
            position = after
        self._count_elements(len(dataset))
        if disordered:
            self._sort(dataset)
        return position

    def _view(self, limit: int) -> tuple[bytes, int, int, int]:
        """Return the window, its position, the last place a header fits whole, and where values must end in it."""
        size = len(self._window)
        return self._window, self._base, size - 12, min(size, limit - self._base)

    def _refill(self, position: int, parsed: int = 0) -> None:
        """Move the window to a position; a sequential reader gets larger and larger windows."""
        if self._count + parsed > self._limits.max_elements:
            raise LimitExceeded(f"The data set has more than {self._limits.max_elements} elements.")
        near = self._base <= position <= self._base + len(self._window)
        self._window_bytes = min(self._window_bytes * 2, LARGEST_WINDOW) if near and self._base else FIRST_WINDOW
        self._window, self._base = self._source.read(position, self._window_bytes), position
        self._account(len(self._window))

    def _account(self, length: int) -> None:
        self.read_bytes += length
        if self.read_bytes > KEPT_BYTES and self._keep > SCARCE_KEEP:
            self._keep = SCARCE_KEEP
            self.warn("The data set is very large; values above 1 KB are given as bulk data.")

    def _bytes(self, position: int, length: int) -> bytes:
        """Return a few bytes at a position, through the window."""
        at = position - self._base
        if not 0 <= at <= len(self._window) - length:
            self._refill(position)
            at = 0
        return self._window[at : at + length]

    def _count_elements(self, number: int) -> None:
        self._count += number
        if self._count > self._limits.max_elements:
            raise LimitExceeded(f"The data set has more than {self._limits.max_elements} elements.")

    def _sort(self, dataset: Dataset) -> None:
        self.warn("Elements are not in ascending order, or are given twice.")
        ordered = sorted(dataset.items())
        dataset.clear()
        dataset.update(ordered)

    def _is_padding(self, position: int, end: int) -> bool:
        """Whether a top-level tag (0000,0000) out of order begins zeros that fill up the file."""
        if any(self._source.read(position, min(end - position, 4096))):
            return False
        self.warn("The data set is followed by zeros.")
        return True

    def _rare(
        self,
        dataset: Dataset,
        tag: Tag,
        explicit: bool,
        position: int,
        end: int,
        limit: int,
        enclosing: tuple[Dataset, ...],
    ) -> int:
        """Parse one element the loop does not take; return the position after it, or ~position to end the data set."""
        if tag >> 16 == 0xFFFE:
            return self._delimiter(tag, position, bool(enclosing))
        header = self._bytes(position, 12)
        stated, length, head = self._head(header, tag, explicit, position, end, bool(enclosing))
        explicit = stated is not None
        offset = position + head
        if offset > limit:
            self._truncated(tag)
            return limit
        vr = stated
        if vr is None or vr in ("UN", UNKNOWN):
            vr = self._known_vr(dataset, tag, stated, length, offset)
        if vr in AMBIGUOUS:
            self._ambiguous.append((tag, (dataset, *enclosing), explicit))
        items_are_explicit = explicit and stated != "UN"
        if length == UNDEFINED:
            return self._undefined(dataset, tag, vr, items_are_explicit, offset, limit, enclosing)
        if offset + length > limit:
            self._truncated(tag)
            length = limit - offset
        if vr == "SQ":
            return self._defined_sequence(dataset, tag, items_are_explicit, offset, length, enclosing)
        keep = max(self._keep, LUT_KEEP) if tag in LUT_DATA_TAGS else self._keep
        value = self._value(offset, length) if length <= keep else None
        dataset[tag] = Element(tag, vr, value, offset, length)
        return offset + length

    def _truncated(self, tag: Tag) -> None:
        self.overran = True
        self.warn(Loss(f"The value of ({tag >> 16:04X},{tag & 0xFFFF:04X}) is longer than what contains it."))

    def _delimiter(self, tag: Tag, position: int, nested: bool) -> int:
        """End the item at its delimiter, or at what can only follow one; skip delimiters that delimit nothing."""
        if nested and tag == ITEM_DELIMITER:
            return ~(position + 8)
        if nested and tag in (SEQUENCE_DELIMITER, ITEM):
            self.warn("An item has no delimiter.")
            return ~position
        self.warn("There are delimiters outside sequences.")
        return position + 8

    def _head(
        self, header: bytes, tag: Tag, explicit: bool, position: int, end: int, nested: bool
    ) -> tuple[str | None, int, int]:
        """Return the VR as stated (UNKNOWN, None when it is not), the length, and how many bytes the head takes."""
        code = header[4:6]
        if not explicit:
            length = self._implicit_header(header)[2]
            if length == UNDEFINED or position + 8 + length <= end:
                return None, length, 8
        elif code in SHORT_VR:
            return SHORT_VR[code], self._explicit_header(header)[3], 8
        elif code in LONG_VR and len(header) == 12:
            return LONG_VR[code], self._long_length(header, 8)[0], 12
        return self._odd_head(tag, header, explicit, Place(position, end, nested))[:3]

    def _odd_head(self, tag: Tag, header: bytes, explicit: bool, place: Place) -> Head:
        """Read a head that may not be written as its encoding wants it, and note that it is not."""
        head = self._heads.explicit(header, place) if explicit else self._heads.implicit(header, place)
        self.regular &= head.regular
        if explicit and head.vr is None:
            self.warn(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) has no VR; taken as Implicit VR.")
        elif head.vr == UNKNOWN:
            self.warn(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) has an unknown VR.")
        elif not head.regular:
            self.warn(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is in Explicit VR; the data set is not.")
        return head

    def _known_vr(self, dataset: Dataset, tag: Tag, stated: str | None, length: int, offset: int) -> str:
        """Return the dictionary's VR for an element without one, or with UN, where it fits; else UN (D-163)."""
        vr = private_vr(tag, dataset) if tag >> 16 & 1 else standard_vr(tag)
        if length == UNDEFINED:
            if tag == PIXEL_DATA:
                return "OB"
            if stated == "UN" or vr is None or vr == "UN":
                return "SQ" if self._starts_items(offset) else "UN"
            return vr
        if vr is None or stated is None:
            return vr or "UN"
        in_order = self._little_endian or stated != "UN"  # the content of UN is little endian, whatever surrounds it
        if vr == "SQ" and not (in_order and self._starts_items(offset)):
            return "UN"
        if vr in WORD_BYTES or vr in AMBIGUOUS:
            return vr if in_order and length % WORD_BYTES.get(vr, 1) == 0 else "UN"
        return vr

    def _starts_items(self, offset: int) -> bool:
        header = self._bytes(offset, 8)
        if len(header) < 8:
            return False
        group, number, _ = self._implicit_header(header)
        return (group << 16 | number) in (ITEM, SEQUENCE_DELIMITER)

    def _undefined(
        self,
        dataset: Dataset,
        tag: Tag,
        vr: str,
        explicit: bool,
        offset: int,
        limit: int,
        enclosing: tuple[Dataset, ...],
    ) -> int:
        """Parse a value of undefined length: a sequence, encapsulated pixel data, or bytes up to a delimiter."""
        if vr == "SQ":
            items, inner, after = self._sequence(dataset, offset, limit, explicit, True, enclosing)
            dataset[tag] = Element(tag, vr, items, offset, inner - offset)
            return after
        little_endian = self._little_endian or vr == "UN"
        span = span_to_delimiter(
            self._source, offset, limit, little_endian=little_endian, max_fragments=self._limits.max_elements
        )
        if not span.delimited:
            self.warn(Loss(f"The value of ({tag >> 16:04X},{tag & 0xFFFF:04X}) has no end; the file may be truncated."))
        if tag == PIXEL_DATA or (span.fragments and vr in ("OB", "OW")):
            dataset[tag] = Element(tag, vr if vr == "OW" else "OB", None, offset, span.length, True)
        else:
            value = self._value(offset, span.length) if span.length <= self._keep else None
            dataset[tag] = Element(tag, vr, value, offset, span.length)
        return min(offset + span.length + 8, limit) if span.delimited else limit

    def _value(self, offset: int, length: int) -> bytes:
        at = offset - self._base
        if at >= 0 and at + length <= len(self._window):
            return self._window[at : at + length]
        self._account(length)
        return self._source.read(offset, length)

    def _defined_sequence(
        self, dataset: Dataset, tag: Tag, explicit: bool, offset: int, length: int, enclosing: tuple[Dataset, ...]
    ) -> int:
        if length and not self._starts_items(offset):
            self.warn(f"The sequence ({tag >> 16:04X},{tag & 0xFFFF:04X}) has no items that can be read.")
            value = self._value(offset, length) if length <= self._keep else None
            dataset[tag] = Element(tag, "UN", value, offset, length)
            return offset + length
        items, _, _ = self._sequence(dataset, offset, offset + length, explicit, False, enclosing)
        dataset[tag] = Element(tag, "SQ", items, offset, length)
        return offset + length

    def _sequence(
        self, parent: Dataset, start: int, limit: int, explicit: bool, delimited: bool, enclosing: tuple[Dataset, ...]
    ) -> tuple[list[Dataset], int, int]:
        """Parse items from `start`; return them, where the last one ends, and where the sequence ends."""
        levels = (parent, *enclosing)
        if len(levels) > self._limits.max_depth:
            raise LimitExceeded(f"Sequences are nested more than {self._limits.max_depth} deep.")
        items: list[Dataset] = []
        position = start
        while position < limit:
            header = self._bytes(position, 8)
            if len(header) < 8 or position + 8 > limit:
                position = limit
                break
            group, number, length = self._implicit_header(header)
            tag = group << 16 | number
            if tag == SEQUENCE_DELIMITER:
                return items, position, position + 8
            if tag == ITEM_DELIMITER:
                self.warn("There are delimiters outside items.")
                position += 8
                continue
            if tag != ITEM:
                self.warn("A sequence has no delimiter.")
                return items, position, position
            self._count_elements(1)
            start = position + 8
            item_end = limit if length == UNDEFINED else min(start + length, limit)
            item: Dataset = {}
            item_is_explicit = self.is_explicit(start, item_end, explicit, nested=True)
            self.regular &= item_is_explicit == explicit
            position = self._elements(item, start, item_end, limit, item_is_explicit, levels)
            items.append(item)
        if delimited:
            self.warn(Loss("A sequence has no delimiter; the file may be truncated."))
        return items, position, position


def not_dicom(start: bytes) -> InvalidDicom:
    """Return the error for bytes that are no DICOM data set, naming what they look like instead."""
    kinds = {
        b"PK": "a ZIP archive",
        b"%PDF": "a PDF document",
        b"\x89PNG": "a PNG image",
        b"\xff\xd8\xff": "a JPEG image",
        b"\xffO\xffQ": "a JPEG 2000 image",
        b"\x1f\x8b": "gzip data",
        b"GIF8": "a GIF image",
        b"{": "JSON text",
        b"<": "XML or HTML text",
    }
    kind = next((name for magic, name in kinds.items() if start.lstrip(b" \r\n\t").startswith(magic)), None)
    if kind is None and start and all(9 <= byte < 127 for byte in start[:256]):
        kind = "text"
    return InvalidDicom(f"This is no DICOM file; it looks like {kind}." if kind else "This is no DICOM file.")
