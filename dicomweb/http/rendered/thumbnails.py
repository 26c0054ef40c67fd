"""Retrieve thumbnails: `/thumbnail` of a study, a series, an instance and frames (PS3.18 10.4.1.1.4, 10.4.3.3.4).

Facts this module keeps:

- All four exist (D-120); each is one small picture without text about the patient (D-121, D-122): the middle frame of
  the middle image there is; of a whole slide its smallest level, put together, and never the label if there is more.
- A video shows its first key frame where ffmpeg is installed, a waveform its beginning.
- What has no picture, or none that can be decoded, gets a sign with its modality: never a 404 for something that
  exists, never a 500 (D-124); but where the stored file itself is damaged nobody can tell what it showed.
- Viewers ask without an Accept header and name `accept=image/jpeg` in the query.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.http.message.bodies import InMemory, Item, not_modified, single_part
from dicomweb.http.message.conditional import entity_tag
from dicomweb.http.message.media_types import Offer, available, select
from dicomweb.http.message.target import accept_key, accepted, target_uids
from dicomweb.http.problems import NotAcceptable
from dicomweb.http.rendered.resource import archive_of, is_image, renderer_of
from dicomweb.http.rendered.video_frame import ffmpeg
from dicomweb.http.urls import MOUNT, base_url
from dicomweb.http.wado.frames import frame_numbers
from dicomweb.http.wado.request import cache_control
from dicomweb.rendering.encoders import GIF, JPEG, PNG
from dicomweb.rendering.pixel_matrix import WHOLE_SLIDE
from dicomweb.rendering.rendering_parameters import parse_rendering_parameters
from dicomweb.rendering.thumbnail import middle

if TYPE_CHECKING:
    from storage.retrieval.instance_file import InstanceFile

OFFERS = tuple(map(Offer, (JPEG, PNG, GIF)))


async def retrieve_thumbnail(request: Request) -> Response:
    """Answer with a small picture of a study, a series or an instance.

    Standard
    --------
    PS3.18 10.4.1.1.4, 10.4.3.3.4, 8.3.5.2; checklist D-120 to D-124.
    """
    instances = await archive_of(request).instances(*target_uids(request))
    images = [instance for instance in instances if is_image(instance)]
    instance, number = _middle(images or instances)
    if instance.sop_class_uid == WHOLE_SLIDE and number:
        instance, number = _middle([await renderer_of(request).level(_levels_beside(instance, images))])
    return await _answer(request, instance, number, whole=True)


async def retrieve_frame_thumbnail(request: Request) -> Response:
    """Answer with a small picture of a frame, the middle one of several.

    Standard
    --------
    PS3.18 10.4.1.1.4, 10.4.3.3.4; checklist D-120 to D-123.
    """
    study, series, instance = target_uids(request)
    assert series is not None and instance is not None
    numbers = frame_numbers(request.path_params["frames"])
    frames = await archive_of(request).frames(study, series, instance, numbers)
    number = numbers[middle(len(numbers)) - 1] if is_image(frames.instance) else 0
    return await _answer(request, frames.instance, number)


def _middle(instances: "Sequence[InstanceFile]") -> "tuple[InstanceFile, int]":
    """Return the middle instance and the number of its middle frame, 0 when it is no image."""
    instance = instances[middle(len(instances)) - 1]
    pixel = instance.layout.pixel_data
    return instance, middle(pixel.frames) if pixel is not None and is_image(instance) else 0


def _levels_beside(instance: "InstanceFile", images: "Sequence[InstanceFile]") -> "list[InstanceFile]":
    def slide(image: "InstanceFile") -> tuple[str, str]:
        return image.series_instance_uid, image.sop_class_uid

    return [image for image in images if slide(image) == slide(instance)]


async def _answer(request: Request, instance: "InstanceFile", number: int, *, whole: bool = False) -> Response:
    viewport = parse_rendering_parameters(request.query_params, thumbnail=True).viewport
    offer = select(accepted(*accept_key(request)), OFFERS)
    if offer is None:
        raise NotAcceptable("A thumbnail cannot be had in an accepted form.", available(OFFERS))
    decoded = "" if number else ffmpeg() is not None  # once it is installed, videos look otherwise
    version = f"{instance.version} {number} {viewport} {offer} {whole} {decoded}"
    etag = entity_tag("thumbnail", instance.sha256, version)
    cache = cache_control(request, can_change=True)
    unchanged = not_modified(request, etag, cache)
    if unchanged is not None:
        return unchanged
    body = await renderer_of(request).thumbnail(request, instance, number, offer.media_type, viewport, whole=whole)
    location = base_url(request) + request.scope["path"].removeprefix(MOUNT)
    return single_part(request, Item(offer.media_type, location, len(body), InMemory(body)), etag, cache)


_LEVELS = ("/studies/{study}", "/series/{series}", "/instances/{instance}")

ROUTES: list[Route] = [
    *(Route("".join(_LEVELS[:depth]) + "/thumbnail", retrieve_thumbnail) for depth in (3, 2, 1)),
    Route("".join(_LEVELS) + "/frames/{frames}/thumbnail", retrieve_frame_thumbnail),
]
"""Relative to the DICOMweb root."""
