"""What is taken can be given out, or its sender is told: all transfer syntaxes that PS3.6 Table A-1 ever had."""

from typing import Final

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import JPEG2000

from storage.dicom.codestream import transfer_syntax_of
from storage.dicom.part10 import is_encapsulated
from storage.dicom.source import BytesSource
from storage.dicom.transfer_syntax import (
    DEFLATED_LE,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_LE,
    IMPLICIT_LE,
    TRANSFER_SYNTAXES,
    decodable,
)
from storage.index.record import Record, read_record
from storage.pixels.frame_table import is_video
from storage.policy import Policy
from tests.builders import dicom_file, encapsulated
from tests.storage.encoded import header_of
from tests.storage.labelled import labelled

STANDARD: Final = [uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"]
NO_DECODER: Final = {f"1.2.840.10008.1.2.4.{number}" for number in (*range(58, 67), 92, 93)}
"""Arithmetic or hierarchical lossless JPEG, hierarchical JPEG, JPEG 2000 Part 2."""
NOT_IN_FILES: Final = {
    "1.2.840.10008.1.2.4.94": EXPLICIT_LE,
    "1.2.840.10008.1.2.4.95": DEFLATED_LE,
    "1.2.840.10008.1.2.4.204": EXPLICIT_LE,
    "1.2.840.10008.1.2.4.205": DEFLATED_LE,
    "1.2.840.10008.1.2.6.1": EXPLICIT_LE,
    "1.2.840.10008.1.2.6.2": EXPLICIT_LE,
    "1.2.840.10008.1.2.7.1": EXPLICIT_LE,
    "1.2.840.10008.1.2.7.2": EXPLICIT_LE,
    "1.2.840.10008.1.2.7.3": EXPLICIT_LE,
    "1.2.840.10008.1.20": IMPLICIT_LE,
}
"""Syntaxes that say nothing about a data set in a file, and in what it is found to be."""
PRIVATE: Final = "1.3.46.670589.33.1.4.1"


def stored(transfer_syntax_uid: str) -> Record:
    """Read a file in a transfer syntax; its fragments hold nothing that could be told."""
    if is_encapsulated(transfer_syntax_uid) or transfer_syntax_uid == PRIVATE:
        data = labelled(encapsulated([b"fragment"]), transfer_syntax_uid)
    else:
        file = dicom_file(transfer_syntax=NOT_IN_FILES.get(transfer_syntax_uid, transfer_syntax_uid))
        data = labelled(file, transfer_syntax_uid)
    return read_record(BytesSource(data), Policy())


def test_the_lists_are_complete() -> None:
    """Every transfer syntax of the Standard is in one of the three tables."""
    assert len(STANDARD) > 55
    assert {*TRANSFER_SYNTAXES, *NO_DECODER, *NOT_IN_FILES} >= set(STANDARD)
    assert not set(NOT_IN_FILES) & set(TRANSFER_SYNTAXES)


@pytest.mark.parametrize("uid", [*STANDARD, PRIVATE])
def test_what_cannot_be_decoded_is_said_so_when_it_is_stored(uid: str) -> None:
    """Without a decoder pixel data is kept as it came, and the sender is told (PS3.18 10.5.3, Table I.1-1)."""
    record = stored(uid)
    told = [text for text in record.warnings if "no decoder" in text]
    assert [uid in text for text in told] == [True] * (uid in NO_DECODER or uid == PRIVATE)
    kept = record.instance["transfer_syntax_uid"]
    assert kept == NOT_IN_FILES.get(uid, uid)
    assert told or decodable(kept) or is_video(kept)


@pytest.mark.parametrize("uid", NOT_IN_FILES)
def test_a_data_set_is_in_what_it_is_written_in(uid: str) -> None:
    """JPIP, MIME, XML and real-time video are no way to write a file: the sender is told what was found (PS3.5 A)."""
    assert [text for text in stored(uid).warnings if uid in text]


def test_a_stream_is_looked_into_before_a_sender_is_told() -> None:
    """A private syntax around a JPEG 2000 stream is decoded as what it is."""
    stream = b"\xff\x4f\xff\x51\x00\x29" + bytes(39) + b"\xff\x52\x00\x0c" + bytes(10)
    assert transfer_syntax_of(stream) == JPEG2000
    data = labelled(encapsulated([stream]), PRIVATE)
    assert not [text for text in read_record(BytesSource(data), Policy()).warnings if "no decoder" in text]


def test_native_pixels_under_a_name_for_fragments_are_native() -> None:
    """Pixel Data of defined length that fits is what it is (PS3.5 A.4.11)."""
    file = dicom_file(pixels=bytes(range(256)), Rows=16, Columns=16)
    assert header_of(labelled(file, ENCAPSULATED_UNCOMPRESSED)).transfer_syntax_uid == EXPLICIT_LE
