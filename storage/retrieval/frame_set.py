"""Frames of one instance: each is one positioned read at a place that was computed at ingest.

What is read is compared with the checksum that was taken of the frame then. In another transfer syntax than the stored
one they are decoded, and encoded anew, in threads.
"""

from collections.abc import Callable, Sequence
from functools import partial

from storage.blobs.checksums import packed
from storage.blobs.crc32 import crc32
from storage.blobs.local import LocalBlobs
from storage.errors import NotFound
from storage.pixels.deadly_blobs import DEADLY
from storage.pixels.layout import PixelLayout, frame_bytes, frame_span
from storage.pixels.pixel_data import Encoded, transcode_frame
from storage.pixels.plain_frames import is_plain, plain_frame
from storage.pixels.threads import PixelThreads
from storage.retrieval.instance_file import InstanceFile, reader_of


class FrameSet:
    """The frames that were asked for.

    Attributes
    ----------
    instance : InstanceFile
        The instance they belong to.
    pixel_data : PixelLayout
        Their shape and number.
    frame_numbers : sequence of int
        As asked for, counted from 1.
    patient : bool
        Whether to wait for threads however much is waiting: for an answer that has begun.
    warnings : list of str
        What was mended in the frames that were transcoded or made plain.

    Raises
    ------
    NotFound
        The instance has no frames, or fewer than asked for (D-042, D-057).
    """

    def __init__(
        self,
        blobs: LocalBlobs,
        instance: InstanceFile,
        frame_numbers: Sequence[int],
        entries: Sequence[bytes | None],
        checksums: Sequence[bytes | None],
        threads: PixelThreads,
    ) -> None:
        pixel_data = instance.layout.pixel_data
        if pixel_data is None or not pixel_data.frames:
            raise NotFound("The instance has no pixel data.")
        if frame_numbers and max(frame_numbers) > pixel_data.frames:
            raise NotFound(f"The instance has {pixel_data.frames} frame(s), counted from 1.")
        self.instance = instance
        self.pixel_data: PixelLayout = pixel_data
        self.frame_numbers = frame_numbers
        self._entries = dict(zip(frame_numbers, entries, strict=True))
        self._checksums = dict(zip(frame_numbers, checksums, strict=True))
        self._damaged = partial(blobs.damage.found, instance.blob, instance.sop_instance_uid)
        self._reader = reader_of(blobs, instance, by_block=None in checksums)
        self._threads = threads
        self.patient = False
        self.warnings: list[str] = []

    async def read(self, frame_number: int) -> bytes:
        """Return one frame: the compressed stream, or native samples in little endian, from a byte boundary.

        Raises
        ------
        NotFound
            The stored file is missing.
        Damaged
            The frame is not what was stored.
        """
        span = frame_span(self.pixel_data, frame_number - 1, self._entries[frame_number])
        try:
            raw = await self._reader.read(span.offset, span.length)
        except NotFound:
            self._damaged("it is gone")
            raise
        if len(raw) != span.length:
            raise self._damaged(f"frame {frame_number} is cut short")
        checksum = self._checksums[frame_number]
        if checksum is not None and checksum != packed(crc32(raw)):
            raise self._damaged(f"frame {frame_number} is not what was stored")
        return frame_bytes(span, raw, self.instance.layout)

    async def transcoded(self, frame_number: int, transfer_syntax_uid: str) -> bytes:
        """Return one frame in another transfer syntax; in Explicit VR Little Endian as the metadata describes it.

        Raises
        ------
        UndecodablePixelData, UnencodablePixelData, LimitExceeded
            It cannot be had so.
        Unavailable
            Too many frames are being made.

        Standard
        --------
        PS3.18 8.7.3.3; checklist A-049, D-043, D-053, D-058.
        """
        frame = await self.read(frame_number)
        return await self._made(transcode_frame, frame, transfer_syntax_uid)

    async def plain(self, frame_number: int, *, as_stored: bool) -> tuple[bytes, bool]:
        """Return one frame for a reader with simple decoders, see `plain_frames`.

        Parameters
        ----------
        frame_number : int
            Counted from 1.
        as_stored : bool
            Whether the reader knows the stored transfer syntax.

        Returns
        -------
        frame : bytes
            As stored, or native samples in little endian.
        made : bool
            Whether it is the latter, made of another frame.

        Raises
        ------
        UndecodablePixelData, LimitExceeded, Unavailable
            As `transcoded`.
        """
        frame = await self.read(frame_number)
        sop_class = self.instance.layout.sop_class_uid
        if as_stored and is_plain(frame, self.pixel_data, self.instance.transfer_syntax_uid, sop_class):
            return frame, False
        return await self._made(plain_frame, frame, sop_class), True

    async def _made(self, make: Callable[..., Encoded], frame: bytes, *arguments: str) -> bytes:
        # A list whose first frame was admitted is not refused in its middle.
        patient, self.patient = self.patient, True
        stored = self.instance.transfer_syntax_uid
        with DEADLY.heeded(self.instance.blob):
            encoded = await self._threads.run(make, frame, self.pixel_data, stored, *arguments, patient=patient)
        if encoded.warning and encoded.warning not in self.warnings:
            self.warnings.append(encoded.warning)
        return encoded.data
