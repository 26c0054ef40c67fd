"""Thumbnails of videos: the first key frame by ffmpeg, or a sign of its shape, with a play mark (PS3.18 10.4.1.1.4)."""

import io
import itertools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from dicomweb.http.rendered import video_frame
from dicomweb.rendering.thumbnail import clock, film
from dicomweb.rendering.viewport import Viewport
from tests.builders import encapsulated
from tests.dicomweb.http.wado.test_instances import stored

MPEG2, H264, HEVC = "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.107"
COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}
_numbers = itertools.count()


@pytest.fixture
def movie(tmp_path: Path) -> Callable[..., bytes]:
    """Make a second of one colour by ffmpeg: `movie("red", "libx264", "mp4", size="320x240")`."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed (Debian: apt install ffmpeg)")

    def made(colour: str, codec: str, container: str, *more: str, size: str = "320x240") -> bytes:
        path = tmp_path / f"{next(_numbers)}.{container}"
        source = ["-f", "lavfi", "-i", f"color={colour}:size={size}:rate=25:duration=1", "-c:v", codec]
        command = ["ffmpeg", "-loglevel", "error", *source, "-pix_fmt", "yuv420p", *more, str(path)]
        subprocess.run(command, check=True, capture_output=True)
        return path.read_bytes()

    return made


def recorded(stream: bytes, syntax: str, rows: int = 240, columns: int = 320, **attributes: Any) -> bytes:
    """Return a video of 25 frames a second."""
    described: dict[str, Any] = {
        "Rows": rows,
        "Columns": columns,
        "Modality": "ES",
        "NumberOfFrames": 25,
        "FrameTime": 40,
    }
    return encapsulated([[stream]], transfer_syntax=syntax, **described | attributes)


async def thumbnail_of(archive: Any, client: httpx2.AsyncClient, data: bytes, query: str = "") -> Any:
    """Store a video and return the pixels of its thumbnail."""
    (path,) = await stored(archive, data)
    answer = await client.get(f"{path}/thumbnail?accept=image/png{query}")
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


@pytest.mark.parametrize(
    ("colour", "codec", "container", "syntax", "more"),
    [
        ("red", "libx264", "mp4", H264, ["-movflags", "+faststart"]),
        ("lime", "libx264", "mp4", H264, []),  # with its index at the end
        ("blue", "libx264", "ts", H264, []),
        ("red", "libx264", "h264", H264, []),
        ("lime", "libx265", "mp4", HEVC, ["-x265-params", "log-level=none"]),
        ("blue", "mpeg2video", "mpg", MPEG2, []),
        ("red", "mpeg2video", "m2v", MPEG2, []),
    ],
)
async def test_the_first_frame_of_every_kind(
    archive: Any,
    client: httpx2.AsyncClient,
    movie: Callable[..., bytes],
    colour: str,
    codec: str,
    container: str,
    syntax: str,
    more: list[str],
) -> None:
    """Its colour, in its shape, under a play mark."""
    pixels = await thumbnail_of(archive, client, recorded(movie(colour, codec, container, *more), syntax))
    assert pixels.shape == (96, 128, 3)
    corner = pixels[4:20, 4:20].reshape(-1, 3).astype(int)
    assert np.abs(corner - COLOURS[colour]).max() < 12
    assert pixels[48, 64].min() > 200, "the play mark"


async def test_a_key_frame_of_a_large_video_is_read_from_its_beginning(
    archive: Any, client: httpx2.AsyncClient, movie: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes between the beginning and the end are not read: an index at the end is found all the same."""
    stream = movie("red", "libx264", "mp4")
    monkeypatch.setattr(video_frame, "BEGINNING", 4096)
    monkeypatch.setattr(video_frame, "END", 4096)
    at = stream.index(b"mdat") - 4
    size = int.from_bytes(stream[at : at + 4], "big")
    padded = b"\0" * 200_000
    longer = stream[:at] + (size + len(padded)).to_bytes(4, "big") + stream[at + 4 : at + size] + padded
    pixels = await thumbnail_of(archive, client, recorded(longer + stream[at + size :], H264))
    assert np.abs(pixels[4:20, 4:20].reshape(-1, 3).astype(int) - COLOURS["red"]).max() < 12


async def test_pixels_that_are_not_square(
    archive: Any, client: httpx2.AsyncClient, movie: Callable[..., bytes]
) -> None:
    """A picture of 720 x 576 for a wide screen is 16 by 9."""
    stream = movie("blue", "mpeg2video", "mpg", "-aspect", "16:9", size="720x576")
    pixels = await thumbnail_of(archive, client, recorded(stream, MPEG2, 576, 720), "&viewport=160,160")
    assert pixels.shape == (90, 160, 3)


@pytest.mark.parametrize("stream", [b"", b"no movie at all", b"#EXTM3U\nfile:///etc/passwd\n", b"\0\0\1\xb3" * 5000])
async def test_what_cannot_be_decoded_is_a_sign(archive: Any, client: httpx2.AsyncClient, stream: bytes) -> None:
    """A play mark on an empty film of its shape: never an error (D-124)."""
    pixels = await thumbnail_of(archive, client, recorded(stream or b"\0\0", H264, 360, 640))
    assert (pixels == film((360, 640), 1.0).pixels).all()
    assert pixels.shape == (72, 128, 3)


async def test_without_ffmpeg_it_is_a_sign(
    archive: Any, client: httpx2.AsyncClient, movie: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing needs it; once it is there, clients ask again."""
    (path,) = await stored(archive, recorded(movie("red", "libx264", "mp4"), H264))
    monkeypatch.setenv("PATH", "")
    video_frame.ffmpeg.cache_clear()
    sign = await client.get(f"{path}/thumbnail?accept=image/png")
    monkeypatch.undo()
    video_frame.ffmpeg.cache_clear()
    assert (np.asarray(Image.open(io.BytesIO(sign.content))) == film((240, 320), 1.0).pixels).all()
    again = await client.get(f"{path}/thumbnail?accept=image/png", headers={"If-None-Match": sign.headers["etag"]})
    assert again.status_code == 200


async def test_a_decoder_that_does_not_end_is_ended(
    archive: Any, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It has its seconds, then there is a sign, and no process stays."""
    slow = tmp_path / "ffmpeg"
    slow.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec /bin/sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setattr(video_frame, "ffmpeg", lambda: str(slow))
    monkeypatch.setattr(video_frame, "_SECONDS", 1)
    monkeypatch.setattr(video_frame, "_LIMITS", {})
    pixels = await thumbnail_of(archive, client, recorded(b"movie!", H264))
    assert (pixels == film((240, 320), 1.0).pixels).all()
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("shape", "viewport", "size"),
    [
        ((240, 320), None, (96, 128)),
        ((0, 0), None, (96, 128)),
        ((1, 10_000), None, (32, 128)),
        ((10, 10), Viewport(16, 16), (16, 16)),
    ],
)
def test_the_sign_has_the_shape_of_the_video(
    shape: tuple[int, int], viewport: Viewport | None, size: tuple[int, int]
) -> None:
    """As far as that can be seen."""
    assert film(shape, 7.0, None, viewport).pixels.shape == (*size, 3)


@pytest.mark.parametrize(("seconds", "shown"), [(7.4, "0:07"), (750, "12:30"), (3723, "1:02:03"), (59.6, "1:00")])
def test_durations(seconds: float, shown: str) -> None:
    """As players show them."""
    assert clock(seconds) == shown
