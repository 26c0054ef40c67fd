"""Pixel data behind the end of a file: made when it is read, or kept in a file without a name."""

import errno
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from storage.dicom.elements import Header
from storage.dicom.source import Source
from storage.dicom.transfer_syntax import EXPLICIT_LE, RLE_LOSSLESS
from storage.errors import OutOfSpace
from storage.writing import transcoded_pixels
from storage.writing.transcode import transcode
from storage.writing.transcoded_pixels import AHEAD, FrameQueue, NativePixels
from tests.builders import multi_frame
from tests.pixels import opened

SOURCES = {
    "frames": multi_frame(5, rows=12, columns=17, bits=16),
    "bits": multi_frame(11, rows=5, columns=7, bits=1),
}


def compressed(name: str) -> tuple[Header, Source]:
    """Return one of the sources in RLE."""
    header, source = opened(SOURCES[name])
    with transcode(source, header, RLE_LOSSLESS) as result:
        return opened(b"".join(result.stream()))


def test_no_room_for_the_temporary_file_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A full disk is OutOfSpace, and leaves nothing behind (promise 7)."""

    class Full(io.BytesIO):
        def write(self, _data: Any) -> int:
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(transcoded_pixels.tempfile, "TemporaryFile", lambda **_: Full())
    header, source = opened(SOURCES["frames"])
    with pytest.raises(OutOfSpace):
        transcode(source, header, RLE_LOSSLESS, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_temporary_file_has_no_name(tmp_path: Path) -> None:
    """A killed process leaves nothing to clean up (promise 2)."""
    header, source = opened(SOURCES["frames"])
    with transcode(source, header, RLE_LOSSLESS, folder=tmp_path) as result:
        assert list(tmp_path.iterdir()) == []
        assert b"".join(result.stream()) == b"".join(result.stream())


def test_few_frames_are_made_ahead() -> None:
    """However many frames there are, only a few are in memory (promise 6)."""
    made: list[int] = []

    def make(index: int) -> bytes:
        made.append(index)
        return b"%d" % index

    with ThreadPoolExecutor(1) as executor:
        queue = FrameQueue(make, 1000, executor)
        assert [queue.frame(index) for index in range(3)] == [b"0", b"1", b"2"]
        executor.submit(int).result()
        assert len(made) <= 3 + AHEAD + 1
        assert queue.frame(500) == b"500"
        assert [queue.frame(index) for index in (501, 0, 999)] == [b"501", b"0", b"999"]
        queue.close()


@pytest.mark.parametrize("name", ["frames", "bits"])
def test_decoded_pixels_can_be_read_from_anywhere(name: str) -> None:
    """The source behind the file answers any range, as the file does before it (promise 6)."""
    header, source = compressed(name)
    native, native_source = opened(SOURCES[name])
    value = native.dataset[0x7FE00010]
    expected = native_source.read(value.offset, value.length)
    pixels = transcode(source, header, EXPLICIT_LE)._source
    assert isinstance(pixels, NativePixels)
    whole = pixels.read(source.length, pixels.length)
    assert whole == expected[: len(whole)]
    assert len(expected) - len(whole) in (0, 1)
    for start, length in ((0, 3), (1, 50), (40, 900), (len(whole) - 2, 10)):
        assert pixels.read(source.length + start, length) == whole[start : start + length]
    assert pixels.read(4, 9) == source.read(4, 9)
