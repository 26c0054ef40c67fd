"""Which stored form may answer a retrieve request.

Facts this module keeps:

- A wildcard leaves the transfer syntax to the server: the stored bytes (PS3.18 8.7.3.5.2). A named media type without
  `transfer-syntax` means that type's default (PS3.18 8.7.3.4), except where only a lossy form exists (8.7.3).
- Which forms there are to choose from is said in `forms.py`.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

from starlette.requests import Request

from dicomweb.http.message.media_types import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    MediaRange,
    Offer,
    available,
    media_type_of,
    select,
)
from dicomweb.http.problems import NotAcceptable
from storage.dicom.transfer_syntax import TRANSFER_SYNTAXES, decodable
from storage.errors import LimitExceeded, UndecodablePixelData
from storage.pixels.encoders import UnencodablePixelData

NATIVE = frozenset(uid for uid, syntax in TRANSFER_SYNTAXES.items() if syntax.native)
"""Transfer syntaxes whose pixel data is not compressed; all of them are given out as Explicit VR Little Endian."""

LOSSY = frozenset(uid for uid, syntax in TRANSFER_SYNTAXES.items() if syntax.lossy)
"""Transfer syntaxes that may hold the only copy there is in lossy form (PS3.18 8.7.3)."""

VIDEO = frozenset(uid for uid, syntax in TRANSFER_SYNTAXES.items() if syntax.media_type.startswith("video/"))
"""Transfer syntaxes whose pixel data is one stream, not a series of frames (PS3.18 8.7.3.3.2)."""

_NO_UID = re.compile(r"[^0-9.]")


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
    opened = [
        replace(entry, parameters={**entry.parameters, "transfer-syntax": "*"})
        if entry.content.endswith("/*") and entry.transfer_syntax is None
        else entry
        for entry in ranges
    ]
    return select(opened, offers)


def refuse(stored: str, offers: Sequence[Offer], what: str) -> NotAcceptable:
    """Make the 406 for `what`, stored in the transfer syntax `stored`.

    Standard
    --------
    PS3.18 8.5, 8.7.8.1; checklist A-035, D-059.
    """
    detail = f"{what}: stored in transfer syntax {stored}; to be had as listed under `available` only."
    if not decodable(stored):
        detail += " There is no decoder for it; accept it with transfer-syntax=* to get it as stored."
    return NotAcceptable(detail, available(offers))


@contextmanager
def made_on_request(stored: str, offers: Sequence[Offer], what: str) -> Iterator[None]:
    """Turn the failure to decode or encode `what`, stored in the transfer syntax `stored`, into a 406.

    Standard
    --------
    PS3.18 8.7.8.1; checklist D-010, D-059.
    """
    try:
        yield
    except (UndecodablePixelData, UnencodablePixelData, LimitExceeded) as error:
        detail = f"{what}: stored in transfer syntax {stored}. {error} With transfer-syntax=* it comes as stored."
        as_stored = [offer for offer in offers if offer.transfer_syntax == stored]
        raise NotAcceptable(detail, available(as_stored)) from error


def pixel_content_type(offer: Offer) -> str:
    """Return the Content-Type of a frame or pixel data part given as `offer` (checklist A-084, D-045)."""
    transfer_syntax_uid = offer.transfer_syntax or EXPLICIT_VR_LITTLE_ENDIAN
    return f"{media_type_of(transfer_syntax_uid)}; transfer-syntax={transfer_syntax_uid}"


@lru_cache(maxsize=256)
def syntax_label(transfer_syntax_uid: str) -> str:
    """Return a stored transfer syntax UID as it may stand in a header: a sender chose it, line breaks and all."""
    return _NO_UID.sub("", transfer_syntax_uid)


def cache_control(request: Request, *, can_change: bool) -> str:
    """Return the Cache-Control of a stored resource.

    Frames and bulk data as stored do not change under the UID of an instance, so a browser may keep them for a year.
    Other things do: what is made of them when another build of this program makes it, metadata and whole files when a
    patient is corrected, what belongs to a study or series when that grows, everything of an instance that was cut off
    when the whole of it comes, and everything where stored instances may be replaced. The client asks again each time
    and mostly gets a 304.

    Standard
    --------
    Checklist A-119.
    """
    if can_change or request.app.state.settings.duplicates == "replace":
        return "private, no-cache"
    return "private, max-age=31536000"
