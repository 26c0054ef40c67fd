"""The headers of the viewer's files: what the page may do, how long browsers keep a file, what isolates the page.

Facts this module keeps:

- The page runs the scripts of its own origin and the two inside it, known by their hashes, and nothing else that is
  written into it. Text must be evaluated: segmentations are put together by a library (ndarray) that makes functions
  of text, and so do decoders (emscripten's embind). Styles are made by scripts all the time, so those are let in.
- Nothing is loaded from anywhere but the archive, and nothing can be sent anywhere else.
- Workers do not inherit: a worker's policy is that of its own script.
- Names with a hash in them never mean anything else, so they are kept for a year; everything else is asked for again
  each time and answered 304.
- A page that asks for isolation needs it asked for by the scripts of its workers, too.
"""

import re

from dicomweb.http.viewer.installed import Viewer, ViewerFile

HTML = "text/html; charset=utf-8"
SCRIPT = "text/javascript; charset=utf-8"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": HTML,
    ".ico": "image/x-icon",
    ".js": SCRIPT,
    ".json": "application/json",
    ".jsonc": "application/json",
    ".map": "application/json",
    ".mjs": SCRIPT,
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webapp": "application/manifest+json",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
"""By the end of a name; a table of our own, since that of Python differs from machine to machine."""
BINARY = "application/octet-stream"

FOREVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"

WORKER_POLICY = "default-src 'none'; script-src 'self' 'unsafe-eval'; connect-src 'self' blob: data:"
INERT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""For what is shown inside pages, pictures above all, and must do nothing when it is opened by itself."""

_HASHED = re.compile(r"(?:\A|[./])[0-9a-f]{16,}\.[a-z0-9]+\Z")


def media_type(name: str) -> str:
    """Return the media type of a file by the end of its name."""
    _, dot, end = name.rpartition(".")
    return MEDIA_TYPES.get(f".{end.lower()}", BINARY) if dot else BINARY


def caching(name: str) -> str:
    """Return Cache-Control for a file by its name."""
    return FOREVER if _HASHED.search(name) else ASK_AGAIN


def headers_of(file: ViewerFile) -> dict[str, str]:
    """Return the headers of a file that is not the page."""
    kind = media_type(file.name)
    policy = WORKER_POLICY if kind == SCRIPT else INERT_POLICY
    return {"Content-Type": kind, "Cache-Control": caching(file.name), "Content-Security-Policy": policy}


def headers_of_page(viewer: Viewer, archive_origin: str = "") -> dict[str, str]:
    """Return the headers of the page.

    Parameters
    ----------
    viewer
        Whose page.
    archive_origin
        Of the URLs inside metadata, where that is not the page's own.
    """
    sources = " ".join(filter(None, ("'self'", archive_origin)))
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(("'self'", "'unsafe-eval'", *viewer.scripts)),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": f"{sources} blob: data:",
        "font-src": "'self' data:",
        "connect-src": f"{sources} blob: data:",
        "media-src": f"{sources} blob:",
        "object-src": f"{sources} blob:",
        "frame-src": f"{sources} blob:",
        "worker-src": "'self' blob:",
        "manifest-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'self'",
        "base-uri": "'none'",
    }
    return {
        "Content-Type": HTML,
        "Cache-Control": ASK_AGAIN,
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Referrer-Policy": "no-referrer",
    }


def isolation(*, page: bool) -> dict[str, str]:
    """Return the headers that isolate the page from other origins."""
    opener = {"Cross-Origin-Opener-Policy": "same-origin"} if page else {}
    return {"Cross-Origin-Embedder-Policy": "require-corp", **opener}
