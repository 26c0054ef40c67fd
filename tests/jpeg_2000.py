"""JPEG 2000 and HTJ2K codestreams for tests, components with fewer samples among them, which no encoder here makes.

A stream with the progression component-position-resolution-layer holds all packets of a component, then all of the
next (ITU-T T.800 B.12.1.5): put together, streams of one component each are a stream of several.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
Sampling = tuple[int, int]
"""The distance between samples of a component, across and down, in pixels."""

PATCHES = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (200, 120, 40),
    (255, 255, 255),
    (0, 0, 0),
    (90, 30, 160),
    (128, 128, 128),
)
PICTURE: Pixels = np.kron(np.array(PATCHES, np.uint8).reshape(2, 4, 3), np.ones((16, 16, 1), np.uint8))
"""Flat patches in RGB, so large that chrominance with a quarter of the samples is that of their colors."""

_TO_YBR = {
    "FULL": ([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]], [0, 128, 128]),
    "PARTIAL": ([[0.2568, 0.5041, 0.0979], [-0.1482, -0.291, 0.4392], [0.4392, -0.3678, -0.0714]], [16, 128, 128]),
}
"""Factors and offsets of PS3.3 C.7.6.3.1.2."""

LABELS = (
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_FULL_420",
    "YBR_ICT",
    "YBR_RCT",
    "YBR_PARTIAL_422",
    "YBR_PARTIAL_420",
)
"""What data sets call the colors of a codestream."""

TRANSFORMED, FULL, HALF, QUARTER = "transformed", "4:4:4", "4:2:2", "4:2:0"
FORMS = (TRANSFORMED, FULL, HALF, QUARTER)
"""With the multiple component transformation; and without, by the sampling of chrominance. Transformed components with
fewer samples cannot be: the transformation needs the samples of three components for each pixel (T.800 G.2)."""

_SIZ, _COD, _START_OF_TILE, _END = b"\xff\x51", b"\xff\x52", b"\xff\x90", b"\xff\xd9"
_CPRL = 4


def ybr(rgb: Pixels, family: str) -> Pixels:
    """Return 8-bit colors in YBR, FULL or PARTIAL."""
    factors, offsets = _TO_YBR[family]
    return np.clip(np.rint(rgb @ np.array(factors).T + offsets), 0, 255).astype(np.uint8)


def rgb(samples: Pixels, photometric_interpretation: str) -> Pixels:
    """Return the RGB, not rounded, of 8-bit samples that have chrominance for every pixel."""
    if photometric_interpretation == "RGB":
        return samples.astype(float)
    factors, offsets = _TO_YBR["PARTIAL" if "PARTIAL" in photometric_interpretation else "FULL"]
    return np.clip((samples - np.array(offsets, float)) @ np.linalg.inv(factors).T, 0, 255)


def colored(form: str, label: str, *, high_throughput: bool) -> bytes:
    """Return the picture as a codestream that a data set with this label has.

    Components that are not transformed are what the label says; YBR where it says something that is not in the stream.
    """
    if form == TRANSFORMED:
        return encoded(PICTURE, high_throughput=high_throughput, transformed=True)
    components = ybr(PICTURE, "PARTIAL" if "PARTIAL" in label else "FULL")
    if form == FULL:
        return encoded(PICTURE if label == "RGB" else components, high_throughput=high_throughput)
    return subsampled(components, (2, 1) if form == HALF else (2, 2), high_throughput=high_throughput)


def named(form: str, label: str) -> str:
    """Return the color space that files are to have decoded samples in: RGB, unless they are honest YBR."""
    if form != FULL or label in ("YBR_ICT", "YBR_RCT"):
        return "RGB"
    return "YBR_FULL" if label.startswith("YBR_FULL") else label


def encoded(pixels: Pixels, *, high_throughput: bool = False, transformed: bool = False) -> bytes:
    """Return a lossless codestream, with the multiple component transformation or without."""
    if high_throughput:
        return bytes(imagecodecs.htj2k_encode(pixels, reversible=True, rgb=transformed, planar=False))
    return bytes(
        imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, resolutions=1, codecformat="J2K", mct=transformed)
    )


def subsampled(pixels: Pixels, sampling: Sampling, *, high_throughput: bool = False) -> bytes:
    """Return a lossless codestream whose second and third component have fewer samples."""
    across, down = sampling
    components = [pixels[..., 0], pixels[::down, ::across, 1], pixels[::down, ::across, 2]]
    streams = [encoded(np.ascontiguousarray(each), high_throughput=high_throughput) for each in components]
    return together(streams, [(1, 1), sampling, sampling])


def together(streams: Sequence[bytes], samplings: Sequence[Sampling]) -> bytes:
    """Return one stream of the components of several that have one component, one tile and one layer each."""
    heads, packets = zip(*(_parted(stream) for stream in streams), strict=True)
    head = b"\xff\x4f"
    for marker, segment in heads[0]:
        if marker == _SIZ:
            depth = segment[36:37]
            parts = (depth + bytes(sampling) for sampling in samplings)
            segment = segment[:34] + struct.pack(">H", len(streams)) + b"".join(parts)
        if marker == _COD:
            segment = segment[:1] + bytes([_CPRL]) + segment[2:4] + b"\0" + segment[5:]
        head += marker + struct.pack(">H", len(segment) + 2) + segment
    data = b"".join(packets)
    return head + _START_OF_TILE + struct.pack(">HHLBB", 10, 0, len(data) + 14, 0, 1) + b"\xff\x93" + data + _END


def _parted(stream: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the segments of the main header, and the packets."""
    segments = list(_segments(stream))
    at = 2 + sum(len(segment) + 4 for _, segment in segments)
    length = struct.unpack_from(">L", stream, at + 6)[0] or len(stream) - 2 - at
    start = stream.index(b"\xff\x93", at) + 2
    return segments, stream[start : at + length]


def _segments(stream: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 2
    while (marker := stream[at : at + 2]) != _START_OF_TILE:
        length = struct.unpack_from(">H", stream, at + 2)[0]
        yield marker, stream[at + 4 : at + 2 + length]
        at += 2 + length


def in_jp2(stream: bytes, color_space: int) -> bytes:
    """Return a codestream in a JP2 file that names a color space: 16 for sRGB, 18 for sYCC (T.800 I.5)."""
    size = struct.unpack_from(">LL", stream, 8)
    header = _box(b"ihdr", struct.pack(">LLHBBBB", size[1], size[0], 3, 7, 7, 0, 0))
    header += _box(b"colr", struct.pack(">BBBL", 1, 0, 0, color_space))
    signature = _box(b"jP  ", b"\r\n\x87\n") + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return signature + _box(b"jp2h", header) + _box(b"jp2c", stream)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", len(content) + 8) + kind + content
