"""A stored instance in another transfer syntax: the whole file, frame by frame, in constant memory.

Facts kept here:

- What need not change is not touched: native pixel data asked for uncompressed, and compressed data asked for in its
  own syntax, are copied. Uncompressed means Explicit VR Little Endian (checklist A-042, A-045).
- Attributes follow the pixels (PS3.5 8.2, checklist D-014): Photometric Interpretation, Bits where the stream holds
  more than stated, the VR of Pixel Data. Planar Configuration stays as it was for native samples, so that the metadata
  describes these too, and for RLE, which does not care but whose IODs do; all else is compressed by pixel.
- What describes the old encoding goes: the Extended Offset Table, its lengths and the total length (PS3.3 C.7.6.3).
- Loss is never forgotten (D-015): Lossy Image Compression is set where it was missing, and with what is lost here come
  ratio and method (A-053). The SOP Instance UID stays, since nothing is stored.
- Compressed pixel data inside of sequences (icons) is decoded, or its sequence left out: one file has one encoding.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from storage.dicom.elements import Dataset, Element, Header, Tag
from storage.dicom.source import Source
from storage.dicom.transfer_syntax import (
    EXPLICIT_LE,
    HTJ2K,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LS_NEAR_LOSSLESS,
    JPEG_RETIRED,
    RLE_LOSSLESS,
    TRANSFER_SYNTAXES,
)
from storage.dicom.vr import PIXEL_DATA, standard_vr, tag_of
from storage.errors import ArchiveError, CodecEnded, Damaged, UndecodablePixelData
from storage.pixels.encoders import DEFAULT_QUALITY, UnencodablePixelData, native_bytes
from storage.pixels.frame_table import frame_table
from storage.pixels.layout import PIXEL_DATA_TAGS, FrameTable, Layout, PixelLayout, frame_bytes, frame_span, layout_of
from storage.pixels.pixel_data import DecodedFrame, as_stated, decode_frame, encode_decoded, why_not_transcodable
from storage.writing.reencode import (
    Rewritten,
    explicit_little_endian,
    explicit_little_endian_length,
    rewritten_data_set,
)
from storage.writing.transcoded_pixels import EncapsulatedPixels, FrameQueue, NativePixels, group_of

_PHOTOMETRIC_INTERPRETATION = tag_of("PhotometricInterpretation")
_PLANAR_CONFIGURATION = tag_of("PlanarConfiguration")
_BITS_ALLOCATED, _BITS_STORED, _HIGH_BIT = tag_of("BitsAllocated"), tag_of("BitsStored"), tag_of("HighBit")
_EXTENDED_OFFSETS, _EXTENDED_LENGTHS = tag_of("ExtendedOffsetTable"), tag_of("ExtendedOffsetTableLengths")
_TOTAL_LENGTH = tag_of("EncapsulatedPixelDataValueTotalLength")
_LOSSY = tag_of("LossyImageCompression")
_LOSSY_RATIO, _LOSSY_METHOD = tag_of("LossyImageCompressionRatio"), tag_of("LossyImageCompressionMethod")

_METHODS: Final = {
    JPEG_BASELINE: "ISO_10918_1",
    JPEG_EXTENDED: "ISO_10918_1",
    **dict.fromkeys(JPEG_RETIRED, "ISO_10918_1"),
    JPEG_LS_NEAR_LOSSLESS: "ISO_14495_1",
    JPEG_2000: "ISO_15444_1",
    HTJ2K: "ISO_15444_15",
}
"""Lossy Image Compression Method by the transfer syntax that loses (PS3.3 C.7.6.1.1.5.1)."""
_MOST_ICON_BYTES: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Transcoded:
    """A Part 10 file in another transfer syntax; close it, or use it in a `with` statement.

    Attributes
    ----------
    transfer_syntax_uid : str
        Of the file.
    length : int
        Bytes of the file, exactly.
    warning : str
        What was mended in the first frame; empty for nothing.
    """

    transfer_syntax_uid: str
    length: int
    _source: Source
    _header: Header
    _close: Callable[[], None] | None = None
    warning: str = ""

    def stream(self) -> Iterator[bytes]:
        """Yield the file in chunks of at most 1 MiB; it may be called again.

        Raises
        ------
        UndecodablePixelData
            A frame after the first is damaged or differs from it. Only uncompressed files fail here.
        """
        return explicit_little_endian(self._source, self._header)

    def data_set(self, *, explicit_vr: bool = True) -> Rewritten:
        """Return the data set alone, as messages carry it (PS3.7 6.3).

        In Implicit VR, for which the file must be uncompressed, nothing compressed is left in sequences either.
        """
        if explicit_vr:
            return rewritten_data_set(self._source, self._header, explicit_vr=True)
        dataset = _without_compressed_items(self._header.dataset, self._source, self._header)
        plain = {
            tag: element._replace(encapsulated=bool(element.length and element.encapsulated))
            for tag, element in dataset.items()
        }
        return rewritten_data_set(self._source, replace(self._header, dataset=plain), explicit_vr=False)

    @property
    def source(self) -> Source:
        """Where large values of the file are read."""
        return self._source

    @property
    def pixel_data(self) -> tuple[int, int]:
        """Where in `source` the top-level pixel data is: offset and length in bytes, without padding."""
        element = next(self._header.dataset[tag] for tag in PIXEL_DATA_TAGS if tag in self._header.dataset)
        return element.offset, element.length

    def close(self) -> None:
        """Drop what was prepared, such as the temporary file."""
        if self._close is not None:
            self._close()

    def __enter__(self) -> "Transcoded":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Job:
    """One instance on its way into another transfer syntax."""

    source: Source
    header: Header
    layout: Layout
    pixel: PixelLayout
    table: bytes | None
    wanted_uid: str
    quality: int
    on_frame: Callable[[int], None] | None
    samples_as_stated: bool

    def decoded(self, index: int) -> DecodedFrame:
        """Read and decode one frame."""
        if self.on_frame is not None:
            self.on_frame(index)
        entry = self.table[16 * index : 16 * index + 16] if self.table is not None else None
        span = frame_span(self.pixel, index, entry)
        frame = frame_bytes(span, self.source.read(span.offset, span.length), self.layout)
        decoded = decode_frame(frame, self.pixel, self.header.transfer_syntax_uid)
        return as_stated(decoded, self.pixel) if self.samples_as_stated else decoded

    def decoded_like(self, index: int, first: DecodedFrame) -> DecodedFrame:
        """Decode one frame, which must be of the kind of the first, since one header describes all."""
        decoded = first if index == 0 else self.decoded(index)
        if _kind(decoded) != _kind(first):
            raise UndecodablePixelData(f"Frame {index + 1} differs from the first in depth or color.")
        return decoded


def _kind(frame: DecodedFrame) -> tuple[Any, ...]:
    return frame.pixels.shape, frame.pixels.dtype, frame.photometric_interpretation


def transcode(
    source: Source,
    header: Header,
    wanted_uid: str,
    *,
    frames: FrameTable | None = None,
    quality: int = DEFAULT_QUALITY,
    executor: Executor | None = None,
    folder: Path | None = None,
    on_frame: Callable[[int], None] | None = None,
    samples_as_stated: bool = False,
) -> Transcoded:
    """Write an instance in another transfer syntax.

    The first frame is decoded here; for a compressed syntax all are, into a temporary file, so that nothing can fail
    once the file is being sent.

    Parameters
    ----------
    source, header : Source, Header
        The file as `read_header` gave it.
    wanted_uid : str
        Explicit VR Little Endian, or a syntax that `transfer_syntax` has an encoder for.
    frames : FrameTable, optional
        Its frames when they are known already.
    quality : int
        1 to 100, for lossy syntaxes.
    executor : Executor, optional
        Threads that make a few frames ahead; it must not be the pool the caller blocks in.
    folder : Path, optional
        Where the temporary file of a compressed syntax is made.
    on_frame : callable, optional
        Called with the index of each frame before it is decoded, in any thread; what it raises ends the work.
    samples_as_stated : bool
        Whether the samples will go without the header that is written here, see `pixel_data.as_stated`.

    Raises
    ------
    UndecodablePixelData
        The stored pixel data cannot be decoded.
    UnencodablePixelData
        It cannot be written in the syntax wanted.
    LimitExceeded
        A frame is too large.
    OutOfSpace
        There is no room for the temporary file.

    Standard
    --------
    PS3.18 8.7.3.4, 10.4.3; PS3.5 Annex A; checklist A-042 to A-053, D-013 to D-015.
    """
    frames = frames or frame_table(source, header)
    layout = layout_of(header, frames)
    pixel = layout.pixel_data
    encapsulated = pixel is not None and pixel.encapsulated
    if wanted_uid == (header.transfer_syntax_uid if encapsulated else EXPLICIT_LE):
        return Transcoded(wanted_uid, explicit_little_endian_length(source, header), source, header)
    if pixel is None or not pixel.frames:
        raise UnencodablePixelData("The instance has no frames to be compressed or decompressed.")
    reason = why_not_transcodable(pixel, header.transfer_syntax_uid, wanted_uid)
    if reason is not None:
        raise UnencodablePixelData(reason)
    table = frames.table if frames else None
    job = _Job(source, header, layout, pixel, table, wanted_uid, quality, on_frame, samples_as_stated)
    return _decompressed(job, executor) if wanted_uid == EXPLICIT_LE else _compressed(job, executor, folder)


def _decompressed(job: _Job, executor: Executor | None) -> Transcoded:
    first = job.decoded(0)
    frame_bits = first.pixels.size * _allocated(first, job.pixel)
    group = group_of(frame_bits)

    def make(index: int) -> bytes:
        start = index * group
        found = [job.decoded_like(number, first) for number in range(start, min(start + group, job.pixel.frames))]
        if group == 1:
            return encode_decoded(found[0], job.pixel, EXPLICIT_LE).data
        return native_bytes(np.stack([frame.pixels for frame in found]), _allocated(first, job.pixel))

    pixels = NativePixels(job.source, make, frame_bits, job.pixel.frames, executor)
    changes = _native_description(job.header, job.pixel, first)
    vr = "OW" if _allocated(first, job.pixel) > 8 else "OB"
    changes[PIXEL_DATA] = Element(PIXEL_DATA, vr, None, pixels.offset, pixels.value_length)
    changed = _changed(job, changes)
    length = explicit_little_endian_length(pixels, changed)
    return Transcoded(EXPLICIT_LE, length, pixels, changed, pixels.close, first.warning)


def _compressed(job: _Job, executor: Executor | None, folder: Path | None) -> Transcoded:
    first = job.decoded(0)
    photometric = ""

    def make(index: int) -> bytes:
        nonlocal photometric
        encoded = encode_decoded(job.decoded_like(index, first), job.pixel, job.wanted_uid, quality=job.quality)
        photometric = encoded.photometric_interpretation  # the same for all frames of a kind
        return encoded.data

    pixels = EncapsulatedPixels(job.source, job.pixel.frames, folder)
    queue = FrameQueue(make, job.pixel.frames, executor)
    try:
        for index in range(job.pixel.frames):
            pixels.add(queue.frame(index))
        pixels.finish()
    except BaseException:
        queue.close()
        pixels.close()
        raise
    changes = _native_description(job.header, job.pixel, first)
    changes |= _compressed_description(job, photometric, pixels, first.pixels.nbytes * job.pixel.frames)
    changed = replace(_changed(job, changes), transfer_syntax_uid=job.wanted_uid)
    length = explicit_little_endian_length(pixels, changed)
    return Transcoded(job.wanted_uid, length, pixels, changed, pixels.close, first.warning)


def _allocated(frame: DecodedFrame, pixel: PixelLayout) -> int:
    return 1 if pixel.bits_allocated == 1 else frame.pixels.dtype.itemsize * 8


def _changed(job: _Job, changes: Dataset) -> Header:
    """Return the header with elements replaced, and without what describes the old encoding of the pixel data."""
    gone = {_EXTENDED_OFFSETS, _EXTENDED_LENGTHS, _TOTAL_LENGTH}
    kept = {tag: element for tag, element in job.header.dataset.items() if tag not in gone}
    dataset = _without_compressed_items(kept, job.source, job.header) | changes
    return replace(job.header, dataset=dict(sorted(dataset.items())))


def _native_description(header: Header, pixel: PixelLayout, first: DecodedFrame) -> Dataset:
    """Return the attributes of decoded samples that differ from what the data set states."""
    changes: Dataset = {}
    if pixel.photometric_interpretation != first.photometric_interpretation:
        changes |= _text(_PHOTOMETRIC_INTERPRETATION, first.photometric_interpretation)
    if pixel.samples > 1 and _PLANAR_CONFIGURATION not in header.dataset:
        changes |= _number(header, _PLANAR_CONFIGURATION, 0)
    if _allocated(first, pixel) != pixel.bits_allocated:
        for tag, value in (
            (_BITS_ALLOCATED, _allocated(first, pixel)),
            (_BITS_STORED, first.bits),
            (_HIGH_BIT, first.bits - 1),
        ):
            changes |= _number(header, tag, value)
    if first.lossy and _stated(header, _LOSSY) != "01":
        changes |= _text(_LOSSY, "01")
        method = _METHODS.get(first.transfer_syntax_uid)
        if method and pixel.length and not _stated(header, _LOSSY_RATIO):
            ratio = pixel.frames * pixel.frame_bits / 8 / pixel.length
            changes |= _text(_LOSSY_RATIO, f"{ratio:.2f}") | _text(_LOSSY_METHOD, method)
    return changes


def _compressed_description(job: _Job, photometric: str, pixels: EncapsulatedPixels, native_length: int) -> Dataset:
    """Return the attributes of compressed pixel data, the pixel data itself among them."""
    header = job.header
    element = Element(PIXEL_DATA, "OB", None, pixels.offset, pixels.value_length, encapsulated=True)
    changes = {PIXEL_DATA: element} | _text(_PHOTOMETRIC_INTERPRETATION, photometric)
    if job.pixel.samples > 1 and job.wanted_uid != RLE_LOSSLESS:
        changes |= _number(header, _PLANAR_CONFIGURATION, 0)
    if job.pixel.samples > 1 and job.wanted_uid == JPEG_BASELINE:  # chrominance takes all bits of the stream
        changes |= _number(header, _BITS_STORED, 8) | _number(header, _HIGH_BIT, 7)
    if not pixels.has_basic_offsets:
        changes |= _very_long(header, _EXTENDED_OFFSETS, pixels.offsets)
        changes |= _very_long(header, _EXTENDED_LENGTHS, pixels.lengths)
    if TRANSFER_SYNTAXES[job.wanted_uid].lossy:
        ratio = f"{native_length / max(pixels.compressed_bytes, 1):.2f}"
        changes |= _text(_LOSSY, "01")
        changes |= _text(_LOSSY_RATIO, _appended(header, _LOSSY_RATIO, ratio))
        changes |= _text(_LOSSY_METHOD, _appended(header, _LOSSY_METHOD, _METHODS[job.wanted_uid]))
    return changes


def _stated(header: Header, tag: Tag) -> str:
    element = header.dataset.get(tag)
    value = element.value if element else None
    return value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else ""


def _appended(header: Header, tag: Tag, value: str) -> str:
    stated = _stated(header, tag)
    return f"{stated}\\{value}" if stated else value


def _text(tag: Tag, value: str) -> Dataset:
    encoded = value.encode("latin-1")
    return {tag: Element(tag, standard_vr(tag) or "CS", encoded, 0, len(encoded))}


def _number(header: Header, tag: Tag, value: int) -> Dataset:
    """Return a US element; in the byte order of the file, whose elements are all turned round when it is written."""
    encoded = value.to_bytes(2, "little" if header.encoding.little_endian else "big")
    return {tag: Element(tag, standard_vr(tag) or "US", encoded, 0, 2)}


def _very_long(header: Header, tag: Tag, values: list[int]) -> Dataset:
    encoded = np.array(values, "<u8" if header.encoding.little_endian else ">u8").tobytes()
    return {tag: Element(tag, standard_vr(tag) or "OV", encoded, 0, len(encoded))}


def _without_compressed_items(dataset: Dataset, source: Source, header: Header) -> Dataset:
    """Return the data set with no compressed pixel data in any of its sequences."""
    result: Dataset = {}
    for tag, element in dataset.items():
        if isinstance(element.value, list) and any(_is_compressed(item) for item in element.value):
            try:
                items = [_decoded_item(item, source, header) for item in element.value]
            except (CodecEnded, Damaged):
                raise  # to be remembered; what ends a codec would be tried each time
            except ArchiveError:
                continue
            element = element._replace(value=items)
        result[tag] = element
    return result


def _is_compressed(dataset: Dataset) -> bool:
    """Whether there is compressed pixel data in an item, at any depth; depth was limited when it was read."""
    return any(
        element.encapsulated
        or (isinstance(element.value, list) and any(_is_compressed(item) for item in element.value))
        for element in dataset.values()
    )


def _decoded_item(item: Dataset, source: Source, header: Header) -> Dataset:
    """Return an item with its pixel data, one frame of it, uncompressed."""
    item = _without_compressed_items(item, source, header)
    own = replace(header, dataset=item)
    frames = frame_table(source, own)
    pixel = layout_of(own, frames).pixel_data
    if frames is None or pixel is None or not pixel.encapsulated:
        return item
    span = frame_span(pixel, 0, (frames.table or b"")[:16])
    raw = frame_bytes(span, source.read(span.offset, span.length), layout_of(own, frames))
    decoded = decode_frame(raw, pixel, header.transfer_syntax_uid, max_bytes=_MOST_ICON_BYTES)
    data = encode_decoded(decoded, pixel, EXPLICIT_LE).data
    if header.encoding.has_big_endian and _allocated(decoded, pixel) > 8:
        raise UndecodablePixelData("Compressed pixel data does not exist in big endian.")
    vr = "OW" if _allocated(decoded, pixel) > 8 else "OB"
    changes = _native_description(own, pixel, decoded) | {PIXEL_DATA: Element(PIXEL_DATA, vr, data, 0, len(data))}
    return dict(sorted((item | changes).items()))
