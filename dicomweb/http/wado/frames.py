"""Retrieve frames: `/studies/{s}/series/{se}/instances/{i}/frames/{list}` (PS3.18 10.4.1.6).

Facts this module keeps:

- The status is 200, never 206, unless a Range header came: OHIF's streaming reader takes nothing else.
- A list holds numbers from 1 and, as an extension, ranges such as `1-500`; parts come in the order asked for. A
  number that is none, or 0, is a 400; one beyond the last frame a 404 for the whole request (checklist D-042).
- Stored bytes are sent as they are; native frames in little endian, labelled Explicit VR Little Endian (8.7.3.3.1).
  Frames are decompressed, or compressed otherwise, for those who ask so; off the event loop, a few ahead.
- `samples=plain` beside application/octet-stream in Explicit VR Little Endian is an extension: whose Accept says so
  gets native samples made of frames that simple decoders get wrong (`storage.pixels.plain_frames`), all others as
  without it.
- One frame is one lookup, one read and one write; what repeats is remembered, but never a frame list: a few hundred
  long ones would fill the memory.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.http.message.bodies import (
    Headers,
    InMemory,
    Item,
    WholeBody,
    boundary_of,
    byte_range,
    multipart,
    multipart_headers,
    not_modified,
    one_item,
    single_part,
)
from dicomweb.http.message.conditional import entity_tag
from dicomweb.http.message.media_types import EXPLICIT_VR_LITTLE_ENDIAN, Offer
from dicomweb.http.message.multipart import PART_END, closing, part_head
from dicomweb.http.message.read_ahead import read_ahead
from dicomweb.http.message.target import accept_key, accepted, target_uids
from dicomweb.http.message.warning_header import warning_headers
from dicomweb.http.problems import RequestRefused
from dicomweb.http.urls import base_url, instance_url
from dicomweb.http.wado.forms import Stored, as_stored, pixel_offers, stored_form
from dicomweb.http.wado.request import VIDEO, cache_control, choose, made_on_request, pixel_content_type, refuse
from dicomweb.http.wado.video import VideoStream
from dicomweb.version import build

if TYPE_CHECKING:
    from storage.archive import Archive
    from storage.retrieval.frame_set import FrameSet

MOST_FRAMES = 200_000
"""Frames one request may name; more is a 400."""
MOST_REPEATS = 100
"""Frames among them that were named before: each is sent again, so that a short URL could ask for gigabytes of one."""

AHEAD = 4
"""Frames of a list that are read, and transcoded if need be, before they are wanted."""

ReadFrame = Callable[[int], Awaitable[bytes]]
"""Returns one frame by its number."""

ReadPart = Callable[[int], Awaitable[tuple[Offer, bytes]]]
"""Returns the form that one frame is in, and the frame, by its number."""


class Chosen(NamedTuple):
    """What answers a request for frames.

    Attributes
    ----------
    offer : Offer
        The form of the frames.
    plain : Offer or None
        The form of those that are not plain in `offer`, for who asked for plain samples.
    lasting : bool
        Whether the same request always gets the same bytes: those of the file, or what the build of this program makes
        of them whose name the client gave.
    """

    offer: Offer
    plain: Offer | None
    lasting: bool


_NUMBERS = re.compile(r"0*([1-9][0-9]{0,8})(?:-0*([1-9][0-9]{0,8}))?\Z")


async def retrieve_instance_frames(request: Request) -> Response:
    """Answer with the frames asked for.

    Standard
    --------
    PS3.18 10.4.1.6, 10.4.4, 8.7.3.3; checklist D-040 to D-059.
    """
    study, series, instance = target_uids(request)
    assert series is not None and instance is not None
    numbers = frame_numbers(request.path_params["frames"])
    archive: Archive = request.app.state.archive
    frames = await archive.frames(study, series, instance, numbers)
    form = stored_form(frames.instance)
    stored = form.transfer_syntax_uid
    key = accept_key(request)
    chosen = _choose(*key, form, len(numbers) == 1)
    if chosen is None:
        what = "The frame" if len(numbers) == 1 else "The frames"
        raise refuse(stored, pixel_offers(form, single=len(numbers) == 1), what)
    offer = chosen.offer
    location = instance_url(base_url(request), study, series, instance) + "/frames/"
    named = ",".join(map(str, numbers))
    forms = map(str, filter(None, chosen[:2]))
    etag = entity_tag(frames.instance.sha256, *forms, location if offer.multipart else "", named)
    cache = cache_control(request, can_change=frames.instance.layout.cut_off or not chosen.lasting)
    unchanged = not_modified(request, etag, cache)
    if unchanged is not None:
        return unchanged
    if stored in VIDEO:
        return await _video(request, archive, frames, offer, location + named, etag, cache)
    read = _part_reader(frames, form, chosen, single=len(numbers) == 1)
    if len(numbers) > 1:
        items = _items(read, numbers, location, 1 if offer.transfer_syntax == stored else AHEAD)
        return multipart(offer.media_type, items, etag, cache)
    offer, body = await read(numbers[0])
    content_type = pixel_content_type(offer)
    warned = warning_headers(base_url(request), frames.warnings) if frames.warnings else []
    if offer.multipart:
        return _one_part(content_type, location + named, etag, cache, body, warned)
    return _bare(request, content_type, location + named, etag, cache, body, warned)


def reader_of(frames: "FrameSet", form: Stored, offer: Offer, *, single: bool) -> ReadFrame:
    """Return what reads frames in the form of `offer`, as stored or transcoded; it raises NotAcceptable."""
    uid = offer.transfer_syntax
    if uid is None or uid == form.transfer_syntax_uid:
        return frames.read

    async def transcoded(number: int) -> bytes:
        with made_on_request(form.transfer_syntax_uid, pixel_offers(form, single=single), f"Frame {number}"):
            return await frames.transcoded(number, uid)

    return transcoded


def _part_reader(frames: "FrameSet", form: Stored, chosen: Chosen, *, single: bool) -> ReadPart:
    """Return what reads frames with the form each is in."""
    read = reader_of(frames, form, chosen.offer, single=single)

    async def part(number: int) -> tuple[Offer, bytes]:
        if chosen.plain is None:
            return chosen.offer, await read(number)
        given = chosen.offer.transfer_syntax == form.transfer_syntax_uid
        with made_on_request(form.transfer_syntax_uid, pixel_offers(form, single=single), f"Frame {number}"):
            body, made = await frames.plain(number, as_stored=given)
        return chosen.plain if made else chosen.offer, body

    return part


def frame_numbers(text: str) -> tuple[int, ...]:
    """Return the frame numbers a frame list names, in its order.

    Parameters
    ----------
    text : str
        For example "1,2,10-12".

    Raises
    ------
    RequestRefused
        400: something in it is no number from 1, a range runs backwards, or it names too many, or the same too often.

    Standard
    --------
    PS3.18 10.1.1, Table 10.4.1.6-1; checklist D-040 to D-042.
    """
    numbers: list[int] = []
    for entry in text.split(","):
        match = _NUMBERS.match(entry.strip())
        if match is None:
            raise RequestRefused(400, "A frame list is numbers from 1, such as 1,2,3 or 1-20.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise RequestRefused(400, f"The frame range {first}-{last} runs backwards.")
        if len(numbers) + last - first >= MOST_FRAMES:
            raise RequestRefused(400, f"One request may name {MOST_FRAMES} frames at most.")
        numbers.extend(range(first, last + 1))
    if len(numbers) - len(set(numbers)) > MOST_REPEATS:
        raise RequestRefused(400, f"One request may name frames again {MOST_REPEATS} times at most.")
    return tuple(numbers)


@lru_cache(maxsize=1024)
def _choose(header: str | None, query: str | None, required: bool, form: Stored, single: bool) -> Chosen | None:
    ranges, offers = accepted(header, query, required), pixel_offers(form, single=single)
    offer = choose(ranges, offers)
    if offer is None:
        return None
    native = [other for other in offers if other.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN]
    plain = choose([entry for entry in ranges if entry.parameters.get("samples") == "plain"], native)
    named = any(entry.parameters.get("build") == build() for entry in ranges)
    return Chosen(offer, plain, named or (plain is None and as_stored(form, offer)))


async def _video(
    request: Request,
    archive: "Archive",
    frames: "FrameSet",
    offer: Offer,
    location: str,
    etag: str,
    cache: str,
) -> Response:
    """A video has no frames that could be sent alone: its frame 1 is all of it, read while it is sent (D-056)."""
    instance = frames.instance
    value = await archive.bulk_data(
        instance.study_instance_uid,
        instance.series_instance_uid,
        instance.sop_instance_uid,
        f"{frames.pixel_data.tag:08X}",
    )
    video = await VideoStream.open(archive, value)
    item = Item(pixel_content_type(offer), location, video.length, video.stream)
    if offer.multipart:
        return multipart(offer.media_type, one_item(item), etag, cache)
    return single_part(request, item, etag, cache)


async def _items(read: ReadPart, numbers: tuple[int, ...], location: str, ahead: int) -> AsyncIterator[Item]:
    async def item(number: int) -> Item:
        offer, body = await read(number)
        return Item(pixel_content_type(offer), f"{location}{number}", len(body), InMemory(body))

    async with aclosing(read_ahead(item, numbers, ahead)) as items:
        async for made in items:
            yield made


def _one_part(content_type: str, location: str, etag: str, cache: str, body: bytes, warnings: Headers) -> Response:
    """One frame as multipart: the form viewers ask for, thousands of times."""
    boundary = boundary_of(etag)
    body = b"".join((part_head(boundary, content_type, location, len(body)), body, PART_END, closing(boundary)))
    headers = multipart_headers(content_type.partition(";")[0], boundary, etag, cache) + warnings
    headers.append((b"content-length", b"%d" % len(body)))
    return WholeBody(200, headers, body)


def _bare(
    request: Request, content_type: str, location: str, etag: str, cache: str, body: bytes, warnings: Headers
) -> Response:
    headers: Headers = [
        (b"content-type", content_type.encode()),
        (b"content-location", location.encode()),
        (b"etag", etag.encode()),
        (b"cache-control", cache.encode()),
        (b"accept-ranges", b"bytes"),
        *warnings,
    ]
    status = 200
    wanted = byte_range(request, etag, len(body))
    if wanted is not None:
        start, length = wanted
        headers.append((b"content-range", b"bytes %d-%d/%d" % (start, start + length - 1, len(body))))
        body = body[start : start + length]
        status = 206
    headers.append((b"content-length", b"%d" % len(body)))
    return WholeBody(status, headers, body)
