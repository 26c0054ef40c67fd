"""A stored instance as a file to read: as it was stored, or in Explicit VR Little Endian where PS3.18 wants it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from storage.blobs.checksums import CheckedSource, Checks
from storage.blobs.local import LocalBlobs
from storage.blobs.reader import CHUNK, BlobReader
from storage.dicom.elements import Header, Limits
from storage.dicom.part10 import FileSource, Source, read_header
from storage.errors import NotFound
from storage.pixels.layout import Layout
from storage.writing.reencode import explicit_little_endian, explicit_little_endian_length

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class InstanceFile:
    """Where an instance lies and what it is.

    `size` is in bytes, `sha256` the 32-byte digest of the file as stored, `version` grows with every change,
    `checksums` are those of its blocks (`storage.blobs.checksums`): None when they are not known, empty when they are
    too many to be read with every row.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    blob: str
    size: int
    sha256: bytes
    layout: Layout
    version: int
    checksums: bytes | None = None

    @classmethod
    def from_row(cls, row: Any) -> "InstanceFile":
        """Make one from a row of `stored_instances`."""
        return cls(
            row["study_instance_uid"],
            row["series_instance_uid"],
            row["sop_instance_uid"],
            row["sop_class_uid"],
            row["transfer_syntax_uid"],
            row["blob"],
            row["size"],
            row["sha256"],
            Layout.from_json(row["layout"]),
            row["version"],
            row["short_checksums"],
        )

    @property
    def given_out_as_stored(self) -> bool:
        """Whether PS3.18 8.7.3 lets the file out byte for byte: its file meta is there and tells the truth, the data
        set is in explicit VR, little endian, and not deflated."""
        encoding = self.layout.encoding
        legal = encoding.explicit_vr and encoding.little_endian and not encoding.deflated
        return legal and self.layout.has_preamble and self.transfer_syntax_uid == self.retrieved_transfer_syntax_uid

    @property
    def retrieved_transfer_syntax_uid(self) -> str:
        """The transfer syntax in which the file is given out when nothing is decompressed (A-045, A-046)."""
        pixel_data = self.layout.pixel_data
        if pixel_data is not None and pixel_data.encapsulated:
            return self.transfer_syntax_uid
        return EXPLICIT_VR_LITTLE_ENDIAN


class PartFile:
    """A DICOM file (PS3.10) ready to be sent; use as an asynchronous context manager.

    Attributes
    ----------
    length : int
        Bytes of the whole file.
    transfer_syntax_uid : str
        The transfer syntax of the bytes sent, which may differ from the stored one.
    """

    warning = ""

    def __init__(self, blobs: LocalBlobs, instance: InstanceFile) -> None:
        self._blobs = blobs
        self._instance = instance
        self._parsed: tuple[Header, Source] | None = None
        self.length = instance.size
        self.transfer_syntax_uid = instance.retrieved_transfer_syntax_uid

    async def open(self) -> "PartFile":
        """Find out the length; needed before `length` and `stream` are used."""
        if not self._instance.given_out_as_stored:
            self._parsed, self.length = await self._blobs.run(self._parse)
        return self

    def stream(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `offset` (all by default) in chunks of at most 1 MiB."""
        wanted = self.length - offset if length is None else length
        if self._parsed is None:
            return file_reader_of(self._blobs, self._instance).stream(offset, wanted)
        header, source = self._parsed
        return cut(in_thread(self._blobs, explicit_little_endian(source, header)), offset, wanted)

    def _parse(self) -> tuple[tuple[Header, Source], int]:
        header, source = read_header(source_of(self._blobs, self._instance), Limits())
        return (header, source), explicit_little_endian_length(source, header)


class InflatedReader:
    """Reads a deflated instance by position in its inflated bytes."""

    def __init__(self, blobs: LocalBlobs, instance: InstanceFile) -> None:
        self._blobs = blobs
        self._instance = instance
        self._source: Source | None = None

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`, fewer only at the end."""
        if self._source is None:
            self._source = await self._blobs.run(self._inflate)
        return await self._blobs.run(self._source.read, offset, length)

    async def stream(self, offset: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `offset` in chunks."""
        for start in range(offset, offset + length, CHUNK):
            yield await self.read(start, min(CHUNK, offset + length - start))

    def _inflate(self) -> Source:
        return read_header(source_of(self._blobs, self._instance), Limits())[1]


def reader_of(blobs: LocalBlobs, instance: InstanceFile, *, by_block: bool = True) -> BlobReader:
    """Return a reader whose positions are those of `instance.layout`.

    What it reads was stored, or it raises Damaged; unless the caller compares it otherwise than by block.
    """
    if instance.layout.encoding.deflated:
        return InflatedReader(blobs, instance)
    return file_reader_of(blobs, instance) if by_block else blobs.reader(instance.blob)


def file_reader_of(blobs: LocalBlobs, instance: InstanceFile) -> BlobReader:
    """Return a reader of the file as stored; what it reads was stored, or it raises Damaged."""
    return blobs.reader(instance.blob, checks_of(blobs, instance))


def source_of(blobs: LocalBlobs, instance: InstanceFile) -> FileSource:
    """Open the file as stored (blocks); what is read was stored, or it raises Damaged.

    Raises
    ------
    NotFound
        It is gone.
    """
    checks = checks_of(blobs, instance)
    path = blobs.path(instance.blob)
    try:
        return FileSource(path) if checks is None else CheckedSource(path, checks)
    except FileNotFoundError:
        blobs.damage.found(instance.blob, instance.sop_instance_uid, "it is gone")
        raise NotFound("The stored file is missing; `dicomweb check` tells more.") from None


def checks_of(blobs: LocalBlobs, instance: InstanceFile) -> Checks | None:
    """Return what the blocks of a file must be, None when that is not known yet."""
    if not instance.checksums:
        return None
    return Checks(
        instance.size, instance.checksums, partial(blobs.damage.found, instance.blob, instance.sop_instance_uid)
    )


async def in_thread(blobs: LocalBlobs, items: Iterator[_Item]) -> AsyncGenerator[_Item, None]:
    """Yield from a blocking iterator, each step in a thread."""
    end = object()
    while (item := await blobs.run(next, items, end)) is not end:
        yield item


async def cut(chunks: AsyncIterator[bytes], offset: int, length: int) -> AsyncIterator[bytes]:
    """Yield `length` bytes after the first `offset`."""
    async for chunk in chunks:
        if offset >= len(chunk):
            offset -= len(chunk)
            continue
        piece = chunk[offset : offset + length]
        offset, length = 0, length - len(piece)
        yield piece
        if not length:
            return
        await asyncio.sleep(0)
