"""`/api/worklist`: what modalities are given to do, as DICOM JSON.

An item is a requested procedure of a patient with one or more scheduled procedure steps (PS3.4 Table K.6-1). What every
answer to a modality must hold has to be there, but for Study Instance UID, Requested Procedure ID and Scheduled
Procedure Step ID, which are made up when they are missing. The version of an item is its entity tag: with `If-Match`
nobody overwrites what he has not seen.
"""

import re
import uuid
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.http.api.body import api_url, read_json
from dicomweb.http.api.openapi import operation, path_parameter, reference
from dicomweb.http.message.conditional import is_unchanged
from dicomweb.http.message.media_types import DICOM_JSON
from dicomweb.http.problems import RequestRefused
from dicomweb.http.qido.parameters import parse_search
from storage.errors import InvalidQuery
from storage.matching.attributes import RETRIEVE_URL, Level
from storage.worklist.item import WorklistItem, read_item
from storage.worklist.items import ItemChanged, StoredItem, Worklist
from storage.worklist.matching import query_of

DEFAULT_RESULTS: Final = 100
MOST_RESULTS: Final = 1000
_ENTITY_TAG: Final = re.compile(r'"([1-9][0-9]{0,17})"')
_NO_ITEM: Final = "There is no such worklist item; GET /api/worklist lists those there are."


async def search_worklist(request: Request) -> Response:
    """Answer with items of which some step matches, by the time that begins; `RetrieveURL` is where each is."""
    search = parse_search(
        request.scope["query_string"], Level.IMAGE, default_results=DEFAULT_RESULTS, max_results=MOST_RESULTS
    )
    if search.warnings:
        raise InvalidQuery(search.warnings[0].replace(" and was ignored", ""))
    wanted = search.query
    if wanted.text:
        raise InvalidQuery("search is for studies; name the attribute: PatientName, PatientID, AccessionNumber")
    query = query_of(wanted.keys, fuzzy=wanted.fuzzy)
    found = await _worklist(request).search(query, limit=wanted.limit, offset=wanted.offset)
    return _json([_with_url(request, item) for item in found])


async def add_item(request: Request) -> Response:
    """Put an item on the worklist."""
    added = await _worklist(request).add(await _read(request))
    return _answer(request, added, 201)


async def show_item(request: Request) -> Response:
    """Answer with an item, the statuses of its steps included."""
    item = await _worklist(request).get(_item_id(request))
    if is_unchanged(request.headers.get("if-none-match"), _tag(item)):
        return Response(status_code=304, headers={"ETag": _tag(item), "Cache-Control": "private, no-cache"})
    return _answer(request, item)


async def replace_item(request: Request) -> Response:
    """Put an item in the place of the one there is."""
    item_id = _item_id(request)
    item = await _read(request)
    try:
        replaced = await _worklist(request).replace(item_id, item, version=_version(request))
    except ItemChanged as error:
        raise RequestRefused(412, str(error)) from None
    return _answer(request, replaced)


async def delete_item(request: Request) -> Response:
    """Take an item off the worklist."""
    try:
        await _worklist(request).delete(_item_id(request), version=_version(request))
    except ItemChanged as error:
        raise RequestRefused(412, str(error)) from None
    return Response(status_code=204)


def _worklist(request: Request) -> Worklist:
    return Worklist(request.app.state.archive.pool)


def _item_id(request: Request) -> uuid.UUID:
    try:
        return uuid.UUID(request.path_params["item"])
    except ValueError:
        raise RequestRefused(404, _NO_ITEM) from None


def _version(request: Request) -> int | None:
    """Return the version that If-Match asks for (RFC 9110 13.1.1); None when any will do."""
    header = request.headers.get("if-match", "*").strip()
    if header == "*":
        return None
    match = _ENTITY_TAG.fullmatch(header)
    return int(match[1]) if match else 0  # a tag that is none of ours never matches


async def _read(request: Request) -> WorklistItem:
    """Read the item in the body, alone or, as DICOMweb likes to write it, in an array of one."""
    body = await read_json(request)
    if isinstance(body, list):
        if len(body) != 1:
            raise RequestRefused(400, "Send one worklist item a request; `dicomweb worklist import` takes many.")
        body = body[0]
    if isinstance(body, dict):
        body = {key: value for key, value in body.items() if key != RETRIEVE_URL}
    return read_item(body)


def _tag(item: StoredItem) -> str:
    return f'"{item.version}"'


def _url(request: Request, item: StoredItem) -> str:
    return api_url(request, f"/worklist/{item.id}")


def _with_url(request: Request, item: StoredItem) -> dict[str, Any]:
    return dict(sorted({**item.dataset, RETRIEVE_URL: {"vr": "UR", "Value": [_url(request, item)]}}.items()))


def _answer(request: Request, item: StoredItem, status: int = 200) -> Response:
    headers = {"ETag": _tag(item)}
    if status == 201:
        headers["Location"] = _url(request, item)
    return _json(_with_url(request, item), status, headers)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, {"Cache-Control": "private, no-cache", **(headers or {})}, DICOM_JSON)


ROUTES: list[Route] = [
    Route("/worklist", search_worklist, methods=["GET"]),
    Route("/worklist", add_item, methods=["POST"]),
    Route("/worklist/{item}", show_item, methods=["GET"]),
    Route("/worklist/{item}", replace_item, methods=["PUT"]),
    Route("/worklist/{item}", delete_item, methods=["DELETE"]),
]
"""Relative to `/api`."""

_ITEM = reference("DicomJson")
_UNKNOWN = {404: "There is no such item."}
_WRONG = {400: "The item lacks something or is no DICOM JSON; the detail lists what."}
_CHANGED = {412: "If-Match names another version than the present one."}
_SEARCH = {
    "PatientID": ({"type": "string"}, "Any attribute by keyword, tag or dotted path is a key, as in QIDO-RS."),
    "Modality": ({"type": "string"}, "For example: keys of the step need no sequence before them."),
    "limit": ({"type": "integer", "default": DEFAULT_RESULTS, "maximum": MOST_RESULTS}, "Most items of the answer."),
    "offset": ({"type": "integer", "default": 0}, "Items to skip."),
    "fuzzymatching": ({"type": "boolean", "default": False}, "Names also match by the beginnings of their parts."),
}

PATHS: dict[str, Any] = {
    "/worklist": {
        "get": operation(
            "Search the worklist",
            {200: ("The items, each with its URL in RetrieveURL (0008,1190).", {"type": "array", "items": _ITEM})},
            query=_SEARCH,
            refusals={400: "A parameter is wrong; the detail names it."},
        ),
        "post": operation(
            "Put an item on the worklist",
            {201: ("It is there; Location is its URL.", _ITEM)},
            body=_ITEM,
            body_type=DICOM_JSON,
            refusals=_WRONG,
        ),
    },
    "/worklist/{item}": {
        "parameters": [path_parameter("item", "The UUID of the item, as in its URL.", format="uuid")],
        "get": operation("An item", {200: ("The item; ETag is its version.", _ITEM)}, refusals=_UNKNOWN),
        "put": operation(
            "Replace an item",
            {200: ("The item as it is now.", _ITEM)},
            body=_ITEM,
            body_type=DICOM_JSON,
            refusals=_UNKNOWN | _WRONG | _CHANGED,
        ),
        "delete": operation("Take an item off the worklist", {204: "It is gone."}, refusals=_UNKNOWN | _CHANGED),
    },
}
