"""The metadata of a study, a series or an instance: stored JSON, joined and never parsed."""

import hashlib
from array import array
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import asyncpg

from storage.database.pool import sql
from storage.dicom.dicomjson import ENCODING_VERSION

_CHUNK_BYTES = 4 * 2**20
_CHUNK_ROWS = 256


class Metadata(NamedTuple):
    """One instance's DICOM JSON object in UTF-8; each BulkDataURI holds only the path below the instance's URL."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    json: bytes


class MetadataSet:
    """An asynchronous iterable of `Metadata`, read in pieces of a few megabytes.

    Attributes
    ----------
    count : int
        Number of instances.
    bytes : int
        Length of all the JSON objects together.
    etag : str
        Changes whenever one of them does; also when the index was built anew, with the same numbers, by a program
        that encodes differently.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", rows: list[Any]) -> None:
        self._pool = pool
        # Held for as long as the slowest client reads: 16 bytes an instance, not the rows.
        self._ids = array("q", (row["id"] for row in rows))
        self._lengths = array("q", (row["bytes"] for row in rows))
        self.count = len(rows)
        self.bytes: int = sum(self._lengths)
        digest = hashlib.sha256(b"%d;" % ENCODING_VERSION)
        for row in rows:
            digest.update(b"%d:%d," % (row["id"], row["version"]))
        self.etag = digest.hexdigest()[:32]

    async def __aiter__(self) -> AsyncIterator[Metadata]:
        """Yield what is still there; an instance that was removed since the set was made is left out."""
        for start, stop in self._pieces():
            for row in await self._pool.fetch(sql("metadata"), self._ids[start:stop]):
                yield Metadata(*row)

    def _pieces(self) -> Iterator[tuple[int, int]]:
        start = held = 0
        for place, length in enumerate(self._lengths):
            if place > start and (held + length > _CHUNK_BYTES or place - start == _CHUNK_ROWS):
                yield start, place
                start, held = place, 0
            held += length
        yield start, self.count
