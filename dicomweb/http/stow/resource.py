"""Storing instances over HTTP: STOW-RS (PS3.18 10.5).

Facts and clauses this module keeps:

* `POST /studies` stores anything, `POST /studies/{study}` only what belongs to that study (Table 10.5.1-1).
* multipart/related of application/dicom, application/dicom+json or application/dicom+xml (Table 10.5.4-1);
  besides those one DICOM file as application/dicom, and a ZIP archive of them.
* In a message of DICOM files a part without Content-Type is a DICOM file; one of another type fails alone.
* Other media types are a 415 that shows how it is done; a body that is no multipart message is a 400.
* A body that breaks off: what was complete is stored, said in the answer, and harmless to send again. When
  the client is gone there is nobody to tell; what had not been committed is discarded.
* Everything is decided that can be before the first byte is read, so that `Expect: 100-continue` spares the
  upload.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.http.message.media_types import (
    DICOM,
    DICOM_JSON,
    DICOM_XML,
    OCTET_STREAM,
    MediaType,
    named_type,
    parse_content_type,
)
from dicomweb.http.message.multipart import MultipartError, Part, TooManyPartsError, parts
from dicomweb.http.message.spool import spool_folder
from dicomweb.http.message.target import target_uids
from dicomweb.http.message.waiting import until_disconnected
from dicomweb.http.problems import RequestRefused
from dicomweb.http.stow.body import BodyError, read_body
from dicomweb.http.stow.metadata import MetadataLimits, store_metadata
from dicomweb.http.stow.response import response_media_type, store_response
from dicomweb.http.stow.zipped import ZipLimits, store_zip
from dicomweb.http.urls import base_url
from dicomweb.process.garbage import give_back_soon
from storage.errors import InvalidDicom

if TYPE_CHECKING:
    from dicomweb.settings import Settings
    from storage.archive import Archive
    from storage.ingest import Ingest

_ZIP_TYPES = ("application/zip", "application/x-zip-compressed", "application/x-zip")
_METADATA_TYPES = (DICOM_JSON, DICOM_XML)
_MANY = 1000
"""Outcomes of one request from which on they are worth to be given back to the system."""
_FILE_TYPES = (DICOM, OCTET_STREAM)  # many senders do not know better than octet-stream for a part
_SUPPORTED = [
    'multipart/related; type="application/dicom"',
    'multipart/related; type="application/dicom+json"',
    'multipart/related; type="application/dicom+xml"',
    DICOM,
    DICOM_JSON,
    DICOM_XML,
    _ZIP_TYPES[0],
]


async def store_instances(request: Request) -> Response:
    """Store the instances in the body of the request.

    Standard
    --------
    PS3.18 10.5.
    """
    study = target_uids(request)[0] if "study" in request.path_params else None
    answer_type = response_media_type(request)
    media_type = _media_type(request)
    settings: Settings = request.app.state.settings
    archive: Archive = request.app.state.archive
    one_file = media_type.essence == DICOM
    limit, setting = settings.max_request_bytes, "max_request_bytes"
    if one_file and settings.max_instance_bytes < limit:
        limit, setting = settings.max_instance_bytes, "max_instance_bytes"
    arrived = asyncio.Event()
    body = _told_of(read_body(request, limit, setting), arrived)
    turns: asyncio.Semaphore = request.app.state.metadata_turns
    interruption = None
    try:
        async with archive.ingest(study_instance_uid=study) as ingest:
            try:
                await _unless_gone(request, arrived, _take_in(ingest, media_type, body, settings, turns))
            except MultipartError as error:
                interruption = BodyError(413 if isinstance(error, TooManyPartsError) else 400, str(error))
            except BodyError as error:
                interruption = error
            outcomes = request.scope["outcomes"] = await ingest.finish()
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads it
    if len(outcomes) > _MANY:
        give_back_soon()
    if not outcomes:
        interruption = interruption or BodyError(400, _nothing_to_store(media_type))
        raise _refused(request, interruption.status, interruption.detail)
    return await store_response(request, answer_type, outcomes, interruption)


async def _told_of(body: AsyncIterator[bytes], arrived: asyncio.Event) -> AsyncIterator[bytes]:
    """Give the body, then set the event."""
    async for chunk in body:
        yield chunk
    arrived.set()


async def _unless_gone(request: Request, arrived: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do the work; it is cancelled when the client goes away, which can be seen only once its body has arrived.

    Raises
    ------
    ClientDisconnect
        Before or after that.
    """

    async def left() -> None:
        await arrived.wait()
        await until_disconnected(request)

    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(left())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        task.result()
    finally:
        gone.cancel()
        task.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _take_in(
    ingest: "Ingest",
    media_type: MediaType,
    body: AsyncIterator[bytes],
    settings: "Settings",
    turns: asyncio.Semaphore,
) -> None:
    """Hand the body to the reader of its kind."""
    if media_type.essence == DICOM:
        await ingest.add(body)
        return
    if media_type.essence in _ZIP_TYPES:
        limits = ZipLimits(settings.max_parts, settings.max_request_bytes)
        await store_zip(ingest, body, spool_folder(settings.data_dir), limits)
        return
    metadata = MetadataLimits(settings.max_parts, turns)
    if media_type.essence in _METADATA_TYPES:
        part = Part({"content-type": media_type.essence}, body)
        await store_metadata(ingest, _one(part), spool_folder(settings.data_dir), metadata)
        return
    message = parts(body, media_type.parameters.get("boundary", ""), max_parts=settings.max_parts)
    kind = media_type.content
    if kind == "*/*":  # the message does not say what it holds: its first part does
        first = await anext(message, None)
        if first is None:
            return
        told = parse_content_type(first.content_type)
        kind = told.essence if told else DICOM
        message = _with_first(first, message)
    if kind in _METADATA_TYPES:
        await store_metadata(ingest, message, spool_folder(settings.data_dir), metadata, kind)
    else:
        await _store_files(ingest, message)


async def _store_files(ingest: "Ingest", message: AsyncIterator[Part]) -> None:
    async for part in message:
        media_type = parse_content_type(part.content_type)
        if media_type is None or media_type.essence in _FILE_TYPES:
            await ingest.add(part.body)
        else:
            sent = named_type(part.content_type or "")
            ingest.fail(InvalidDicom(f"A part is {sent}, not application/dicom as the message says."))


def _media_type(request: Request) -> MediaType:
    """Read and judge the Content-Type of the request.

    Raises
    ------
    RequestRefused
        415 for a type that cannot be stored, 400 for a multipart message without boundary.
    """
    sent = request.headers.get("content-type", "")
    media_type = parse_content_type(sent)
    if media_type is None:
        wrong = f"{named_type(sent)} is no media type" if sent.strip() else "The request has no Content-Type"
        raise _refused(request, 415, f"{wrong}.")
    if media_type.essence == "multipart/related":
        if media_type.content not in (DICOM, *_METADATA_TYPES, "*/*"):
            raise _refused(request, 415, f"Parts of type {named_type(media_type.parameters['type'])} cannot be stored.")
        if not media_type.parameters.get("boundary"):
            raise _refused(request, 400, "The Content-Type of the request has no boundary.")
    elif media_type.essence not in (DICOM, *_METADATA_TYPES, *_ZIP_TYPES):
        raise _refused(request, 415, f"A body of type {named_type(sent)} cannot be stored.")
    return media_type


def _refused(request: Request, status: int, detail: str) -> RequestRefused:
    """Refuse a body, say what can be sent, and show how (A-107)."""
    url = f"{base_url(request)}/studies"
    example = [
        "# one file, or a folder of files",
        f"curl -X POST -H 'Content-Type: application/dicom' -T image.dcm {url}",
        f"zip -qr - folder | curl -X POST -H 'Content-Type: application/zip' -T - {url}",
        "# multipart, as PS3.18 has it",
        r"(printf -- '--b\r\nContent-Type: application/dicom\r\n\r\n'; cat image.dcm; printf '\r\n--b--') | "
        "curl -X POST -H 'Content-Type: multipart/related; type=\"application/dicom\"; boundary=b' -T - " + url,
    ]
    return RequestRefused(status, detail, supported=_SUPPORTED, example=example)


def _nothing_to_store(media_type: MediaType) -> str:
    if media_type.essence in _ZIP_TYPES:
        return "The ZIP archive holds no DICOM file."
    return "The message has no part."


async def _one(part: Part) -> AsyncIterator[Part]:
    yield part


async def _with_first(first: Part, rest: AsyncIterator[Part]) -> AsyncIterator[Part]:
    yield first
    async for part in rest:
        yield part


ROUTES = [
    Route("/studies", store_instances, methods=["POST"]),
    Route("/studies/{study}", store_instances, methods=["POST"]),
]
