"""`dicomweb export`: studies as folders with a DICOMDIR, as they lie on discs.

Facts this module keeps:

- Every file is read once and compared with what was stored before it is copied (`Archive.intact`).
- The DICOMDIR is written last: a folder without one is not whole, and says so to whoever reads it.
- What is there already is never written over.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from dicomweb.commands.exit_status import ExitStatus
from dicomweb.commands.location import DEFAULT, Location
from dicomweb.commands.printing import Json, say, write_either
from dicomweb.settings import Settings, SettingsError

if TYPE_CHECKING:
    from dicomweb.progress import Progress
    from storage.archive import Archive
    from storage.retrieval.instance_file import InstanceFile

MOST_STUDIES = 100_000


def export(
    terms: Annotated[list[str], Parameter(negative_iterable=())],
    /,
    *,
    to: Path,
    json: Json = False,
    at: Location = DEFAULT,
) -> None:
    """Write studies into a folder, each into one of its own with a DICOMDIR; works beside a running server.

    Files are those that were stored. Exit status 1 when a study could not be written whole: it has no DICOMDIR then.

    Example: dicomweb export PatientID=4711 --to ./for-the-disc

    Parameters
    ----------
    terms
        Which studies: Study Instance UIDs, or KEYWORD=VALUE as in the URL of a search, all of which must match.
    to
        Folder to write to; it is made when it is not there.
    json
        Write each study as one line of JSON: its folder and its number of files.
    """
    sys.exit(asyncio.run(_export(at.settings(), terms, to, json)))


async def _export(settings: Settings, terms: list[str], to: Path, as_json: bool) -> ExitStatus:
    from dicomweb.commands.study_search import search_for_studies, texts_of
    from dicomweb.opening import open_archive
    from dicomweb.progress import Progress
    from storage.errors import ArchiveError, NotFound, OutOfSpace
    from storage.matching.attributes import tag_of

    status = ExitStatus.DONE
    async with open_archive(settings) as archive:
        page, warnings = await search_for_studies(archive, terms, MOST_STUDIES)
        if warnings:  # more than was meant would be given out
            raise SettingsError("; ".join(warnings))
        if not page.rows:
            raise NotFound("No study was found.")
        if page.remaining:
            raise SettingsError(f"{page.remaining:,} studies more match than one export writes.")
        with Progress("Exporting") as progress:
            for row in page.rows:
                study = texts_of(row, tag_of("StudyInstanceUID"))
                try:
                    files = await archive.instances(study)
                    progress.expect(len(files))
                    folder = await _write_study(archive, files, to, progress)
                except OutOfSpace:
                    raise
                except ArchiveError as error:
                    say(f"{study} is not whole: {error}")
                    status = ExitStatus.INCOMPLETE
                    continue
                facts = {"study_instance_uid": study, "folder": str(folder), "files": len(files)}
                write_either(facts, f"{folder}: {len(files):,} files", as_json=as_json)
    return status


async def _write_study(archive: "Archive", files: "list[InstanceFile]", to: Path, progress: "Progress") -> Path:
    """Write the files of a study, then its DICOMDIR; returns the folder."""
    from storage.writing.dicomdir import NAME, file_ids

    dicomdir = await archive.dicomdir(files, lambda file: file.retrieved_transfer_syntax_uid)
    try:
        folder = to / _folder_name(files[0].study_instance_uid, dicomdir.study_date)
        with _telling(folder):
            folder.mkdir(parents=True)
        for name, file in zip(file_ids(file.series_instance_uid for file in files), files, strict=True):
            await _write(folder / name, (await archive.intact(file)).stream())
            progress.advance(size=file.size)
        await _write(folder / NAME, dicomdir.stream())
    finally:
        dicomdir.close()
    return folder


async def _write(path: Path, chunks: "AsyncIterator[bytes]") -> None:
    async with aclosing(chunks) as body:  # type: ignore[type-var]
        with _telling(path):
            path.parent.mkdir(exist_ok=True, parents=True)
            with path.open("xb") as file:
                async for chunk in body:
                    await asyncio.to_thread(file.write, chunk)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """What goes wrong with the folder that is written to is said in a sentence."""
    from storage.errors import ArchiveError, OutOfSpace
    from storage.system.errors import in_words

    try:
        yield
    except FileExistsError:
        raise SettingsError(f"{path} is there already; remove it, or name another folder with --to.") from None
    except OSError as error:
        kind: Any = OutOfSpace if error.errno in (ENOSPC, EDQUOT) else ArchiveError
        raise kind(f"{path} cannot be written: {in_words(error)}.") from error


def _folder_name(study_instance_uid: str, study_date: str) -> str:
    from dicomweb.http.wado.zip import file_name

    return file_name(study_instance_uid, None, None, study_date=study_date).removesuffix(".zip")
