"""Comparing files and index: every file against its size and hash, rows without files, files without rows."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from storage.archive import Archive
from storage.blobs.checksums import frame_checksums
from storage.blobs.local import Digest, FoundBlob
from storage.database.pool import ADMINISTRATIVE, sql
from storage.dicom.part10 import FileSource, read_header
from storage.errors import ArchiveError, Unavailable
from storage.index.arrival import Arrival
from storage.index.record import Record, read_record
from storage.index.removal import lock_studies_of, remove_rows
from storage.pixels.layout import Layout
from storage.system.errors import in_words
from storage.upkeep.stocktaking import unindexed

Kind = Literal["missing", "damaged", "unreadable", "unindexed", "miscounted"]
_ROWS = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes
    ----------
    kind : str
        "missing": a row whose file is gone; "damaged": a file that is not what was stored; "unreadable": the disk does
        not tell; "unindexed": a file without a row; "miscounted": a study whose counters are wrong.
    what : str
        The blob name, or the Study Instance UID of a miscounted study.
    detail : str
        What is wrong, and the UIDs concerned.
    row : int, optional
        The instance row.
    """

    kind: Kind
    what: str
    detail: str
    row: int | None = None


async def verify(archive: Archive) -> AsyncIterator[Finding | int]:
    """Yield what is wrong, and between findings the number of files checked so far (for a progress display)."""
    checked = 0
    last = 0
    while rows := await archive.pool.fetch(sql("rows_to_verify"), last, _ROWS):
        for row in rows:
            if finding := await examine(archive, row):
                yield finding
            checked += 1
        last = rows[-1]["id"]
        yield checked
    async for name in unindexed(archive):
        yield Finding("unindexed", name, "no row of the index names this file")
    for row in await archive.pool.fetch(sql("wrong_counters"), timeout=ADMINISTRATIVE):
        yield Finding("miscounted", row["study_instance_uid"], "the counters of the study are wrong")


async def examine(archive: Archive, row: Any, *, bytes_a_second: float | None = None) -> Finding | None:
    """Read the file of a row of `rows_to_verify`, write into the index what was found, and return what is wrong.

    That is that it is damaged, or no longer; and its checksums, when it was stored before there were any. With a number
    of bytes a second it is read from the disk, no faster than that.
    """
    found = await _examine(archive, row, bytes_a_second)
    if isinstance(found, Finding):
        if found.kind != "unreadable":
            await archive.pool.fetchval(sql("note_damage"), row["blob"], found.detail)
        return found
    if row["is_damaged"]:
        await archive.pool.execute(sql("forget_damage"), row["blob"])
    if row["is_unknown"]:
        await _write_checksums(archive, row, found)
    return None


async def _write_checksums(archive: Archive, row: Any, found: Digest) -> None:
    frames = await archive.pool.fetchrow(sql("frames_of_row"), row["id"], row["blob"])
    if frames is None:
        return  # replaced or removed meanwhile

    def read() -> bytes | None:
        layout = Layout.from_json(frames["layout"])
        with FileSource(archive.blobs.path(row["blob"])) as file:
            source = read_header(file, archive.policy.limits)[1] if layout.encoding.deflated else file
            return frame_checksums(source, layout, frames["frame_table"])

    try:
        of_frames = await archive.blobs.run(read)
    except (ArchiveError, OSError):  # its frames are then compared by their blocks
        of_frames = None
    await archive.pool.execute(sql("write_checksums"), row["id"], row["blob"], found.checksums, of_frames)


async def _examine(archive: Archive, row: Any, bytes_a_second: float | None = None) -> Finding | Digest:
    uids = "/".join((row["study_instance_uid"], row["series_instance_uid"], row["sop_instance_uid"]))
    try:
        if bytes_a_second is None:
            found = await archive.blobs.run(archive.blobs.digest, row["blob"])
        else:
            found = await archive.blobs.digest_slowly(row["blob"], bytes_a_second)
    except FileNotFoundError:
        return Finding("missing", row["blob"], f"the file of instance {uids} is gone", row["id"])
    except OSError as error:
        detail = f"the file of instance {uids} cannot be read: {in_words(error)}"
        return Finding("unreadable", row["blob"], detail, row["id"])
    if found.size != row["size"]:
        return Finding(
            "damaged", row["blob"], f"instance {uids} has {found.size} bytes instead of {row['size']}", row["id"]
        )
    if found.sha256 != row["sha256"]:
        return Finding("damaged", row["blob"], f"instance {uids} has another SHA-256 than when stored", row["id"])
    return found


async def repair(archive: Archive, finding: Finding) -> str:
    """Mend a finding as far as that can be done without inventing anything; returns what was done.

    A file without a row is indexed. A row whose file is gone or damaged, and is so when looked at again, is removed, so
    that the instance can be sent again; a damaged file is kept under `quarantine`. Wrong counters are counted again.

    Raises
    ------
    Unavailable
        The file cannot be read; that may be the disk's or the network's fault, and nothing was done.
    """
    if finding.kind == "unindexed":
        return await _index(archive, finding.what)
    if finding.row is None:
        return await _count_again(archive, finding.what)
    return await _remove(archive, finding, finding.row)


async def _count_again(archive: Archive, study_instance_uid: str) -> str:
    async with archive.pool.acquire() as connection, connection.transaction():
        studies = [row["id"] for row in await connection.fetch(sql("studies_by_uid"), [study_instance_uid])]
        await connection.execute(sql("recount_series"), studies)
        version = await connection.fetchval("SELECT coalesce(max(sequence), 0) FROM changes")
        await connection.execute(sql("recount_studies"), studies, version)
    return "counted again"


async def _remove(archive: Archive, finding: Finding, row: int) -> str:
    async with archive.pool.acquire() as connection, connection.transaction():
        await lock_studies_of(connection, [row])  # it may be sent again at this very moment
        known = await connection.fetchrow(sql("rows_to_verify"), row - 1, 1)
        if known is None or (known["id"], known["blob"]) != (row, finding.what):
            return "replaced or removed meanwhile"
        now = await _examine(archive, known)
        if not isinstance(now, Finding):
            return "in order again"
        if now.kind == "unreadable":
            raise Unavailable(f"{now.detail}; nothing was done")
        await remove_rows(connection, [row])
    if now.kind == "missing":
        return "row removed; send the instance again"
    kept = await archive.blobs.run(archive.blobs.quarantine, finding.what)
    return f"row removed, file kept as {kept}; send the instance again"


async def _index(archive: Archive, name: str) -> str:
    if not archive.blobs.path(name).exists():
        return "gone by itself"
    try:
        found = await archive.blobs.run(archive.blobs.digest, name)
        source = FileSource(archive.blobs.path(name))
        record = await archive.blobs.run(read_record, source, archive.policy)
    except ArchiveError as error:
        kept = await archive.blobs.run(archive.blobs.quarantine, name)
        return f"kept as {kept}: {error}"
    rows = await archive.pool.fetch(sql("rows_of_instances"), [record.sop_instance_uid])
    if any(
        row["sha256"] != found.sha256 and _is_of(row, record) for row in rows
    ):  # never replaced, whatever the policy is
        kept = await archive.blobs.run(archive.blobs.quarantine, name)
        return f"kept as {kept}: a different file is stored under these UIDs"
    verdict = (await archive.adopt([Arrival(record, FoundBlob(name, found))]))[0]
    if verdict.status == "stored":
        return "indexed"
    kept = await archive.blobs.run(archive.blobs.quarantine, name)
    return f"kept as {kept}: {verdict.error or 'the same bytes are stored already'}"


def _is_of(row: Any, record: Record) -> bool:
    return (row["study_instance_uid"], row["series_instance_uid"]) == (
        record.study_instance_uid,
        record.series_instance_uid,
    )
