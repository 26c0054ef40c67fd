"""Checksums of frames and blocks, against zlib's own CRC-32 over the bytes as they lie in the file."""

import os
import random
import zlib
from pathlib import Path
from typing import Any

import pytest

from storage.archive import Archive
from storage.blobs.checksums import BLOCK, BlockChecksums, CheckedSource, Checks
from storage.errors import Damaged
from tests.builders import DEFLATED, EXPLICIT_LE, ct_slice, encapsulated, multi_frame


def crcs(*pieces: bytes) -> bytes:
    """What the index must have of some pieces."""
    return b"".join(zlib.crc32(piece).to_bytes(4, "little") for piece in pieces)


def blocks(data: bytes) -> list[bytes]:
    """A file in pieces of 64 KiB."""
    return [data[start : start + 65536] for start in range(0, len(data), 65536)]


async def kept(archive: Archive) -> Any:
    """The row of the one instance there is."""
    return await archive.pool.fetchrow("SELECT checksums, frame_checksums FROM instances")


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 200_000])
@pytest.mark.parametrize("step", [1000, 65536, 1 << 20])
def test_blocks_are_the_same_however_they_come(size: int, step: int) -> None:
    """A file is cut every 64 KiB, its end is a block of its own."""
    data = random.Random(size).randbytes(size)
    found = BlockChecksums()
    for start in range(0, size, step):
        found.update(data[start : start + step])
    assert found.table() == crcs(*blocks(data))


async def test_native_frames_and_blocks_are_kept(archive: Archive) -> None:
    """Frames follow each other without padding at the end of the file (PS3.5 8.1.1)."""
    file = multi_frame(3, rows=128, columns=128)
    await archive.store(file)
    frames = [file[len(file) - (3 - n) * 32768 : len(file) - (2 - n) * 32768] for n in range(3)]
    assert tuple(await kept(archive)) == (crcs(*blocks(file)), crcs(*frames))


async def test_compressed_frames_are_kept_as_they_lie(archive: Archive) -> None:
    """One fragment a frame: its value without the item header (PS3.5 A.4)."""
    frames = [b"\xff\xd8" + bytes([n]) * 500 + b"\xff\xd9" for n in (1, 2)]
    file = encapsulated(frames, transfer_syntax="1.2.840.10008.1.2.4.50", NumberOfFrames=2)
    await archive.store(file)
    assert tuple(await kept(archive)) == (crcs(file), crcs(*frames))


async def test_frames_of_a_deflated_file_are_kept_inflated(archive: Archive) -> None:
    """The blocks are those of the file, the frames those that are given out."""
    file, plain = (multi_frame(2, rows=64, columns=64, transfer_syntax=one) for one in (DEFLATED, EXPLICIT_LE))
    await archive.store(file)
    assert tuple(await kept(archive)) == (crcs(*blocks(file)), crcs(plain[-16384:-8192], plain[-8192:]))


async def test_a_file_that_comes_in_pieces_has_the_same(archive: Archive) -> None:
    """Whether it is read from memory or from the disk."""
    file = ct_slice(rows=900, columns=900)

    async def pieces() -> Any:
        for start in range(0, len(file), 100_001):
            yield file[start : start + 100_001]

    async with archive.ingest() as ingest:
        await ingest.add(pieces())
        assert [outcome.status for outcome in await ingest.finish()] == ["stored"]
    assert tuple(await kept(archive)) == (crcs(*blocks(file)), crcs(file[-900 * 900 * 2 :]))


def checked(path: Path, data: bytes) -> CheckedSource:
    """Open a file of which `data` is known."""
    found = BlockChecksums()
    found.update(data)
    return CheckedSource(path, Checks(len(data), found.table(), Damaged))


@pytest.mark.parametrize("size", [10, BLOCK, BLOCK * 3 + 17])
def test_any_part_of_a_sound_file_is_read(tmp_path: Path, size: int) -> None:
    """Whatever is asked, also beyond the end, the bytes are those of the file."""
    chance = random.Random(size)
    data = chance.randbytes(size)
    (tmp_path / "file").write_bytes(data)
    with checked(tmp_path / "file", data) as source:
        for _ in range(300):
            start, length = chance.randrange(size + 10), chance.randrange(size + 10)
            assert source.read(start, length) == data[start : start + length]


@pytest.mark.parametrize("position", [0, BLOCK - 1, BLOCK, BLOCK * 2 + 5, BLOCK * 3 + 16])
def test_exactly_the_block_that_differs_is_refused(tmp_path: Path, position: int) -> None:
    """A read that touches the block of a flipped bit fails, all others come as they are."""
    data = random.Random(1).randbytes(BLOCK * 3 + 17)
    other = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
    (tmp_path / "file").write_bytes(other)
    bad = position // BLOCK
    chance = random.Random(2)
    with checked(tmp_path / "file", data) as source:
        for _ in range(300):
            start, length = chance.randrange(len(data)), 1 + chance.randrange(2 * BLOCK)
            end = min(start + length, len(data))
            if start // BLOCK <= bad <= (end - 1) // BLOCK:
                with pytest.raises(Damaged, match=f"bytes {bad * BLOCK} to"):
                    source.read(start, length)
            else:
                assert source.read(start, length) == data[start:end]


def test_a_file_of_another_length_is_refused(tmp_path: Path) -> None:
    """Cut short or grown, it is another file."""
    data = bytes(100)
    (tmp_path / "file").write_bytes(data)
    for size in (99, 101):
        os.truncate(tmp_path / "file", size)
        with pytest.raises(Damaged, match=f"{size} bytes instead of 100"):
            checked(tmp_path / "file", data)
