"""Storing instances that come as metadata (JSON or XML) with their bulk data in parts of their own.

Facts and clauses this module keeps:

* PS3.18 10.5.1.4: one JSON part holds an array of data sets (one bare data set is tolerated), one XML part
  one data set.
* PS3.18 8.6.1.2: the metadata comes before the bulk data it refers to; any order is read all the same,
  since every bulk data part goes to a temporary file first.
* A reference and a Content-Location mean the same when they are equal, else when they are equal but for
  scheme, host, letter case and escapes, else when one is the end of the other's path and no second location
  is.
* A part is for one spelling of a reference, and is shared by all that are spelt so. When different references
  mean one location, it is found by the one that is equal to it only; so no instance gets another's pixels.
* Several parts of one location are the frames of one image, in their order, and so for one reference only.
* All metadata is read before any of it is stored, so that the order of instances is of no matter. It is read twice,
  then, from files: what is held in memory is one data set (`datasets.py`).
* What waits on the way to be composed is bounded: a few data sets in one process, whoever sent them.
* A part nobody refers to, and a reference to no part, are failures. So is a value under a name that the model does not
  know; what can be left out without loss is a warning (`compose`).
"""

import asyncio
import re
import tempfile
from bisect import bisect_left
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from dicomweb.http.message.media_types import DICOM_JSON, DICOM_XML, OCTET_STREAM, MediaType, parse_content_type
from dicomweb.http.message.multipart import Part
from dicomweb.http.message.spool import PREFIX, receive
from dicomweb.http.stow.body import BodyError
from dicomweb.http.stow.datasets import as_json, datasets
from storage.errors import ArchiveError, InvalidDicom, without_frames
from storage.writing.compose import BulkPart, Composed, compose

if TYPE_CHECKING:
    from storage.ingest import Ingest

MAX_METADATA_BYTES: Final = 256 * 2**20
"""Most bytes of all metadata parts of one request together: one of them may be one data set."""

MAX_LOCATION_BYTES: Final = 32 * 2**20
"""Most bytes of the headers of all bulk data parts of one request together: they are held in memory."""

_AT_ONCE: Final = 256
"""Data sets after which it is time to see whether the client is still there."""
_LONGEST_RESEMBLING: Final = 2048

_RESEMBLING = (
    "More than one BulkDataURI resembles the Content-Location of a part; "
    "give each a part of its own, with a Content-Location equal to it."
)
_SHARED_FRAMES = (
    "The parts of one Content-Location are the frames of one image, but more than one attribute refers to them; "
    "give each a Content-Location of its own."
)
_METADATA_TYPES = {DICOM_JSON: DICOM_JSON, "application/json": DICOM_JSON, DICOM_XML: DICOM_XML}


@dataclass(frozen=True, slots=True)
class MetadataLimits:
    """What a message of metadata may not exceed.

    Attributes
    ----------
    items : int
        Most bulk data parts, and most data sets, in one message.
    turns : asyncio.Semaphore
        How many data sets may be in memory at once, over all requests.
    """

    items: int
    turns: asyncio.Semaphore


async def store_metadata(
    ingest: "Ingest",
    parts: AsyncIterable[Part],
    folder: Path,
    limits: MetadataLimits,
    message_type: str = DICOM_JSON,
) -> None:
    """Take in every instance of a message of metadata and bulk data parts.

    Parameters
    ----------
    ingest : Ingest
        Where the composed files go.
    parts : asynchronous iterable of Part
        The message.
    folder : Path
        On the file system that may hold the message while it is read.
    limits : MetadataLimits
        What is refused as a whole.
    message_type : str
        What a first part without Content-Type is.

    Raises
    ------
    BodyError
        400 when there is no metadata or it is no JSON, 413 when it is too large.
    MultipartError
        From `parts`; nothing is stored then.

    Standard
    --------
    PS3.18 10.5.1.4, 10.5.2.
    """
    # Making and removing are done in threads: there may be as many files as parts.
    spool = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix=PREFIX, dir=folder, ignore_cleanup_errors=True)
    try:
        message = _Message(ingest, Path(spool.name), limits)
        await message.receive(parts, message_type)
        await message.store()
    finally:
        await asyncio.to_thread(spool.cleanup)


class _Message:
    """A message in files: what is metadata as JSON documents, all other parts by their location."""

    def __init__(self, ingest: "Ingest", folder: Path, limits: MetadataLimits) -> None:
        self._ingest = ingest
        self._folder = folder
        self._limits = limits
        self._documents: list[Path] = []
        self._bulk = BulkParts()
        self._room = MAX_METADATA_BYTES
        self._room_for_locations = MAX_LOCATION_BYTES

    async def receive(self, parts: AsyncIterable[Part], message_type: str) -> None:
        """Read the message to its end."""
        found = False
        async for part in parts:
            media_type = parse_content_type(part.content_type)
            kind = _METADATA_TYPES.get(media_type.essence) if media_type else None
            if kind is None and media_type is None and not found:
                kind = message_type
            if kind is None:
                await self._take_bulk(part, media_type)
                continue
            found = True
            document, length = await self._spooled(_limited(part.body, self._room))
            self._room -= length
            if kind == DICOM_XML:
                await self._to_json(document)
            else:
                self._documents.append(document)
        if not found:
            raise BodyError(400, "The message has no metadata part (application/dicom+json or application/dicom+xml).")

    async def store(self) -> None:
        """Store every data set; then report the parts that belong to none."""
        for step in (self._refer_next, self._store_next):
            read = datasets(self._documents, self._limits.items)
            more = True
            while more:
                async with self._limits.turns:
                    more = await step(read)
        for _ in range(self._bulk.unused()):
            self._ingest.fail(
                InvalidDicom("No metadata refers beyond doubt to a bulk data part, by its Content-Location.")
            )

    async def _refer_next(self, read: Iterator[Any]) -> bool:
        """Note what the next data sets refer to; whether there may be more."""

        def refer() -> bool:
            dataset = None
            for dataset in islice(read, _AT_ONCE):
                self._bulk.refer(dataset)
            return dataset is not None

        return await asyncio.to_thread(refer)

    async def _store_next(self, read: Iterator[Any]) -> bool:
        """Store the next instance, after the failures before it; whether there may be more."""
        made = await asyncio.to_thread(_until_composed, read, self._bulk.find)
        for item in made:
            if isinstance(item, _Refused):
                self._ingest.fail(item.error, sop_class_uid=item.sop_class, sop_instance_uid=item.sop_instance)
                continue
            try:
                await self._ingest.add(_chunks(item), warnings=item.warnings)
            finally:
                item.close()
        return bool(made)

    async def _take_bulk(self, part: Part, media_type: MediaType | None) -> None:
        location = part.content_location
        if location is None:
            self._ingest.fail(InvalidDicom("A bulk data part has no Content-Location, so nothing can refer to it."))
            return
        self._room_for_locations -= len(location) + len(part.content_type or "")
        if self._room_for_locations < 0:
            raise BodyError(413, f"The locations of the parts are limited to {MAX_LOCATION_BYTES} bytes together.")
        path, length = await self._spooled(part.body)
        self._bulk.add(
            location,
            BulkPart(
                media_type.essence if media_type else OCTET_STREAM,
                media_type.transfer_syntax if media_type else None,
                path,
                length,
                media_type.parameters.get("charset") if media_type else None,
            ),
        )

    async def _to_json(self, document: Path) -> None:
        """Keep an XML document as JSON; one that cannot be read is a failure of its own."""
        try:
            async with self._limits.turns:
                await asyncio.to_thread(lambda: document.write_bytes(as_json(document)))
        except ArchiveError as error:
            self._ingest.fail(error)
        else:
            self._documents.append(document)

    async def _spooled(self, body: AsyncIterable[bytes]) -> tuple[Path, int]:
        descriptor, path = await asyncio.to_thread(tempfile.mkstemp, dir=self._folder)
        with open(descriptor, "wb", buffering=0) as file:  # noqa: ASYNC230, PTH123 - writing is done in a thread
            return Path(path), await receive(body, file)


@dataclass(frozen=True, slots=True)
class _Refused:
    """A data set that is no instance, by the UIDs that it tells."""

    error: ArchiveError
    sop_class: str | None
    sop_instance: str | None


def _until_composed(read: Iterator[Any], resolve: Callable[[str], list[BulkPart]]) -> list[_Refused | Composed]:
    """Read on until there is a file, which then is the last of the list, or enough that is none; [] at the end."""
    made: list[_Refused | Composed] = []
    for dataset in islice(read, _AT_ONCE):
        try:
            made.append(compose(dataset, resolve))
            break
        except ArchiveError as error:
            made.append(_Refused(without_frames(error), _uid(dataset, "00080016"), _uid(dataset, "00080018")))
    return made


@dataclass(frozen=True, slots=True)
class _Use:
    """How a location is referred to: by which spelling first, whether by others too, how often in all."""

    spelling: str
    others: bool = False
    times: int = 1


class BulkParts:
    """The bulk data parts of a message, found by reference: first all are added, then all references noted.

    A message may refer to what is not there as often as it likes: only what is found is kept, and finding takes no
    longer for many parts than for few.
    """

    def __init__(self) -> None:
        self._parts: dict[str, list[BulkPart]] = {}
        self._by_path: dict[str, list[str]] = {}
        self._backwards: list[str] = []
        self._used: set[str] = set()
        self._uses: dict[str, _Use] = {}

    def add(self, location: str, part: BulkPart) -> None:
        """Add a part; parts of the same location keep their order."""
        if location not in self._parts:
            self._by_path.setdefault(_normal(location), []).append(location)
        self._parts.setdefault(location, []).append(part)

    def refer(self, metadata: Any) -> None:
        """Note every BulkDataURI in the metadata, at any depth; what `find` answers depends on all of them."""
        for uri in _references(metadata):
            location = self._location(uri)
            if location is None:
                continue
            use = self._uses.get(location)
            if use is None:
                self._uses[location] = _Use(uri)
            else:
                self._uses[location] = replace(use, others=use.others or use.spelling != uri, times=use.times + 1)

    def find(self, uri: str) -> list[BulkPart]:
        """Return the parts a BulkDataURI refers to, none when there is none or more than one location fits.

        Raises
        ------
        InvalidDicom
            When other references mean the same parts, and it is not certain whose they are.
        """
        location = self._location(uri)
        if location is None:
            return []
        use = self._uses.get(location)
        if use is not None and location != uri and (use.others or use.spelling != uri):
            raise InvalidDicom(_RESEMBLING)
        if use is not None and len(self._parts[location]) > 1 and use.times > 1:
            raise InvalidDicom(_SHARED_FRAMES)
        self._used.add(location)
        return self._parts[location]

    def unused(self) -> int:
        """Count the parts that nothing referred to."""
        return sum(len(parts) for location, parts in self._parts.items() if location not in self._used)

    def _location(self, uri: str) -> str | None:
        return uri if uri in self._parts else self._equivalent(_normal(uri))

    def _equivalent(self, path: str) -> str | None:
        candidates = self._by_path.get(path)
        if candidates is None:
            candidates = [location for other in self._resembling(path) for location in self._by_path[other]]
        return candidates[0] if len(candidates) == 1 else None

    def _resembling(self, path: str) -> Iterator[str]:
        """Yield the paths that this one is the end of, two at most, and those that are the end of this one."""
        if not path or len(path) > _LONGEST_RESEMBLING:
            return
        if len(self._backwards) < len(self._by_path):
            self._backwards = sorted(other[::-1] for other in self._by_path)
        end = f"/{path}"[::-1]
        place = bisect_left(self._backwards, end)
        for other in self._backwards[place : place + 2]:
            if other.startswith(end):
                yield other[::-1]
        for place, character in enumerate(path):
            if character == "/" and (shorter := path[place + 1 :]) and shorter in self._by_path:
                yield shorter


def _references(metadata: Any) -> Iterator[str]:
    """Yield every BulkDataURI in a data set, which may be anything that JSON can be."""
    pending = [metadata]
    while pending:
        node = pending.pop()
        if isinstance(node, dict) and isinstance(uri := node.get("BulkDataURI"), str):
            yield uri
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        pending += [child for child in children if isinstance(child, dict | list)]


def _normal(uri: str) -> str:
    """Reduce a URI to what two spellings of it have in common: its path, or what follows `cid:` or `urn:uuid:`."""
    uri = uri.strip().strip("<>")
    try:
        split = urlsplit(uri)
    except ValueError:
        return uri.lower()
    path = unquote(split.path)
    if split.scheme.lower() == "urn":
        path = path.lower().removeprefix("uuid:")
    segments = [segment for segment in path.split("/") if segment not in ("", ".", "..")]
    query = f"?{split.query}" if split.query else ""
    return ("/".join(segments) + query).lower()


async def _limited(body: AsyncIterable[bytes], room: int) -> AsyncIterator[bytes]:
    async for chunk in body:
        room -= len(chunk)
        if room < 0:
            raise BodyError(413, f"The metadata of one request is limited to {MAX_METADATA_BYTES} bytes.")
        yield chunk


async def _chunks(composed: Composed) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(next, composed.chunks, b""):
        yield chunk


def _uid(dataset: Any, tag: str) -> str | None:
    """Return a UID of a data set that may be anything, or None when it does not tell one."""
    attribute = dataset.get(tag) if isinstance(dataset, dict) else None
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    uid = values[0] if isinstance(values, list) and values else None
    return uid if isinstance(uid, str) and re.fullmatch(r"[0-9.]{1,64}", uid) else None
