"""`dicomweb studies`: search the archive from the command line."""

import asyncio
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from dicomweb.commands.location import DEFAULT, Location
from dicomweb.commands.printing import Json, say, write_json, write_table
from dicomweb.settings import Settings

COLUMNS = (
    *("StudyDate", "PatientID", "PatientName", "ModalitiesInStudy", "NumberOfStudyRelatedInstances"),
    *("StudyDescription", "StudyInstanceUID"),
)
NAMES = ("date", "patient ID", "name", "modalities", "instances", "description", "Study Instance UID")


def studies(
    terms: Annotated[list[str] | None, Parameter(negative_iterable=())] = None,
    /,
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1))] = 100,
    json: Json = False,
    at: Location = DEFAULT,
) -> None:
    """Search for studies, the newest first; works beside a running server.

    Example: dicomweb studies PatientName=doe* StudyDate=20260101-20261231

    Parameters
    ----------
    terms
        What to look for, KEYWORD=VALUE as in the URL of a search: wildcards, ranges, fuzzymatching=true.
    limit
        Most studies.
    json
        Write each as one line of DICOM JSON.
    """
    asyncio.run(_studies(at.settings(), terms or [], limit, json))


async def _studies(settings: Settings, terms: list[str], limit: int, as_json: bool) -> None:
    from dicomweb.commands.study_search import search_for_studies, texts_of
    from dicomweb.opening import open_archive
    from storage.matching.attributes import tag_of

    async with open_archive(settings) as archive:
        page, warnings = await search_for_studies(archive, terms, limit)
    if as_json:
        write_json(*page.rows)
    else:
        tags = [tag_of(keyword) for keyword in COLUMNS]
        write_table(NAMES, [[texts_of(row, tag) for tag in tags] for row in page.rows])
    more = f", and {page.remaining:,} more" if page.remaining else ""
    say(*warnings, f"{len(page.rows):,} studies{more}.")
