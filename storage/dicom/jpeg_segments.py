"""The marker segments of a JPEG or JPEG-LS stream, as every reader here walks them.

Facts kept here:

- ITU-T T.81 B.1.1: a marker is FF and a byte that is neither 00 nor FF; any number of FF may come before it. TEM (01),
  RST0 to RST7 (D0 to D7) and SOI (D8) stand alone; all others but EOI have a length, which counts its own two bytes. A
  reader that takes one that stands alone for a segment sees another frame header than the codec does.
- In the data of a scan, FF 00 is a byte of data (T.81 B.1.1.5); in JPEG-LS all of FF 00 to FF 7F are (T.87 C.1).
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

START_OF_SCAN: Final = 0xDA
FRAME_HEADERS: Final = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), 0xCD, 0xCE, 0xCF, 0xF7))
JPEG_LS: Final = 0xF7

_ALONE: Final = frozenset((0x01, *range(0xD0, 0xD9)))
_NO_SEGMENT: Final = frozenset((0x00, 0xD9))
_AFTER_SCAN: Final = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
_AFTER_JPEG_LS_SCAN: Final = re.compile(rb"\xff[\x80-\xcf\xd9-\xfe]")


class Segment(NamedTuple):
    """A marker segment: its marker, and where its content lies in the stream, without the length."""

    marker: int
    start: int
    end: int


def jpeg_segments(stream: bytes) -> Iterator[Segment]:
    """Yield the segments of a stream, those between its scans too, up to its end or to what is none.

    The content of a last segment may be cut short: its end is where the stream ends at most.
    """
    at, after_scan = 2, _AFTER_SCAN
    while at + 4 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _ALONE:
            at += 2
            continue
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker in _NO_SEGMENT or length < 2:
            return
        end = at + 2 + length
        yield Segment(marker, at + 4, min(end, len(stream)))
        if marker == JPEG_LS:
            after_scan = _AFTER_JPEG_LS_SCAN
        if marker == START_OF_SCAN:
            found = after_scan.search(stream, end)
            if found is None:
                return
            end = found.start()
        at = end


def head_segments(stream: bytes) -> Iterator[Segment]:
    """Yield the segments of a stream up to the header of its first scan, which is the last."""
    for segment in jpeg_segments(stream):
        yield segment
        if segment.marker == START_OF_SCAN:
            return
