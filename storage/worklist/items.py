"""The modality worklist in the database: items as information systems give them, steps as modalities ask for them.

Facts this module keeps:

- An item is written, replaced and deleted in one transaction with its steps: a query sees all of it or nothing.
- A query first learns which steps match, then reads them in batches that are matched again. So it needs no connection
  while a slow modality takes its answers, uses constant memory, and what was deleted or changed meanwhile is not
  answered as it was.
- The status of a step is a column; the status given with an item is taken as it is, without one it follows from what
  was performed already (storage/worklist/performed_steps.py).
"""

import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import asyncpg

from storage.database.pool import retrying, searching, sql
from storage.dicom.dicomjson import Attribute
from storage.dicom.json_values import values_of
from storage.errors import ArchiveError, NotFound
from storage.worklist.item import STATUS, STEPS, WorklistItem, merged, with_status
from storage.worklist.matching import WorklistConditions, WorklistQuery, conditions

_ITEM_ORDER: Final = (
    *("study_instance_uid", "accession_number", "requested_procedure_id", "requested_procedure_priority"),
    *("admission_id", "patient_id", "patient_sex", "patient_name", "referring_physician_name"),
    *("requesting_physician", "attributes"),
)
_STEP_ORDER: Final = (
    *("number", "scheduled_procedure_step_id", "station_ae_titles", "start_at", "modality"),
    *("performing_physician_name", "status", "attributes"),
)
_AT_ONCE: Final = 100
_FROM: Final = "FROM worklist_steps s JOIN worklist_items w ON w.id = s.item"


class ItemChanged(ArchiveError):
    """The worklist item is not the version any more that the change was meant for."""


@dataclass(frozen=True, slots=True)
class StoredItem:
    """A worklist item as it is kept.

    Attributes
    ----------
    id : UUID
        Its name here.
    version : int
        Grows with every change, its steps' statuses included.
    dataset : dict of str to Attribute
        DICOM JSON object, all steps with their statuses.
    """

    id: uuid.UUID
    version: int
    dataset: dict[str, Attribute]


class Worklist:
    """The table of worklist items.

    Parameters
    ----------
    pool : asyncpg.Pool
        From `storage.database.pool.connect`, to a migrated database.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self._brought: dict[tuple[str, str], str] = {}  # when steps begin that had no IDs, by study and made-up ID

    async def add(self, item: WorklistItem) -> StoredItem:
        """Put an item on the worklist."""
        item_id = uuid.uuid4()
        await retrying(lambda: self._add(item_id, item))
        return await self.get(item_id)

    async def get(self, item_id: uuid.UUID) -> StoredItem:
        """Return an item; raises NotFound."""
        found = await self._read(self._pool, [item_id])
        if not found:
            raise _not_there()
        return found[0]

    async def replace(self, item_id: uuid.UUID, item: WorklistItem, *, version: int | None = None) -> StoredItem:
        """Put an item in the place of another.

        Parameters
        ----------
        item_id : UUID
            Of the item there is.
        item : WorklistItem
            All of it replaces what there was.
        version : int, optional
            The version that is to be replaced, and no other.

        Raises
        ------
        NotFound
            There is no such item.
        ItemChanged
            It has another version.
        """
        await retrying(lambda: self._replace(item_id, item, version))
        return await self.get(item_id)

    async def delete(self, item_id: uuid.UUID, *, version: int | None = None) -> None:
        """Take an item off the worklist; raises NotFound and ItemChanged. Performed steps stay."""

        async def remove() -> None:
            async with self._pool.acquire() as connection, connection.transaction():
                await _require(connection, item_id, version)
                await connection.execute(sql("delete_worklist_item"), item_id)

        await retrying(remove)

    async def forget(self, after: timedelta) -> None:
        """Delete items whose steps were all to start so long ago, but for what is still being performed."""
        start = (datetime.now() - after).strftime("%Y%m%d")  # steps have the local time of whoever scheduled them
        while await self._pool.execute(sql("forget_worklist_items"), start) == "DELETE 100":
            pass

    async def bring(self, item: WorklistItem) -> Literal["added", "changed", "unchanged"]:
        """Add an item, or replace the one that is the same: of the same patient and study, with one of its step IDs.

        Items without step IDs that this object is given and that differ in their start alone are not one that was put
        off but several, for no export has one twice: they are told apart by their order. Given anew by another object,
        in the same order, each is again the same as before.
        """
        item_id = uuid.uuid4()
        item = self._told_apart(item)

        async def write() -> Literal["added", "changed", "unchanged"]:
            async with self._pool.acquire() as connection, connection.transaction():
                study = item.study_instance_uid
                await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 5))", study)
                same = await connection.fetchval(sql("same_worklist_item"), study, item.step_ids, item.patient_id)
                if same is None:
                    await _insert(connection, item_id, item)
                    return "added"
                (known,) = await self._read(connection, [same])
                if _is_same(known, item):
                    return "unchanged"
                await _update(connection, same, item)
                return "changed"

        return await retrying(write)

    def _told_apart(self, item: WorklistItem) -> WorklistItem:
        """Return an item with step IDs that none has that was brought before and begins at another time."""
        candidate, number = item, 1
        while any(self._brought.get(place, start) != start for place, start in _starts(candidate)):
            number += 1
            candidate = item.another(number)
        self._brought.update(_starts(candidate))
        return candidate

    async def find(self, query: WorklistQuery) -> AsyncGenerator[dict[str, Attribute]]:
        """Yield every step that matches, by the time it begins: its item with this one step (G-143).

        Raises
        ------
        InvalidQuery
            A key is wrong.
        QueryTooBroad
            The search took too long.

        Standard
        --------
        PS3.4 K.4.1.2.
        """
        filters = conditions(query)
        async with searching(self._pool) as connection:
            statement = f"SELECT s.item, s.number {_FROM} WHERE {filters.where} ORDER BY s.start_at, s.item, s.number"
            places = await connection.fetch(statement, *filters.bindings.values)
        for start in range(0, len(places), _AT_ONCE):
            for row in await self._batch(filters, places[start : start + _AT_ONCE]):
                yield merged(row["item_attributes"], [with_status(row["attributes"], row["status"])])

    async def search(self, query: WorklistQuery, *, limit: int, offset: int = 0) -> list[StoredItem]:
        """Return items of which some step matches, by the time that begins; raises as `find` does."""
        filters = conditions(query)
        bindings = filters.bindings
        async with searching(self._pool) as connection:
            statement = (
                f"SELECT w.id {_FROM} WHERE {filters.where} GROUP BY w.id ORDER BY min(s.start_at), w.id "
                f"LIMIT {bindings.add(limit, 'bigint')} OFFSET {bindings.add(offset, 'bigint')}"
            )
            found = [row["id"] for row in await connection.fetch(statement, *bindings.values)]
            return await self._read(connection, found)

    async def _batch(self, filters: WorklistConditions, places: list[Any]) -> list[Any]:
        values = filters.bindings.values
        items, numbers = f"${len(values) + 1}::uuid[]", f"${len(values) + 2}::integer[]"
        statement = (
            "SELECT w.attributes AS item_attributes, s.attributes, s.status "  # noqa: S608  values are bound
            f"FROM unnest({items}, {numbers}) WITH ORDINALITY AS wanted (item, number, place) "
            "JOIN worklist_steps s ON s.item = wanted.item AND s.number = wanted.number "
            f"JOIN worklist_items w ON w.id = s.item WHERE {filters.where} ORDER BY wanted.place"
        )
        arrays = [place["item"] for place in places], [place["number"] for place in places]
        async with searching(self._pool) as connection:
            return list(await connection.fetch(statement, *values, *arrays))

    async def _read(self, connection: Any, item_ids: list[uuid.UUID]) -> list[StoredItem]:
        rows = await connection.fetch(sql("worklist_items"), item_ids) if item_ids else []
        return [_stored(row) for row in rows]

    async def _add(self, item_id: uuid.UUID, item: WorklistItem) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await _insert(connection, item_id, item)

    async def _replace(self, item_id: uuid.UUID, item: WorklistItem, version: int | None) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await _require(connection, item_id, version)
            await _update(connection, item_id, item)


def _starts(item: WorklistItem) -> list[tuple[tuple[str, str], str]]:
    """Return study and ID, and the start, of each step whose ID was made up."""
    rows = item.step_rows()
    study = item.study_instance_uid
    return [((study, rows[at]["scheduled_procedure_step_id"]), rows[at]["start_at"]) for at in item.unnamed]


def _not_there() -> NotFound:
    return NotFound("There is no such worklist item.")


async def _require(connection: Any, item_id: uuid.UUID, version: int | None) -> None:
    """Lock an item that is about to be changed."""
    found = await connection.fetchval(sql("lock_worklist_item"), item_id)
    if found is None:
        raise _not_there()
    if version is not None and found != version:
        raise ItemChanged("The worklist item was changed meanwhile; get it again.")


async def _insert(connection: Any, item_id: uuid.UUID, item: WorklistItem) -> None:
    row = item.row()
    added = await connection.fetchval(sql("add_worklist_item"), item_id, *(row[name] for name in _ITEM_ORDER))
    if added is not None:  # else an earlier attempt was committed, and only its answer was lost
        await _add_steps(connection, item_id, item)


async def _update(connection: Any, item_id: uuid.UUID, item: WorklistItem) -> None:
    row = item.row()
    await connection.execute(sql("replace_worklist_item"), item_id, *(row[name] for name in _ITEM_ORDER))
    await connection.execute(sql("remove_worklist_steps"), item_id)
    await _add_steps(connection, item_id, item)


async def _add_steps(connection: Any, item_id: uuid.UUID, item: WorklistItem) -> None:
    rows = item.step_rows()
    await connection.executemany(
        sql("add_worklist_step"), [(item_id, *(row[name] for name in _STEP_ORDER)) for row in rows]
    )
    open_questions = [row["number"] for row in rows if row["status"] is None]
    if open_questions:
        await connection.execute(sql("take_over_progress"), item_id, open_questions)


def _stored(row: Any) -> StoredItem:
    steps = [with_status(attributes, status) for status, attributes in row["steps"]]
    return StoredItem(row["id"], row["version"], merged(row["attributes"], steps))


def _is_same(known: StoredItem, item: WorklistItem) -> bool:
    """Whether an item says what is kept already; a status it leaves open may be any."""
    attributes = {tag: value for tag, value in known.dataset.items() if tag != STEPS}
    kept = values_of(known.dataset[STEPS])
    return (
        attributes == item.attributes
        and len(kept) == len(item.steps)
        and all(old == {STATUS: old[STATUS], **new} for old, new in zip(kept, item.steps, strict=True))
    )
