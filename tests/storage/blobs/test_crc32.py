"""CRC-32, and that of bytes of which only the pieces' are known."""

import random
import zlib

import pytest

from storage.blobs.crc32 import Pieces, crc32


@pytest.mark.parametrize("size", [0, 1, 3, 4, 1000, 65_536, 524_289])
def test_it_is_that_of_zlib(size: int) -> None:
    """Of all bytes, and of what goes on where others ended."""
    data = random.Random(size).randbytes(size)
    assert crc32(data) == zlib.crc32(data)
    assert crc32(memoryview(data), crc32(b"before")) == zlib.crc32(b"before" + data)


@pytest.mark.parametrize("length", [1, 7, 4096, 65_536])
def test_pieces_together_have_that_of_the_whole(length: int) -> None:
    """However many there are, and however short the last one is; zeros count as any other bytes."""
    pieces, chance = Pieces(length), random.Random(length)
    for count in (1, 2, 3, 9):
        for last in {1, length // 2 or 1, length - 1 or 1, length}:
            data = chance.randbytes((count - 1) * length + last)
            for whole in (data, bytes(len(data)), bytes(length) + data[length:]):
                found = [zlib.crc32(whole[at : at + length]) for at in range(0, len(whole), length)]
                joined = pieces.joined(found, len(whole) - (len(found) - 1) * length)
                assert joined == zlib.crc32(whole), (count, last)
