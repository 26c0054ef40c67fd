"""QIDO-RS: search for studies, series and instances (PS3.18 10.6).

Facts and clauses this module keeps:
- No match is 200 with `[]` (since CP-2473; a setting answers 204 for clients that wait for it).
- When rows remain, a warning says how many (8.3.4.4.1), and `Link` names the next page by a cursor.
- Warnings go as `299 {base} "text"`, one header line each (8.3.4.x, RFC 9111).
- RetrieveURL is what this client can reach; it is added here, since only the request knows (C-078).
- A study whose series have no Modality, which is against PS3.3 C.7.3.1, is shown without ModalitiesInStudy: OHIF shows
  no list at all when one study in it has the attribute without a value.
- XML comes as multipart, one part per match (Table 10.6.4-1); without a match there is nothing to send: 204.
"""

import asyncio
import re
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.http.message.bodies import WholeBody
from dicomweb.http.message.media_types import DICOM_JSON, DICOM_XML, Offer, available, select
from dicomweb.http.message.target import accept_key, accepted
from dicomweb.http.message.warning_header import warning_headers
from dicomweb.http.problems import NotAcceptable
from dicomweb.http.qido.parameters import parse_search
from dicomweb.http.urls import base_url, instance_url, series_url, study_url
from storage.dicom import dicomxml
from storage.errors import InvalidQuery
from storage.matching.attributes import RETRIEVE_URL, Level, tag_of

if TYPE_CHECKING:
    from storage.archive import Archive
    from storage.index.search import Page

OFFERS = (Offer(DICOM_JSON), Offer(DICOM_XML, multipart=True))

_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_LENIENT_UID = re.compile(r"[0-9.]{1,64}")
_PAGING = re.compile(rb"(?:cursor|offset)=|(?:cursor|offset)\Z")
_STUDY = tag_of("StudyInstanceUID")
_SERIES = tag_of("SeriesInstanceUID")
_INSTANCE = tag_of("SOPInstanceUID")
_MODALITIES = tag_of("ModalitiesInStudy")
_AT_ONCE = 500
"""Rows that are written down without leaving the event loop, about 2 ms."""


async def search_for_studies(request: Request) -> Response:
    """Search for studies (PS3.18 10.6.1, `/studies`)."""
    return await _search(request, Level.STUDY)


async def search_for_series(request: Request) -> Response:
    """Search for series, of a study or of all (`/studies/{study}/series`, `/series`)."""
    return await _search(request, Level.SERIES)


async def search_for_instances(request: Request) -> Response:
    """Search for instances, of a series, of a study or of all (`.../instances`, `/instances`)."""
    return await _search(request, Level.IMAGE)


ROUTES: list[Route] = [
    Route("/studies", search_for_studies),
    Route("/studies/{study}/series", search_for_series),
    Route("/studies/{study}/instances", search_for_instances),
    Route("/studies/{study}/series/{series}/instances", search_for_instances),
    Route("/series", search_for_series),
    Route("/instances", search_for_instances),
]
"""Relative to the DICOMweb root."""


async def _search(request: Request, level: Level) -> Response:
    settings = request.app.state.settings
    offer = select(accepted(*accept_key(request)), OFFERS)
    if offer is None:
        raise NotAcceptable("Search results come as JSON or, in multipart, as XML.", available(OFFERS))
    search = parse_search(
        request.scope["query_string"],
        level,
        _uid_in_path(request, "study"),
        _uid_in_path(request, "series"),
        default_results=settings.default_results,
        max_results=settings.max_results,
    )
    archive: Archive = request.app.state.archive
    page = await archive.find(search.query)
    base = base_url(request)
    headers = _headers(request, base, page, search.warnings)
    if not page.rows and (offer.multipart or settings.empty_search_status == 204):
        return WholeBody(204, headers)
    write = _xml if offer.multipart else _json
    media_type, body = (
        await asyncio.to_thread(write, page.rows, level, base)
        if len(page.rows) > _AT_ONCE or offer.multipart
        else write(page.rows, level, base)
    )
    headers += [(b"content-type", media_type.encode("ascii")), (b"content-length", b"%d" % len(body))]
    return WholeBody(200, headers, body)


def _uid_in_path(request: Request, name: str) -> str | None:
    uid = request.path_params.get(name)
    if uid is None:
        return None
    strict = request.app.state.settings.strict_uids
    if not _LENIENT_UID.fullmatch(uid) or (strict and not _UID.fullmatch(uid)):
        raise InvalidQuery(f"The {name} in the URL is not a UID: at most 64 digits and dots are (PS3.5 9.1).")
    return str(uid)


def _headers(request: Request, base: str, page: "Page", warnings: Iterable[str]) -> list[tuple[bytes, bytes]]:
    headers = [(b"cache-control", b"private, no-cache")]
    texts = [*page.warnings, *warnings]
    if page.remaining:
        more = "; there may be more" if page.remaining_is_minimum else ""
        texts.insert(0, f"There are {page.remaining} additional results that can be requested{more}")
    headers += warning_headers(base, texts)
    if page.next_cursor is not None:
        headers.append((b"link", f'<{_next_url(request, base, page.next_cursor)}>; rel="next"'.encode("ascii")))
    if page.total is not None:
        headers.append((b"x-total-count", b"%d" % page.total))
    return headers


def _next_url(request: Request, base: str, cursor: str) -> str:
    """Return this request's URL with the cursor of the next page."""
    root, _, path = request.scope["path"].partition("/dicom-web")
    kept = [part for part in request.scope["query_string"].split(b"&") if part and not _PAGING.match(part)]
    query = quote(b"&".join([*kept, b"cursor=" + cursor.encode("ascii")]), safe="%=&+,;:@!$()*~-._/?'")
    return f"{base}{quote(path or root)}?{query}"


def _json(rows: list[dict[str, Any]], level: Level, base: str) -> tuple[str, bytes]:
    return DICOM_JSON, orjson.dumps([_with_urls(row, level, base) for row in rows])


def _xml(rows: list[dict[str, Any]], level: Level, base: str) -> tuple[str, bytes]:
    boundary = "b-" + secrets.token_hex(16)
    pieces: list[bytes] = []
    for row in rows:
        pieces += [
            f"--{boundary}\r\nContent-Type: {DICOM_XML}; charset=UTF-8\r\n\r\n".encode("ascii"),
            dicomxml.encode(_with_urls(row, level, base)),
            b"\r\n",
        ]
    pieces.append(f"--{boundary}--\r\n".encode("ascii"))
    return f'multipart/related; type="{DICOM_XML}"; boundary={boundary}', b"".join(pieces)


def _with_urls(row: dict[str, Any], level: Level, base: str) -> dict[str, Any]:
    """Return a row with its RetrieveURL, and with URLs of values that lie elsewhere."""
    study = row[_STUDY]["Value"][0]
    if "Value" not in row.get(_MODALITIES, {"Value": None}):
        del row[_MODALITIES]
    if level is Level.STUDY:
        url = study_url(base, study)
    elif level is Level.SERIES:
        url = series_url(base, study, row[_SERIES]["Value"][0])
    else:
        url = instance_url(base, study, row[_SERIES]["Value"][0], row[_INSTANCE]["Value"][0])
        row = {tag: _resolved(element, url) for tag, element in row.items()}
    row[RETRIEVE_URL] = {"vr": "UR", "Value": [url]}
    return dict(sorted(row.items()))


def _resolved(element: dict[str, Any], url: str) -> dict[str, Any]:
    if "BulkDataURI" in element:
        return {**element, "BulkDataURI": f"{url}/bulkdata/{element['BulkDataURI']}"}
    if element.get("vr") == "SQ" and "Value" in element:
        # an item without attributes is one, too (PS3.18 F.2.5); null is what odd senders write for it
        items = [{tag: _resolved(inner, url) for tag, inner in (item or {}).items()} for item in element["Value"]]
        return {"vr": "SQ", "Value": items}
    return element
