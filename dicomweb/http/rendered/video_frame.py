"""The first key frame of a video, decoded by ffmpeg where that is installed.

Facts this module keeps:

- No decoder of video is a dependency: those that come as a wheel bring GPL libraries and would run inside the server.
  ffmpeg is another program. What it may do is bounded: seconds, memory, pixels, threads, no file written, no protocol
  but the one file, no container or codec but those of PS3.5 8.2.5 to 8.2.8 and A.4.
- It gets a file with holes: the beginning of the stream, and its end, where MP4 may keep its index.
- Whatever goes wrong, there is no frame; nobody gets an error.
"""

import asyncio
import io
import logging
import resource
import shutil
import tempfile
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from dicomweb.http.wado.video import VideoStream
    from dicomweb.rendering.grayscale import Levels

logger = logging.getLogger(__name__)

BEGINNING: Final = 16 << 20
"""Bytes of the beginning of a stream that are read."""

END: Final = 4 << 20
"""Bytes of its end."""

SIDE: Final = 512
"""Pixels of the longer side of a frame."""

_SECONDS = 20
_MOST_PIXELS = 40_000_000
_LIMITS = {"RLIMIT_AS": 1 << 30, "RLIMIT_CPU": 10, "RLIMIT_FSIZE": 0}
_ONLY = ("-protocol_whitelist", "file", "-format_whitelist", "mov,mp4,mpegts,mpeg,mpegvideo,h264,hevc")
_CODECS = ("-codec_whitelist", "h264,hevc,mpeg2video,mpeg1video", "-max_pixels", str(_MOST_PIXELS))
_SQUARE = f"scale=w='max(2,iw*sar*{SIDE}/max(iw*sar,ih))':h='max(2,ih*{SIDE}/max(iw*sar,ih))'"


@cache
def ffmpeg() -> str | None:
    """Return the path of ffmpeg, None when it is not installed."""
    return shutil.which("ffmpeg")


async def first_key_frame(video: "VideoStream") -> "Levels | None":
    """Return the first key frame of a video.

    Parameters
    ----------
    video : VideoStream
        MPEG2, MPEG-4 AVC/H.264 or HEVC/H.265, as an elementary stream or in its container.

    Returns
    -------
    ndarray of uint8 of shape (rows, columns, 3), or None
        RGB, its longer side `SIDE` pixels, which are square; None when there is none, or nothing that decodes it.
    """
    program = ffmpeg()
    if program is None:
        return None
    try:
        with tempfile.TemporaryFile(prefix="dicomweb-video-") as file:  # without a name: nothing can be left behind
            for start, length in _pieces(video.length):
                file.seek(start)
                async for chunk in video.stream(start, length):
                    file.write(chunk)
            file.truncate(video.length)
            file.flush()
            file.seek(0)
            return await _decoded(program, file.fileno())
    except (TimeoutError, OSError, ValueError) as error:
        logger.info("ffmpeg found no key frame in a video: %s", error)
        return None


def _pieces(length: int) -> list[tuple[int, int]]:
    """Return the start and the length of what is read of a stream."""
    end = max(BEGINNING, length - END)
    return [(0, min(BEGINNING, length)), (end, max(0, length - end))]


async def _decoded(program: str, file: int) -> "Levels":
    before = ("-hide_banner", "-loglevel", "error", "-nostdin", *_ONLY, *_CODECS, "-skip_frame", "nokey")
    taken = ("-map", "0:v:0", "-frames:v", "1", "-filter_threads", "1", "-vf", _SQUARE)
    written = ("-f", "image2pipe", "-c:v", "ppm", "-threads", "1", "pipe:1")
    process = await asyncio.create_subprocess_exec(
        program,
        *(*before, "-threads", "1", "-i", f"file:/dev/fd/{file}", *taken, *written),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=(file,),
        env={"LC_ALL": "C"},  # it has no business with our settings
    )
    try:
        _limit(process.pid)
        async with asyncio.timeout(_SECONDS):
            found, _ = await process.communicate()
        return np.asarray(Image.open(io.BytesIO(found), formats=["PPM"]).convert("RGB"))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _limit(pid: int) -> None:
    """Bound what a process may take, where the system can (Linux)."""
    if not hasattr(resource, "prlimit"):
        return
    for name, most in _LIMITS.items():
        try:
            resource.prlimit(pid, getattr(resource, name), (most, most))
        except ProcessLookupError:
            return
