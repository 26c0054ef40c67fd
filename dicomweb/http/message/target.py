"""What a request names in its path and what it accepts.

Facts this module keeps:

- A UID in a path is 1 to 64 digits and dots; anything else is a 400, never a 500 (PS3.18 8.3.1; checklist A-004).
- No Accept header means `*/*` unless `require_accept` says otherwise (checklist A-020, A-021).
"""

import re
from functools import lru_cache

from starlette.requests import Request

from dicomweb.http.message.media_types import MediaRange, parse_accept
from dicomweb.http.problems import RequestRefused

_UID = re.compile(r"[0-9.]{1,64}\Z")
_STRICT_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*\Z")
_LEVELS = ("study", "series", "instance")


def target_uids(request: Request) -> tuple[str, str | None, str | None]:
    """Return the study, series and instance a retrieve URL names, None below the level it stops at.

    Raises
    ------
    RequestRefused
        400: a UID is malformed.

    Standard
    --------
    PS3.18 8.3.1; checklist A-003, A-004.
    """
    parameters = request.path_params
    strict = request.app.state.settings.strict_uids
    for level in _LEVELS:
        uid = parameters.get(level)
        if uid is not None and not (_UID.match(uid) and (not strict or _STRICT_UID.match(uid))):
            raise RequestRefused(
                400, f"The {level} in the URL is not a UID: at most 64 digits and dots are (PS3.5 9.1)."
            )
    return parameters["study"], parameters.get("series"), parameters.get("instance")


def accept_key(request: Request) -> tuple[str | None, str | None, bool]:
    """Return what decides a negotiation: Accept header, `accept` parameter, whether a header is required."""
    values = [value for name, value in request.scope["headers"] if name == b"accept"]
    header = b",".join(values).decode("latin-1") if values else None
    query = request.query_params.get("accept") if request.scope["query_string"] else None
    return header, query, request.app.state.settings.require_accept


@lru_cache(maxsize=512)
def accepted(header: str | None, query: str | None, required: bool) -> tuple[MediaRange, ...]:
    """Return what a client accepts; remembered, since a viewer says the same thousands of times."""
    return tuple(parse_accept(header, query, required=required))
