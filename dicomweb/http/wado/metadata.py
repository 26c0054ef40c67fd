"""Retrieve metadata: `/metadata` of a study, a series or an instance (PS3.18 10.4.1.2).

Facts this module keeps:

- JSON is one array, even for one instance, joined from stored objects that are never parsed (Annex F.2.1).
- Only the place of bulk data is filled in: stored objects hold its path, clients get an absolute URL of their view of
  this server (F.2.2). The bytes `"BulkDataURI":"` cannot occur inside a JSON string, where quotes are escaped.
- XML is made from the JSON, one NativeDicomModel per part (PS3.19 A.1).
- The entity tag is known before a row is read: a client that has it gets its 304 at once.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import orjson
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.http.message.bodies import InMemory, Item, StreamedBody, multipart, not_modified
from dicomweb.http.message.conditional import entity_tag
from dicomweb.http.message.media_types import DICOM_JSON, DICOM_XML, Offer, available
from dicomweb.http.message.target import accept_key, accepted, target_uids
from dicomweb.http.problems import NotAcceptable
from dicomweb.http.urls import base_url, instance_url
from dicomweb.http.wado.request import cache_control, choose
from dicomweb.rendering.attribute_values import Attributes
from storage.dicom import dicomxml

if TYPE_CHECKING:
    from storage.archive import Archive
    from storage.retrieval.instance_file import InstanceFile
    from storage.retrieval.metadata_set import MetadataSet

PLACEHOLDER = b'"BulkDataURI":"'
"""What stands in stored metadata before the path of a bulk data value."""

OFFERS = (Offer(DICOM_JSON), Offer(DICOM_XML, multipart=True))


async def attributes_in(archive: "Archive", instance: "InstanceFile") -> Attributes:
    """Return the attributes of an instance; a BulkDataURI among them is the path of the value."""
    attributes: Attributes = {}
    uids = instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid
    async for metadata in await archive.metadata(*uids):
        attributes = orjson.loads(metadata.json)
    return attributes


async def retrieve_metadata(request: Request) -> Response:
    """Answer with the metadata of every instance of the target.

    Standard
    --------
    PS3.18 10.4.1.2, Table 10.4.4-1, Annex F; checklist D-020 to D-029.
    """
    target = target_uids(request)
    offer = choose(accepted(*accept_key(request)), OFFERS)
    if offer is None:
        raise NotAcceptable("Metadata comes as JSON or, in multipart, as XML.", available(OFFERS))
    archive: Archive = request.app.state.archive
    metadata = await archive.metadata(*target)
    base = base_url(request)
    etag = entity_tag(metadata.etag, base, offer.media_type)
    cache = cache_control(request, can_change=True)
    unchanged = not_modified(request, etag, cache)
    if unchanged is not None:
        return unchanged
    if offer.multipart:
        return multipart(DICOM_XML, _xml_items(metadata, base), etag, cache)
    headers = [
        (b"content-type", DICOM_JSON.encode()),
        (b"etag", etag.encode()),
        (b"cache-control", cache.encode()),
    ]
    return StreamedBody(200, headers, json_array(metadata, base))


async def json_array(metadata: "MetadataSet", base: str) -> AsyncIterator[bytes]:
    """Yield the JSON array of `metadata`, bulk data named by URLs below `base`."""
    opening = b"["
    async for study, series, instance, text in metadata:
        yield opening
        yield with_urls(text, instance_url(base, study, series, instance))
        opening = b","
    yield b"]"


def with_urls(metadata: bytes, url: str) -> bytes:
    """Return an instance's stored metadata with bulk data URLs below the instance's `url`."""
    return metadata.replace(PLACEHOLDER, PLACEHOLDER + f"{url}/bulkdata/".encode())


async def _xml_items(metadata: "MetadataSet", base: str) -> AsyncIterator[Item]:
    async for study, series, instance, text in metadata:
        url = instance_url(base, study, series, instance)
        body = await asyncio.to_thread(_xml, with_urls(text, url))
        yield Item(f"{DICOM_XML}; charset=UTF-8", f"{url}/metadata", len(body), InMemory(body))


def _xml(metadata: bytes) -> bytes:
    return dicomxml.encode(orjson.loads(metadata))
