"""Retrieve bulk data and pixel data (PS3.18 10.4.1.5, 10.4.3.3.5, 10.4.3.3.6).

Facts this module keeps:

- A BulkDataURI names a value at any depth by its attribute path, `30060039/1/30060040/2/30060050`; clients treat it as
  opaque. `*/*` gets it in a single part, which browsers and OHIF's `singlepart` can use; `multipart/related` gets one.
- Values are little endian, texts UTF-8. Compressed pixel data is one part per frame, uncompressed one value
  (8.7.3.3), a video one stream that can be read by range.
- An Encapsulated Document comes under its own media type, without its pad byte, so that browsers show it; what they
  could run is octet-stream to be saved.
- `/bulkdata` is every value the metadata names, `/pixeldata` the top-level pixel data elements only.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.http.message.active_content import harmless_type
from dicomweb.http.message.bodies import Headers, InMemory, Item, multipart, not_modified, one_item, single_part
from dicomweb.http.message.conditional import entity_tag
from dicomweb.http.message.media_types import EXPLICIT_VR_LITTLE_ENDIAN, OCTET_STREAM, MediaRange, Offer, available
from dicomweb.http.message.read_ahead import read_ahead
from dicomweb.http.message.target import accept_key, accepted, target_uids
from dicomweb.http.problems import NotAcceptable
from dicomweb.http.urls import base_url, instance_url
from dicomweb.http.wado.encapsulated_document import ENCAPSULATED_DOCUMENT, document_length, document_type, protection
from dicomweb.http.wado.forms import Stored, as_stored, pixel_offers, stored_form
from dicomweb.http.wado.frames import AHEAD, reader_of
from dicomweb.http.wado.metadata import PLACEHOLDER, attributes_in
from dicomweb.http.wado.request import VIDEO, cache_control, choose, made_on_request, pixel_content_type, refuse
from dicomweb.http.wado.video import VideoStream
from storage.errors import NotFound

if TYPE_CHECKING:
    from storage.archive import Archive
    from storage.retrieval.bulk_value import BulkValue
    from storage.retrieval.instance_file import InstanceFile

FRAMES_AT_ONCE = 1000
"""Frames whose places are looked up together."""

_PATH = re.compile(r"[0-9A-F]{8}(?:/[1-9][0-9]*/[0-9A-F]{8})*\Z")
_NAMED = re.compile(re.escape(PLACEHOLDER) + rb'([0-9A-F/]+)"')
_OPAQUE = f"{OCTET_STREAM}; transfer-syntax={EXPLICIT_VR_LITTLE_ENDIAN}"


async def retrieve_bulkdata_value(request: Request) -> Response:
    """Answer with the value a BulkDataURI names.

    Standard
    --------
    PS3.18 10.4.1.5, Table 10.4.1.5-1; checklist D-070, D-072, D-075 to D-078.
    """
    study, series, instance = target_uids(request)
    assert series is not None and instance is not None
    path = request.path_params["path"].upper()
    if not _PATH.match(path):
        raise NotFound("This is not the path of a bulk data value; the metadata has the right ones.")
    archive: Archive = request.app.state.archive
    value = await archive.bulk_data(study, series, instance, path)
    location = f"{instance_url(base_url(request), study, series, instance)}/bulkdata/{path}"
    if _pixel_path(value.instance) == path:
        return await _pixels(request, archive, value, location)
    mime, length = await _document(archive, value) if path == ENCAPSULATED_DOCUMENT else ("", value.length)
    offers = [Offer(OCTET_STREAM, multipart, EXPLICIT_VR_LITTLE_ENDIAN) for multipart in (False, True)]
    if mime not in ("", OCTET_STREAM):
        offers = [Offer(mime), Offer(mime, multipart=True), *offers]
    offer = choose(accepted(*accept_key(request)), offers)
    if offer is None:
        raise NotAcceptable("This bulk data value cannot be had in an accepted form.", available(offers))
    is_document = mime != "" and offer.media_type == mime
    content_type = mime if is_document and mime != OCTET_STREAM else _OPAQUE
    extra: Headers = protection(mime) if is_document else []
    item = Item(content_type, location, length, value.stream)
    return _answer(request, value, item, offer, extra, as_stored=value.as_stored and not mime)


async def retrieve_bulkdata(request: Request) -> Response:
    """Answer with every bulk data value of the target's metadata, one part each.

    Standard
    --------
    PS3.18 Table 10.3-2, 10.4.3.3.5, Table 10.4.4-1 note 2; checklist D-005, D-071, D-072.
    """
    return await _retrieve_all(request, pixels_only=False)


async def retrieve_pixeldata(request: Request) -> Response:
    """Answer with the top-level pixel data of the target's instances.

    Standard
    --------
    PS3.18 Table 10.3-2, 10.4.3.3.6; checklist D-071, D-073, D-074.
    """
    return await _retrieve_all(request, pixels_only=True)


def _answer(
    request: Request, value: "BulkValue", item: Item, offer: Offer, extra: Headers, *, as_stored: bool
) -> Response:
    etag = entity_tag(value.instance.sha256, str(offer), item.location, str(value.length))
    cache = cache_control(request, can_change=value.instance.layout.cut_off or not as_stored)
    unchanged = not_modified(request, etag, cache)
    if unchanged is not None:
        return unchanged
    if offer.multipart:
        return multipart(item.content_type.partition(";")[0], one_item(item), etag, cache)
    return single_part(request, item, etag, cache, extra)


async def _pixels(request: Request, archive: "Archive", value: "BulkValue", location: str) -> Response:
    """Answer with Pixel Data: one value when uncompressed, else a part per frame, or the stream of a video."""
    instance = value.instance
    form = stored_form(instance)
    single = _frame_count(instance) == 1 or form.transfer_syntax_uid in VIDEO
    offers = pixel_offers(form, single=single, multipart_first=False, one_value=True)
    offer = choose(accepted(*accept_key(request)), offers)
    if offer is None:
        raise refuse(form.transfer_syntax_uid, offers, "The pixel data")
    etag = entity_tag(instance.sha256, str(offer), location)
    cache = cache_control(request, can_change=instance.layout.cut_off or not as_stored(form, offer))
    unchanged = not_modified(request, etag, cache)
    if unchanged is not None:
        return unchanged
    items = _pixel_items(archive, instance, offer, location)
    if offer.multipart:
        return multipart(pixel_content_type(offer).partition(";")[0], items, etag, cache)
    return single_part(request, await anext(items), etag, cache)


async def _pixel_items(
    archive: "Archive", instance: "InstanceFile", offer: Offer, location: str, *, patient: bool = False
) -> AsyncGenerator[Item, None]:
    """Yield the pixel data of an instance in a form, all under the one location it has (8.6.1.2).

    Patiently means that the answer has begun, and cannot become a 503 any more.

    Raises
    ------
    NotAcceptable
        It turned out not to be decodable.
    """
    form = stored_form(instance)
    content_type = pixel_content_type(offer)
    stored = form.transfer_syntax_uid
    is_native = offer.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN
    if is_native and stored != EXPLICIT_VR_LITTLE_ENDIAN:
        with made_on_request(stored, pixel_offers(form, single=False), "The pixel data"):
            decoded = await archive.decoded_pixel_data(instance, patient=patient)
        yield Item(content_type, location, decoded.length, decoded.stream)
    elif is_native or stored in VIDEO:
        value = await archive.bulk_data(*_key(instance), _pixel_path(instance) or "")
        sent = await VideoStream.open(archive, value) if stored in VIDEO else value
        yield Item(content_type, location, sent.length, sent.stream)
    else:
        async for body in _frames(archive, instance, offer, patient=patient):
            yield Item(content_type, location, len(body), InMemory(body))


async def _frames(archive: "Archive", instance: "InstanceFile", offer: Offer, *, patient: bool) -> AsyncIterator[bytes]:
    """Yield every frame of an instance in a form."""
    form = stored_form(instance)
    last = _frame_count(instance)
    ahead = 1 if offer.transfer_syntax == form.transfer_syntax_uid else AHEAD
    for start in range(1, last + 1, FRAMES_AT_ONCE):
        numbers = range(start, min(start + FRAMES_AT_ONCE, last + 1))
        frames = await archive.frames(*_key(instance), numbers)
        frames.patient = patient or start > 1
        read = reader_of(frames, form, offer, single=False)
        async with aclosing(read_ahead(read, numbers, ahead)) as bodies:
            async for body in bodies:
                yield body


async def _document(archive: "Archive", value: "BulkValue") -> tuple[str, int]:
    """Return what an Encapsulated Document goes out as, "" when it does not tell, and its true length in bytes."""
    attributes = await attributes_in(archive, value.instance)
    length = await document_length(attributes, value)
    mime = document_type(attributes)
    return await harmless_type(mime, length, value.stream) if mime else "", length


async def _retrieve_all(request: Request, *, pixels_only: bool) -> Response:
    archive: Archive = request.app.state.archive
    instances = await archive.instances(*target_uids(request))
    if pixels_only:
        instances = [instance for instance in instances if instance.layout.pixel_data is not None]
        if not instances:
            raise NotFound("None of the instances has pixel data.")
    ranges = accepted(*accept_key(request))
    forms = _choose(ranges, instances)
    base = base_url(request)
    types = sorted(f"{form.transfer_syntax_uid} {offer}" for form, offer in forms.items())
    hashes = [instance.sha256 for instance in instances]
    etag = entity_tag(str(pixels_only), base, *types, *hashes)
    cache = cache_control(request, can_change=True)
    unchanged = not_modified(request, etag, cache)
    if unchanged is not None:
        return unchanged
    media_types = {pixel_content_type(offer).partition(";")[0] for offer in forms.values()}
    media_type = media_types.pop() if pixels_only and len(media_types) == 1 else OCTET_STREAM
    items = _all_items(archive, instances, forms, base, pixels_only=pixels_only)
    first = await anext(items, None)
    if first is None:
        raise NotFound("The metadata names no bulk data.")
    return multipart(media_type, _followed_by(first, items), etag, cache)


async def _followed_by(first: Item, items: AsyncIterator[Item]) -> AsyncIterator[Item]:
    yield first
    async for item in items:
        yield item


def _choose(ranges: Sequence[MediaRange], instances: "list[InstanceFile]") -> dict[Stored, Offer]:
    """Choose the form of the pixel data of each kind of instance.

    Raises
    ------
    NotAcceptable
        Some of it cannot be had in an accepted form.
    """
    chosen: dict[Stored, Offer] = {}
    for form in set(map(stored_form, instances)):
        offers = pixel_offers(form, single=False)
        offer = choose(ranges, offers)
        if offer is None:
            raise refuse(form.transfer_syntax_uid, offers, "Bulk data")
        chosen[form] = offer
    return chosen


async def _all_items(
    archive: "Archive",
    instances: "list[InstanceFile]",
    forms: dict[Stored, Offer],
    base: str,
    *,
    pixels_only: bool,
) -> AsyncIterator[Item]:
    begun = False
    for instance in instances:
        url = instance_url(base, *_key(instance)) + "/bulkdata/"
        for path in await _paths(archive, instance, pixels_only=pixels_only):
            if path != _pixel_path(instance):
                value = await archive.bulk_data(*_key(instance), path)
                yield Item(_OPAQUE, url + path, value.length, value.stream)
                begun = True
                continue
            offer = forms[stored_form(instance)]
            async for item in _pixel_items(archive, instance, offer, url + path, patient=begun):
                yield item
                begun = True


async def _paths(archive: "Archive", instance: "InstanceFile", *, pixels_only: bool) -> list[str]:
    pixel = instance.layout.pixel_data
    if pixels_only:
        return [f"{pixel.tag:08X}"] if pixel is not None else []
    paths: list[str] = []
    async for metadata in await archive.metadata(*_key(instance)):
        paths = [path.decode() for path in _NAMED.findall(metadata.json)]
    return paths


def _pixel_path(instance: "InstanceFile") -> str | None:
    pixel = instance.layout.pixel_data
    return f"{pixel.tag:08X}" if pixel is not None else None


def _frame_count(instance: "InstanceFile") -> int:
    pixel = instance.layout.pixel_data
    return pixel.frames if pixel is not None else 0


def _key(instance: "InstanceFile") -> tuple[str, str, str]:
    return instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid
