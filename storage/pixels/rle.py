"""RLE, as DICOM compresses frames with it: planes of bytes, each packed by runs (PS3.5 Annex G).

Facts kept here:

- A frame starts with sixteen 32-bit little endian words: the number of segments, and where each starts.
- A segment is one byte of all samples of one color: first all of the first color, the most significant byte first.
- Packing is that of TIFF and Macintosh (PackBits): a head of 0 to 127 says that one more literal bytes follow, -127 to
  -1 that the next byte stands one more than so many times; -128 is nothing. Rows are packed one by one (G.3.1).
- Segments have even length; the byte that pads one is no data.
- With 1 bit allocated the only segment is the packed bits of the frame.

imagecodecs' own `dicomrle_decode` follows offsets outside of the frame and crashes the process; segments are cut here.
"""

import itertools
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from imagecodecs import packbits_decode, packbits_encode
from numpy.typing import NDArray

_HEAD: Final = struct.Struct("<16L")
MAX_SEGMENTS: Final = 15


def decode_planes(frame: bytes, count: int, length: int, *, missing: int = 0) -> list[NDArray[np.uint8]]:
    """Return the byte planes of a frame.

    Parameters
    ----------
    frame : bytes
        The RLE header and the segments.
    count : int
        How many segments there must be.
    length : int
        Bytes of each plane.
    missing : int
        How many bytes a segment may lack at its end; its last one is repeated.

    Raises
    ------
    ValueError
        When there are other segments, or one is too short.

    Standard
    --------
    PS3.5 G.3 to G.5.
    """
    if len(frame) < _HEAD.size:
        raise ValueError("the frame is shorter than the RLE header")
    segments, *offsets = _HEAD.unpack_from(frame)
    if segments != count:
        raise ValueError(f"there are {segments} RLE segments instead of {count}")
    bounds = [*offsets[:count], len(frame)]
    if bounds[0] < _HEAD.size or bounds != sorted(bounds):
        raise ValueError("the RLE offsets do not ascend within the frame")
    return [_unpack(frame[start:end], length, missing) for start, end in itertools.pairwise(bounds)]


def _unpack(segment: bytes, length: int, missing: int) -> NDArray[np.uint8]:
    plane = np.empty(length + 128, np.uint8)  # room for a last run that is longer than it should be
    try:
        filled = len(packbits_decode(segment, out=plane.data))
    except RuntimeError:  # more than fits, or cut short in a run: what comes after the plane is not wanted
        filled = _unpack_slowly(segment, plane)
    if filled < max(length - missing, 1):
        raise ValueError(f"an RLE segment holds {filled} bytes instead of {length}")
    plane[filled:length] = plane[filled - 1]
    return plane[:length]


def _unpack_slowly(segment: bytes, plane: NDArray[np.uint8]) -> int:
    """Unpack run by run until the plane is full or the segment ends; return how many bytes were found."""
    source = np.frombuffer(segment, np.uint8)
    at = filled = 0
    while at + 1 < len(source) and filled < len(plane):
        head = int(source[at])
        if head < 128:
            run = source[at + 1 : at + 2 + head]
            at += 2 + head
        else:
            run = np.repeat(source[at + 1], 257 - head if head > 128 else 0)
            at += 2 if head > 128 else 1
        run = run[: len(plane) - filled]
        plane[filled : filled + len(run)] = run
        filled += len(run)
    return filled


def encode_planes(planes: list[NDArray[np.uint8]]) -> bytes:
    """Return a frame of the byte planes, each of shape (rows, bytes of a row).

    Standard
    --------
    PS3.5 G.3.1, G.5.
    """
    segments = [_padded(bytes(packbits_encode(plane, axis=-1))) for plane in planes]
    offsets = [0] * MAX_SEGMENTS
    position = _HEAD.size
    for index, segment in enumerate(segments):
        offsets[index] = position
        position += len(segment)
    return b"".join([_HEAD.pack(len(segments), *offsets), *segments])


def _padded(segment: bytes) -> bytes:
    return segment + b"\0" if len(segment) % 2 else segment


def decode(
    frame: bytes,
    shape: Sequence[int],
    bits_allocated: int,
    *,
    missing: int = 0,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return the samples of a frame.

    Parameters
    ----------
    frame : bytes
        The RLE header and the segments.
    shape : tuple of int
        (rows, columns, samples).
    bits_allocated : int
        1, 8, 16 or 32.
    missing : int
        As for `decode_planes`.
    out : ndarray, optional
        Where the samples are to be.

    Returns
    -------
    ndarray
        `out`, or a new one: of the shape given, unsigned; single bits as bytes of 0 and 1.

    Raises
    ------
    ValueError
        When the segments are not those of such a frame.
    """
    rows, columns, samples = shape
    pixels = rows * columns
    if out is None:
        out = np.empty(shape, f"<u{max(bits_allocated // 8, 1)}")
    if bits_allocated == 1:
        (packed,) = decode_planes(frame, 1, (pixels * samples + 7) // 8, missing=missing)
        out.reshape(-1)[:] = np.unpackbits(packed, count=pixels * samples, bitorder="little")
        return out
    size = bits_allocated // 8
    planes = decode_planes(frame, samples * size, pixels, missing=missing)
    cells = out.reshape(pixels, samples)
    for sample in range(samples):
        cell = cells[:, sample]
        cell[...] = planes[sample * size]
        for plane in planes[sample * size + 1 : (sample + 1) * size]:
            np.left_shift(cell, 8, out=cell)
            np.bitwise_or(cell, plane, out=cell)
    return out


def encode(pixels: NDArray[Any], bits_allocated: int) -> bytes:
    """Return a frame of samples in shape (rows, columns, samples); single bits are given as bytes of 0 and 1."""
    if bits_allocated == 1:
        packed = np.packbits(pixels.reshape(-1), bitorder="little")
        return encode_planes([packed.reshape(1, -1)])
    rows, columns, samples = pixels.shape
    size = pixels.dtype.itemsize
    cells = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).view(np.uint8)
    cells = cells.reshape(rows, columns, samples, size)
    planes = [cells[:, :, sample, byte] for sample in range(samples) for byte in reversed(range(size))]
    return encode_planes([plane.copy() for plane in planes])  # contiguous, of one pixel as well
