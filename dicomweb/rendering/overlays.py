"""Overlay planes: graphics of one bit a pixel, beside the pixels or in their unused bits.

Facts and clauses this module keeps:
- PS3.3 C.9.2: groups 6000 to 601E, even. Origin is row, column from 1\\1 at the top left pixel and may be negative.
- PS3.5 8.1.2: planes in Overlay Data are packed bit after bit, least significant first, frames without padding.
- PS3.5 8.1.2 (retired): Overlay Bit Position tells the bit of Pixel Data that holds a plane without Overlay Data.
- C.9.3: frame 1 of a multi-frame overlay belongs to the image frame Image Frame Origin; a plane that is not
  multi-frame to all of them.
- Pure: no I/O.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomweb.rendering.attribute_values import Attributes, BulkData, as_number, binary, bulk_data_path
from dicomweb.rendering.grayscale import Levels, Samples

GROUPS = range(0x6000, 0x6020, 2)
"""The groups an overlay may be in."""

_ROWS, _COLUMNS, _FRAMES, _ORIGIN = 0x0010, 0x0011, 0x0015, 0x0050
_FRAME_ORIGIN, _BIT_POSITION, _DATA = 0x0051, 0x0102, 0x3000
_MOST_PIXELS = 1 << 28


@dataclass(frozen=True)
class Overlay:
    """One plane as it lies on one frame.

    Attributes
    ----------
    group : int
        0x6000 to 0x601E.
    mask : ndarray of bool of shape (rows, columns)
        True is drawn.
    row, column : int
        Where its top left pixel is in the picture, counted from 0; may be negative.
    """

    group: int
    mask: npt.NDArray[np.bool_]
    row: int
    column: int


def overlays_of(
    attributes: Attributes, frame_number: int, samples: Samples | None, bulk: BulkData
) -> Iterator[Overlay]:
    """Yield the overlays of a frame.

    Parameters
    ----------
    attributes : Attributes
        Of an instance; of an image or of a presentation state.
    frame_number : int
        Counted from 1.
    samples : ndarray or None
        Of the frame with all bits allocated, for planes in unused bits; None when there are none.
    bulk : BulkData
        Overlay Data that is not in the attributes.
    """
    for group in GROUPS:
        rows, columns = _first(attributes, group, _ROWS), _first(attributes, group, _COLUMNS)
        if not rows or not columns or rows * columns > _MOST_PIXELS:
            continue
        index = _frame_index(attributes, group, frame_number)
        if index is None:
            continue
        overlay_data = attributes.get(_key(group, _DATA))
        data = binary(overlay_data, bulk)
        if data or bulk_data_path(overlay_data):
            mask = _unpacked(data, rows, columns, index)
        else:
            mask = _embedded(attributes, group, samples)
        if mask is None:
            continue
        row, column = _origin(attributes, group)
        yield Overlay(group, mask, row - 1, column - 1)


def draw(picture: Levels, overlays: Iterable[Overlay], level: int = 255) -> Levels:
    """Return a copy of a picture with overlays drawn on it in one grey level.

    Parameters
    ----------
    picture : ndarray of uint8 of shape (rows, columns) or (rows, columns, 3)
        Not changed.
    overlays : iterable of Overlay
        What lies outside of the picture is cut off.
    level : int
        0 to 255.
    """
    drawn = picture.copy()
    for overlay in overlays:
        top, left = max(overlay.row, 0), max(overlay.column, 0)
        bottom = min(overlay.row + overlay.mask.shape[0], picture.shape[0])
        right = min(overlay.column + overlay.mask.shape[1], picture.shape[1])
        if top < bottom and left < right:
            mask = overlay.mask[
                top - overlay.row : bottom - overlay.row, left - overlay.column : right - overlay.column
            ]
            drawn[top:bottom, left:right][mask] = level
    return drawn


def overlay_data_keys(attributes: Attributes) -> list[str]:
    """Return the keys of the Overlay Data attributes that are there."""
    return [key for group in GROUPS if (key := _key(group, _DATA)) in attributes]


def activated(attributes: Attributes) -> dict[int, str]:
    """Return the groups a presentation state activates, with the graphic layer they are drawn in (C.11.7)."""
    layers = {group: _values(attributes, group, 0x1001) for group in GROUPS}
    return {group: str(values[0]) for group, values in layers.items() if values and values[0]}


def _key(group: int, element: int) -> str:
    return f"{group:04X}{element:04X}"


def _values(attributes: Attributes, group: int, element: int) -> list[object]:
    attribute = attributes.get(_key(group, element))
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return values if isinstance(values, list) else []


def _first(attributes: Attributes, group: int, element: int) -> int | None:
    values = _values(attributes, group, element)
    number = as_number(values[0]) if values else None
    return None if number is None else int(number)


def _origin(attributes: Attributes, group: int) -> tuple[int, int]:
    row, column, *_ = [*(as_number(value) for value in _values(attributes, group, _ORIGIN)), None, None]
    return (1, 1) if row is None or column is None else (int(row), int(column))


def _frame_index(attributes: Attributes, group: int, frame_number: int) -> int | None:
    """Return which frame of the plane lies on an image frame, counted from 0; None when none does."""
    frames = _first(attributes, group, _FRAMES)
    if frames is None:
        return 0
    index = frame_number - (_first(attributes, group, _FRAME_ORIGIN) or 1)
    return index if 0 <= index < frames else None


def _unpacked(data: bytes, rows: int, columns: int, index: int) -> npt.NDArray[np.bool_] | None:
    start = index * rows * columns
    end = start + rows * columns
    if end > len(data) * 8:
        return None
    packed = np.frombuffer(data, np.uint8)[start // 8 : (end + 7) // 8]
    bits = np.unpackbits(packed, bitorder="little")[start % 8 : start % 8 + rows * columns]
    return bits.reshape(rows, columns).astype(np.bool_)


def _embedded(attributes: Attributes, group: int, samples: Samples | None) -> npt.NDArray[np.bool_] | None:
    """Return the plane in one bit of the samples, if that bit is none of a stored value (PS3.5 8.1.2)."""
    position = _first(attributes, group, _BIT_POSITION)
    if samples is None or samples.ndim != 2 or samples.dtype.kind not in "iu" or position is None:
        return None
    width = 8 * samples.dtype.itemsize
    stored = _number_at(attributes, "00280101") or width
    high_bit = _number_at(attributes, "00280102", stored - 1)
    if not 0 <= position < width or high_bit - stored < position <= high_bit:
        return None
    return ((samples.astype(np.int64) >> position) & 1).astype(np.bool_)


def _number_at(attributes: Attributes, key: str, default: int = 0) -> int:
    values = attributes.get(key, {}).get("Value") or [default]
    number = as_number(values[0])
    return default if number is None else int(number)
