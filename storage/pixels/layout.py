"""Where the data set and its pixel data lie in a stored file, so that frames are read without parsing it again.

Facts kept here:
- PS3.5 8.1.1 and 8.2: native frames follow each other without padding, to the bit.
- PS3.3 C.7.6.3.1.2: native YBR_FULL_422 has two samples a pixel; YBR_PARTIAL_420 one and a half.
- PS3.18 8.7.3.3.1: native frames are given out in little endian; a 1-bit frame alone starts at bit 0 of its first byte.
- Big endian OW of 8 bit or less is swapped in 16-bit words; with more Bits Allocated, writers swap whole samples.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from storage.dicom.elements import Dataset, Element, Encoding, Header, Tag
from storage.dicom.fragments import ITEM_HEAD
from storage.dicom.vr import PIXEL_DATA, big_endian_bytes, first_word, swapped_words, tag_of
from storage.errors import NotFound

FLOAT_PIXEL_DATA = tag_of("FloatPixelData")
DOUBLE_FLOAT_PIXEL_DATA = tag_of("DoubleFloatPixelData")
PIXEL_DATA_TAGS = (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA)

FRAGMENTED = 1 << 63
"""Set in the length of a frame table entry whose span holds several fragments with their item headers."""

_SOP_CLASS_UID = tag_of("SOPClassUID")
_PHOTOMETRIC_INTERPRETATION = tag_of("PhotometricInterpretation")
_WORDS = {
    name: tag_of(keyword)
    for name, keyword in (
        ("rows", "Rows"),
        ("columns", "Columns"),
        ("samples", "SamplesPerPixel"),
        ("bits_allocated", "BitsAllocated"),
        ("bits_stored", "BitsStored"),
        ("high_bit", "HighBit"),
        ("pixel_representation", "PixelRepresentation"),
        ("planar_configuration", "PlanarConfiguration"),
    )
}


@dataclass(slots=True)
class FrameTable:
    """The frames of one instance.

    Attributes
    ----------
    frames : int
        How many can be read.
    table : bytes or None
        16 bytes a frame, two little endian 64-bit numbers: the offset in the file, and the length; bit 63 of the
        length says that the span holds several fragments with item headers. None for native pixel data, whose
        frames are found by arithmetic.
    kind : {"native", "encapsulated"}
        How the pixel data is written.
    warnings : list of str
        What does not fit together; safe to show.
    """

    frames: int
    table: bytes | None
    kind: Literal["native", "encapsulated"]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Pixel data of one instance.

    Attributes
    ----------
    tag : int
        (7FE0,0010), (7FE0,0008) or (7FE0,0009).
    offset, length : int
        The value field, in bytes of the (inflated) file; without the delimiter when encapsulated.
    encapsulated : bool
        Whether the value is fragments (PS3.5 A.4).
    frames : int
        How many frames can be read.
    frame_bits : int
        Bits of one native frame, 0 when the data set does not tell.
    rows, columns, samples, bits_allocated, bits_stored, high_bit, pixel_representation, planar_configuration : int
        As in the data set, 0 where absent; bits allocated are 32 and 64 for the float kinds.
    photometric_interpretation : str
        As in the data set.
    word_bytes : int
        Bytes of the words that must be reversed to get little endian; 1 for none.
    """

    tag: Tag
    offset: int
    length: int
    encapsulated: bool
    frames: int
    frame_bits: int
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    planar_configuration: int
    photometric_interpretation: str
    word_bytes: int = 1


@dataclass(frozen=True, slots=True)
class Layout:
    """Where what is in a stored file; positions are in bytes of the (inflated) file.

    `has_preamble` says whether the file may be given out byte for byte, see `Header`; `cut_off` that something of the
    instance did not come with it, so that its frames and bulk data change when the whole of it comes; `regular` that
    the data set is written in its encoding throughout, see `Header`.
    """

    encoding: Encoding
    dataset_offset: int
    has_preamble: bool
    file_length: int
    sop_class_uid: str
    pixel_data: PixelLayout | None
    cut_off: bool = False
    regular: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return plain types that `from_json` takes back."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Make a layout from what `to_json` returned."""
        pixel_data = fields["pixel_data"]
        return cls(
            **fields
            | {
                "encoding": Encoding(**fields["encoding"]),
                "pixel_data": PixelLayout(**pixel_data) if pixel_data else None,
            }
        )


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes of the file that hold one frame.

    Attributes
    ----------
    offset, length : int
        What to read, in bytes.
    bit_offset : int
        Where the frame starts in the bytes read; counted after the reversal of words.
    bit_length : int
        Bits of the frame; of the whole span when it is encapsulated.
    fragmented : bool
        Whether item headers are between the parts of the frame.
    """

    offset: int
    length: int
    bit_offset: int
    bit_length: int
    fragmented: bool


def layout_of(header: Header, frames: FrameTable | None, *, cut_off: bool = False) -> Layout:
    """Return the layout of a file from its header and its frame table."""
    sop_class = header.dataset.get(_SOP_CLASS_UID)
    pixel_data = pixel_layout(header, frames.frames) if frames else None
    return Layout(
        header.encoding,
        header.dataset_offset,
        header.has_preamble,
        header.file_length,
        _text(sop_class),
        pixel_data,
        cut_off,
        header.regular,
    )


def pixel_element(dataset: Dataset) -> Element | None:
    """Return the element that holds the pixels, or None when there is none or it is empty."""
    for tag in PIXEL_DATA_TAGS:
        element = dataset.get(tag)
        if element is not None and element.length and element.vr != "SQ":
            return element
    return None


def pixel_layout(header: Header, frames: int) -> PixelLayout | None:
    """Describe the pixel data of a file, or return None when it has none.

    Parameters
    ----------
    header : Header
        Of the file.
    frames : int
        The number of its frames, as `frame_table` found it; 0 when not known yet.
    """
    element = pixel_element(header.dataset)
    if element is None:
        return None
    order = "little" if header.encoding.little_endian else "big"
    words = {name: first_word(header.dataset, tag, order) or 0 for name, tag in _WORDS.items()}
    words["samples"] = words["samples"] or 1
    if element.tag != PIXEL_DATA:
        words["bits_allocated"] = 32 if element.tag == FLOAT_PIXEL_DATA else 64
    photometric_interpretation = _text(header.dataset.get(_PHOTOMETRIC_INTERPRETATION))
    frame_bits = words["rows"] * words["columns"] * words["samples"] * words["bits_allocated"]
    if not element.encapsulated and words["samples"] == 3:
        frame_bits = subsampled_bits(frame_bits, photometric_interpretation, element.length * 8, frames)
    return PixelLayout(
        element.tag,
        element.offset,
        element.length,
        element.encapsulated,
        frames,
        frame_bits,
        photometric_interpretation=photometric_interpretation,
        word_bytes=_word_bytes(element, words["bits_allocated"], header.encoding),
        **words,
    )


def subsampled_bits(frame_bits: int, photometric_interpretation: str, available_bits: int, frames: int) -> int:
    """Return the bits of a frame whose chrominance has fewer samples, unless the value is long enough for all.

    Some writers decompress to full samples and leave the Photometric Interpretation as it was.
    """
    share = {"YBR_FULL_422": (2, 3), "YBR_PARTIAL_422": (2, 3), "YBR_PARTIAL_420": (1, 2)}
    numerator, denominator = share.get(photometric_interpretation, (1, 1))
    if 0 < max(frames, 1) * frame_bits <= available_bits:
        return frame_bits
    return frame_bits * numerator // denominator


def _word_bytes(element: Element, bits_allocated: int, encoding: Encoding) -> int:
    if element.encapsulated:
        return 1
    if encoding.little_endian:
        return big_endian_bytes(encoding, element.vr)
    if element.tag != PIXEL_DATA:
        return bits_allocated // 8
    if bits_allocated in (16, 32, 64):
        return bits_allocated // 8
    return 2 if element.vr == "OW" else 1


def _text(element: Element | None) -> str:
    value = element.value if element else None
    return value.decode("latin-1").split("\\")[0].strip(" \0") if isinstance(value, bytes) else ""


def frame_span(pixel: PixelLayout, frame_index: int, entry: bytes | None) -> Span:
    """Return where one frame is.

    Parameters
    ----------
    pixel : PixelLayout
        The pixel data.
    frame_index : int
        Counted from 0.
    entry : bytes, optional
        The 16 bytes of the frame table for this frame; needed for encapsulated pixel data only.

    Raises
    ------
    NotFound
        There is no such frame.

    Standard
    --------
    PS3.5 8.2 and A.4; PS3.18 10.4.1.1.6.
    """
    if not 0 <= frame_index < pixel.frames:
        raise NotFound(f"The instance has {pixel.frames} frame(s), counted from 1.")
    if pixel.encapsulated:
        if entry is None or len(entry) != 16:
            raise NotFound(f"Frame {frame_index + 1} has no place in the frame table.")
        offset, length = int.from_bytes(entry[:8], "little"), int.from_bytes(entry[8:], "little")
        fragmented = bool(length & FRAGMENTED)
        length &= FRAGMENTED - 1
        return Span(offset, length, 0, length * 8, fragmented)
    start_bit = pixel.frame_bits * frame_index
    start = start_bit // 8
    end = (start_bit + pixel.frame_bits + 7) // 8
    if pixel.word_bytes > 1:  # read whole words, so that they can be reversed
        start -= start % pixel.word_bytes
        end = min(end + -end % pixel.word_bytes, pixel.length)
    return Span(pixel.offset + start, end - start, start_bit - start * 8, pixel.frame_bits, False)


def frame_bytes(span: Span, raw: bytes, layout: Layout) -> bytes:
    """Return a frame as it is given out: the compressed stream, or native samples in little endian.

    Parameters
    ----------
    span : Span
        From `frame_span`.
    raw : bytes
        The bytes of the span.
    layout : Layout
        Of the file.

    Returns
    -------
    bytes
        Fragments joined without item headers (D-048); or samples in little endian (D-054) from bit 0 (D-051, D-052).
    """
    if span.fragmented:
        return _joined(raw)
    pixel = layout.pixel_data
    if pixel is None or pixel.encapsulated:
        return raw
    raw = swapped_words(pixel.word_bytes, raw)
    if not span.bit_offset % 8 and not span.bit_length % 8:
        start = span.bit_offset // 8
        length = span.bit_length // 8
        return raw if not start and length == len(raw) else raw[start : start + length]
    bits = int.from_bytes(raw, "little") >> span.bit_offset
    return (bits & ((1 << span.bit_length) - 1)).to_bytes((span.bit_length + 7) // 8, "little")


def _joined(raw: bytes) -> bytes:
    """Strip the item headers between fragments."""
    parts: list[bytes] = []
    position = 0
    while raw[position : position + 4] == ITEM_HEAD:
        length = int.from_bytes(raw[position + 4 : position + 8], "little")
        parts.append(raw[position + 8 : position + 8 + length])
        position += 8 + length
    return b"".join(parts)
