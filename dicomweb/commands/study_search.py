"""How commands are told which studies: `KEYWORD=VALUE` as in the URL of a search, or Study Instance UIDs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dicomweb.http.qido.parameters import parse_search
from dicomweb.settings import SettingsError
from storage.index.record import UID
from storage.matching.attributes import Level

if TYPE_CHECKING:
    from storage.archive import Archive
    from storage.index.search import Page


async def search_for_studies(archive: "Archive", terms: Sequence[str], limit: int) -> "tuple[Page, list[str]]":
    """Search for studies; also what was ignored of the terms: where it holds more were found than were meant.

    Parameters
    ----------
    archive
        Where.
    terms
        `KEYWORD=VALUE`, all of which must match, and Study Instance UIDs, one of which must.
    limit
        Most studies.

    Raises
    ------
    SettingsError
        A term is neither.
    InvalidQuery
        A keyword or value is wrong.
    """
    pairs = [_pair(term) for term in terms if not UID.fullmatch(term)]
    if uids := ",".join(filter(UID.fullmatch, terms)):
        pairs.append(("StudyInstanceUID", uids))
    text = "&".join(f"{quote(name, safe='.')}={quote(value, safe=',')}" for name, value in pairs)
    search = parse_search(text.encode("ascii"), Level.STUDY, default_results=limit, max_results=limit)
    page = await archive.find(search.query)
    return page, [*search.warnings, *page.warnings]


def texts_of(row: dict[str, Any], tag: str) -> str:
    """Return the values of an attribute as one text."""
    values = row.get(tag, {}).get("Value", [])
    return ",".join(str(value.get("Alphabetic", "") if isinstance(value, dict) else value) for value in values)


def _pair(term: str) -> tuple[str, str]:
    name, separator, value = term.partition("=")
    if not separator:
        raise SettingsError(f"{term} is neither KEYWORD=VALUE, such as PatientID=4711, nor a Study Instance UID.")
    if not value:  # which a script says whose variable is not set
        raise SettingsError(f"{term} has no value; to find whatever has any, say {name}=*.")
    return name, value
