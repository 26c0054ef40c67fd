"""Value representations: how they are coded, and which one an element has when the file does not say.

Facts kept here:
- PS3.5 7.1.2: AE ... US have a 16-bit length in Explicit VR; all others two reserved bytes and a 32-bit length.
- PS3.5 6.2.2: the content of UN is coded Implicit VR Little Endian whatever the transfer syntax.
- PS3.5 Annex A: in Implicit VR, Pixel Data, Overlay Data and Waveform Data are OW.
"""

import struct
from functools import lru_cache

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, private_dictionary_VR, tag_for_keyword
from pydicom.valuerep import AMBIGUOUS_VR, EXPLICIT_VR_LENGTH_16, STANDARD_VR

from storage.dicom.elements import Dataset, Encoding, Tag

SHORT_VR: dict[bytes, str] = {vr.value.encode(): vr.value for vr in EXPLICIT_VR_LENGTH_16}
"""The VRs with a 16-bit length field, by their two bytes; none of them is SQ or UN."""

LONG_VR: dict[bytes, str] = {vr.value.encode(): vr.value for vr in STANDARD_VR - EXPLICIT_VR_LENGTH_16}
"""The VRs with a 32-bit length field, by their two bytes."""

AMBIGUOUS = frozenset(vr.value for vr in AMBIGUOUS_VR)
"""The dictionary's "US or SS" and its like."""

PLAIN_VR: dict[Tag, str] = {
    tag: str(entry[0])
    for tag, entry in DicomDictionary.items()
    if entry[0] not in AMBIGUOUS and entry[0] not in ("SQ", "UN", "NONE")
}
"""VR by tag of the standard attributes whose value can be taken as it is."""

WORD_BYTES: dict[str, int] = {
    **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "OD", "SV", "UV", "OV"), 8),
}
"""Bytes of the words whose order depends on the endianness, by VR; the other VRs are byte strings."""

_NUL_PADDED = frozenset(("UI", "OB", "UN", *WORD_BYTES))


def tag_of(keyword: str) -> Tag:
    """Return the tag of a keyword of the data dictionary (PS3.6)."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise LookupError(f"{keyword} is no keyword of the data dictionary")
    return int(tag)


PIXEL_DATA = tag_of("PixelData")
_BITS_ALLOCATED = tag_of("BitsAllocated")
_PIXEL_REPRESENTATION = tag_of("PixelRepresentation")
_LUT_DESCRIPTOR = tag_of("LUTDescriptor")
_LUT_DATA = tag_of("LUTData")
_WAVEFORM_BITS_ALLOCATED = tag_of("WaveformBitsAllocated")


@lru_cache(maxsize=4096)
def standard_vr(tag: Tag) -> str | None:
    """Return the dictionary's VR of a public tag (it may be ambiguous), or None when it is not listed."""
    if tag & 0xFFFF == 0:
        return "UL"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return None
    return None if vr == "NONE" else str(vr)


def private_vr(tag: Tag, dataset: Dataset) -> str:
    """Return the VR of a private tag: LO for a creator, the private dictionary's when the creator is known, else UN.

    Parameters
    ----------
    tag : int
        A tag of an odd group.
    dataset : Dataset
        The data set the element belongs to, as far as it was read; creators come first (PS3.5 7.8.1).
    """
    number = tag & 0xFFFF
    if number == 0:
        return "UL"
    if 0x10 <= number <= 0xFF:
        return "LO"
    creator = dataset.get(tag & 0xFFFF0000 | number >> 8)
    if creator is None or not isinstance(creator.value, bytes):
        return "UN"
    return _private_dictionary_vr(tag, creator.value)


@lru_cache(maxsize=4096)
def _private_dictionary_vr(tag: Tag, creator: bytes) -> str:
    try:
        return str(private_dictionary_VR(tag, creator.decode("latin-1").rstrip("\0 ").lstrip(" ")))
    except KeyError:
        return "UN"


def resolve(tag: Tag, vr: str, levels: tuple[Dataset, ...], *, explicit: bool, little_endian: bool) -> str:
    """Return the one VR that an ambiguous dictionary VR stands for (D-162).

    Parameters
    ----------
    tag : int
        The tag of the element.
    vr : str
        "US or SS", "OB or OW", "US or OW" or "US or SS or OW".
    levels : tuple of Dataset
        The data set of the element, then the enclosing ones, innermost first; read to their ends.
    explicit, little_endian : bool
        How the element is encoded.
    """
    order = "little" if little_endian else "big"
    dataset = levels[0]
    if vr == "US or SS":
        for level in levels:
            signed = first_word(level, _PIXEL_REPRESENTATION, order)
            if signed is not None:
                return "SS" if signed == 1 else "US"
        return "US"
    if tag == _LUT_DATA:
        return "US" if first_word(dataset, _LUT_DESCRIPTOR, order) == 1 else "OW"
    if vr == "OB or OW" and explicit and not 0x60000000 <= tag < 0x61000000:
        bits = first_word(dataset, _BITS_ALLOCATED if tag >> 16 == 0x7FE0 else _WAVEFORM_BITS_ALLOCATED, order)
        return "OW" if bits is not None and bits > 8 else "OB"
    return "OW"


def first_word(dataset: Dataset, tag: Tag, order: str) -> int | None:
    """Return the first value of a US element of the data set, or None when it is absent, empty or of another kind."""
    element = dataset.get(tag)
    if element is None or not isinstance(element.value, bytes) or len(element.value) < 2:
        return None
    return int.from_bytes(element.value[:2], "little" if order == "little" else "big")


def explicit_head(tag: Tag, vr: str, length: int) -> bytes:
    """Return tag, VR and length of an element in Explicit VR Little Endian (PS3.5 7.1.2).

    A value too long for a 16-bit length is given as UN (A-051, PS3.5 6.2.2).
    """
    code = vr.encode("ascii")
    if code in SHORT_VR:
        if length <= 0xFFFE:
            return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, code, length)
        code = b"UN"
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, code, 0, length)


def implicit_head(tag: Tag, vr: str, length: int) -> bytes:
    """Return tag and length of an element in Implicit VR Little Endian (PS3.5 7.1.3); its VR is not told."""
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length)


def padding(vr: str) -> bytes:
    """Return the byte that makes a value of odd length even (PS3.5 6.2)."""
    return b"\0" if vr in _NUL_PADDED else b" "


def explicit_element(tag: Tag, vr: str, value: bytes) -> bytes:
    """Return a whole element in Explicit VR Little Endian, its value padded to even length."""
    if len(value) & 1:
        value += padding(vr)
    return explicit_head(tag, vr, len(value)) + value


def big_endian_bytes(encoding: Encoding, vr: str) -> int:
    """Return how many bytes of a value must be reversed at a time to get little endian; 1 for none."""
    if not encoding.has_big_endian or (encoding.little_endian and vr != "OW"):
        return 1
    return WORD_BYTES.get(vr, 1)


def swapped(vr: str, value: bytes) -> bytes:
    """Return a value with the other byte order of its words; a rest that is no whole word stays as it is."""
    return swapped_words(WORD_BYTES.get(vr, 1), value)


def swapped_words(size: int, value: bytes) -> bytes:
    """Return the bytes with every word of `size` bytes reversed; a rest that is no whole word stays as it is."""
    if size == 1:
        return value
    whole = len(value) - len(value) % size
    result = bytearray(value)
    for at in range(size):
        result[at:whole:size] = value[size - 1 - at : whole : size]
    return bytes(result)
