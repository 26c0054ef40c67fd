"""Removing instance rows, with everything that was counted of them."""

from collections.abc import Sequence
from typing import Any

from storage.database.pool import sql


async def lock_studies_of(connection: Any, instances: Sequence[int]) -> list[int]:
    """Lock the studies of instance rows in the order in which the writer of the index does; returns their ids."""
    return [row["id"] for row in await connection.fetch(sql("lock_studies_of_instances"), list(instances))]


async def remove_rows(connection: Any, instances: Sequence[int]) -> None:
    """Remove instance rows by id, inside a transaction; empty series and studies go with them. Files stay."""
    studies = await lock_studies_of(connection, instances)
    version = await connection.fetchval(sql("append_removals"), list(instances))
    for statement in ("remove_instances", "recount_series", "remove_empty_series"):
        await connection.execute(sql(statement), list(instances) if statement == "remove_instances" else studies)
    await connection.execute(sql("recount_studies"), studies, version)
    await connection.execute(sql("remove_empty_studies"), studies)
