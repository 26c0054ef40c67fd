"""The archive: the one door to what is stored. It knows DICOM, PostgreSQL and files; neither HTTP nor DIMSE."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg

from storage.blobs.local import LocalBlobs
from storage.database import pool as database
from storage.database.pool import sql
from storage.errors import Busy, NotFound, Unavailable
from storage.index.arrival import Arrival
from storage.index.search import Page
from storage.index.search_places import SearchPlaces
from storage.index.writer import Index, Verdict
from storage.ingest import Ingest, Outcome
from storage.matching.conditions import Query
from storage.pixels.threads import PixelThreads
from storage.policy import Policy
from storage.retrieval import selection
from storage.retrieval.bulk_text import BulkText
from storage.retrieval.bulk_value import BulkValue
from storage.retrieval.data_set_file import DataSetFile
from storage.retrieval.dicomdir_file import DicomdirFile, TransferSyntaxOf
from storage.retrieval.frame_set import FrameSet
from storage.retrieval.instance_file import InstanceFile, PartFile, source_of
from storage.retrieval.intact_file import IntactFile, read_intact
from storage.retrieval.metadata_set import MetadataSet
from storage.retrieval.selection import Chosen, UniqueKeys
from storage.retrieval.transcoded_file import DecodedPixelData, TranscodedFile
from storage.retrieval.whole_metadata import whole_metadata
from storage.system.errors import in_words
from storage.system.passcode_key import PasscodeKey
from storage.work.peers import Peers

_ROWS_AT_ONCE = 500
_TABLES = 16  # of checksums of long files that are remembered, each a 16 384th of its file
_ORDER = " ORDER BY series_number, series_instance_uid, instance_number, sop_instance_uid"


class Archive:
    """Stores, finds and reads instances.

    Parameters
    ----------
    pool : asyncpg.Pool
        From `storage.database.pool.connect`, to a migrated database.
    blobs : LocalBlobs
        Where the files lie.
    policy : Policy, optional
        What is accepted and how duplicates are treated.
    pixel_threads : PixelThreads, optional
        Where pixels are decoded and encoded; the archive closes them.
    passcode_key : Path, optional
        File of the key of passcodes; by default it is in the data folder.
    """

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        blobs: LocalBlobs,
        policy: Policy | None = None,
        pixel_threads: PixelThreads | None = None,
        passcode_key: Path | None = None,
    ) -> None:
        self.pool = pool
        self.blobs = blobs
        self.policy = policy or Policy()
        self.pixel_threads = pixel_threads or PixelThreads()
        self.peers = Peers(pool, PasscodeKey(passcode_key or blobs.root.parent / PasscodeKey.NAME))
        blobs.damage.keep_in(pool)
        self._tables: OrderedDict[str, bytes] = OrderedDict()
        self._index = Index(pool, blobs, self.policy)
        self._searches = SearchPlaces(pool)
        self._reading_slots = asyncio.Semaphore(4)

    @classmethod
    async def open(
        cls,
        database_url: str,
        folder: Path,
        policy: Policy | None = None,
        *,
        connections: int = 8,
        patience: float = 0.0,
        pixel_threads: PixelThreads | None = None,
        passcode_key: Path | None = None,
    ) -> "Archive":
        """Open the archive whose files lie in `folder`/blobs and whose index is at `database_url`.

        Raises
        ------
        Unavailable
            The database did not answer for `patience` seconds (it may just be starting again), or the folder cannot
            be used.
        """
        try:
            blobs = LocalBlobs(folder / "blobs")
        except OSError as error:
            raise Unavailable(f"the folder {folder / 'blobs'} cannot be used: {in_words(error)}") from error
        pool = await database.reach(
            database_url, lambda: database.connect(database_url, max_size=connections), seconds=patience
        )
        return cls(pool, blobs, policy, pixel_threads, passcode_key)

    async def close(self) -> None:
        """Finish what is being written and let go of the database."""
        await self._index.close()
        await self.blobs.damage.written()
        await self.pool.close()
        self.blobs.close()
        self.pixel_threads.close()

    async def ready(self) -> None:
        """Return when the database and the storage answer.

        Raises
        ------
        Unavailable
            One of them does not; the message says which.
        Busy
            They do, and every connection to the database is at work.
        """
        try:
            free = await database.answers(self.pool)
        except Exception as error:
            raise Unavailable("The database does not answer.") from error
        try:
            await self.blobs.run(self.blobs.free_bytes)
        except OSError as error:
            raise Unavailable("The storage folder cannot be read.") from error
        if not free:
            raise Busy("Every connection to the database is at work.")

    async def ready_to_store(self) -> None:
        """Return when there is room for more instances; whoever reads needs none.

        Raises
        ------
        OutOfSpace
            There is none.
        """
        await self.blobs.run(self.blobs.require_room, self.policy.min_free_bytes)

    # Storing

    def ingest(self, *, study_instance_uid: str | None = None) -> Ingest:
        """Begin to take in the files of one request, all of the one study if it is given (PS3.18 10.5.1)."""
        return Ingest(self.blobs, self._index, self.policy, self._reading_slots, study_instance_uid=study_instance_uid)

    async def store(self, data: bytes) -> Outcome:
        """Store one file that is in memory."""

        async def chunks() -> AsyncIterator[bytes]:
            yield data

        async with self.ingest() as ingest:
            await ingest.add(chunks())
            return (await ingest.finish())[0]

    async def adopt(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        """Index files that already lie in the blob store; one verdict a file."""
        return await self._index.add(arrivals)

    # Finding

    async def find(self, query: Query) -> Page:
        """Search (PS3.4 C.2.2.2); raises InvalidQuery, QueryTooBroad and Busy."""
        return await self._searches.find(query)

    async def changes(self, after: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        """Return the change feed after a sequence number, in order and without holes that could fill later."""
        return [dict(row) for row in await self.pool.fetch(sql("changes"), after, limit)]

    # Reading

    async def instances(self, study: str, series: str | None = None, instance: str | None = None) -> list[InstanceFile]:
        """Return the instances of a study, a series, or one, by series number, then instance number (D-012).

        Raises
        ------
        NotFound
            There is none.
        """
        rows = await self._rows("instances", study, series, instance)
        files: list[InstanceFile] = []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            files += map(InstanceFile.from_row, rows[start : start + _ROWS_AT_ONCE])
            await asyncio.sleep(0)  # a study of 100 000 instances must not hold up everybody else
        return files

    async def part10(
        self, instance: InstanceFile, transfer_syntax_uid: str | None = None, *, patient: bool = False
    ) -> PartFile | TranscodedFile:
        """Open an instance as a DICOM file.

        Parameters
        ----------
        instance : InstanceFile
            Which.
        transfer_syntax_uid : str, optional
            In which it is wanted. Without one it comes as stored, or in Explicit VR Little Endian where PS3.18 8.7.3
            lets nothing else out. Bytes that need not change are not touched.
        patient : bool
            Whether to wait for threads however much is waiting: for an answer that has begun.

        Raises
        ------
        UndecodablePixelData, UnencodablePixelData, LimitExceeded
            It cannot be had in this transfer syntax.
        Unavailable
            Too many are being made.

        Standard
        --------
        PS3.18 8.7.3; checklist A-042 to A-053.
        """
        if transfer_syntax_uid is None or transfer_syntax_uid == instance.retrieved_transfer_syntax_uid:
            return await PartFile(self.blobs, await self._with_checksums(instance)).open()
        instance = await self._with_checksums(instance)
        return await TranscodedFile.open(self.blobs, instance, self.pixel_threads, transfer_syntax_uid, patient=patient)

    async def intact(self, instance: InstanceFile, transfer_syntax_uid: str | None = None) -> IntactFile:
        """Open an instance as `part10` does, patiently, when it was read once and found to be what was stored.

        Raises
        ------
        UndecodablePixelData, UnencodablePixelData, LimitExceeded
            It cannot be had in this transfer syntax.
        ArchiveError
            It is not what was stored.
        """
        crc = await read_intact(self.blobs, instance)
        part = await self.part10(instance, transfer_syntax_uid, patient=True)
        as_stored = transfer_syntax_uid is None and instance.given_out_as_stored
        return IntactFile(instance, part, crc if as_stored else None)

    async def dicomdir(self, files: Sequence[InstanceFile], transfer_syntax_of: TransferSyntaxOf) -> DicomdirFile:
        """Make the DICOMDIR of instances of one study.

        Parameters
        ----------
        files : sequence of InstanceFile
            As `instances` returned them, or some of those in their order.
        transfer_syntax_of : callable
            Tells the transfer syntax that the file of an instance is in on the media.

        Raises
        ------
        NotFound
            Stored files are missing or cut short.
        Unavailable
            Instances were removed or replaced meanwhile, or the database does not answer.
        OutOfSpace
            There is no room for a temporary file.

        Standard
        --------
        PS3.10 8; PS3.3 F; checklist H-002 to H-017.
        """
        return await DicomdirFile.make(self.pool, self.blobs, files, transfer_syntax_of)

    async def data_set(self, instance: InstanceFile, transfer_syntax_uids: Collection[str]) -> DataSetFile:
        """Open the data set of an instance alone, as a C-STORE message carries it.

        Parameters
        ----------
        instance : InstanceFile
            Which.
        transfer_syntax_uids : collection of str
            What the receiver accepts. As stored is best, then Explicit VR, then Implicit VR Little Endian, then any
            other that loses nothing.

        Raises
        ------
        UndecodablePixelData, UnencodablePixelData, LimitExceeded
            It cannot be had in any of them.
        NotFound
            The stored file is missing or cut short.
        OutOfSpace
            There is no room for a temporary file.

        Standard
        --------
        PS3.4 B.4.1, PS3.5 10.1; checklist G-101.
        """
        return await DataSetFile.open(
            self.blobs, await self._with_checksums(instance), self.pixel_threads, transfer_syntax_uids
        )

    async def select(self, keys: UniqueKeys) -> list[Chosen]:
        """Return what unique keys choose, in the order of `instances`; nothing when no key has a value."""
        return await selection.select(self.pool, keys)

    async def files_of(self, chosen: Sequence[Chosen]) -> list[InstanceFile | None]:
        """Return the files of chosen instances as they are now, in order; None for one that was removed meanwhile."""
        return await selection.files_of(self.pool, chosen)

    async def decoded_pixel_data(self, instance: InstanceFile, *, patient: bool = False) -> DecodedPixelData:
        """Return the compressed pixel data of an instance as one uncompressed value; raises as `part10` does."""
        instance = await self._with_checksums(instance)
        return await DecodedPixelData.open(self.blobs, instance, self.pixel_threads, patient=patient)

    async def metadata(self, study: str, series: str | None = None, instance: str | None = None) -> MetadataSet:
        """Return the metadata of a study, a series or an instance; raises NotFound."""
        return MetadataSet(self.pool, await self._rows("metadata_list", study, series, instance))

    async def whole_metadata(self, instance: InstanceFile, room: int) -> bytes:
        """Return the metadata of an instance with its texts and numbers in place, however long, read from its file.

        To be asked for when `has_long_values` says so of the stored metadata. A BulkDataURI that is left is a path.

        Parameters
        ----------
        instance : InstanceFile
            Which.
        room : int
            Bytes that long values may have together; what is beyond stays a path.

        Raises
        ------
        Damaged, InvalidDicom, LimitExceeded
            The stored file is not what was stored.
        NotFound
            The stored file is missing.
        """
        return await self.blobs.run(self._read_whole, await self._with_checksums(instance), room)

    def _read_whole(self, instance: InstanceFile, room: int) -> bytes:
        try:
            with source_of(self.blobs, instance) as source:
                return whole_metadata(source, self.policy, room)
        except OSError as error:
            raise NotFound("The stored file of this instance cannot be read.") from error

    async def frames(self, study: str, series: str, instance: str, frame_numbers: Sequence[int]) -> FrameSet:
        """Return frames, counted from 1, of an instance.

        Raises
        ------
        NotFound
            There is no such instance, it has no frames, or not so many.
        """
        where, arguments = _condition(study, series, instance)
        row = await self.pool.fetchrow(sql("frames") + where, *arguments, list(frame_numbers))
        if row is None:
            raise NotFound("There is no such instance in the archive.")
        instance_file, checksums = InstanceFile.from_row(row), row["frame_checksums"]
        if None in checksums:  # they are compared by block
            instance_file = await self._with_checksums(instance_file)
        return FrameSet(self.blobs, instance_file, frame_numbers, row["entries"], checksums, self.pixel_threads)

    async def bulk_data(self, study: str, series: str, instance: str, path: str) -> BulkValue:
        """Return a large value by its path, e.g. `7FE00010` or `30060039/1/30060040/2/30060050`; raises NotFound.

        Text is in UTF-8, as the metadata says, whatever character set the instance is in (PS3.18 F.2).
        """
        where, arguments = _condition(study, series, instance)
        row = await self.pool.fetchrow(sql("bulk_data") + where, *arguments, path)
        if row is None:
            raise NotFound("There is no such instance in the archive.")
        if row["place"] is None:
            raise NotFound("The instance has no bulk data at this path; its metadata lists what it has.")
        file = await self._with_checksums(InstanceFile.from_row(row))
        offset, length, vr, *declared = row["place"]
        if declared:
            return await BulkText(self.blobs, file, offset, length, vr, declared[0]).open()
        return BulkValue(self.blobs, file, offset, length, vr)

    async def _with_checksums(self, instance: InstanceFile) -> InstanceFile:
        """Return an instance with the checksums of its blocks, should they be too many to have come with its row."""
        if instance.checksums != b"":
            return instance
        table = self._tables.pop(instance.blob, None)
        if table is None:
            table = await self.pool.fetchval(sql("checksums"), instance.blob)
        if table is None:
            raise Unavailable("The instance was removed or replaced meanwhile; ask again.")
        self._tables[instance.blob] = table
        while len(self._tables) > _TABLES:
            self._tables.popitem(last=False)
        return replace(instance, checksums=table)

    async def _rows(self, statement: str, study: str, series: str | None, instance: str | None) -> list[Any]:
        where, arguments = _condition(study, series, instance)
        rows: list[Any] = await self.pool.fetch(sql(statement) + where + _ORDER, *arguments)
        if not rows:
            raise NotFound(
                f"There is no such {'instance' if instance else 'series' if series else 'study'} in the archive."
            )
        return rows


def _condition(study: str, series: str | None, instance: str | None) -> tuple[str, list[str]]:
    named = {"study_instance_uid": study, "series_instance_uid": series, "sop_instance_uid": instance}
    given = [(column, uid) for column, uid in named.items() if uid is not None]
    conditions = [f"{column} = ${number}" for number, (column, _) in enumerate(given, 1)]
    return " WHERE " + " AND ".join(conditions), [uid for _, uid in given]
