"""ZIP structures, read back by Python's zipfile and by Info-ZIP."""

import io
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.http.message.zip_stream import (
    LARGEST,
    MOST_ENTRIES,
    CentralDirectory,
    archive_length,
    entry_head,
    entry_tail,
)

GIB = 1 << 30
Entry = tuple[str, bytes, bool]

NAMES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", min_size=1, max_size=8)
ENTRIES = st.lists(st.tuples(NAMES, st.binary(max_size=300), st.booleans()), max_size=8, unique_by=lambda one: one[0])


def archive(entries: list[Entry]) -> bytes:
    """An archive of entries: name, bytes, whether the checksum follows."""
    directory = CentralDirectory()
    made = b""
    for name, body, streamed in entries:
        crc = crc32(body)
        made += entry_head(name, len(body), None if streamed else crc) + body
        made += entry_tail(len(body), crc) if streamed else b""
        directory.add(name, len(body), crc, streamed=streamed)
    return made + directory.end()


@given(ENTRIES)
def test_zipfile_reads_every_entry(entries: list[Entry]) -> None:
    """Names, bytes and checksums come back, whether the checksum stands before or behind; the length was foretold."""
    made = archive(entries)
    assert len(made) == archive_length((name, len(body), streamed) for name, body, streamed in entries)
    with zipfile.ZipFile(io.BytesIO(made)) as opened:
        assert opened.testzip() is None
        assert [(entry.filename, opened.read(entry)) for entry in opened.infolist()] == [
            (name, body) for name, body, _ in entries
        ]


def test_entries_are_what_strict_readers_take() -> None:
    """Stored, not encrypted, version 2.0, dated 1980, readable by everybody (H-020; ISO/IEC 21320-1)."""
    made = archive([("DICOMDIR", b"abc", False), ("DICOM/S0000001/I0000001", b"defg", True)])
    with zipfile.ZipFile(io.BytesIO(made)) as opened:
        first, second = opened.infolist()
        for entry in (first, second):
            assert entry.compress_type == zipfile.ZIP_STORED and entry.extract_version == 20
            assert entry.date_time == (1980, 1, 1, 0, 0, 0) and entry.extra == b""
            assert entry.external_attr >> 16 == 0o100644
        assert (first.flag_bits, second.flag_bits) == (0, 8)
    assert made[14:26] == crc32(b"abc").to_bytes(4, "little") + b"\3\0\0\0" * 2
    assert archive([("A", b"", False)]) == archive([("A", b"", False)])


@pytest.mark.parametrize("count", [MOST_ENTRIES, MOST_ENTRIES + 1, 70_000])
def test_many_entries(count: int) -> None:
    """ZIP64 begins where 16 bits no longer count the entries, and not before."""
    directory = CentralDirectory()
    made = bytearray()
    for number in range(count):
        made += entry_head(f"{number:06}", 0, 0)
        directory.add(f"{number:06}", 0, 0, streamed=False)
    made += directory.end()
    assert len(made) == archive_length((f"{number:06}", 0, False) for number in range(count))
    assert (b"PK\x06\x06" in made) == (count > MOST_ENTRIES)
    with zipfile.ZipFile(io.BytesIO(made)) as opened:
        assert len(opened.infolist()) == count
        assert opened.read(f"{count - 1:06}") == b""


def sparse_archive(path: Path, sizes: list[int], *, streamed: bool = True) -> None:
    """Write an archive of zeros that take no room, and a small entry behind them; the checksums are not theirs."""
    directory = CentralDirectory()
    with path.open("wb") as file:
        for number, size in enumerate(sizes):
            file.write(entry_head(f"ZEROS{number}", size, None if streamed else 7))
            file.seek(size, 1)
            file.write(entry_tail(size, 7) if streamed else b"")
            directory.add(f"ZEROS{number}", size, 7, streamed=streamed)
        file.write(entry_head("LAST", 4, crc32(b"last")) + b"last")
        directory.add("LAST", 4, crc32(b"last"), streamed=False)
        file.write(directory.end())


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("sizes", [[LARGEST], [LARGEST + 1], [5 * GIB], [3 * GIB, 3 * GIB], [5 * GIB, 1, 6 * GIB]])
def test_beyond_four_gib(tmp_path: Path, sizes: list[int], streamed: bool) -> None:
    """Sizes and offsets of more than 32 bits are told in ZIP64; what lies behind them is found (H-020)."""
    path = tmp_path / "large.zip"
    sparse_archive(path, sizes, streamed=streamed)
    entries = [*((f"ZEROS{number}", size, streamed) for number, size in enumerate(sizes)), ("LAST", 4, False)]
    assert path.stat().st_size == archive_length(entries)
    with zipfile.ZipFile(path) as opened:
        assert [(entry.filename, entry.file_size) for entry in opened.infolist()] == [
            (name, size) for name, size, _ in entries
        ]
        assert opened.read("LAST") == b"last"
        with opened.open("ZEROS0") as zeros:
            assert zeros.read(1 << 20) == bytes(1 << 20)
        versions = [entry.extract_version for entry in opened.infolist()]
        assert versions[:-1] == [45 if size > LARGEST or before > LARGEST else 20 for before, size in offsets(entries)]


def offsets(entries: list[tuple[str, int, bool]]) -> Iterator[tuple[int, int]]:
    """Where each large entry begins, and its size."""
    for place, (_, size, _) in enumerate(entries[:-1]):
        yield archive_length(entries[:place]) - archive_length([]), size


@pytest.mark.skipif(not shutil.which("unzip"), reason="needs unzip (Debian package unzip)")
def test_info_zip_reads_it(tmp_path: Path) -> None:
    """unzip tests the checksums of both kinds of entry, and finds an entry behind 5 GiB."""
    path = tmp_path / "small.zip"
    path.write_bytes(archive([("DICOMDIR", b"abc" * 1000, False), ("DICOM/I1", b"defg" * 1000, True)]))
    tested = subprocess.run(["unzip", "-t", str(path)], capture_output=True, text=True, check=False)
    assert tested.returncode == 0 and "No errors detected" in tested.stdout, tested.stdout + tested.stderr
    sparse_archive(tmp_path / "large.zip", [5 * GIB])
    last = subprocess.run(["unzip", "-p", str(tmp_path / "large.zip"), "LAST"], capture_output=True, check=False)
    assert (last.returncode, last.stdout) == (0, b"last"), last.stderr
