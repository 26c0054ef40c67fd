"""A stored instance in another transfer syntax than its own, to be sent while it is made.

Facts kept here:

- The first frame is decoded before anything is promised; a compressed file is made as a whole before (`transcode`).
- Memory is constant: a few frames are made ahead, in threads, and a compressed file lies in an unlinked temporary one.
- What was prepared is dropped when the stream ends, or is closed because the client left.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from threading import Event
from typing import TypeAlias, TypeVar

from storage.blobs.local import LocalBlobs
from storage.dicom.elements import Limits
from storage.dicom.part10 import read_header
from storage.dicom.source import chunks
from storage.dicom.transfer_syntax import EXPLICIT_LE
from storage.pixels.deadly_blobs import DEADLY
from storage.pixels.threads import PixelThreads
from storage.retrieval.instance_file import InstanceFile, cut, source_of
from storage.writing.transcode import Transcoded, transcode

Check: TypeAlias = Callable[[int], None]
"""Raises when nobody waits for the work any more."""

_T = TypeVar("_T")


class TranscodedFile:
    """A DICOM file (PS3.10) in a transfer syntax of the client's choice; a `PartFile` in all but its making.

    Attributes
    ----------
    length : int
        Bytes of the whole file.
    transfer_syntax_uid : str
        Of the bytes sent.
    warning : str
        What was mended in the first frame; empty for nothing.
    """

    def __init__(self, blob: str, transcoded: Transcoded, threads: PixelThreads) -> None:
        self._blob = blob
        self._transcoded = transcoded
        self._threads = threads
        self.length = transcoded.length
        self.transfer_syntax_uid = transcoded.transfer_syntax_uid
        self.warning = transcoded.warning

    @classmethod
    async def open(
        cls,
        blobs: LocalBlobs,
        instance: InstanceFile,
        threads: PixelThreads,
        transfer_syntax_uid: str,
        *,
        patient: bool = False,
    ) -> "TranscodedFile":
        """Prepare the file; when the caller is cancelled the work ends with the frame it is at.

        Parameters
        ----------
        blobs, instance : LocalBlobs, InstanceFile
            What is stored.
        threads : PixelThreads
            Where frames are made.
        transfer_syntax_uid : str
            In which it is wanted.
        patient : bool
            Whether to wait for threads however much is waiting.

        Raises
        ------
        UndecodablePixelData, UnencodablePixelData, LimitExceeded
            It cannot be had in this transfer syntax.
        Unavailable
            Too many are being made.
        OutOfSpace
            There is no room for the temporary file.
        """
        prepared = await _prepared(blobs, instance, threads, transfer_syntax_uid, patient)
        return cls(instance.blob, prepared, threads)

    async def stream(self, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield `length` bytes from `offset` (all by default) in chunks of at most 1 MiB, once."""
        wanted = self.length - offset if length is None else length
        try:
            with DEADLY.heeded(self._blob):
                async for chunk in cut(self._threads.steps(self._transcoded.stream()), offset, wanted):
                    yield chunk
        finally:
            self.close()

    def close(self) -> None:
        """Drop what was prepared; `stream` does it at its end."""
        self._transcoded.close()


class DecodedPixelData:
    """The pixel data of an instance as one uncompressed value in little endian, as the metadata describes it.

    Attributes
    ----------
    length : int
        In bytes, without padding.
    """

    def __init__(self, blob: str, transcoded: Transcoded, threads: PixelThreads) -> None:
        self._blob = blob
        self._transcoded = transcoded
        self._threads = threads
        self.length = transcoded.pixel_data[1]

    @classmethod
    async def open(
        cls, blobs: LocalBlobs, instance: InstanceFile, threads: PixelThreads, *, patient: bool = False
    ) -> "DecodedPixelData":
        """Prepare the value; raises as `TranscodedFile.open` does."""
        prepared = await _prepared(blobs, instance, threads, EXPLICIT_LE, patient, samples_as_stated=True)
        return cls(instance.blob, prepared, threads)

    async def stream(self, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield `length` bytes from `offset` (all by default), once; frames before `offset` are not decoded."""
        wanted = self.length - offset if length is None else length
        try:
            with DEADLY.heeded(self._blob):
                async for chunk in self._threads.steps(self._chunks(offset, wanted)):
                    yield chunk
        finally:
            self._transcoded.close()

    def _chunks(self, offset: int, length: int) -> Iterator[bytes]:
        start, _ = self._transcoded.pixel_data
        return chunks(self._transcoded.source, start + offset, length)


class _CallerGoneError(Exception):
    """Nobody waits for the file any more."""


async def _prepared(
    blobs: LocalBlobs,
    instance: InstanceFile,
    threads: PixelThreads,
    transfer_syntax_uid: str,
    patient: bool,
    *,
    samples_as_stated: bool = False,
) -> Transcoded:
    def prepare(check: Check) -> Transcoded:
        header, source = read_header(source_of(blobs, instance), Limits())
        return transcode(
            source,
            header,
            transfer_syntax_uid,
            executor=threads.frames,
            folder=blobs.root / ".staging",
            on_frame=check,
            samples_as_stated=samples_as_stated,
        )

    with DEADLY.heeded(instance.blob):
        return await while_wanted(threads, prepare, patient=patient)


async def while_wanted(threads: PixelThreads, work: Callable[[Check], _T], *, patient: bool = False) -> _T:
    """Run work on a file in a thread; it is given a function to call now and then, which ends it when nobody waits."""
    is_gone = Event()

    def check(_step: int) -> None:
        if is_gone.is_set():
            raise _CallerGoneError

    try:
        return await threads.run_file(work, check, patient=patient)
    except asyncio.CancelledError:
        is_gone.set()
        raise
