"""The DICOMDIR of stored instances, made from the index and kept in a temporary file until it was sent.

Facts kept here:

- No file is opened for it, but all are looked for: a directory never names what is not there.
- The index is read a few dozen instances at a time; a directory of more than `_IN_MEMORY` bytes lies on disk, where
  nobody finds it.
- An instance that was removed or replaced since it was chosen ends it: its record would not be that of its file.
"""

import tempfile
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Sequence
from errno import EDQUOT, ENOSPC
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import asyncpg
import orjson

from storage.blobs.local import LocalBlobs
from storage.blobs.reader import CHUNK
from storage.database.pool import retrying, sql
from storage.dicom.json_values import values_of
from storage.dicom.transfer_syntax import TRANSFER_SYNTAXES
from storage.errors import NotFound, OutOfSpace, Unavailable
from storage.retrieval.instance_file import InstanceFile
from storage.writing.dicomdir import DicomdirWriter, Leaf, file_ids
from storage.writing.directory_records import CHANGED_BY_LOSS, LEAF_TAGS, with_date

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Temporary = tempfile.SpooledTemporaryFile[bytes]

TransferSyntaxOf = Callable[[InstanceFile], str]

_AT_ONCE: Final = 64
_IN_MEMORY: Final = 1 << 20
_STUDY_DATE: Final = "00080020"
_CHANGED: Final = "Instances were removed or replaced while they were read; ask again."


class DicomdirFile:
    """A DICOMDIR ready to be sent; stream it once, or close it.

    Attributes
    ----------
    length : int
        In bytes.
    crc : int
        CRC-32 of the bytes.
    file_set_uid : str
        The same for the same instances in the same transfer syntaxes with the same keys, and for no others.
    study_date : str
        YYYYMMDD, empty when the study has none.
    """

    def __init__(self, blobs: LocalBlobs, file: "Temporary", crc: int, file_set_uid: str, study_date: str) -> None:
        self._blobs = blobs
        self._file = file
        self.length = file.tell()
        self.crc = crc
        self.file_set_uid = file_set_uid
        self.study_date = study_date

    @classmethod
    async def make(
        cls, pool: "Pool", blobs: LocalBlobs, files: Sequence[InstanceFile], transfer_syntax_of: TransferSyntaxOf
    ) -> "DicomdirFile":
        """Make the directory of instances of one study, as `Archive.instances` gives them; see `Archive.dicomdir`."""
        await _check_all_there(blobs, files)
        study = files[0].study_instance_uid
        rows = await _levels(pool, study, {file.series_instance_uid for file in files})
        first = await _heads(pool, files[:1])
        attributes = with_date(next(iter(rows.values()))["study"], await blobs.run(_keys, first[0]))
        file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(blobs.root / ".staging"))  # noqa: SIM115 - has close()
        try:
            writer = DicomdirWriter(file, study, attributes)
            ids = file_ids(one.series_instance_uid for one in files)
            for series, members in groupby(files, lambda one: one.series_instance_uid):
                if series not in rows:
                    raise Unavailable(_CHANGED)
                writer.begin_series(series, rows[series]["series"])
                for some in _pieces(members):
                    heads = await _heads(pool, some)
                    syntaxes = map(transfer_syntax_of, some)
                    await blobs.run(_add, writer, list(zip(some, heads, syntaxes, ids, strict=False)))
            uid = await blobs.run(writer.finish)
            crc = await blobs.run(_crc, file)
            return cls(blobs, file, crc, uid, next(map(str, values_of(attributes.get(_STUDY_DATE))), ""))
        except BaseException as error:
            file.close()
            if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
                raise OutOfSpace("There is no room for the DICOMDIR.") from error
            raise

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes, once."""
        try:
            await self._blobs.run(self._file.seek, 0)
            while chunk := await self._blobs.run(self._file.read, CHUNK):
                yield chunk
        finally:
            self.close()

    def close(self) -> None:
        """Drop it; `stream` does it at its end."""
        self._file.close()


async def _check_all_there(blobs: LocalBlobs, files: Sequence[InstanceFile]) -> None:
    lost = await blobs.run(blobs.lost, {file.blob: file.size for file in files})
    if lost:
        raise NotFound(
            f"{len(lost)} of {len(files)} stored files are missing or not as long as they were; `dicomweb check` tells"
            " more."
        )


async def _levels(pool: "Pool", study: str, series: Collection[str]) -> dict[str, Any]:
    """Return the rows of the series with what is known of them and of the study, by UID."""
    rows = await retrying(lambda: pool.fetch(sql("dicomdir_levels"), study, list(series)))
    if not rows:
        raise Unavailable(_CHANGED)
    return {row["series_instance_uid"]: row for row in rows}


async def _heads(pool: "Pool", files: Sequence[InstanceFile]) -> list[bytes]:
    """Return the metadata of instances of one series, as far as records need it, in order."""
    one, uids = files[0], [file.sop_instance_uid for file in files]
    statement = sql("dicomdir_heads")
    rows = await retrying(lambda: pool.fetch(statement, one.study_instance_uid, one.series_instance_uid, uids))
    found = {row["sop_instance_uid"]: row for row in rows}
    heads = []
    for file in files:
        row = found.get(file.sop_instance_uid)
        if row is None or row["version"] != file.version:
            raise Unavailable(_CHANGED)
        heads.append(row["head"])
    return heads


def _keys(head: bytes) -> dict[str, Any]:
    """Return the attributes that can be keys; none when the metadata was cut inside an item."""
    try:
        dataset = orjson.loads(head)
    except ValueError:
        return {}
    return {tag: dataset[tag] for tag in LEAF_TAGS if tag in dataset}


def _add(writer: DicomdirWriter, some: Iterable[tuple[InstanceFile, bytes, str, str]]) -> None:
    for file, head, syntax, file_id in some:
        keys = _keys(head)
        if syntax != file.transfer_syntax_uid and TRANSFER_SYNTAXES[syntax].lossy:
            keys = {tag: value for tag, value in keys.items() if tag not in CHANGED_BY_LOSS}
        pixels = file.layout.pixel_data is not None
        writer.add(Leaf(file_id, file.sop_class_uid, file.sop_instance_uid, syntax, pixels), keys)


def _crc(file: "Temporary") -> int:
    crc = 0
    file.seek(0)
    while chunk := file.read(CHUNK):
        crc = crc32(chunk, crc)
    return crc


def _pieces(files: Iterator[InstanceFile]) -> Iterator[list[InstanceFile]]:
    while some := list(islice(files, _AT_ONCE)):
        yield some
