"""Query: C-FIND (PS3.4 C.4.1).

Facts this module keeps:

- Matches are read in pages by their order key and sent one by one: memory does not grow with their number, and the
  first page is small, so that the first answers come at once.
- C-CANCEL is looked for between answers and while the database searches; then FE00 (C.4.1.3.1; G-073).
- Every association shares one event loop: it is let go of every few answers.
- Failures: A900 with the offending element when the identifier is wrong, A700 when the search would take too long
  (Table C.4-1; G-074).
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, Final

from dicomweb.gateway import identifier
from dicomweb.gateway.call import CANCELLED, SUCCESS, Call
from dicomweb.gateway.query_identifier import Negotiated, Search, negotiate, understand
from storage.dicom import data_set
from storage.index.search import Page
from storage.matching.conditions import Query

__all__ = ["SOP_CLASSES", "find", "negotiate"]

SOP_CLASSES: Final = frozenset(identifier.FIND)

FIRST_PAGE: Final = 20
"""Rows of the first page."""
AT_ONCE: Final = 8
"""Answers without letting others have the event loop, about half a millisecond."""
PATIENCE: Final = 0.1
"""Seconds between looks for a C-CANCEL while the database searches."""


async def find(call: Call) -> None:
    """Answer a search.

    Standard
    --------
    PS3.4 C.4.1.3; checklist G-060 to G-080.
    """
    search = understand(
        await identifier.read(call),
        Negotiated.of(call.association.extended.get(call.message.context.abstract_syntax, b"")),
        ae_title=call.association.called_ae_title or call.gateway.settings.aet,
        relational=call.gateway.settings.dimse_relational_queries,
    )
    await call.respond(await _answer(call, search))


async def _answer(call: Call, search: Search) -> int:
    """Send the matches; returns the final status."""
    syntax = call.message.context.transfer_syntax
    sent = 0
    async with contextlib.aclosing(_rows(call, search)) as rows:
        async for row in rows:
            if call.association.is_cancelled(call.message):
                return CANCELLED
            identifier_of_match = data_set.encode(search.answer(row), syntax, character_set=search.character_set)
            await call.respond(search.status, identifier_of_match)
            sent += 1
            if not sent % AT_ONCE:
                await asyncio.sleep(0)
    return CANCELLED if call.association.is_cancelled(call.message) else SUCCESS


async def _rows(call: Call, search: Search) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the rows of all pages, until the peer cancels."""
    query = replace(search.query, limit=FIRST_PAGE)
    while True:
        page = await _page(call, query)
        if page is None:
            return
        for row in page.rows:
            yield row
        if page.next_cursor is None:
            return
        query = replace(query, limit=search.page_rows, cursor=page.next_cursor)


async def _page(call: Call, query: Query) -> Page | None:
    """Return a page, None when nobody wants it any more before the database has it."""
    searching = asyncio.ensure_future(call.gateway.archive.find(query))
    try:
        while not searching.done():
            await asyncio.wait((searching,), timeout=PATIENCE)
            if call.association.is_cancelled(call.message) or not call.association.is_open:
                return None
        return searching.result()
    finally:
        if not searching.done():  # then the statement is cancelled in the database, too
            searching.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await searching
