"""Paths as they may be logged.

Whatever stands where a UID should may be a name, a patient identifier or a secret that somebody mistook for one. Only
what cannot be one is kept: UIDs, the words of our own resources, and tags in the path of a bulk data value.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

MASK = "*"

_UID = re.compile(r"[0-9.]{1,64}\Z")
_TAG = re.compile(r"[0-9A-Fa-f]{8}\Z")


def masked_path(path: str, app: Starlette | None) -> str:
    """Put `*` for every segment that is neither a UID, a word of the route table, nor a tag of bulk data.

    Parameters
    ----------
    path
        As the client asked for it, decoded.
    app
        Whose route table has the words; None has none.

    Returns
    -------
    str
        As many segments as `path` has, in ASCII without control characters.
    """
    words = _words(app) if app is not None else frozenset()
    masked = []
    in_bulk_data = False
    for segment in path.split("/"):
        known = segment in words or _UID.match(segment) or (in_bulk_data and _TAG.match(segment))
        masked.append(segment if known or not segment else MASK)
        in_bulk_data = in_bulk_data or (segment == "bulkdata" and segment in words)
    return "/".join(masked)


@lru_cache(maxsize=8)
def _words(app: Starlette) -> frozenset[str]:
    return frozenset(segment for path in _templates(app.routes) for segment in path.split("/") if "{" not in segment)


def _templates(routes: Iterable[BaseRoute]) -> Iterator[str]:
    for route in routes:
        if isinstance(route, Mount | Route):
            yield route.path
        if isinstance(route, Mount):
            yield from _templates(route.routes)
