"""Retrieve rendered: `/rendered` of a study, a series, an instance and frames (PS3.18 10.4.3.3.3, 8.7.4).

Facts this module keeps:

- One frame is a JPEG unless something else is accepted. An instance of many frames is an animated GIF, a multipart
  body with a part a frame, or, in any other single image, its first frame (D-092, D-093). Frames that are tiles of a
  slide are one image, put together. A list of frames is never cut down to its first one. Studies and series come in
  multipart only (D-096).
- A presentation state is a picture of every image it is for (D-113).
- Table 8.7.4-1 names no media type for waveforms (category Other): SVG unless a picture is accepted only.
- What has no picture, text or document is a 406 that says what it is.
- Pictures depend on the attributes, which can be corrected, and on this program: clients ask again and get a 304.
- Parameters of pictures are read for pictures only; for others they mean nothing (D-115).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.http.message.bodies import Headers, InMemory, Item, multipart, not_modified, one_item, single_part
from dicomweb.http.message.charsets import charsets
from dicomweb.http.message.conditional import entity_tag
from dicomweb.http.message.media_types import (
    DICOM,
    DICOM_JSON,
    DICOM_XML,
    OCTET_STREAM,
    MediaRange,
    Offer,
    available,
    select,
)
from dicomweb.http.message.read_ahead import read_ahead
from dicomweb.http.message.target import accept_key, accepted, target_uids
from dicomweb.http.message.warning_header import warning_headers
from dicomweb.http.problems import NotAcceptable, RequestRefused
from dicomweb.http.rendered import documents
from dicomweb.http.rendered.look import Look, Made, StoredState
from dicomweb.http.rendered.renderer import Renderer, uids_of
from dicomweb.http.urls import base_url, instance_url
from dicomweb.http.wado.encapsulated_document import document_type
from dicomweb.http.wado.forms import VIDEO
from dicomweb.http.wado.frames import frame_numbers
from dicomweb.http.wado.request import cache_control
from dicomweb.rendering.attribute_values import key_of
from dicomweb.rendering.encoders import GIF, MEDIA_TYPES
from dicomweb.rendering.presentation_state import SOP_CLASSES as PRESENTATION_STATES
from dicomweb.rendering.rendering_parameters import RenderingParameters, parse_rendering_parameters
from dicomweb.rendering.report import is_report
from dicomweb.rendering.report_values import kind_of
from dicomweb.rendering.sheet_svg import SVG
from dicomweb.rendering.waveform import is_waveform
from storage.dicom.transfer_syntax import decodable
from storage.errors import NotFound

if TYPE_CHECKING:
    from storage.archive import Archive
    from storage.retrieval.instance_file import InstanceFile

_PIXEL_DATA = {key_of(keyword) for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")}
_NOT_RENDERED = frozenset((DICOM, DICOM_JSON, DICOM_XML, OCTET_STREAM))
_WAVEFORM_OFFERS = tuple(Offer(kind, multipart) for multipart in (False, True) for kind in (SVG, *MEDIA_TYPES))
_INSTANCE = "/studies/{study}/series/{series}/instances/{instance}"

ReadParameters = Callable[[], RenderingParameters]
"""Reads what the client asks of a picture; raises InvalidQuery."""


@dataclass(frozen=True)
class Pictures:
    """What pictures are made of: frames of one or more instances, under the location they are asked for at.

    Attributes
    ----------
    rows : sequence of (InstanceFile, sequence of int)
        Instances with the numbers of their frames, in order.
    location : str
        URL of the resource.
    named : bool
        Whether the frames were asked for by number, so that none may be left out.
    state : StoredState or None
        The presentation state they are shown with.
    """

    rows: "Sequence[tuple[InstanceFile, Sequence[int]]]"
    location: str
    named: bool = False
    state: StoredState | None = None

    @property
    def count(self) -> int:
        """How many frames there are."""
        return sum(len(numbers) for _, numbers in self.rows)

    @property
    def first(self) -> "tuple[InstanceFile, int]":
        """The first frame."""
        instance, numbers = self.rows[0]
        return instance, numbers[0]

    def tag(self, *pieces: str) -> str:
        """Return the entity tag of a representation (A-117)."""
        rows = [*self.rows, (self.state.instance, ())] if self.state else self.rows
        hashes = b"".join(instance.sha256 + b"%d;" % instance.version for instance, _ in rows)
        named = " ".join(",".join(map(str, numbers)) for _, numbers in rows)
        return entity_tag(hashes, named, *pieces)


async def retrieve_rendered_frames(request: Request) -> Response:
    """Answer with pictures of the frames asked for.

    Standard
    --------
    PS3.18 10.4.1.6, 10.4.3.3.3; checklist D-090 to D-092.
    """
    study, series, instance = target_uids(request)
    assert series is not None and instance is not None
    text = request.path_params["frames"]
    numbers = frame_numbers(text)
    frames = await archive_of(request).frames(study, series, instance, numbers)
    location = f"{instance_url(base_url(request), study, series, instance)}/frames/{text}/rendered"
    ranges = accepted_renderings(request)
    if frames.instance.transfer_syntax_uid in VIDEO:
        return await answer_instance(request, frames.instance, ranges, location)
    return await answer_pictures(request, Pictures([(frames.instance, numbers)], location, named=True), ranges)


async def retrieve_rendered_instance(request: Request) -> Response:
    """Answer with a picture, an animation, a text or the document or video of an instance.

    Standard
    --------
    PS3.18 10.4.3.3.3, Table 8.7.4-1; checklist D-090 to D-116.
    """
    target = target_uids(request)
    (instance,) = await archive_of(request).instances(*target)
    location = f"{instance_url(base_url(request), *uids_of(instance))}/rendered"
    return await answer_instance(request, instance, accepted_renderings(request), location)


async def retrieve_rendered_instances(request: Request) -> Response:
    """Answer with pictures of every image of a study or a series.

    Standard
    --------
    PS3.18 Table 10.3-2, 10.4.4 note 3; checklist D-090, D-096.
    """
    instances = await archive_of(request).instances(*target_uids(request))
    images = [(instance, all_frames(instance)) for instance in instances if is_image(instance)]
    ranges = accepted_renderings(request)
    if not images:
        kinds = ", ".join(sorted({kind_of(instance.sop_class_uid) for instance in instances}))
        raise NotAcceptable(f"There is no image to be rendered here, only: {kinds}. Its instances have /rendered.", [])
    hidden = sum(_is_hidden(instance) for instance, _ in images)
    if hidden:
        raise NotAcceptable(f"{hidden} of {len(images)} images are in a transfer syntax without a decoder.", [])
    study, series, _ = target_uids(request)
    location = f"{base_url(request)}/studies/{study}{f'/series/{series}' if series else ''}/rendered"
    pictures = Pictures(images, location)
    offer = _chosen(ranges, tuple(Offer(kind, multipart=True) for kind in MEDIA_TYPES), "These pictures")
    return _many(request, pictures, offer, _parameters(request))


async def answer_instance(
    request: Request,
    instance: "InstanceFile",
    ranges: Sequence[MediaRange],
    location: str,
    read_parameters: ReadParameters | None = None,
) -> Response:
    """Answer with an instance as whatever it can be rendered to.

    Parameters
    ----------
    request : Request
        Asks for it.
    instance : InstanceFile
        The target.
    ranges : sequence of MediaRange
        What is accepted.
    location : str
        URL of the representation.
    read_parameters : callable, optional
        Returns what the client asks of a picture, when that is not read from the query as rendered resources have it.

    Raises
    ------
    NotAcceptable
        It cannot be had in an accepted form.
    """
    if is_image(instance):
        pictures = Pictures([(instance, all_frames(instance))], location)
        return await answer_pictures(request, pictures, ranges, read_parameters and read_parameters())
    if instance.sop_class_uid in PRESENTATION_STATES:
        pictures = await presented(request, instance, location)
        return await answer_pictures(request, pictures, ranges, read_parameters and read_parameters())
    archive = archive_of(request)
    if instance.transfer_syntax_uid in VIDEO and instance.layout.pixel_data is not None:
        offer = _chosen(ranges, documents.video_offers(instance), "This video")
        item = await documents.video_item(archive, instance, location)
        return _one(request, item, offer, Pictures([(instance, ())], location), [documents.EMBEDDABLE])
    attributes = await renderer_of(request).attributes(instance)
    if document_type(attributes) is not None:
        item, headers = await documents.document_item(archive, instance, attributes, location)
        kind = item.content_type
        offer = _chosen(ranges, (Offer(kind), Offer(kind, multipart=True)), "This document")
        return _one(request, item, offer, Pictures([(instance, ())], location), headers)
    if is_waveform(attributes):
        parameters = read_parameters() if read_parameters else _parameters(request)
        return await _waveform(request, Pictures([(instance, ())], location), ranges, parameters)
    if is_report(attributes):
        kinds = (documents.HTML, documents.PLAIN_TEXT, documents.XML)
        offer = _chosen(ranges, tuple(Offer(kind, form) for form in (False, True) for kind in kinds), "This report")
        asked = request.query_params.get("charset"), request.headers.get("accept-charset")
        wanted = charsets(ranges, offer.media_type, *asked)
        item, headers = await documents.report_item(request, attributes, offer.media_type, wanted, location)
        return _one(request, item, offer, Pictures([(instance, ())], location), headers)
    if not _PIXEL_DATA.isdisjoint(attributes):
        raise NotAcceptable("The pixel data of this instance is empty or cut short; no frame of it is whole.", [])
    raise NotAcceptable(
        "There is no image, report, document or video in this instance, which is of the kind "
        f"{kind_of(instance.sop_class_uid)}; retrieve it or its metadata.",
        [],
    )


async def answer_pictures(
    request: Request,
    pictures: Pictures,
    ranges: Sequence[MediaRange],
    parameters: RenderingParameters | None = None,
) -> Response:
    """Answer with pictures of one instance, or of what a presentation state is for.

    Raises
    ------
    NotAcceptable
        They cannot be had in an accepted form.
    InvalidQuery
        A parameter is wrong.
    """
    if parameters is None:
        has_state = pictures.state is not None
        parameters = _parameters(request, presentation_state=has_state)
    several = pictures.count > 1
    offer = _chosen(ranges, picture_offers(several, pictures.named), "These pictures" if several else "This picture")
    if offer.multipart:
        return _many(request, pictures, offer, parameters)
    renderer = renderer_of(request)
    look = Look(offer.media_type, parameters, pictures.state)
    instance, number = pictures.first
    matrix = await renderer.matrix(instance) if several and not pictures.named and pictures.state is None else None

    def make() -> Awaitable[Made]:
        if matrix is not None:
            return renderer.whole(request, instance, matrix, look)
        if several and offer.media_type == GIF and len(pictures.rows) == 1:
            return renderer.animation(request, instance, pictures.rows[0][1], look)
        return renderer.picture(request, instance, number, look)

    return await _one_picture(request, pictures, offer, look, make)


async def _waveform(
    request: Request, target: Pictures, ranges: Sequence[MediaRange], parameters: RenderingParameters
) -> Response:
    offer = _chosen(ranges, _WAVEFORM_OFFERS, "This waveform")
    look = Look(offer.media_type, parameters)
    (instance, _), *_ = target.rows
    return await _one_picture(
        request, target, offer, look, lambda: renderer_of(request).waveform(request, instance, look)
    )


async def _one_picture(
    request: Request, pictures: Pictures, offer: Offer, look: Look, make: Callable[[], Awaitable[Made]]
) -> Response:
    """Answer with one picture, which is made unless the client has it."""
    etag = pictures.tag(str(offer), repr(look.parameters), pictures.location)
    cache = cache_control(request, can_change=True)
    unchanged = not_modified(request, etag, cache)
    if unchanged is not None:
        return unchanged
    made = await make()
    warnings = (*look.parameters.warnings, *made.warnings)
    item = Item(offer.media_type, pictures.location, len(made.body), InMemory(made.body), warnings)
    if not offer.multipart:
        return single_part(request, item, etag, cache, documents.SVG_HEADERS if offer.media_type == SVG else [])
    answer = multipart(offer.media_type, one_item(item), etag, cache)
    answer.raw_headers += warning_headers(base_url(request), warnings)
    return answer


async def presented(request: Request, instance: "InstanceFile", location: str) -> Pictures:
    """Return what a presentation state shows: the images it is for, as far as they are in the archive (D-113).

    Raises
    ------
    NotFound
        None of them is.
    """
    stored = await renderer_of(request).state(instance)
    rows: list[tuple[InstanceFile, Sequence[int]]] = []
    for reference in dict.fromkeys(stored.state.references()):
        try:
            (image,) = await archive_of(request).instances(
                instance.study_instance_uid, reference.series_instance_uid or None, reference.sop_instance_uid
            )
        except NotFound:
            continue
        there = all_frames(image) if is_image(image) else range(0)
        numbers = [number for number in dict.fromkeys(reference.frame_numbers) if number in there] or there
        if numbers:
            rows.append((image, numbers))
    if not rows:
        raise NotFound("None of the images this presentation state is for is in the archive.")
    return Pictures(rows, location, state=stored)


@lru_cache(maxsize=8)
def picture_offers(several: bool, named: bool) -> tuple[Offer, ...]:
    """Return the forms pictures can be had in; the first is what `*/*` gets.

    Parameters
    ----------
    several : bool
        Whether there is more than one.
    named : bool
        Whether they were asked for by number, so that none may be left out.

    Standard
    --------
    PS3.18 Table 8.7.4-1; checklist D-091 to D-093.
    """
    single = tuple(Offer(kind) for kind in MEDIA_TYPES)
    multiple = tuple(Offer(kind, multipart=True) for kind in MEDIA_TYPES)
    return (*multiple, Offer(GIF)) if several and named else single + multiple


def accepted_renderings(request: Request) -> Sequence[MediaRange]:
    """Return what a client accepts; 400 when it names both rendered and DICOM media types (8.7.5; A-030)."""
    ranges = accepted(*accept_key(request))
    named = {entry.content for entry in ranges if entry.q and "*" not in entry.content}
    if named & _NOT_RENDERED and named - _NOT_RENDERED:
        raise RequestRefused(400, "DICOM and rendered media types cannot be accepted in one request (PS3.18 8.7.5).")
    return ranges


def is_image(instance: "InstanceFile") -> bool:
    """Whether an instance has frames that can be decoded one by one."""
    pixel = instance.layout.pixel_data
    return pixel is not None and pixel.frames > 0 and instance.transfer_syntax_uid not in VIDEO


def _is_hidden(image: "InstanceFile") -> bool:
    pixel = image.layout.pixel_data
    return pixel is not None and pixel.encapsulated and not decodable(image.transfer_syntax_uid)


def all_frames(instance: "InstanceFile") -> range:
    """Return the numbers of all frames of an instance."""
    pixel = instance.layout.pixel_data
    return range(1, (pixel.frames if pixel else 0) + 1)


def renderer_of(request: Request) -> Renderer:
    """Return the renderer of this worker process."""
    renderer: Renderer = request.app.state.renderer
    return renderer


def archive_of(request: Request) -> "Archive":
    """Return the archive."""
    archive: Archive = request.app.state.archive
    return archive


def _parameters(request: Request, *, presentation_state: bool = False) -> RenderingParameters:
    lenient = request.app.state.settings.lenient_retrieve
    return parse_rendering_parameters(
        request.query_params, presentation_state=presentation_state, window_function_optional=lenient
    )


def _chosen(ranges: Sequence[MediaRange], offers: tuple[Offer, ...], what: str) -> Offer:
    offer = select(ranges, offers)
    if offer is None:
        raise NotAcceptable(f"{what} cannot be had in an accepted form.", available(offers))
    return offer


def _one(request: Request, item: Item, offer: Offer, target: Pictures, headers: Headers) -> Response:
    """Answer with what is no picture."""
    etag = target.tag(str(offer), item.content_type, item.location, base_url(request))
    cache = cache_control(request, can_change=True)
    unchanged = not_modified(request, etag, cache)
    if unchanged is not None:
        return unchanged
    if offer.multipart:
        return multipart(offer.media_type, one_item(item), etag, cache)
    return single_part(request, item, etag, cache, headers)


def _many(request: Request, pictures: Pictures, offer: Offer, parameters: RenderingParameters) -> Response:
    """Answer with a part a frame."""
    etag = pictures.tag(str(offer), repr(parameters), base_url(request))
    cache = cache_control(request, can_change=True)
    unchanged = not_modified(request, etag, cache)
    if unchanged is not None:
        return unchanged
    look = Look(offer.media_type, parameters, pictures.state)
    answer = multipart(offer.media_type, _items(request, pictures, look), etag, cache)
    answer.raw_headers += warning_headers(base_url(request), parameters.warnings)
    return answer


async def _items(request: Request, pictures: Pictures, look: Look) -> AsyncIterator[Item]:
    """Yield a part for each frame; a few are made at once."""
    base, renderer = base_url(request), renderer_of(request)

    async def made(given: "tuple[int, InstanceFile, int]") -> Item:
        place, instance, number = given
        # Whether the first can be made decides whether there is an answer; one that has begun is finished.
        body = (await renderer.picture(request, instance, number, look, patient=place > 0)).body
        url = f"{instance_url(base, *uids_of(instance))}/frames/{number}/rendered"
        return Item(look.media_type, url, len(body), InMemory(body))

    frames = ((instance, number) for instance, numbers in pictures.rows for number in numbers)
    given = ((place, *frame) for place, frame in enumerate(frames))
    async with aclosing(read_ahead(made, given, renderer.pool.threads + 1)) as items:
        async for item in items:
            yield item


ROUTES: list[Route] = [
    Route(_INSTANCE + "/frames/{frames}/rendered", retrieve_rendered_frames),
    Route(_INSTANCE + "/rendered", retrieve_rendered_instance),
    Route("/studies/{study}/series/{series}/rendered", retrieve_rendered_instances),
    Route("/studies/{study}/rendered", retrieve_rendered_instances),
]
"""Relative to the DICOMweb root."""
