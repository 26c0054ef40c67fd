"""Compressed streams, changed, in files of every transfer syntax that is decoded.

Facts this module keeps:

- An input is a Part 10 file. Its first frame is decoded in a process of ours first, by what the product itself
  decodes with: thousands in a minute. What ends, stalls or fills that process is then sent to the server, and so is a
  share of the others, to be shown as a picture and as plain samples: only what the server does is judged.
- An error that the product does not know as its own is a fault wherever it shows.
"""

import multiprocessing
import random
import resource
import zlib
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

from pydicom.uid import UID

from storage.dicom.transfer_syntax import (
    DEFLATED_IMAGE_FRAME,
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from storage.errors import ArchiveError
from storage.pixels.codec_children import CHILDREN
from storage.pixels.jpeg_2000_limits import UnfitCodestream
from storage.pixels.pixel_data import decode_frame, encode_frame
from tests.builders import encapsulated
from tests.fuzz.mutation import mutated
from tests.fuzz.reading import PICTURES, paths_in, read, stored
from tests.fuzz.target import MIB, Fault, Target
from tests.fuzz.uids import uids
from tests.jpeg_2000 import PICTURE, encoded, subsampled
from tests.pixels import gray_frame, opened, picture, raw_frames, small_frames
from tests.storage.pixels.test_jpeg_2000_limits import ATTACKS

DECODED_WITHIN = 20.0
"""Seconds a frame of a few thousand samples may take before it is the server's turn to show what it makes of it."""
GROWTH = 512 * MIB
"""Bytes that such a frame may take."""
SHARE = 8
"""One of so many inputs goes to the server whatever became of it here."""
HEAD = 200
STAND_INS = (JPEG_BASELINE, HTJ2K_LOSSLESS)
"""Named to pydicom where it does not know a younger transfer syntax; of different lengths."""
Stream = tuple[str, bytes, tuple[int, ...], int]
"""Transfer syntax UID, stream, shape and bits stored."""


@cache
def streams() -> tuple[Stream, ...]:
    """Return small valid streams of every codec, gray and in color."""
    found: list[Stream] = [(syntax, stream, (32, 32), 12) for syntax, stream in small_frames().items()]
    gray, color = picture((40, 40)), picture((24, 32, 3))
    for syntax in (
        JPEG_BASELINE,
        JPEG_LOSSLESS_SV1,
        JPEG_LS_LOSSLESS,
        JPEG_2000_LOSSLESS,
        HTJ2K_LOSSLESS,
        RLE_LOSSLESS,
    ):
        found.append((syntax, gray_frame(gray, syntax), gray.shape, 8))
        found.append((syntax, encode_frame(color, syntax, photometric_interpretation="RGB").data, color.shape, 8))
    for sampling, high_throughput in (((2, 1), True), ((2, 2), False)):
        syntax = HTJ2K_LOSSLESS if high_throughput else JPEG_2000_LOSSLESS
        found.append((syntax, subsampled(PICTURE, sampling, high_throughput=high_throughput), PICTURE.shape, 8))
    return tuple(found)


def in_file(chance: random.Random, stream: Stream, **attributes: Any) -> bytes:
    """Return a file with a stream as its only frame."""
    syntax, data, shape, bits = stream
    rows, columns, samples = (*shape, 1)[:3]
    described = {
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": samples,
        "PhotometricInterpretation": "RGB" if samples == 3 else "MONOCHROME2",
        "BitsAllocated": 8 if bits == 8 else 16,
        "BitsStored": bits,
        "HighBit": bits - 1,
    } | ({"PlanarConfiguration": 0} if samples == 3 else {})
    field = _in_field(syntax)
    named = (
        syntax
        if UID(syntax).is_transfer_syntax
        else next(uid for uid in STAND_INS if len(_in_field(uid)) == len(field))
    )
    file = encapsulated([data], transfer_syntax=named, **(described | uids(chance) | attributes))
    return file.replace(_in_field(named), field, 1)


def _in_field(uid: str) -> bytes:
    """Return a UID as it is written, of even length."""
    return uid.encode() + b"\0" * (len(uid) % 2)


def make(chance: random.Random) -> bytes:
    """Make a file whose stream differs from a valid one."""
    syntax, data, shape, bits = chance.choice(streams())
    return in_file(chance, (syntax, mutated(chance, data, head=HEAD), shape, bits))


class Sieve:
    """A process of ours that decodes, and its successors."""

    def __init__(self) -> None:
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def decode(self, file: bytes) -> str:
        """Decode the first frame of a file; returns "decoded", "refused", "grew", or how it ended.

        Raises
        ------
        Fault
            The product raised what is none of its own errors.
        """
        pipe = self._pipe or self._start()
        try:
            pipe.send_bytes(file)
            if not pipe.poll(DECODED_WITHIN):
                self.stop()
                return "stalled"
            outcome = str(pipe.recv())
        except (EOFError, ConnectionError):
            self.stop()
            return "ended"
        if outcome.startswith("unforeseen"):
            raise Fault(outcome)
        return outcome

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_decode_all, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        return self._pipe

    def stop(self) -> None:
        """End the process."""
        if self._process is not None and self._pipe is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        self._process = self._pipe = None


def _decode_all(pipe: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    endings: list[str] = []
    CHILDREN.on_ending = lambda _, how: endings.append(how)
    while True:
        outcome = _decoded(pipe.recv_bytes())
        pipe.send(endings[0] if endings else outcome)
        endings.clear()


def _decoded(file: bytes) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        header, source = opened(file)
        found = raw_frames(header, source, 1)
        if found is None:
            return "refused"
        decode_frame(found[2][0], found[1], header.transfer_syntax_uid)
        outcome = "decoded"
    except (ArchiveError, UnfitCodestream):
        outcome = "refused"
    except Exception as error:
        return f"unforeseen {type(error).__name__}: {str(error)[:200]}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return "grew" if grown > GROWTH else outcome


_sieve = Sieve()


def send(target: Target, data: bytes) -> str:
    """Decode it here; show it there when that went wrong, or when it is its turn."""
    outcome = _sieve.decode(data)
    if outcome in ("decoded", "refused") and zlib.crc32(data) % SHARE:
        return outcome
    return f"{outcome}, server {shown(target, data)}"


def shown(target: Target, data: bytes) -> str:
    """Have the server show a file as a picture and as plain samples; returns what the first is counted under."""
    answer = stored(target, "application/dicom", data)
    statuses = [status for path in paths_in(answer) for status in read(target, path, PICTURES)]
    return str(statuses[0]) if statuses else f"stored {answer.outcome}"


def _attack(name: str, *, high_throughput: bool) -> Callable[[random.Random], bytes]:
    def made(chance: random.Random) -> bytes:
        gray = picture((64, 96))
        stream = ATTACKS[name](encoded(gray, high_throughput=high_throughput))
        syntax = HTJ2K_LOSSLESS if high_throughput else JPEG_2000_LOSSLESS
        return in_file(chance, (syntax, stream, gray.shape, 8))

    return made


def _hidden_header(alone: bytes) -> Callable[[random.Random], bytes]:
    def made(chance: random.Random) -> bytes:
        gray = picture((24, 40))
        frame = gray_frame(gray, JPEG_BASELINE)
        hidden = b"\xff\xc0\0\x0b\x08\xea\x60\xea\x60\1\1\x11\0"  # 60000 x 60000 pixels
        stream = frame[:2] + alone + (len(hidden) + 2).to_bytes(2, "big") + hidden + frame[2:]
        return in_file(chance, (JPEG_BASELINE, stream, gray.shape, 8))

    return made


def _empty(syntax: str) -> Callable[[random.Random], bytes]:
    return lambda chance: in_file(chance, (syntax, b"", (8, 8), 8))


PINNED: dict[str, Callable[[random.Random], bytes]] = {
    f"{kind}, {name}": _attack(name, high_throughput=kind == "HTJ2K")
    for kind in ("HTJ2K", "JPEG 2000")
    for name in ATTACKS
}
PINNED |= {
    f"JPEG, a header behind FF {alone[1]:02X}": _hidden_header(alone)
    for alone in (b"\xff\x01", b"\xff\xd0", b"\xff\xd7")
}
PINNED |= {
    f"nothing in {syntax}": _empty(syntax)
    for syntax in (JPEG_BASELINE, JPEG_EXTENDED, JPEG_LS_LOSSLESS, HTJ2K_LOSSLESS, RLE_LOSSLESS, DEFLATED_IMAGE_FRAME)
}
