"""Broken and crafted files: stored as far as sound or refused with a reason, and nobody else is harmed."""

import json
import random
import struct
from pathlib import Path

import httpx2
import pytest
from pydicom.datadict import tag_for_keyword

from storage.matching.attributes import ATTRIBUTES
from tests.builders import (
    BIG_ENDIAN,
    DEFLATED,
    IMPLICIT_LE,
    big_sequence,
    ct_slice,
    dicom_file,
    encapsulated,
    multi_frame,
    new_uid,
)
from tests.corpus import corpus_files, wheel_files
from tests.live.exchange import MISSING_IDENTIFIER, failures, store, stored_keys
from tests.live.hostility import PATIENT, image, read_in_every_way, store_among_good
from tests.live_server import LiveServer

MUTANTS = 300
MIB = 1 << 20


@pytest.mark.parametrize("path", corpus_files("malformed"), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_malformed_files_cost_only_themselves(hostile_client: httpx2.Client, path: Path) -> None:
    """Real broken files: stored or refused with a reason, between two good ones (promise 7; B-030, B-059)."""
    answer = store_among_good(hostile_client, path.read_bytes())
    assert all(text for _, text in failures(answer))
    for key in stored_keys(answer):
        read_in_every_way(hostile_client, key)


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """One element in Explicit VR Little Endian."""
    size = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR")
    return head + (struct.pack("<HL", 0, size) if long else struct.pack("<H", size)) + value


def with_tail(tail: bytes, **attributes: str) -> bytes:
    """A valid file with bytes of our own after its last element."""
    return dicom_file(PatientName=PATIENT, **attributes) + tail


UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = (struct.pack("<HH", 0xFFFE, number) for number in (0xE000, 0xE00D, 0xE0DD))
CODES = 0x0040A730  # Content Sequence


def nested(depth: int, *, closed: bool) -> bytes:
    """Sequences in sequences, of undefined length."""
    opening = element(CODES, b"SQ", b"", UNDEFINED) + ITEM + struct.pack("<L", UNDEFINED)
    ending = ITEM_END + bytes(4) + SEQUENCE_END + bytes(4)
    return opening * depth + (ending * depth if closed else b"")


def nested_by_length(depth: int) -> bytes:
    """Sequences in sequences, each with its length."""
    value = b""
    for _ in range(depth):
        value = element(CODES, b"SQ", ITEM + struct.pack("<L", len(value)) + value)
    return value


HOSTILE = {
    "10000 deep": with_tail(nested(10_000, closed=True)),
    "10000 deep and open": with_tail(nested(10_000, closed=False)),
    "3000 deep by length": with_tail(nested_by_length(3_000)),
    "10000 items left open": with_tail(element(CODES, b"SQ", b"", UNDEFINED) + (ITEM + b"\xff" * 4) * 10_000),
    "100000 empty items": with_tail(element(CODES, b"SQ", (ITEM + bytes(4)) * 100_000)),
    "a value of 4 GB": with_tail(element(0x7FE00010, b"OB", b"abcd", 0xFFFFFFF0)),
    "a sequence of 4 GB": with_tail(element(CODES, b"SQ", ITEM + struct.pack("<L", 0xFFFFFF00), 0xFFFFFFFE)),
    "an item longer than its sequence": with_tail(element(CODES, b"SQ", ITEM + struct.pack("<L", 5000) + b"ab")),
    "a fragment of 4 GB": with_tail(
        element(0x7FE00010, b"OB", b"", UNDEFINED) + ITEM + bytes(4) + ITEM + struct.pack("<L", 0xFFFFFFF0) + b"x"
    ),
    "no item in the pixels": with_tail(element(0x7FE00010, b"OB", b"\0" * 50, UNDEFINED)),
    "a billion frames": multi_frame(2, NumberOfFrames="999999999", PatientName=PATIENT),
    "frames without number": multi_frame(2, NumberOfFrames="7777", PatientName=PATIENT).replace(b"7777", b"many"),
    "frames below zero": multi_frame(2, NumberOfFrames="77", PatientName=PATIENT).replace(b"77", b"-5"),
    "a sample of nothing": multi_frame(2, Rows=0, Columns=65535, BitsAllocated=65535, PatientName=PATIENT),
    "an offset table that lies": encapsulated(PatientName=PATIENT).replace(
        struct.pack("<LL", 8, 0), struct.pack("<LL", 8, 0xFFFFFFF0), 1
    ),
    "zeros after the end": with_tail(b"\0" * 100_000),
    "noise after the end": with_tail(random.Random(2).randbytes(10_000)),
    "ten thousand private elements": with_tail(
        b"".join(element(0x00990010 + number, b"LO", b"x%03d" % (number % 1000)) for number in range(10_000))
    ),
    "a text of 5 MB": with_tail(element(0x0040A160, b"UT", b"\xe4\xf6\xfc " * (5 * MIB // 4))),
    "numbers of a megabyte": dicom_file(PatientName=PATIENT, elements={0x00091001: ("UC", "9" * MIB)}),
    "deflated noise": dicom_file(transfer_syntax=DEFLATED, PatientName=PATIENT)[:-40] + b"\xff" * 60,
    "a deflate bomb": dicom_file(PatientName=PATIENT, transfer_syntax=DEFLATED, pixels=bytes(40 * MIB), Rows=6400),
    "a text file": b"Dear archive,\n" * 50,
    "nothing": b"",
    "one byte": b"D",
    "a head only": b"\0" * 128 + b"DICM",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_crafted_files_cost_only_themselves(hostile_client: httpx2.Client, name: str) -> None:
    """Depth, lengths, counts and tables that lie: stored as far as sound or refused with a reason (promises 6, 7)."""
    answer = store_among_good(hostile_client, HOSTILE[name])
    assert all(text and reason != 0x0110 for reason, text in failures(answer))
    assert "unforeseen" not in answer.text
    for key in stored_keys(answer):
        read_in_every_way(hostile_client, key)


def test_what_is_too_deep_is_said(hostile_client: httpx2.Client) -> None:
    """Nesting beyond the limit is refused in words; what sane files need is stored (design 1.7)."""
    answer = store(hostile_client, HOSTILE["10000 deep"])
    assert answer.status_code == 413
    ((_, text),) = failures(answer)
    assert "nested" in text
    answer = store(hostile_client, with_tail(nested(60, closed=True)))
    assert answer.status_code == 200
    read_in_every_way(hostile_client, stored_keys(answer)[0])


BAD_UIDS = [
    b"../../../../etc/passwd",
    b"..",
    b"1.2/../../3",
    b"1.2\x003.4",
    b"1.2.3 4",
    b"%2e%2e%2f1",
    b"C:\\temp\\1",
    b"1.2.3;drop table",
    b"\xff\xfe\xfd\xfc",
    b"1.2.3?x=1#y",
    b"<script>1</script>",
    b"1.2\r\nX-Evil: 1",
    b"9" * 65,
    b"",
]


@pytest.mark.parametrize("uid", BAD_UIDS, ids=repr)
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_uids_that_are_paths_or_worse_are_refused(
    hostile_client: httpx2.Client, hostile: LiveServer, keyword: str, uid: bytes
) -> None:
    """Only digits and dots make a UID; nothing is ever written where a file says (B-030, B-031; PS3.5 9.1)."""
    placeholder = "7" * (len(uid) + len(uid) % 2)
    file = dicom_file(PatientName=PATIENT, **{keyword: placeholder}) if uid else dicom_file(**{keyword: ""})
    file = file.replace(placeholder.encode(), uid.ljust(len(placeholder), b"\0")) if uid else file
    before = {path for path in hostile.data_dir.parent.rglob("*") if "postgres" not in path.parts}
    answer = store(hostile_client, file)
    assert answer.status_code == 400, answer.text
    assert [reason for reason, _ in failures(answer)] == [MISSING_IDENTIFIER]
    appeared = {path for path in hostile.data_dir.parent.rglob("*") if "postgres" not in path.parts} - before
    assert not [path for path in appeared if path.suffix not in (".db", "")], appeared


def test_other_uids_may_be_anything(hostile_client: httpx2.Client) -> None:
    """UIDs that identify nothing here are kept as they are, and every answer stays well-formed (B-031)."""
    file = dicom_file(PatientName=PATIENT, FrameOfReferenceUID="7" * 22)
    answer = store_among_good(hostile_client, file.replace(b"7" * 22, b"../../../../etc/passwd"))
    assert failures(answer) == []
    for key in stored_keys(answer):
        read_in_every_way(hostile_client, key)


@pytest.mark.parametrize("uid", ["1.2\r\nX-Evil: 1", "a" * 300, "..", "1.2.840.10008.1.2.1\0x", "\x1b[2J", "1.2.3.4"])
def test_transfer_syntaxes_that_are_none(hostile_client: httpx2.Client, uid: str) -> None:
    """A made-up Transfer Syntax UID breaks no header and no answer (A-050; promise 7)."""
    file = dicom_file(PatientName=PATIENT, pixels=b"\0" * 64)
    stated = b"\x02\0\x10\0UI" + struct.pack("<H", 20) + b"1.2.840.10008.1.2.1\0"
    assert stated in file
    length = len(uid) + len(uid) % 2
    other = b"\x02\0\x10\0UI" + struct.pack("<H", length) + uid.encode().ljust(length, b"\0")
    file = file.replace(stated, other)
    (group_length,) = struct.unpack_from("<L", file, 140)
    file = file[:140] + struct.pack("<L", group_length + len(other) - len(stated)) + file[144:]
    answer = store_among_good(hostile_client, file)
    for key in stored_keys(answer):
        read_in_every_way(hostile_client, key)


BAD_TEXTS = [
    b"\0a\0b\0c\0d",
    b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8",
    b"\x1b$B\x1b(B\x1b$",
    b"\xed\xa0\x80\xed\xb0\x80\xc0\x80",
    b"\\" * 8,
    b"^^^===^^",
    b"'; DROP--",
    b"\x7f\x80\r\n\t\x0c\x01\x02",
    b"\\u0000%00",
    b"        ",
]
CHARSETS = ["ISO_IR 192", "ISO_IR 100", r"\ISO 2022 IR 87", "GB18030", "NO SUCH", "\x00\x01"]
LONG_VRS = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR")
IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


def with_everything(text: bytes, charset: str, key: tuple[str, str, str]) -> bytes:
    """A file that has the bytes as value of every attribute the archive indexes, whatever its VR."""
    elements = {
        int(attribute.tag, 16): element(
            int(attribute.tag, 16), attribute.vr.encode(), text.ljust(len(text) + len(text) % 2)
        )
        for attribute in ATTRIBUTES
        if not attribute.computed and attribute.vr != "SQ" and attribute.keyword not in IDENTIFIERS
    }
    tag = 0x00080005
    elements[tag] = element(tag, b"CS", charset.encode().ljust(len(charset) + len(charset) % 2))
    for keyword, uid in zip(IDENTIFIERS, (*key, "1.2.840.10008.5.1.4.1.1.7"), strict=True):
        tag = tag_for_keyword(keyword) or 0
        elements[tag] = element(tag, b"UI", uid.encode() + b"\0" * (len(uid) % 2))
    whole = dicom_file()
    head = whole[: whole.index(b"\x08\0\x05\0CS")]
    return head + b"".join(elements[tag] for tag in sorted(elements))


@pytest.mark.parametrize("charset", CHARSETS, ids=ascii)
@pytest.mark.parametrize("text", BAD_TEXTS, ids=repr)
def test_any_bytes_may_stand_in_every_attribute(hostile_client: httpx2.Client, text: bytes, charset: str) -> None:
    """NUL, broken UTF-8, stray escapes in every indexed attribute: stored and found, all JSON sound (B-047, C-060)."""
    key = (new_uid(), new_uid(), new_uid())
    answer = store(hostile_client, with_everything(text, charset, key))
    assert answer.status_code in (200, 202), answer.text
    assert stored_keys(answer) == [key]
    read_in_every_way(hostile_client, key)
    for level, keyword, uid in zip(("studies", "series", "instances"), IDENTIFIERS, key, strict=False):
        (found,) = hostile_client.get(level, params={keyword: uid, "includefield": "all"}).json()
        json.dumps(found)


def seeds() -> list[bytes]:
    """Small valid files of every encoding and shape to mutate."""
    small = [path.read_bytes() for path in wheel_files() if path.stat().st_size < 6000]
    made = [ct_slice(rows=8, columns=8, transfer_syntax=syntax) for syntax in (IMPLICIT_LE, BIG_ENDIAN, DEFLATED)]
    return [*small, *made, image(), encapsulated(), multi_frame(), multi_frame(bits=1), big_sequence(20, depth=3)]


def mutated(file: bytes, chance: random.Random) -> bytes:
    """The file with a few bytes changed, cut, doubled or filled, anywhere after the preamble."""
    data = bytearray(file)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        place = chance.randrange(132, max(len(data), 133))
        kind = chance.randrange(5)
        if kind == 0:
            data[place : place + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            data[place : place + 4] = struct.pack("<L", chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFE)))
        elif kind == 2:
            del data[place : place + chance.randrange(1, 30)]
        elif kind == 3:
            data[place:place] = data[place : place + chance.randrange(1, 200)]
        else:
            data[place : place + 8] = chance.choice((ITEM, SEQUENCE_END, b"SQ\0\0", b"UN\0\0")) + b"\xff" * 4
    return bytes(data)


@pytest.mark.parametrize("seed", range(10))
def test_mutants_of_valid_files(hostile_client: httpx2.Client, seed: int) -> None:
    """Random damage to valid files never fails the request, a neighbour or a later reading (promise 7)."""
    chance = random.Random(seed)
    parents = seeds()
    mutants = [mutated(chance.choice(parents), chance) for _ in range(MUTANTS // 10)]
    for start in range(0, len(mutants), 10):
        answer = store_among_good(hostile_client, *mutants[start : start + 10])
        assert all(text and reason != 0x0110 for reason, text in failures(answer))
        for key in set(stored_keys(answer)):
            read_in_every_way(hostile_client, key)
