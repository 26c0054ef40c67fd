"""The viewer's files over HTTP: its page for every address of its own, its files by name, its configuration.

Facts this module keeps:

- Addresses of the viewer (`/`, `/viewer?StudyInstanceUIDs=...`, `/segmentation`, ...) are known to the viewer alone:
  whatever a browser opens as a page, that is neither ours nor the name of a file, is the viewer's page. A file that is
  not there is a 404, never the page.
- While no viewer is installed there is nothing here, and the front page shows at `/`.
- Reading is done outside the event loop, a few hundred kB at a time.
"""

import asyncio
import logging
import re
import zlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from dicomweb.http.message.conditional import entity_tag, is_unchanged
from dicomweb.http.middleware import takes_gzip
from dicomweb.http.urls import base_url
from dicomweb.http.viewer.app_config import app_config, other_origin
from dicomweb.http.viewer.headers import ASK_AGAIN, SCRIPT, WORKER_POLICY, headers_of, headers_of_page, isolation
from dicomweb.http.viewer.installation import PAGE
from dicomweb.http.viewer.installed import Viewer, ViewerFile, ViewerFolder
from storage.system.errors import in_words

if TYPE_CHECKING:
    from dicomweb.settings import Settings

logger = logging.getLogger(__name__)

CONFIGURATION = "app-config.js"
OURS = frozenset(("api", "dicom-web", "fhir", "health", "metrics", "ui", "wado"))
"""First segments of paths that are never the viewer's."""
CHUNK = 256 << 10

_NAME_OF_A_FILE = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,10}\Z")


class ViewerRoute(BaseRoute):
    """Everything of the viewer, by the names of its files; nothing while none is installed.

    Which one is, the application's `state.viewer` knows.
    """

    path = "/{viewer}"
    """What it is called in metrics and logs."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match what is the viewer's, and remember which file it is."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return Match.NONE, {}
        name = scope["path"][1:]
        folder: ViewerFolder = scope["app"].state.viewer
        first = name.partition("/")[0]
        if first in OURS:
            return Match.NONE, {}
        if (viewer := folder.current()) is None:
            return (Match.FULL, {"endpoint": show_file, "viewer": None}) if first == "viewer" else (Match.NONE, {})
        if name not in viewer.files and name != CONFIGURATION:
            if not _is_page(name, scope):
                return Match.NONE, {}
            name = PAGE
        return Match.FULL, {"endpoint": show_file, "viewer": viewer, "viewer_file": name}

    def url_path_for(self, name: str, /, **path_params: object) -> NoReturn:
        """Nothing links here by the name of a route."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the file."""
        if scope["viewer"] is None:
            raise HTTPException(404, "No viewer is installed; `dicomweb viewer install` on the server installs one.")
        response = await show_file(Request(scope, receive), scope["viewer"], scope["viewer_file"])
        await response(scope, receive, send)


async def show_file(request: Request, viewer: Viewer, name: str) -> Response:
    """Answer with the page, the configuration or a file.

    Standard
    --------
    RFC 9110 12.5.3, 13.1.2; PS3.18 has nothing to say on viewers.
    """
    settings: Settings = request.app.state.settings
    isolated = isolation(page=name == PAGE) if settings.isolate_viewer else {}
    if name == CONFIGURATION:
        return await _show_configuration(request, settings, isolated)
    file = viewer.files[name]
    known = _headers_of_page(request, viewer) if name == PAGE else headers_of(file)
    as_stored = not file.gzipped or takes_gzip(request.headers.get("accept-encoding", "").encode("latin-1"))
    encoding = {"Content-Encoding": "gzip"} if file.gzipped and as_stored else {}
    etag = entity_tag(file.sha256, *encoding)
    headers = {**known, **isolated, "ETag": etag}
    if is_unchanged(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    headers |= encoding | {"Content-Length": str(file.stored if as_stored else file.length)}
    if request.method == "HEAD":
        return Response(headers=headers)
    return await _send(file, headers, unpacking=not as_stored)


def _headers_of_page(request: Request, viewer: Viewer) -> dict[str, str]:
    return headers_of_page(viewer, other_origin(base_url(request), request.headers.get("host", "")))


async def _show_configuration(request: Request, settings: "Settings", isolated: Mapping[str, str]) -> Response:
    content = app_config(base_url(request), await asyncio.to_thread(_additions, settings.viewer_config))
    etag = entity_tag(content)
    headers = {
        "Content-Type": SCRIPT,
        "Cache-Control": ASK_AGAIN,
        "Content-Security-Policy": WORKER_POLICY,
        **isolated,
        "ETag": etag,
    }
    if is_unchanged(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers)


def _additions(path: Path | None) -> bytes:
    try:
        return path.read_bytes() if path else b""
    except OSError as error:
        logger.error("viewer_config cannot be read and is left out: %s", in_words(error))
        return b""


async def _send(file: ViewerFile, headers: Mapping[str, str], *, unpacking: bool) -> Response:
    try:
        opened = await asyncio.to_thread(_open, file.place)
    except OSError:
        # Removed, or replaced by another version, since the folder was looked at.
        raise HTTPException(404, "The viewer was removed or replaced; load the page again.") from None
    if unpacking:
        return StreamingResponse(_unpacked(opened), headers=headers)
    if file.stored > CHUNK:
        return StreamingResponse(_chunks(opened), headers=headers)
    with opened:
        return Response(await asyncio.to_thread(opened.read), headers=headers)


def _open(place: Path) -> BinaryIO:
    return place.open("rb", buffering=0)


async def _chunks(opened: BinaryIO) -> AsyncIterator[bytes]:
    with opened:
        while chunk := await asyncio.to_thread(opened.read, CHUNK):
            yield chunk


async def _unpacked(opened: BinaryIO) -> AsyncIterator[bytes]:
    """Unpack for the few that do not take gzip."""
    inflate = zlib.decompressobj(31)
    async for chunk in _chunks(opened):
        yield await asyncio.to_thread(inflate.decompress, chunk)
    yield inflate.flush()


def _is_page(name: str, scope: Scope) -> bool:
    """Whether a browser wants to open this as a page, and it is not named as files are."""
    accept = b",".join(value for header, value in scope["headers"] if header == b"accept").lower()
    if b"text/html" not in accept and b"application/xhtml+xml" not in accept:
        return False
    return _NAME_OF_A_FILE.search(name.rpartition("/")[2]) is None


ROUTES = [ViewerRoute()]
"""At the root of the server, before the front page."""
