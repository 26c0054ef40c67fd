"""Entity tags, conditional requests and byte ranges.

Facts this module keeps:

- If-None-Match compares weakly, If-Range strongly (RFC 9110 13.1.2, 13.1.5): a gzip'ed body has a weak tag.
- A Range header that cannot be understood is ignored; one that is understood but lies beyond the end is 416
  (RFC 9110 14.2). Several ranges in one request are answered with the whole body, as the RFC allows.
- Ranges are for single part bodies only (PS3.18 8.6.1.1); a viewer that asked for multipart gets all of it.
"""

import hashlib
import re
from typing import NamedTuple

from dicomweb.version import build

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*\Z", re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?"[^"]*"')


class ByteRange(NamedTuple):
    """The part of a body that is sent: `length` bytes from `start`."""

    start: int
    length: int


class RangeBeyondEndError(Exception):
    """The range begins after the last byte."""


def entity_tag(*pieces: str | bytes) -> str:
    """Make a strong entity tag that changes when one of `pieces` does, or the program that makes the representation.

    Parameters
    ----------
    *pieces : str or bytes
        What the representation depends on: content hash, media type, base URL.

    Returns
    -------
    str
        With its quotes, 34 characters.
    """
    digest = hashlib.blake2b(digest_size=16)
    for piece in (build(), *pieces):
        data = piece.encode() if isinstance(piece, str) else piece
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return f'"{digest.hexdigest()}"'


def is_unchanged(if_none_match: str | None, etag: str) -> bool:
    """Whether the client already holds this representation, so that 304 is the answer.

    Parameters
    ----------
    if_none_match : str or None
        The If-None-Match header.
    etag : str
        Entity tag of what would be sent.

    Standard
    --------
    RFC 9110 13.1.2; PS3.18 8.5 (304).
    """
    if not if_none_match:
        return False
    if if_none_match.strip() == "*":
        return True
    opaque = etag.removeprefix("W/")
    return any(tag.removeprefix("W/") == opaque for tag in _TAG.findall(if_none_match))


def requested_range(header: str | None, if_range: str | None, etag: str, length: int) -> ByteRange | None:
    """Return the bytes a Range header asks for.

    Parameters
    ----------
    header : str or None
        The Range header.
    if_range : str or None
        The If-Range header; a date is never equal, since no Last-Modified is sent.
    etag : str
        Entity tag of what would be sent.
    length : int
        Of the whole body, in bytes.

    Returns
    -------
    ByteRange or None
        None when the whole body is to be sent.

    Raises
    ------
    RangeBeyondEndError
        No byte of the body lies in the range.

    Standard
    --------
    RFC 9110 14.2; PS3.18 8.6.1.1; checklist A-115.
    """
    if not header or (if_range is not None and (if_range.strip() != etag or etag.startswith("W/"))):
        return None
    match = _RANGE.match(header)
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        suffix = min(int(last), length)
        if suffix == 0:
            raise RangeBeyondEndError
        return ByteRange(length - suffix, suffix)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= length:
        raise RangeBeyondEndError
    end = min(int(last), length - 1) if last else length - 1
    return ByteRange(start, end - start + 1)
