"""DICOM files (PS3.10): everything but the large values of one, and the file meta information of a new one.

Facts kept here:
- PS3.10 7.1: 128 bytes preamble, "DICM", file meta information in Explicit VR Little Endian, then the data set in the
  encoding of Transfer Syntax UID (0002,0010).
- Real files break every part of that: no preamble, no or partial or implicit file meta, group length absent or wrong,
  a transfer syntax that is not the one of the bytes. The bytes are believed, the header is not.
"""

import struct
from dataclasses import replace
from typing import Final

from storage.dicom.codestream import transfer_syntax_of
from storage.dicom.element_parser import ElementParser, not_dicom
from storage.dicom.elements import Dataset, Element, Encoding, Header, Limits
from storage.dicom.fragments import fragments
from storage.dicom.loss import Loss
from storage.dicom.source import BytesSource, FileSource, Source, inflated
from storage.dicom.transfer_syntax import GE_BIG_ENDIAN_WORDS
from storage.dicom.vr import PIXEL_DATA, SHORT_VR, explicit_element, first_word, standard_vr, tag_of
from storage.errors import InvalidDicom

__all__ = ["BytesSource", "FileSource", "Source", "encoding_of", "file_meta_bytes", "is_encapsulated", "read_header"]

IMPLICIT_LE: Final = "1.2.840.10008.1.2"
EXPLICIT_LE: Final = "1.2.840.10008.1.2.1"
EXPLICIT_BE: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"

IMPLEMENTATION_CLASS_UID: Final = "2.25.123875425177368352425912684582065112765"
IMPLEMENTATION_VERSION_NAME: Final = "DICOMWEB_0_1"

_EXPLICIT = Encoding()
_STANDARD = "1.2.840.10008."
"""Root of the transfer syntaxes of the Standard (PS3.6 Annex A)."""
_ENCODINGS = {
    IMPLICIT_LE: Encoding(explicit_vr=False),
    EXPLICIT_BE: Encoding(little_endian=False),
    DEFLATED: Encoding(deflated=True),
    GE_BIG_ENDIAN_WORDS: Encoding(explicit_vr=False, big_endian_words=True),
    "1.2.840.10008.1.2.4.95": Encoding(deflated=True),  # JPIP Referenced Deflate
    "1.2.840.10008.1.2.4.205": Encoding(deflated=True),  # JPIP HTJ2K Referenced Deflate
}
_REFERENCED = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (94, 95, 204, 205))
_ENCAPSULATED_PREFIXES = tuple(f"{_STANDARD}1.2.{suffix}" for suffix in ("1.98", "4.", "5", "8."))

_GROUP_LENGTH = tag_of("FileMetaInformationGroupLength")
_TRANSFER_SYNTAX_UID = tag_of("TransferSyntaxUID")
_REPEATED: Final = tuple(
    (tag_of(f"MediaStorage{keyword}"), tag_of(keyword)) for keyword in ("SOPClassUID", "SOPInstanceUID")
)
"""The elements of the file meta information that repeat one of the data set (PS3.10 7.1)."""

_ROWS, _COLUMNS, _BITS = tag_of("Rows"), tag_of("Columns"), tag_of("BitsAllocated")


def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """Return how a data set is written in a transfer syntax; one that is not known is taken as Explicit VR LE."""
    return _ENCODINGS.get(transfer_syntax_uid, _EXPLICIT)


def is_encapsulated(transfer_syntax_uid: str) -> bool:
    """Whether pixel data is encapsulated under a standard transfer syntax (PS3.5 A.4)."""
    return transfer_syntax_uid.startswith(_ENCAPSULATED_PREFIXES) and transfer_syntax_uid not in _REFERENCED


def read_header(source: Source, limits: Limits = Limits(), *, keep: int = 65536) -> tuple[Header, Source]:  # noqa: B008
    """Read everything of a DICOM file but its large values.

    Parameters
    ----------
    source : Source
        The file.
    limits : Limits
        What it may not exceed.
    keep : int
        Values longer than so many bytes stay in the file, but for lookup table data.

    Returns
    -------
    header : Header
        The elements, and how they are encoded.
    source : Source
        What the positions in the header refer to: the same source, or the inflated file.

    Raises
    ------
    InvalidDicom
        The bytes are not DICOM.
    LimitExceeded
        A limit was exceeded.

    Standard
    --------
    PS3.10 7; PS3.5 7 and Annex A.
    """
    start = source.read(0, 132)
    if len(start) < 8:
        raise InvalidDicom("The file is too short to be DICOM." if start else "The file is empty.")
    magic = start[128:132] == b"DICM"
    parser = ElementParser(source, limits, keep)
    file_meta, position, meta_is_good = _file_meta(parser, source, 132 if magic else 4 * (start[:4] == b"DICM"))
    stated = _uid(file_meta.get(_TRANSFER_SYNTAX_UID))
    position = _after_command_set(parser, source, position)
    encoding = _encoding(source.read(position, 8), stated, source.length - position)
    warnings = parser.warnings
    if encoding.deflated:
        source, complete = inflated(source, position, limits.max_inflated_bytes)
        if not complete:
            parser.warn(Loss("The deflated data set is cut short."))
    if encoding.deflated or not encoding.little_endian:
        parser = ElementParser(source, limits, keep, little_endian=encoding.little_endian)
    if stated and encoding_of(stated).explicit_vr and not encoding.explicit_vr:
        explicit = parser.is_explicit(position, source.length, True, nested=False)
        encoding = replace(encoding, explicit_vr=explicit)
    dataset, _ = parser.data_set(position, source.length, explicit=encoding.explicit_vr)
    _check_is_dicom(dataset, start, file_meta, damaged=parser.overran)
    if encoding.big_endian_words:
        _label_bytes(dataset)
    found = _transfer_syntax(stated, encoding, dataset, source)
    if stated in _REFERENCED:
        parser.warn(f"The pixels of transfer syntax {stated} (JPIP) are not in the file, and not fetched.")
    elif stated and found != stated:
        parser.warn(f"The transfer syntax is stated as {stated}, but the data set is in {found}.")
    told_truth = found == stated and encoding == encoding_of(stated)
    warnings = list(dict.fromkeys([*warnings, *parser.warnings]))
    misnaming = [tag for tag, repeated in _REPEATED if not _agree(file_meta.get(tag), dataset.get(repeated))]
    warnings += (f"The file meta information (0002,{tag & 0xFFFF:04X}) differs from the data set." for tag in misnaming)
    as_is = magic and meta_is_good and told_truth and not misnaming and parser.regular
    header = Header(
        file_meta, dataset, found, encoding, as_is, position, source.length, warnings, regular=parser.regular
    )
    return header, source


def _file_meta(parser: ElementParser, source: Source, start: int) -> tuple[Dataset, int, bool]:
    """Return group 0002, where it ends, and whether it is written as the standard wants it."""
    head = source.read(start, 8)
    if len(head) < 8 or head[:2] != b"\x02\0":
        return {}, start, False
    explicit = _is_vr(head[4:6])
    end = min(parser.group_end(start, 2, explicit=explicit), source.length)
    file_meta, _ = parser.data_set(start, end, explicit=explicit)
    length = file_meta.get(_GROUP_LENGTH)
    stated = int.from_bytes(length.value, "little") if length and isinstance(length.value, bytes) else -1
    return file_meta, end, explicit and stated == end - start - 12


def _after_command_set(parser: ElementParser, source: Source, position: int) -> int:
    """Skip group 0000, which belongs to messages (PS3.7 6.3), not to files."""
    if source.read(position, 2) != b"\0\0":
        return position
    parser.warn("The file holds elements of a message command (group 0000); they are ignored.")
    return min(parser.group_end(position, 0, explicit=False), source.length)


def _uid(element: Element | None) -> str:
    value = element.value if element else None
    return value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else ""


def _agree(named: Element | None, element: Element | None) -> bool:
    """Whether an element of the file meta information is the one it repeats, as far as both are there."""
    return named is None or element is None or named.value == element.value or _uid(named) in ("", _uid(element))


def _is_vr(code: bytes) -> bool:
    return len(code) == 2 and b"A" <= code[:1] <= b"Z" and b"A" <= code[1:] <= b"Z"


def _encoding(first: bytes, stated: str, remaining: int) -> Encoding:
    """Tell the encoding from the first element of the data set, and only in doubt from the stated one."""
    expected = encoding_of(stated) if stated else Encoding(explicit_vr=False)
    if len(first) < 8:
        return expected
    code = first[4:6]
    low, high = first[0], first[1]
    if expected.deflated and not (code in SHORT_VR and (low == 0) != (high == 0)):
        return expected
    little = expected.little_endian if (low == 0) == (high == 0) else high == 0
    explicit = _is_vr(code)
    return Encoding(explicit, little, big_endian_words=expected.big_endian_words and little and not explicit)


def _check_is_dicom(dataset: Dataset, start: bytes, file_meta: Dataset, *, damaged: bool) -> None:
    """Refuse what was read when nothing in it is known to the data dictionary."""
    if any(tag & 0xFFFF and tag >= 0x0004_0000 and not tag >> 16 & 1 and standard_vr(tag) for tag in dataset):
        return
    if not file_meta:
        raise not_dicom(start)
    if damaged:
        raise InvalidDicom("The data set after the file meta information cannot be read; is the file damaged?")


def _label_bytes(dataset: Dataset) -> None:
    """Label samples of 8 bits and less as bytes at any depth: where only words are big endian, they are none."""
    for tag, element in dataset.items():
        if isinstance(element.value, list):
            for item in element.value:
                _label_bytes(item)
        elif tag == PIXEL_DATA and (first_word(dataset, _BITS, "little") or 0) <= 8:
            dataset[tag] = element._replace(vr="OB")


def _transfer_syntax(stated: str, encoding: Encoding, dataset: Dataset, source: Source) -> str:
    """Return the transfer syntax of what was found: the stated one wherever that can be true.

    What the Standard has beside those of files (JPIP, MIME, XML, SMPTE) says nothing about how a data set is written.
    """
    pixels = dataset.get(PIXEL_DATA)
    is_private = stated != "" and not stated.startswith(_STANDARD)
    if pixels is not None and pixels.encapsulated:
        if is_encapsulated(stated) or is_private:
            return stated
        return compressed_syntax(source, pixels) or stated or EXPLICIT_LE
    if encoding.deflated:
        return DEFLATED
    if not encoding.little_endian:
        return EXPLICIT_BE
    if not encoding.explicit_vr:
        return stated if encoding.big_endian_words else IMPLICIT_LE
    if not is_private and not is_encapsulated(stated):
        return EXPLICIT_LE
    if is_encapsulated(stated) and pixels is not None and _could_be_native(pixels, dataset):
        return EXPLICIT_LE
    return stated


def compressed_syntax(source: Source, pixels: Element) -> str | None:
    """Return the transfer syntax of the first codestream of encapsulated pixel data, None when none can be told."""
    for number, (offset, length) in enumerate(fragments(source, pixels.offset, pixels.offset + pixels.length)):
        found = transfer_syntax_of(source.read(offset, min(length, 65536)))
        if found or number == 2:  # the first is the Basic Offset Table
            return found
    return None


def _could_be_native(pixels: Element, dataset: Dataset) -> bool:
    """Whether Pixel Data of defined length is long enough for one frame as the data set describes it."""
    rows, columns, bits = (first_word(dataset, tag, "little") or 0 for tag in (_ROWS, _COLUMNS, _BITS))
    return 0 < rows * columns * bits <= pixels.length * 8


def file_meta_bytes(
    *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, extra: Dataset | None = None
) -> bytes:
    """Return preamble, "DICM" and file meta information, as this archive writes them.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid : str
        What the data set is and how it is written; an empty one is left out.
    extra : Dataset, optional
        Further elements of group 0002 to carry over from another file; those written here anyway are skipped.

    Standard
    --------
    PS3.10 7.1.
    """
    stated = {
        0x00020001: b"\0\1",
        0x00020002: sop_class_uid.encode("ascii", "replace"),
        0x00020003: sop_instance_uid.encode("ascii", "replace"),
        0x00020010: transfer_syntax_uid.encode("ascii", "replace"),
        0x00020012: IMPLEMENTATION_CLASS_UID.encode(),
        0x00020013: IMPLEMENTATION_VERSION_NAME.encode(),
    }
    values = {tag: (standard_vr(tag) or "UN", value) for tag, value in stated.items() if value}
    for tag, element in (extra or {}).items():
        if tag not in stated and tag != _GROUP_LENGTH and tag >> 16 == 2 and isinstance(element.value, bytes):
            values[tag] = element.vr, element.value
    body = b"".join(explicit_element(tag, vr, value) for tag, (vr, value) in sorted(values.items()))
    return b"".join((bytes(128), b"DICM", explicit_element(_GROUP_LENGTH, "UL", struct.pack("<L", len(body))), body))
