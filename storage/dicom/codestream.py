"""What a compressed frame is, told from its first bytes: the fallback where headers are silent or wrong.

Facts kept here: JPEG and JPEG-LS start with SOI (FFD8), JPEG 2000 with SOC SIZ (FF4F FF51) or a JP2 signature box, RLE
with a 64-byte header of 16 little endian words (PS3.5 Annex G), JPEG XL with FF0A or its signature box.
"""

from typing import Literal

from storage.dicom.jpeg_segments import JPEG_LS, START_OF_SCAN, head_segments

Family = Literal["jpeg", "jpeg2000", "jpegxl", "rle"]

_JP2_SIGNATURE = b"\0\0\0\x0cjP  "
_JXL_SIGNATURE = b"\0\0\0\x0cJXL "

_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
_JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
_JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
_JPEG_LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
_JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
_JPEG_2000 = "1.2.840.10008.1.2.4.91"
_HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
_HTJ2K = "1.2.840.10008.1.2.4.203"
_RLE_LOSSLESS = "1.2.840.10008.1.2.5"


def family(head: bytes) -> Family | None:
    """Return which kind of codestream starts with these bytes (64 suffice), or None when none does."""
    if head.startswith(b"\xff\xd8"):
        return "jpeg"
    if head.startswith((b"\xff\x4f\xff\x51", _JP2_SIGNATURE)):
        return "jpeg2000"
    if head.startswith((b"\xff\x0a", _JXL_SIGNATURE)):
        return "jpegxl"
    return "rle" if _is_rle_header(head) else None


def rle_segments(head: bytes) -> int:
    """Return how many segments an RLE frame says it has (PS3.5 G.5)."""
    return int.from_bytes(head[:4], "little")


def _is_rle_header(head: bytes) -> bool:
    if len(head) < 64:
        return False
    words = [int.from_bytes(head[at : at + 4], "little") for at in range(0, 64, 4)]
    count, offsets = words[0], words[1:]
    used, unused = offsets[:count], offsets[count:]
    return 1 <= count <= 15 and offsets[0] == 64 and used == sorted(used) and not any(unused)


def transfer_syntax_of(head: bytes) -> str | None:
    """Return the transfer syntax UID that the start of a frame is coded in, as far as it can be told.

    Parameters
    ----------
    head : bytes
        The first bytes of the frame, up to its first scan or tile (some kilobytes).
    """
    kind = family(head)
    if kind == "rle":
        return _RLE_LOSSLESS
    if kind == "jpeg":
        return _jpeg(head)
    if kind == "jpeg2000":
        return _jpeg2000(head[max(head.find(b"\xff\x4f\xff\x51"), 0) :])
    return None


def _jpeg(head: bytes) -> str | None:
    """Walk the marker segments to the frame header, and for the lossless kinds on to the scan header."""
    frame = 0
    for marker, start, end in head_segments(head):
        if marker == 0xC0:
            return _JPEG_BASELINE
        if marker == 0xC1:
            return _JPEG_EXTENDED
        if marker in (0xC3, JPEG_LS):
            frame = marker
        if marker == START_OF_SCAN:
            selection = head[end - 3] if end - start >= 3 else 0  # predictor, or NEAR of JPEG-LS
            if frame == JPEG_LS:
                return _JPEG_LS_NEAR_LOSSLESS if selection else _JPEG_LS_LOSSLESS
            if frame == 0xC3:
                return _JPEG_LOSSLESS_SV1 if selection == 1 else _JPEG_LOSSLESS
    return None


def _jpeg2000(head: bytes) -> str | None:
    """Read from the main header whether the blocks are high-throughput and the wavelet is reversible."""
    high_throughput = False
    position = 2
    while position + 4 <= len(head):
        marker = head[position : position + 2]
        length = int.from_bytes(head[position + 2 : position + 4], "big")
        if marker == b"\xff\x50":
            high_throughput = True
        if marker == b"\xff\x52" and position + 14 <= len(head):
            reversible = head[position + 13] == 1
            if high_throughput:
                return _HTJ2K_LOSSLESS if reversible else _HTJ2K
            return _JPEG_2000_LOSSLESS if reversible else _JPEG_2000
        if marker[:1] != b"\xff" or marker == b"\xff\x90" or length < 2:
            return None
        position += 2 + length
    return None
