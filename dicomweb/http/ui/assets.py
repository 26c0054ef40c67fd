"""The files the pages are made of, read once and addressed by a hash of all of them.

Facts this module keeps:

- The hash stands in the path, so whatever refers to a neighbour refers to the same version, and browsers may keep
  everything below it for ever; only the page itself is asked for again (RFC 8246).
- The order of the modules in the page is that of their names; all are announced at once (modulepreload), since a
  browser would find them one after the other.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from typing import Final

import pydicom

from dicomweb.http.message.conditional import entity_tag
from dicomweb.http.ui.dictionary import dictionary

FOLDER: Final = Path(__file__).parent / "static"
PAGE: Final = "index.html"
DICTIONARY: Final = "dictionary.json"
MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent.

    Attributes
    ----------
    body : bytes
        All of it.
    media_type : str
        With its charset where it has one.
    etag : str
        Entity tag.
    """

    body: bytes
    media_type: str
    etag: str


@cache
def version() -> str:
    """Return the hash of all files and of the dictionary, 16 hexadecimal digits."""
    digest = hashlib.sha256(pydicom.__version__.encode())
    for name, body in _files().items():
        digest.update(b"%b\0%d\0" % (name.encode(), len(body)) + body)
    return digest.hexdigest()[:16]


@cache
def page() -> Asset:
    """Return the page, which names everything else by its version."""
    modules = [name for name in _files() if name.endswith(".js") and name != "theme.js"]
    styles = [name for name in _files() if name.endswith(".css")]
    text = Template(_files()[PAGE].decode("utf-8")).substitute(
        version=version(),
        modules="\n".join(f'<link rel="modulepreload" href="{version()}/{name}">' for name in modules),
        styles="\n".join(f'<link rel="stylesheet" href="{version()}/{name}">' for name in styles),
    )
    return _asset(PAGE, text.encode("utf-8"))


def assets() -> Mapping[str, Asset]:
    """Return everything but the page by its path."""
    return _assets()


@cache
def _assets() -> dict[str, Asset]:
    found = {name: _asset(name, body) for name, body in _files().items() if name != PAGE}
    return found | {DICTIONARY: _asset(DICTIONARY, dictionary())}


@cache
def _files() -> dict[str, bytes]:
    paths = sorted(path for path in FOLDER.rglob("*") if path.suffix in MEDIA_TYPES)
    return {path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in paths}


def _asset(name: str, body: bytes) -> Asset:
    return Asset(body, MEDIA_TYPES[Path(name).suffix], entity_tag(body))
