"""WADO-URI: one instance by query parameters, at `/wado` (PS3.18 chapter 9).

Facts this module keeps:

- `contentType` says what is accepted; without it the Accept header does, and without that a rendered picture (9.3).
  It carries no parameters of its own, and application/dicom stands alone in it (9.1.2.2.1).
- A file comes in Explicit VR Little Endian unless `transferSyntax` names another; `*` is as stored (9.4.2.4).
- Pictures are those of `/rendered`: single part only; many frames are an animation if a GIF is asked for, else the
  first frame.
- Nothing is ever anonymised: asking for it is a 501, never a file that was not (9.4.2.3).
- Parameters of pictures mean nothing for a file, but a window there is an error (9.1.2.2.1).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.http.message.bodies import Item, not_modified, single_part
from dicomweb.http.message.conditional import entity_tag
from dicomweb.http.message.media_types import DICOM, EXPLICIT_VR_LITTLE_ENDIAN, MediaRange, Offer, parse_accept, select
from dicomweb.http.problems import NotAcceptable, RequestRefused
from dicomweb.http.rendered.renderer import uids_of
from dicomweb.http.rendered.resource import (
    Pictures,
    answer_instance,
    answer_pictures,
    archive_of,
    is_image,
    renderer_of,
)
from dicomweb.http.urls import base_url, instance_url
from dicomweb.http.wado.forms import made_forms, stored_form
from dicomweb.http.wado.request import cache_control, syntax_label
from dicomweb.rendering.presentation_state import SOP_CLASSES as PRESENTATION_STATES
from dicomweb.rendering.rendering_parameters import RenderingParameters, UriParameters, parse_uri_parameters
from storage.dicom.transfer_syntax import TRANSFER_SYNTAXES
from storage.errors import InvalidQuery, NotFound
from storage.retrieval.selection import UniqueKeys

if TYPE_CHECKING:
    from storage.retrieval.instance_file import InstanceFile

_UID = re.compile(r"[0-9.]{1,64}\Z")
_TARGET = ("studyUID", "seriesUID", "objectUID")
_OF_PICTURES_ONLY = ("windowCenter", "windowWidth", "presentationUID", "presentationSeriesUID")


async def retrieve_by_query(request: Request) -> Response:
    """Answer with the instance the query names, as a file or rendered.

    Standard
    --------
    PS3.18 9.1, 9.4, 9.5; checklist E-001 to E-017.
    """
    given: Mapping[str, str] = request.query_params
    if given.get("requestType") != "WADO":
        raise InvalidQuery("requestType must be WADO")
    uids = await _target(request)
    _refuse_anonymization(given)
    ranges = _accepted(request)
    (instance,) = await archive_of(request).instances(*uids)
    if select(ranges, [Offer(DICOM)]) is not None and not select(ranges, [Offer("image/jpeg"), Offer("text/html")]):
        return await _file(request, instance)
    return await _rendered(request, instance, ranges)


async def _target(request: Request) -> list[str]:
    """Return the UIDs of study, series and instance; where that is allowed, the last one may do (E-003)."""
    given = request.query_params
    if not request.app.state.settings.lenient_retrieve or (given.get("studyUID") and given.get("seriesUID")):
        return [_uid(given, name) for name in _TARGET]
    study, series = ((_uid(given, name),) if given.get(name) else () for name in _TARGET[:2])
    found = await archive_of(request).select(UniqueKeys((), study, series, (_uid(given, "objectUID"),)))
    if not found:
        raise NotFound("There is no such instance in the archive.")
    if len(found) > 1:
        raise InvalidQuery("objectUID is in more than one series; name studyUID and seriesUID")
    return [found[0].study_instance_uid, found[0].series_instance_uid, found[0].sop_instance_uid]


def _uid(given: Mapping[str, str], name: str) -> str:
    uid = given.get(name, "")
    if not _UID.match(uid):
        raise InvalidQuery(f"{name} must be a UID")
    return uid


def _refuse_anonymization(given: Mapping[str, str]) -> None:
    if given.get("anonymize", "yes") != "yes":
        raise InvalidQuery("anonymize may only be yes")
    if "anonymize" in given:
        raise RequestRefused(501, "Nothing is anonymised here; without anonymize the instance comes as it is.")


def _accepted(request: Request) -> list[MediaRange]:
    """Return what is accepted: what `contentType` names, else what the Accept header does.

    Standard
    --------
    PS3.18 9.1.2.2.1, 9.3; checklist E-004 to E-006.
    """
    content_type = request.query_params.get("contentType", "").replace("dicom json", "dicom+json")
    if not content_type.strip():
        return parse_accept(request.headers.get("accept"))
    ranges = parse_accept(content_type)
    for entry in ranges:
        if entry.parameters:
            raise InvalidQuery("contentType takes no parameters; transferSyntax and charset have their own")
        if entry.multipart:
            raise InvalidQuery("contentType cannot be multipart: this resource is one instance or picture")
    if not ranges or (len(ranges) > 1 and DICOM in {entry.content for entry in ranges}):
        raise InvalidQuery("contentType must be application/dicom alone, or a list of rendered media types")
    return ranges


async def _file(request: Request, instance: "InstanceFile") -> Response:
    """Answer with the DICOM file.

    Standard
    --------
    PS3.18 9.4.1.2, 9.4.2.4; checklist E-007, E-008, E-013.
    """
    given = request.query_params
    for name in _OF_PICTURES_ONLY:
        if name in given:
            raise InvalidQuery(f"{name} cannot be given together with application/dicom")
    archive = archive_of(request)
    part = await archive.part10(instance, _transfer_syntax(instance, given.get("transferSyntax")))
    uid = syntax_label(part.transfer_syntax_uid)
    etag = entity_tag(instance.sha256, f"wado {instance.version} {uid}")
    cache = cache_control(request, can_change=True)
    unchanged = not_modified(request, etag, cache)
    if unchanged is not None:
        return unchanged
    location = instance_url(base_url(request), *uids_of(instance))
    item = Item(f"{DICOM}; transfer-syntax={uid}", location, part.length, part.stream)
    disposition = f'attachment; filename="{instance.sop_instance_uid}.dcm"'
    return single_part(request, item, etag, cache, [(b"content-disposition", disposition.encode())])


def _transfer_syntax(instance: "InstanceFile", wanted: str | None) -> str | None:
    """Return the transfer syntax to write an instance in, None for its own (checklist E-007, E-008)."""
    if wanted is not None and wanted != "*" and not _UID.match(wanted):
        raise InvalidQuery("transferSyntax must be a UID, or * for the file as stored")
    made = made_forms(stored_form(instance))
    if wanted is None:  # what cannot be decoded, such as a video, comes as it is
        return EXPLICIT_VR_LITTLE_ENDIAN if EXPLICIT_VR_LITTLE_ENDIAN in made else None
    if wanted in ("*", instance.retrieved_transfer_syntax_uid):
        return None
    if instance.layout.pixel_data is None and wanted in TRANSFER_SYNTAXES:
        return None
    if wanted not in made:
        syntaxes = (syntax_label(instance.retrieved_transfer_syntax_uid), *made)
        available = [f"{DICOM}; transfer-syntax={uid}" for uid in syntaxes]
        raise NotAcceptable("The instance cannot be had in this transfer syntax; * gets it as stored.", available)
    return wanted


async def _rendered(request: Request, instance: "InstanceFile", ranges: list[MediaRange]) -> Response:
    location = f"{instance_url(base_url(request), *uids_of(instance))}/rendered"
    if not is_image(instance):
        return await answer_instance(request, instance, ranges, location, lambda: _asked_of_no_image(request, instance))
    asked = parse_uri_parameters(request.query_params)
    pixel = instance.layout.pixel_data
    assert pixel is not None
    numbers = range(1, pixel.frames + 1)
    if asked.frame_number is not None:
        if asked.frame_number not in numbers:
            raise InvalidQuery(f"frameNumber: the instance has {pixel.frames} frame(s), counted from 1")
        numbers = range(asked.frame_number, asked.frame_number + 1)
    parameters = _parameters(asked, pixel.columns, pixel.rows)
    state = None
    if asked.presentation is not None:
        state = await renderer_of(request).state(await _presentation_state(request, instance, asked.presentation))
    return await answer_pictures(request, Pictures([(instance, numbers)], location, state=state), ranges, parameters)


def _asked_of_no_image(request: Request, instance: "InstanceFile") -> RenderingParameters:
    asked = parse_uri_parameters(request.query_params)
    is_state = instance.sop_class_uid in PRESENTATION_STATES
    if is_state and (asked.rendering.window or asked.region or asked.presentation or asked.frame_number):
        raise InvalidQuery("a presentation state has its own window, region and images")
    return asked.rendering


def _parameters(asked: UriParameters, columns: int, rows: int) -> RenderingParameters:
    if asked.region and asked.presentation:
        raise InvalidQuery("region cannot be given together with presentationUID")
    return replace(asked.rendering, viewport=asked.viewport_for(columns, rows))


async def _presentation_state(request: Request, image: "InstanceFile", uids: tuple[str, str]) -> "InstanceFile":
    """Return the presentation state a query names; an unknown one is a 400 (PS3.18 9.5.1.2.7; E-015)."""
    try:
        if all(map(_UID.match, uids)):
            (instance,) = await archive_of(request).instances(image.study_instance_uid, *uids)
            if instance.sop_class_uid in PRESENTATION_STATES:
                return instance
    except NotFound:
        pass
    raise InvalidQuery("presentationUID names no presentation state of this study that is in the archive")


ROUTES: list[Route] = [Route("/wado", retrieve_by_query)]
"""Relative to the root of the server."""
