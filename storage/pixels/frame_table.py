"""Where each frame of the pixel data starts and ends.

Facts kept here (PS3.5 A.4):
- The first item of encapsulated pixel data is the Basic Offset Table, maybe empty: 32-bit offsets of the frames, from
  the first byte after it. The Extended Offset Table (7FE0,0001) has 64-bit ones, for one fragment a frame, and their
  true lengths without padding in (7FE0,0002).
- Offset tables lie (writers that count wrongly, 4 GiB overflow), so an entry must hit the start of a fragment.
- Without a table: one fragment a frame; or all fragments one frame; or frames start where a codestream starts.
- A video is one stream, whatever Number of Frames says.
"""

import re
import struct
from itertools import pairwise

from storage.dicom.codestream import family
from storage.dicom.elements import Dataset, Element, Header
from storage.dicom.fragments import fragments
from storage.dicom.loss import Loss
from storage.dicom.source import Source
from storage.dicom.vr import tag_of
from storage.pixels.layout import FRAGMENTED, FrameTable, PixelLayout, pixel_layout

_NUMBER_OF_FRAMES = tag_of("NumberOfFrames")
_EXTENDED_OFFSETS = tag_of("ExtendedOffsetTable")
_EXTENDED_LENGTHS = tag_of("ExtendedOffsetTableLengths")

_VIDEO = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](?:\.1)?")
_INTEGER = re.compile(r"\s*\+?([0-9]{1,10})\s*")
_OFFSET_TABLE_TOO_LONG = 1 << 26

Fragment = tuple[int, int]
"""Offset and length of the value of one fragment, in bytes of the file."""

Frame = tuple[list[Fragment], int | None]
"""The fragments of a frame, and its true length in bytes where a table tells."""


def is_video(transfer_syntax_uid: str) -> bool:
    """Whether pixel data is one video stream: MPEG-2, H.264 or HEVC, fragmentable or not."""
    return _VIDEO.fullmatch(transfer_syntax_uid) is not None


def frame_table(source: Source, header: Header) -> FrameTable | None:
    """Find the frames of a file.

    Parameters
    ----------
    source : Source
        The (inflated) file.
    header : Header
        As `read_header` gave it.

    Returns
    -------
    FrameTable or None
        None when there is no pixel data. Every frame lies within the file.

    Standard
    --------
    PS3.5 8.2, A.4; PS3.3 C.7.6.6.1.1 (Number of Frames).
    """
    stated, warnings = _number_of_frames(header.dataset)
    pixel = pixel_layout(header, stated or 0)
    if pixel is None:
        return None
    if not pixel.encapsulated:
        return FrameTable(_native_frames(pixel, stated, warnings), None, "native", warnings)
    frames = _encapsulated_frames(source, header, pixel, stated, warnings)
    return FrameTable(len(frames), b"".join(map(_entry, frames)), "encapsulated", warnings)


def _number_of_frames(dataset: Dataset) -> tuple[int | None, list[str]]:
    """Return Number of Frames, 1 when it is absent, None with a warning when it is no positive number."""
    element = dataset.get(_NUMBER_OF_FRAMES)
    if element is None:
        return 1, []
    text = element.value.decode("latin-1").strip(" \0") if isinstance(element.value, bytes) else ""
    match = _INTEGER.fullmatch(text.split("\\")[0])
    if match and int(match[1]):
        return int(match[1]), []
    return None, ["Number of Frames (0028,0008) is empty, zero or no number."]


def _native_frames(pixel: PixelLayout, stated: int | None, warnings: list[str]) -> int:
    available = pixel.length * 8
    if not pixel.frame_bits:
        warnings.append("Rows, Columns or Bits Allocated are missing; the frames cannot be found.")
        return 0
    whole = available // pixel.frame_bits
    if stated is None:
        return whole if whole and available - whole * pixel.frame_bits < 16 else min(whole, 1)
    if stated > whole:
        warnings.append(Loss(f"Pixel data is too short: {whole} of {stated} frame(s) are there."))
    elif available - stated * pixel.frame_bits >= 16:
        warnings.append(f"Pixel data is longer than its {stated} frame(s).")
    return min(stated, whole)


def _encapsulated_frames(
    source: Source, header: Header, pixel: PixelLayout, stated: int | None, warnings: list[str]
) -> list[Frame]:
    offset_table, parts = _fragments(source, pixel, warnings)
    if not parts:
        warnings.append(Loss("Encapsulated pixel data has no fragments."))
        return []
    if is_video(header.transfer_syntax_uid):
        return [(parts, None)]
    first = parts[0][0] - 8
    starts = {offset - 8 - first: index for index, (offset, _) in enumerate(parts)}
    extended = _extended_table(source, header, len(parts))
    for name, table in (("Extended", extended), ("Basic", (offset_table, []))):
        offsets, lengths = table
        if not offsets:
            continue
        if not _hits_fragments(offsets, starts):
            warnings.append(f"The {name} Offset Table does not point to fragments; it is ignored.")
        elif stated is None or len(offsets) == stated:
            return _split(parts, [starts[offset] for offset in offsets], lengths)
        else:
            warnings.append(f"The {name} Offset Table has {len(offsets)} entries for {stated} frame(s).")
    while len(parts) > (stated or 1) and not parts[-1][1]:
        parts.pop()  # an empty fragment at the end carries no frame
    return _frames_without_table(source, parts, stated, warnings)


def _fragments(source: Source, pixel: PixelLayout, warnings: list[str]) -> tuple[list[int], list[Fragment]]:
    """Return the Basic Offset Table and the fragments after it."""
    parts = list(fragments(source, pixel.offset, pixel.offset + pixel.length))
    if not parts:
        return [], []
    offset, length = parts[0]
    if not length:
        return [], parts[1:]
    head = source.read(offset, min(length, 64))
    if family(head) is not None:
        warnings.append("Encapsulated pixel data has no Basic Offset Table item.")
        return [], parts
    if length % 4 or length > _OFFSET_TABLE_TOO_LONG:
        warnings.append("The Basic Offset Table cannot be read; it is ignored.")
        return [], parts[1:]
    return list(struct.unpack(f"<{length // 4}L", source.read(offset, length))), parts[1:]


def _extended_table(source: Source, header: Header, fragment_count: int) -> tuple[list[int], list[int]]:
    offsets = _numbers(source, header.dataset.get(_EXTENDED_OFFSETS), fragment_count)
    lengths = _numbers(source, header.dataset.get(_EXTENDED_LENGTHS), fragment_count)
    return offsets, lengths if len(lengths) == len(offsets) else []


def _numbers(source: Source, element: Element | None, at_most: int) -> list[int]:
    if element is None or element.length % 8 or element.length > at_most * 8 or isinstance(element.value, list):
        return []
    value = element.value if element.value is not None else source.read(element.offset, element.length)
    return list(struct.unpack(f"<{element.length // 8}Q", value))


def _hits_fragments(offsets: list[int], starts: dict[int, int]) -> bool:
    """Whether the offsets ascend from the first fragment, each to the start of one."""
    ascending = all(left < right for left, right in pairwise(offsets))
    return offsets[0] == 0 and ascending and all(offset in starts for offset in offsets)


def _split(parts: list[Fragment], firsts: list[int], lengths: list[int]) -> list[Frame]:
    """Group fragments into frames that begin at the given fragments."""
    ends = [*firsts[1:], len(parts)]
    known: list[int] | list[None] = lengths or [None] * len(firsts)
    return [
        (parts[first:end], length) for first, end, length in zip(firsts, ends, known, strict=True) if parts[first:end]
    ]


def _frames_without_table(
    source: Source, parts: list[Fragment], stated: int | None, warnings: list[str]
) -> list[Frame]:
    if stated == 1:
        return [(parts, None)]
    if stated == len(parts):
        return [([part], None) for part in parts]
    heads = [family(source.read(offset, min(length, 64))) for offset, length in parts]
    firsts = [index for index, head in enumerate(heads) if index == 0 or (head is not None and head == heads[0])]
    if heads[0] == "jpeg" and len(firsts) != stated:
        firsts = _after_end_markers(source, parts) or firsts
    if heads[0] is None and stated is None:
        firsts = list(range(len(parts)))
    if stated is not None and len(firsts) != stated:
        text = f"Encapsulated pixel data seems to hold {len(firsts)} frame(s) instead of {stated}."
        warnings.append(Loss(text) if len(firsts) < stated else text)
        firsts = firsts[: stated + 1]
    frames = _split(parts, firsts, [])
    return frames if stated is None else frames[:stated]


def _after_end_markers(source: Source, parts: list[Fragment]) -> list[int]:
    """Return the fragments after an end of image (FFD9), where frames must start."""
    ended = [b"\xff\xd9" in source.read(offset + max(length - 10, 0), min(length, 10)) for offset, length in parts[:-1]]
    return [0, *(index + 1 for index, end in enumerate(ended) if end)]


def _entry(frame: Frame) -> bytes:
    parts, true_length = frame
    if len(parts) == 1:
        offset, length = parts[0]
        if true_length is not None and length - 1 <= true_length <= length:
            length = true_length
        return struct.pack("<QQ", offset, length)
    start = parts[0][0] - 8
    return struct.pack("<QQ", start, (parts[-1][0] + parts[-1][1] - start) | FRAGMENTED)
