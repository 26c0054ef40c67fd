"""The table of transfer syntaxes: complete, and in agreement with everything else that knows transfer syntaxes."""

import pytest
from pydicom.uid import UID

from storage.dicom.part10 import is_encapsulated
from storage.dicom.transfer_syntax import (
    EXPLICIT_LE,
    GE_BIG_ENDIAN_WORDS,
    TRANSFER_SYNTAXES,
    TransferSyntax,
    decodable,
    encodable,
    syntaxes_by_media_type,
)
from storage.pixels.decoders import DECODERS
from storage.pixels.encoders import ENCODERS
from storage.pixels.frame_table import is_video

_4 = "1.2.840.10008.1.2.4."
MEDIA_TYPES = {
    "application/octet-stream": {"1", "", "2", "1.98", "1.99", "8.1", GE_BIG_ENDIAN_WORDS[18:]},
    "image/jpeg": {"4.70", "4.50", "4.51", "4.57", "4.52", "4.53", "4.54", "4.55", "4.56"},
    "image/dicom-rle": {"5"},
    "image/jls": {"4.80", "4.81"},
    "image/jp2": {"4.90", "4.91"},
    "image/jpx": {"4.92", "4.93"},
    "image/jphc": {"4.201", "4.202", "4.203"},
    "image/jxl": {"4.110", "4.111", "4.112"},
    "video/mpeg": {"4.101", "4.100", "4.101.1", "4.100.1"},
    "video/mp4": {f"4.{number}{part}" for number in range(102, 107) for part in ("", ".1")},
    "video/H265": {"4.107", "4.108"},
}
DEFAULTS = ("1", "4.70", "5", "4.80", "4.90", "4.92", "4.201", "4.110", "4.101", "4.102", "4.107")

rows = pytest.mark.parametrize("row", TRANSFER_SYNTAXES.values(), ids=lambda row: row.uid[17:] or "implicit")


def test_every_media_type_has_its_transfer_syntaxes_the_default_first() -> None:
    """Frames are labelled as the Standard says (PS3.18 Tables 8.7.3-4 and 8.7.3-5)."""
    found = syntaxes_by_media_type()
    assert {name: {uid[18:] for uid in uids} for name, uids in found.items()} == MEDIA_TYPES
    assert tuple(uids[0][18:] for uids in found.values()) == DEFAULTS
    assert [row.uid[18:] for row in TRANSFER_SYNTAXES.values() if row.default] == list(DEFAULTS)


@rows
def test_a_row_names_codecs_that_exist(row: TransferSyntax) -> None:
    """The names of the table and the functions behind them belong together; nothing is encoded that is not decoded."""
    assert row.decode is None or row.decode in DECODERS
    assert row.encode is None or row.encode in ENCODERS
    assert row.encode is None or row.decode is not None
    assert decodable(row.uid) is (row.decode is not None)


@rows
def test_a_row_agrees_with_the_parser(row: TransferSyntax) -> None:
    """What is encapsulated, and what is a video, is told in one voice (PS3.5 A.4)."""
    assert row.encapsulated is is_encapsulated(row.uid)
    assert row.media_type.startswith("video/") is is_video(row.uid)
    assert row.native is not row.encapsulated


@rows
def test_a_row_is_a_transfer_syntax_of_the_standard(row: TransferSyntax) -> None:
    """pydicom's list of PS3.6 Table A-1 knows the UID, but for a few that are newer, and a private one."""
    newer = ("8.1", "4.110", "4.111", "4.112")
    assert row.uid[18:] in newer or row.uid == GE_BIG_ENDIAN_WORDS or UID(row.uid).is_transfer_syntax
    if "(Lossless" in UID(row.uid).name or "Lossless," in UID(row.uid).name:
        assert not row.lossy


@rows
def test_a_lossless_syntax_covers_no_lossy_one(row: TransferSyntax) -> None:
    """Frames that lost something are never labelled lossless (PS3.5 A.4)."""
    assert row.lossy or not any(TRANSFER_SYNTAXES[uid].lossy for uid in row.covers)


def test_lossy_syntaxes_are_made_only_when_that_is_allowed() -> None:
    """Nothing is compressed with loss unless the syntax was named (checklist A-049)."""
    assert encodable(_4 + "80", lossy=False)
    assert encodable(EXPLICIT_LE, lossy=False)
    assert not encodable(_4 + "50", lossy=False)
    assert encodable(_4 + "50", lossy=True)
    assert not encodable(_4 + "102", lossy=True)
    assert not encodable("1.2.3", lossy=True)
    assert not decodable("1.2.3")
