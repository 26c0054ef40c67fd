"""The transfer syntaxes the archive knows: the one table of what each is and what can be done with it.

Facts kept here:

- PS3.6 Annex A: the UIDs. PS3.5 Annex A: how pixel data is written in each.
- PS3.18 Tables 8.7.3-4 and 8.7.3-5: the media type of a frame, and which syntax it means when a client names none.
- `decode` and `encode` name functions in `DECODERS` and `ENCODERS` of `storage/pixels`; so this module is
  read without loading a codec. None: such frames are passed through as they are, or not made.
- A syntax may cover others: a JPEG 2000 (.91) stream may well be reversible, a near-lossless JPEG-LS one lossless.

To add a syntax, add a row, and a test against another decoder in `tests/storage/pixels/test_pixel_data.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

IMPLICIT_LE: Final = "1.2.840.10008.1.2"
EXPLICIT_LE: Final = "1.2.840.10008.1.2.1"
EXPLICIT_BE: Final = "1.2.840.10008.1.2.2"
ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
DEFLATED_LE: Final = "1.2.840.10008.1.2.1.99"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"
GE_BIG_ENDIAN_WORDS: Final = "1.2.840.113619.5.2"
"""Private: Implicit VR Little Endian, but samples of 16 bits, overlays and lookup tables are big endian words."""
DEFLATED_IMAGE_FRAME: Final = "1.2.840.10008.1.2.8.1"

_4 = "1.2.840.10008.1.2.4."
JPEG_BASELINE: Final = _4 + "50"
JPEG_EXTENDED: Final = _4 + "51"
JPEG_RETIRED: Final = tuple(_4 + suffix for suffix in ("52", "53", "54", "55", "56"))
"""Progressive, or with arithmetic coding, but not hierarchical: libjpeg-turbo decodes these."""
JPEG_LOSSLESS: Final = _4 + "57"
JPEG_LOSSLESS_SV1: Final = _4 + "70"
JPEG_LS_LOSSLESS: Final = _4 + "80"
JPEG_LS_NEAR_LOSSLESS: Final = _4 + "81"
JPEG_2000_LOSSLESS: Final = _4 + "90"
JPEG_2000: Final = _4 + "91"
HTJ2K_LOSSLESS: Final = _4 + "201"
HTJ2K_LOSSLESS_RPCL: Final = _4 + "202"
HTJ2K: Final = _4 + "203"
JPEG_XL_LOSSLESS: Final = _4 + "110"
JPEG_XL_RECOMPRESSION: Final = _4 + "111"
JPEG_XL: Final = _4 + "112"

OCTET_STREAM: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """One transfer syntax.

    Attributes
    ----------
    uid : str
        Transfer Syntax UID.
    media_type : str
        Of one frame, or of a video.
    encapsulated : bool
        Whether Pixel Data consists of fragments (PS3.5 A.4).
    lossy : bool
        Whether information may have been lost by it; a stream in it need not have lost any.
    decode : str or None
        The decoder of its frames.
    encode : str or None
        The encoder that makes frames in it.
    default : bool
        Whether it is meant when a client names the media type alone.
    covers : frozenset of str
        Other transfer syntaxes whose frames are also legal in this one.
    """

    uid: str
    media_type: str
    encapsulated: bool = True
    lossy: bool = False
    decode: str | None = None
    encode: str | None = None
    default: bool = False
    covers: frozenset[str] = frozenset()

    @property
    def native(self) -> bool:
        """Whether the samples of a frame are written one after another, without compression of the frame."""
        return not self.encapsulated


def _row(
    uid: str,
    media_type: str,
    decode: str | None = None,
    encode: str | None = None,
    *,
    encapsulated: bool = True,
    lossy: bool = False,
    default: bool = False,
    covers: tuple[str, ...] = (),
) -> TransferSyntax:
    return TransferSyntax(uid, media_type, encapsulated, lossy, decode, encode, default, frozenset(covers))


def _video(suffix: str, media_type: str, *, default: bool = False) -> TransferSyntax:
    return _row(_4 + suffix, media_type, lossy=True, default=default)


# The order matters: it is the order of preference among the syntaxes of one media type.
_ROWS: Final = (
    _row(EXPLICIT_LE, OCTET_STREAM, "native", "native", encapsulated=False, default=True),
    _row(IMPLICIT_LE, OCTET_STREAM, "native", encapsulated=False),
    _row(EXPLICIT_BE, OCTET_STREAM, "native", encapsulated=False),
    _row(DEFLATED_LE, OCTET_STREAM, "native", encapsulated=False),
    _row(GE_BIG_ENDIAN_WORDS, OCTET_STREAM, "native", encapsulated=False),
    # The Standard gives uncompressed and deflated frames in fragments no media type of their own.
    _row(ENCAPSULATED_UNCOMPRESSED, OCTET_STREAM, "uncompressed", "native"),
    _row(DEFLATED_IMAGE_FRAME, OCTET_STREAM, "deflate", "deflate"),
    _row(JPEG_LOSSLESS_SV1, "image/jpeg", "jpeg_lossless", "jpeg_lossless", default=True),
    _row(JPEG_BASELINE, "image/jpeg", "jpeg", "jpeg", lossy=True),
    _row(JPEG_EXTENDED, "image/jpeg", "jpeg", "jpeg_12", lossy=True, covers=(JPEG_BASELINE,)),
    _row(JPEG_LOSSLESS, "image/jpeg", "jpeg_lossless", covers=(JPEG_LOSSLESS_SV1,)),
    *(_row(uid, "image/jpeg", "jpeg", lossy=True) for uid in JPEG_RETIRED),
    _row(RLE_LOSSLESS, "image/dicom-rle", "rle", "rle", default=True),
    _row(JPEG_LS_LOSSLESS, "image/jls", "jpeg_ls", "jpeg_ls", default=True),
    _row(JPEG_LS_NEAR_LOSSLESS, "image/jls", "jpeg_ls", lossy=True, covers=(JPEG_LS_LOSSLESS,)),
    _row(JPEG_2000_LOSSLESS, "image/jp2", "jpeg_2000", "jpeg_2000", default=True),
    _row(JPEG_2000, "image/jp2", "jpeg_2000", "jpeg_2000_lossy", lossy=True, covers=(JPEG_2000_LOSSLESS,)),
    # Part 2 transforms several components together, which no free decoder undoes.
    _row(_4 + "92", "image/jpx", default=True),
    _row(_4 + "93", "image/jpx", lossy=True, covers=(_4 + "92",)),
    _row(HTJ2K_LOSSLESS, "image/jphc", "jpeg_2000", "htj2k", default=True),
    _row(HTJ2K_LOSSLESS_RPCL, "image/jphc", "jpeg_2000", "htj2k_rpcl", covers=(HTJ2K_LOSSLESS,)),
    _row(HTJ2K, "image/jphc", "jpeg_2000", lossy=True, covers=(HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL)),
    _row(JPEG_XL_LOSSLESS, "image/jxl", "jpeg_xl", default=True),
    _row(JPEG_XL_RECOMPRESSION, "image/jxl", "jpeg_xl", lossy=True),
    _row(JPEG_XL, "image/jxl", "jpeg_xl", lossy=True, covers=(JPEG_XL_LOSSLESS, JPEG_XL_RECOMPRESSION)),
    # MPEG-2 (main profile, main and high level), as one stream and in fragments
    _video("101", "video/mpeg", default=True),
    _video("100", "video/mpeg"),
    _video("101.1", "video/mpeg"),
    _video("100.1", "video/mpeg"),
    # H.264
    _video("102", "video/mp4", default=True),
    *(_video(suffix, "video/mp4") for suffix in ("103", "104", "105", "106")),
    *(_video(suffix, "video/mp4") for suffix in ("102.1", "103.1", "104.1", "105.1", "106.1")),
    # HEVC (H.265)
    _video("107", "video/H265", default=True),
    _video("108", "video/H265"),
)

TRANSFER_SYNTAXES: Final[Mapping[str, TransferSyntax]] = {row.uid: row for row in _ROWS}
"""Transfer syntax by UID."""


def syntaxes_by_media_type() -> dict[str, tuple[str, ...]]:
    """Return the transfer syntax UIDs that frames of each media type may have, the default one first.

    Standard
    --------
    PS3.18 Tables 8.7.3-4 and 8.7.3-5.
    """
    found: dict[str, list[str]] = {}
    for row in _ROWS:
        found.setdefault(row.media_type, []).append(row.uid)
    return {media_type: tuple(uids) for media_type, uids in found.items()}


def decodable(transfer_syntax_uid: str) -> bool:
    """Whether frames in this syntax can be turned into pixels."""
    row = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    return row is not None and row.decode is not None


def encodable(transfer_syntax_uid: str, *, lossy: bool) -> bool:
    """Whether frames can be made in this syntax; a lossy one only when that is allowed (checklist A-049)."""
    row = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    return row is not None and row.encode is not None and (lossy or not row.lossy)
