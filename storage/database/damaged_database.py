"""What to do about a database whose own files are damaged, said in one sentence to whoever starts it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from storage.database.pool import connection_lost
from storage.database.postgres_binaries import CannotStart
from storage.errors import DamagedDatabase, Unavailable
from storage.system.errors import in_words


@contextmanager
def explaining_damage(data_folder: Path, *, embedded: bool) -> Iterator[None]:
    """What is done inside begins to use the database; what the server says of its files is an error that can be shown.

    Parameters
    ----------
    data_folder
        Of the archive.
    embedded
        Whether the database is the one in that folder.

    Raises
    ------
    DamagedDatabase
        The database cannot be used as it is; the message says what to do.
    """
    is_new = embedded and not os.path.lexists(data_folder / "postgres")
    try:
        yield
    except (CannotStart, asyncpg.PostgresError) as error:
        if is_new:  # there is nothing yet that could be damaged
            raise
        raise _damaged(error, data_folder, embedded=embedded) from error
    except Unavailable as error:
        if not embedded:
            raise
        raise _damaged(error, data_folder, embedded=True) from error  # it was just started, so it is there
    except Exception as error:
        if not (embedded and connection_lost(error)):
            raise
        raise _damaged(error, data_folder, embedded=True) from error


def _damaged(error: Exception, data_folder: Path, *, embedded: bool) -> DamagedDatabase:
    said = " ".join(in_words(error).split()).rstrip(".")
    kept = "peers, worklist, performed steps, jobs and commitments are in the old one only"
    if not embedded:
        return DamagedDatabase(
            f"the database at --database-url cannot be used ({said}); if its files are damaged, restore it from a "
            f"backup, or run `dicomweb reindex --data-dir {data_folder} --database-url ...` with a new, empty "
            f"database, which makes the index anew from the stored files ({kept})"
        )
    postgres = data_folder / "postgres"
    return DamagedDatabase(
        f"the database in {postgres} cannot be used ({said}); postgres.log beside it tells more; if its files are "
        f"damaged, restore that folder from a backup, or move it away (`mv {postgres} {postgres}.damaged`) and run "
        f"`dicomweb reindex --data-dir {data_folder}`, which makes a new one from the stored files ({kept})"
    )
