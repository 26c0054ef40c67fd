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
* All metadata is read before any of it is stored, so that the order of instances is of no matter.
* A part nobody refers to, and a reference to no part, are failures. So is a value under a name that the model does not
  know; what can be left out without loss is a warning (`compose`).
"""

import asyncio
import re
import tempfile
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import orjson

from dicomweb.media_types import DICOM_JSON, DICOM_XML, OCTET_STREAM, MediaType, parse_content_type
from dicomweb.multipart import Part
from dicomweb.spool import PREFIX, receive
from dicomweb.stow_body import BodyError
from storage import dicomxml
from storage.compose import BulkPart, Composed, compose
from storage.errors import ArchiveError, InvalidDicom

if TYPE_CHECKING:
    from storage.ingest import Ingest

MAX_METADATA_BYTES = 256 * 2**20
"""Most bytes of all metadata parts of one request together: they are held in memory."""

_RESEMBLING = (
    "More than one BulkDataURI resembles the Content-Location of a part; "
    "give each a part of its own, with a Content-Location equal to it."
)
_SHARED_FRAMES = (
    "The parts of one Content-Location are the frames of one image, but more than one attribute refers to them; "
    "give each a Content-Location of its own."
)
_METADATA_TYPES = {DICOM_JSON: DICOM_JSON, "application/json": DICOM_JSON, DICOM_XML: DICOM_XML}


async def store_metadata(
    ingest: "Ingest", parts: AsyncIterable[Part], folder: Path, message_type: str = DICOM_JSON
) -> None:
    """Take in every instance of a message of metadata and bulk data parts.

    Parameters
    ----------
    ingest : Ingest
        Where the composed files go.
    parts : asynchronous iterable of Part
        The message.
    folder : Path
        On the file system that may hold the bulk data while it is read.
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
    metadata: list[tuple[str, bytes]] = []
    bulk = BulkParts()
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder, ignore_cleanup_errors=True) as spool:
        room = MAX_METADATA_BYTES
        async for part in parts:
            media_type = parse_content_type(part.content_type)
            kind = _METADATA_TYPES.get(media_type.essence) if media_type else None
            if kind is None and media_type is None and not metadata:
                kind = message_type
            if kind is None:
                await _spool(ingest, bulk, part, media_type, Path(spool))
                continue
            metadata.append((kind, await _collect(part, room)))
            room -= len(metadata[-1][1])
        if not metadata:
            raise BodyError(400, "The message has no metadata part (application/dicom+json or application/dicom+xml).")
        datasets = [dataset for kind, document in metadata for dataset in await _datasets(ingest, kind, document)]
        await asyncio.to_thread(bulk.refer, datasets)
        await _store(ingest, datasets, bulk)
        for _ in range(bulk.unused()):
            ingest.fail(InvalidDicom("No metadata refers beyond doubt to a bulk data part, by its Content-Location."))


class BulkParts:
    """The bulk data parts of a message, found by reference: first all are added, then all references noted."""

    def __init__(self) -> None:
        self._parts: dict[str, list[BulkPart]] = {}
        self._by_path: dict[str, list[str]] = {}
        self._used: set[str] = set()
        self._meant: dict[str, str | None] = {}
        self._references: dict[str, Counter[str]] = {}

    def add(self, location: str, part: BulkPart) -> None:
        """Add a part; parts of the same location keep their order."""
        if location not in self._parts:
            self._by_path.setdefault(_normal(location), []).append(location)
        self._parts.setdefault(location, []).append(part)

    def refer(self, metadata: Any) -> None:
        """Note every BulkDataURI in the metadata, at any depth; what `find` answers depends on all of them."""
        for uri in _references(metadata):
            location = self._location(uri)
            if location is not None:
                self._references.setdefault(location, Counter())[uri] += 1

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
        references = self._references.get(location, Counter())
        if location != uri and references.keys() - {uri}:
            raise InvalidDicom(_RESEMBLING)
        if len(self._parts[location]) > 1 and references.total() > 1:
            raise InvalidDicom(_SHARED_FRAMES)
        self._used.add(location)
        return self._parts[location]

    def unused(self) -> int:
        """Count the parts that nothing referred to."""
        return sum(len(parts) for location, parts in self._parts.items() if location not in self._used)

    def _location(self, uri: str) -> str | None:
        if uri not in self._meant:
            self._meant[uri] = uri if uri in self._parts else self._equivalent(_normal(uri))
        return self._meant[uri]

    def _equivalent(self, path: str) -> str | None:
        candidates = self._by_path.get(path)
        if candidates is None:
            candidates = [
                location
                for other, locations in self._by_path.items()
                if other and path and (other.endswith("/" + path) or path.endswith("/" + other))
                for location in locations
            ]
        return candidates[0] if len(candidates) == 1 else None


def _references(metadata: Any) -> Iterator[str]:
    """Yield every BulkDataURI in data sets, which may be anything that JSON can be."""
    pending = [metadata]
    while pending:
        node = pending.pop()
        if isinstance(node, dict) and isinstance(uri := node.get("BulkDataURI"), str):
            yield uri
        children = node.values() if isinstance(node, dict) else node
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


async def _collect(part: Part, room: int) -> bytes:
    chunks: list[bytes] = []
    async for chunk in part.body:
        chunks.append(chunk)
        room -= len(chunk)
        if room < 0:
            raise BodyError(413, f"The metadata of one request is limited to {MAX_METADATA_BYTES} bytes.")
    return b"".join(chunks)


async def _spool(ingest: "Ingest", bulk: BulkParts, part: Part, media_type: MediaType | None, folder: Path) -> None:
    location = part.content_location
    if location is None:
        ingest.fail(InvalidDicom("A bulk data part has no Content-Location, so nothing can refer to it."))
        return
    descriptor, path = await asyncio.to_thread(tempfile.mkstemp, dir=folder)
    with open(descriptor, "wb", buffering=0) as file:  # noqa: ASYNC230, PTH123 - writing is done in a thread
        length = await receive(part.body, file)
    bulk.add(
        location,
        BulkPart(
            media_type.essence if media_type else OCTET_STREAM,
            media_type.transfer_syntax if media_type else None,
            Path(path),
            length,
            media_type.parameters.get("charset") if media_type else None,
        ),
    )


async def _datasets(ingest: "Ingest", kind: str, document: bytes) -> list[Any]:
    """Return the data sets of a metadata part; XML that cannot be read is a failure of its own."""
    if kind == DICOM_JSON:
        return _json_datasets(document)
    try:
        return [await asyncio.to_thread(dicomxml.decode, document)]
    except ArchiveError as error:
        ingest.fail(error)
        return []


async def _store(ingest: "Ingest", datasets: list[Any], bulk: BulkParts) -> None:
    for dataset in datasets:
        try:
            composed = await asyncio.to_thread(compose, dataset, bulk.find)
        except ArchiveError as error:
            sop_class, sop_instance = (_uid(dataset, tag) for tag in ("00080016", "00080018"))
            ingest.fail(error, sop_class_uid=sop_class, sop_instance_uid=sop_instance)
            continue
        try:
            await ingest.add(_chunks(composed), warnings=composed.warnings)
        finally:
            composed.close()


def _json_datasets(document: bytes) -> list[Any]:
    try:
        read = orjson.loads(document.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise BodyError(400, f"The metadata is no JSON: {error.msg} at line {error.lineno}.") from None
    datasets = read if isinstance(read, list) else [read]
    if not datasets:
        raise BodyError(400, "The metadata is an empty array.")
    return datasets


async def _chunks(composed: Composed) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(next, composed.chunks, b""):
        yield chunk


def _uid(dataset: Any, tag: str) -> str | None:
    """Return a UID of a data set that may be anything, or None when it does not tell one."""
    attribute = dataset.get(tag) if isinstance(dataset, dict) else None
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    uid = values[0] if isinstance(values, list) and values else None
    return uid if isinstance(uid, str) and re.fullmatch(r"[0-9.]{1,64}", uid) else None
