"""What a retrieve request names and accepts, and which stored form may answer it.

Facts this module keeps:

- A UID in a path is 1 to 64 digits and dots; anything else is a 400, never a 500 (PS3.18 8.3.1; checklist A-004).
- No Accept header means `*/*` unless `require_accept` says otherwise (checklist A-020, A-021).
- A wildcard leaves the transfer syntax to the server: the stored bytes (PS3.18 8.7.3.5.2). A named media type without
  `transfer-syntax` means that type's default (PS3.18 8.7.3.4), except where only a lossy form exists (8.7.3).
- Nothing is decoded or encoded yet: what would need it is a 406 that says so and lists what can be had.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.requests import Request

from dicomweb.failures import NotAcceptable, RequestRefused
from dicomweb.media_types import (
    DICOM,
    EXPLICIT_VR_LITTLE_ENDIAN,
    OCTET_STREAM,
    MediaRange,
    Offer,
    available,
    media_type_of,
    parse_accept,
    select,
)

if TYPE_CHECKING:
    from storage.layout import Layout

NATIVE = frozenset(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"))
"""Transfer syntaxes whose pixel data is not compressed; all of them are given out as Explicit VR Little Endian."""

_FAMILY = "1.2.840.10008.1.2.4."
LOSSY = frozenset(_FAMILY + suffix for suffix in ("50", "51", "81", "91", "93", "203", "111", "112"))
"""Transfer syntaxes that may hold the only copy there is in lossy form (PS3.18 8.7.3)."""

VIDEO = frozenset(
    _FAMILY + number + fragmentable
    for number in ("100", "101", "102", "103", "104", "105", "106", "107", "108")
    for fragmentable in ("", ".1")
)
"""Transfer syntaxes whose pixel data is one stream, not a series of frames (PS3.18 8.7.3.3.2)."""

_UID = re.compile(r"[0-9.]{1,64}\Z")
_STRICT_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*\Z")
_NO_UID = re.compile(r"[^0-9.]")
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


def choose(ranges: Sequence[MediaRange], offers: Sequence[Offer]) -> Offer | None:
    """Choose among `offers`, the stored form first where a wildcard leaves the choice to the server.

    Returns
    -------
    Offer or None
        None when nothing fits.

    Standard
    --------
    PS3.18 8.7.3.5.2, 8.7.8.1.
    """
    chosen = select(ranges, offers)
    if chosen is not None:
        return chosen
    open_ranges = [
        replace(entry, parameters={**entry.parameters, "transfer-syntax": "*"})
        for entry in ranges
        if entry.q and entry.content.endswith("/*") and entry.transfer_syntax is None
    ]
    return select(open_ranges, offers) if open_ranges else None


def refuse(stored: str, offers: Sequence[Offer], what: str) -> NotAcceptable:
    """Make the 406 for `what`, stored in the transfer syntax `stored`.

    Standard
    --------
    PS3.18 8.5, 8.7.8.1; checklist A-035, D-059.
    """
    if stored in NATIVE:
        detail = f"{what}: to be had as listed under `available` only; nothing is compressed in this release."
    else:
        detail = (
            f"{what}: stored in transfer syntax {stored}; decompression is not available in this release. "
            "Accept it with transfer-syntax=* to get it as stored."
        )
    return NotAcceptable(detail, available(offers))


@lru_cache(maxsize=256)
def file_offers(transfer_syntax_uid: str, *, single: bool) -> tuple[Offer, ...]:
    """Return the forms a stored DICOM file can be had in; the first is what `*/*` gets.

    Parameters
    ----------
    transfer_syntax_uid : str
        Of the file as it would be given out.
    single : bool
        Whether the resource is one instance, which may come without multipart.

    Standard
    --------
    PS3.18 Table 10.4.4-1, 8.7.3.4.
    """
    default = True if transfer_syntax_uid in LOSSY or transfer_syntax_uid in VIDEO else None
    forms = (False, True) if single else (True,)
    return tuple(Offer(DICOM, multipart, transfer_syntax_uid, default) for multipart in forms)


@lru_cache(maxsize=256)
def pixel_offers(transfer_syntax_uid: str, *, single: bool, multipart_first: bool = True) -> tuple[Offer, ...]:
    """Return the forms stored frames or pixel data can be had in; the first is what `*/*` gets.

    Parameters
    ----------
    transfer_syntax_uid : str
        As stored.
    single : bool
        Whether it is one part, which may come without multipart.
    multipart_first : bool
        What `*/*` gets when both are possible.

    Standard
    --------
    PS3.18 Tables 8.7.3-4, 8.7.3-5, 10.4.4-1; checklist D-043 to D-047.
    """
    forms: tuple[bool, ...] = (True, False) if multipart_first else (False, True)
    if not single:
        forms = (True,)
    if transfer_syntax_uid in NATIVE:
        return tuple(Offer(OCTET_STREAM, multipart, EXPLICIT_VR_LITTLE_ENDIAN) for multipart in forms)
    media_type = media_type_of(transfer_syntax_uid)
    default = True if transfer_syntax_uid in LOSSY or transfer_syntax_uid in VIDEO else None
    named = [Offer(media_type, multipart, transfer_syntax_uid, default) for multipart in forms]
    # Viewers ask for octet-stream with transfer-syntax=* and read the true type from the part.
    opaque = [Offer(OCTET_STREAM, multipart, transfer_syntax_uid, False) for multipart in forms]
    return (*named, *opaque)


def pixel_content_type(offer: Offer) -> str:
    """Return the Content-Type of a frame or pixel data part given as `offer` (checklist A-084, D-045)."""
    transfer_syntax_uid = offer.transfer_syntax or EXPLICIT_VR_LITTLE_ENDIAN
    return f"{media_type_of(transfer_syntax_uid)}; transfer-syntax={transfer_syntax_uid}"


def stored_pixel_syntax(transfer_syntax_uid: str, layout: "Layout") -> str:
    """Return the transfer syntax the pixel data is truly in: native pixels in a compressed file are native."""
    pixel = layout.pixel_data
    return syntax_label(transfer_syntax_uid) if pixel is not None and pixel.encapsulated else EXPLICIT_VR_LITTLE_ENDIAN


@lru_cache(maxsize=256)
def syntax_label(transfer_syntax_uid: str) -> str:
    """Return a stored transfer syntax UID as it may stand in a header: a sender chose it, line breaks and all."""
    return _NO_UID.sub("", transfer_syntax_uid)


def cache_control(request: Request, *, can_be_corrected: bool) -> str:
    """Return the Cache-Control of a stored resource.

    Frames and bulk data do not change under a UID, so a browser may keep them for a year. Metadata and whole files
    do when a patient is corrected, and everything does when stored instances may be replaced: the client asks again
    each time and mostly gets a 304.

    Standard
    --------
    Checklist A-119.
    """
    if can_be_corrected or request.app.state.settings.duplicates == "replace":
        return "private, no-cache"
    return "private, max-age=31536000"
