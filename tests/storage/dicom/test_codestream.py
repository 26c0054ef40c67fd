"""Telling a codestream by its first bytes."""

import pytest

from storage.dicom.codestream import family, transfer_syntax_of
from storage.dicom.part10 import BytesSource, is_encapsulated, read_header
from storage.errors import InvalidDicom
from storage.pixels.frame_table import frame_table
from storage.pixels.layout import frame_span, layout_of
from tests.corpus import corpus_files, wheel_files

MISSTATED = {"sample-op.dcm", "JPEGExtended_3s_1f_u_08_08.dcm"}
"""Files whose transfer syntax is not the one of the stream."""

NARROWER = {
    f"1.2.840.10008.1.2.4.{stated}": f"1.2.840.10008.1.2.4.{found}"
    for stated, found in ((50, 51), (57, 70), (81, 80), (91, 90), (203, 201))
}
"""A lossless stream may be stated under the lossy syntax of its kind; jpeg8.dcm says baseline and is extended."""


def test_real_codestreams_are_what_their_files_state() -> None:
    """JPEG of all kinds, JPEG-LS, JPEG 2000, HTJ2K and RLE are recognised (PS3.5 A.4, Annex G)."""
    seen: set[str] = set()
    wrong: list[tuple[str, str, str | None]] = []
    for path in corpus_files() + wheel_files():
        try:
            header, source = read_header(BytesSource(path.read_bytes()))
        except InvalidDicom:
            continue
        table = frame_table(source, header)
        pixel = layout_of(header, table).pixel_data
        if not table or not pixel or not table.table or path.name in MISSTATED:
            continue
        span = frame_span(pixel, 0, table.table[:16])
        head = source.read(span.offset + 8 * span.fragmented, min(span.length, 65536))
        found = transfer_syntax_of(head)
        if found is None:
            continue
        seen.add(found)
        if found not in (header.transfer_syntax_uid, NARROWER.get(header.transfer_syntax_uid)):
            wrong.append((path.name, header.transfer_syntax_uid, found))
    assert not wrong
    assert {uid.removeprefix("1.2.840.10008.1.2.") for uid in seen} >= {
        *("4.50", "4.51", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91", "4.201", "5")
    }


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"\xff\x4f\xff\x51\0\0", "jpeg2000"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"),
        (b"\xff\x0a\0", "jpegxl"),
        (b"\1\0\0\0\x40\0\0\0" + bytes(56), "rle"),
        (b"\1\0\0\0\x40\0\0\0" + bytes(40), None),
        (b"\2\0\0\0\x40\0\0\0\x20\0\0\0" + bytes(52), None),
        (bytes(64), None),
        (b"", None),
    ],
)
def test_families(head: bytes, kind: str | None) -> None:
    """What cannot be a codestream is none (PS3.5 A.4)."""
    assert family(head) == kind
    transfer_syntax_of(head)


@pytest.mark.parametrize(
    ("uid", "encapsulated"),
    [
        ("1.2.840.10008.1.2", False),
        ("1.2.840.10008.1.2.1.99", False),
        ("1.2.840.10008.1.2.4.110", True),
        ("1.2.840.10008.1.2.4.95", False),
        ("1.2.840.10008.1.2.8.1", True),
        ("1.2.3", False),
    ],
)
def test_encapsulated_syntaxes(uid: str, encapsulated: bool) -> None:
    """Also those newer than the library's list, not those that only refer to pixels (PS3.5 A.4, A.6)."""
    assert is_encapsulated(uid) == encapsulated
