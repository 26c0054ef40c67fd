"""Look-up tables as they are stored: Modality, VOI and Presentation LUT, and one component of a palette.

Facts and clauses this module keeps:
- PS3.3 C.11.1.1.1, C.11.2.1.1, C.7.6.3.1.5: the descriptor is the number of entries (0 for 65536), the first input
  value mapped, and the bits of an entry. An input below the first gives the first entry, one beyond the last the last.
- The first value mapped is signed when the input is; a descriptor in VR US then holds its two's complement.
- Entries of 8 bits may be packed two to a word, the earlier in the low byte; or be a word each.
- Writers state fewer bits than the entries use: what the entries hold goes before what the descriptor says.
- C.7.9.2: segments are discrete (opcode 0), linear (1) or indirect (2: number of segments, offset in bytes, least
  significant part first); for palettes of 8 bits all of these are bytes.
- Pure: no I/O.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomweb.rendering.attribute_values import (
    Attributes,
    BulkData,
    as_number,
    binary,
    integer,
    key_of,
    numbers,
    values,
    vr_of,
)

_MOST_ENTRIES = 65536


@dataclass(frozen=True)
class LookupTable:
    """A look-up table.

    Attributes
    ----------
    first : int
        The input value that gives the first entry.
    bits : int
        Bits of an entry: the greatest output is 2^bits - 1.
    data : bytes
        The entries, 16 bits each, little endian.
    """

    first: int
    bits: int
    data: bytes

    @cached_property
    def entries(self) -> npt.NDArray[np.uint16]:
        """The entries in order; at least one."""
        return np.frombuffer(self.data, "<u2")

    @property
    def greatest(self) -> int:
        """The greatest output the bits allow."""
        return (1 << self.bits) - 1

    def outputs(self, inputs: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
        """Return the entry for each input value, which is rounded to a whole number and clipped to the table."""
        index = np.floor(inputs + 0.5) - self.first
        found: npt.NDArray[np.uint16] = self.entries[np.clip(index, 0, len(self.entries) - 1).astype(np.intp)]
        return found


def table_of_item(item: Attributes, bulk: BulkData, *, signed_input: bool) -> LookupTable | None:
    """Return the table in an item of a Modality, VOI or Presentation LUT Sequence.

    Parameters
    ----------
    item : Attributes
        Has LUT Descriptor and LUT Data.
    bulk : BulkData
        Where LUT Data is when it is not in the item.
    signed_input : bool
        Whether input values may be negative.

    Returns
    -------
    LookupTable or None
        None when the item holds no usable table.
    """
    descriptor = descriptor_of(item, "LUTDescriptor", signed_input=signed_input)
    if descriptor is None:
        return None
    count, first, bits = descriptor
    stored = values(item, "LUTData")
    words = _from_numbers(stored) if stored else _words(binary(item.get(key_of("LUTData")), bulk))
    return _table(_unpacked(words, count, bits), count, first, bits)


def palette_component(attributes: Attributes, colour: str, bulk: BulkData, *, signed_input: bool) -> LookupTable | None:
    """Return one component of a palette, expanded when it is stored as segments.

    Parameters
    ----------
    attributes : Attributes
        Has the descriptor and the data of the palette (PS3.3 C.7.9).
    colour : str
        `Red`, `Green` or `Blue`.
    bulk : BulkData
        Where the data is when it is not in the attributes.
    signed_input : bool
        Whether stored values are signed.
    """
    descriptor = descriptor_of(attributes, f"{colour}PaletteColorLookupTableDescriptor", signed_input=signed_input)
    if descriptor is None:
        return None
    count, first, bits = descriptor
    plain = binary(attributes.get(key_of(f"{colour}PaletteColorLookupTableData")), bulk)
    if plain:
        return _table(_unpacked(_words(plain), count, bits), count, first, bits)
    segments = binary(attributes.get(key_of(f"Segmented{colour}PaletteColorLookupTableData")), bulk)
    return _table(np.frombuffer(expanded(segments, bits, count), "<u2"), count, first, bits) if segments else None


def descriptor_of(attributes: Attributes, keyword: str, *, signed_input: bool) -> tuple[int, int, int] | None:
    """Return the number of entries, the first input value mapped and the bits of an entry."""
    stated = numbers(attributes, keyword)
    if len(stated) != 3:
        return None
    count = (int(stated[0]) & 0xFFFF) or _MOST_ENTRIES
    first = int(stated[1])
    if signed_input and vr_of(attributes, keyword) != "SS" and first > 0x7FFF:
        first -= 0x10000
    if not signed_input and first < 0 and integer(attributes, "PixelRepresentation", 1) == 0:
        first &= 0xFFFF
    return count, first, min(max(int(stated[2]), 1), 16)


@lru_cache(maxsize=16)
def expanded(segments: bytes, bits: int, count: int) -> bytes:
    """Return the entries of a segmented palette component as 16-bit words, up to `count` (PS3.3 C.7.9.2).

    Expansion stops where the data is broken.
    """
    data = list(segments) if bits <= 8 else _words(segments).tolist()
    entries: list[int] = []
    _expand(data, 0, len(data), entries, count, 1 if bits <= 8 else 2)
    return np.array(entries[:count], "<u2").tobytes()


def _expand(data: list[int], position: int, segments: int, entries: list[int], count: int, unit: int) -> None:
    """Append the entries of a number of segments, beginning at a position in `data` of elements of `unit` bytes."""
    while position + 1 < len(data) and segments > 0 and len(entries) < count:
        opcode, length = data[position], data[position + 1]
        position += 2
        segments -= 1
        if opcode == 0:
            entries += data[position : position + length]
            position += length
        elif opcode == 1 and position < len(data):
            entries += _ramp(entries[-1] if entries else 0, data[position], length)
            position += 1
        elif opcode == 2 and position + 4 // unit <= len(data):
            parts = data[position : position + 4 // unit]
            offset = sum(part << (8 * unit * place) for place, part in enumerate(parts))
            _copy(data, offset // unit, length, entries, count, unit)
            position += len(parts)
        else:
            return


def _copy(data: list[int], position: int, segments: int, entries: list[int], count: int, unit: int) -> None:
    """Append the entries of earlier segments; an indirect segment shall not refer to another one (C.7.9.2.3)."""
    for _ in range(segments):
        if position + 1 >= len(data) or data[position] not in (0, 1) or len(entries) >= count:
            return
        _expand(data, position, 1, entries, count, unit)
        position += 2 + (data[position + 1] if data[position] == 0 else 1)


def _ramp(start: int, end: int, length: int) -> list[int]:
    """Return the points of a line after `start` up to `end`, rounded."""
    return [int(start + (end - start) * step / length + 0.5) for step in range(1, length + 1)]


def _from_numbers(stored: list[Any]) -> npt.NDArray[np.uint16]:
    try:
        numbers_read = np.array(stored, np.int64)
    except (TypeError, ValueError, OverflowError):  # one by one, what is no number as 0
        numbers_read = np.array([int(as_number(value) or 0) & 0xFFFF for value in stored], np.int64)
    return (numbers_read & 0xFFFF).astype("<u2")


def _words(data: bytes) -> npt.NDArray[np.uint16]:
    return np.frombuffer(data[: len(data) - len(data) % 2], "<u2")


def _unpacked(words: npt.NDArray[np.uint16], count: int, bits: int) -> npt.NDArray[np.uint16]:
    """Return one entry a word; entries of 8 bits that are packed in fewer words than entries become words."""
    if bits <= 8 and len(words) < count and len(words) * 2 >= count:
        return words.view(np.uint8).astype("<u2")
    return words


def _table(entries: npt.NDArray[np.uint16], count: int, first: int, bits: int) -> LookupTable | None:
    if not len(entries):
        return None
    entries = entries[:count]
    if len(entries) < count:
        entries = np.concatenate([entries, np.repeat(entries[-1:], count - len(entries))])
    used = int(entries.max()).bit_length()
    if used > bits:
        bits = 16 if used > 8 and bits <= 8 else used
    return LookupTable(first, bits, entries.astype("<u2").tobytes())
