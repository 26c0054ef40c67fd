"""The metadata of a study, a series or an instance: stored JSON, joined and never parsed."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import asyncpg

from storage.database import sql

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
        Changes whenever one of them does.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", rows: list[Any]) -> None:
        self._pool = pool
        self._rows = rows
        self.count = len(rows)
        self.bytes: int = sum(row["bytes"] for row in rows)
        digest = hashlib.sha256()
        for row in rows:
            digest.update(b"%d:%d," % (row["id"], row["version"]))
        self.etag = digest.hexdigest()[:32]

    async def __aiter__(self) -> AsyncIterator[Metadata]:
        for rows in self._pieces():
            found = await self._pool.fetch(sql("metadata"), [row["id"] for row in rows])
            texts: dict[int, bytes] = {row["id"]: row["metadata"] for row in found}
            for row in rows:
                if (text := texts.pop(row["id"], None)) is not None:  # else it was removed since the rows were listed
                    uids = row["study_instance_uid"], row["series_instance_uid"], row["sop_instance_uid"]
                    yield Metadata(*uids, text)

    def _pieces(self) -> Iterator[list[Any]]:
        piece: list[Any] = []
        held = 0
        for row in self._rows:
            if piece and (held + row["bytes"] > _CHUNK_BYTES or len(piece) == _CHUNK_ROWS):
                yield piece
                piece, held = [], 0
            piece.append(row)
            held += row["bytes"]
        yield piece
