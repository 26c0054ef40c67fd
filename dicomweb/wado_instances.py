"""Retrieve a study, a series or an instance as DICOM files (PS3.18 10.4.1.1).

Facts this module keeps:

- One file per part, by series number and instance number; a single instance may come without multipart, which is what
  `*/*` gets, so that curl and browsers receive a file.
- Files come as stored, byte for byte, except that implicit VR, big endian, deflated and headless ones are re-encoded
  to Explicit VR Little Endian, which the Standard wants on the wire (8.7.3).
- Each file is negotiated on its own, before the first byte: when one of them cannot be had as asked, the whole request
  is a 406 that says how many and why, never a shorter study (checklist D-009, D-010, A-114).
- `type="application/octet-stream"` asks for the bulk data of all instances (Table 10.4.4-1 note 2).
"""

from collections import Counter
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.conditional import entity_tag
from dicomweb.failures import NotAcceptable
from dicomweb.media_types import DICOM, OCTET_STREAM, Offer, available
from dicomweb.urls import base_url, instance_url
from dicomweb.wado_body import Item, boundary_of, multipart, multipart_length, not_modified, one_item, single_part
from dicomweb.wado_bulkdata import retrieve_bulkdata
from dicomweb.wado_request import (
    accept_key,
    accepted,
    cache_control,
    choose,
    file_offers,
    refuse,
    syntax_label,
    target_uids,
)

if TYPE_CHECKING:
    from storage.archive import Archive
    from storage.instance_file import InstanceFile, PartFile

BULK_DATA = Offer(OCTET_STREAM, multipart=True, default=True)


async def retrieve_instances(request: Request) -> Response:
    """Answer with the files of the target.

    Standard
    --------
    PS3.18 10.4.1.1, Table 10.4.4-1; checklist D-001 to D-012, A-042 to A-046.
    """
    study, series, instance = target_uids(request)
    ranges = accepted(*accept_key(request))
    archive: Archive = request.app.state.archive
    files = await archive.instances(study, series, instance)
    kinds = Counter(syntax_label(file.retrieved_transfer_syntax_uid) for file in files)
    single = instance is not None
    chosen = {uid: choose(ranges, file_offers(uid, single=single)) for uid in kinds}
    if None in chosen.values():
        if choose(ranges, [BULK_DATA]) is not None:
            return await retrieve_bulkdata(request)
        raise _refuse(kinds, [uid for uid, offer in chosen.items() if offer is None], single)
    base = base_url(request)
    offers = [str(offer) for _, offer in sorted(chosen.items())]
    as_multipart = any(offer is not None and offer.multipart for offer in chosen.values())
    hashes = [file.sha256 for file in files]
    etag = entity_tag(*offers, *([base] if as_multipart else []), *hashes)
    cache = cache_control(request, can_be_corrected=True)
    unchanged = not_modified(request, etag, cache)
    if unchanged is not None:
        return unchanged
    if len(files) == 1:
        item = _item(files[0], await archive.part10(files[0]), base)
        if as_multipart:
            length = multipart_length(boundary_of(etag), [item])
            return multipart(DICOM, one_item(item), etag, cache, length)
        disposition = f'attachment; filename="{files[0].sop_instance_uid}.dcm"'
        return single_part(request, item, etag, cache, [(b"content-disposition", disposition.encode())])
    return multipart(DICOM, _items(archive, files, base), etag, cache, _length(files, base, etag))


def _refuse(kinds: Counter[str], refused: list[str], single: bool) -> NotAcceptable:
    offers = [offer for uid in kinds for offer in file_offers(uid, single=single)]
    count = sum(kinds[uid] for uid in refused)
    what = "The instance" if single else f"{count} of {kinds.total()} instances"
    error = refuse(refused[0], offers, what)
    return NotAcceptable(error.detail, available([*offers, BULK_DATA]))


async def _items(archive: "Archive", files: "list[InstanceFile]", base: str) -> AsyncIterator[Item]:
    for file in files:
        yield _item(file, await archive.part10(file), base)


def _item(file: "InstanceFile", part: "PartFile", base: str) -> Item:
    return Item(_content_type(file), _location(file, base), part.length, part.stream)


def _length(files: "list[InstanceFile]", base: str, etag: str) -> int | None:
    """Return the length of the multipart body in bytes while it is known without opening the files."""
    if not all(file.given_out_as_stored for file in files):
        return None
    items = (Item(_content_type(file), _location(file, base), file.size, _nothing) for file in files)
    return multipart_length(boundary_of(etag), items)


async def _nothing(offset: int, length: int | None) -> AsyncIterator[bytes]:
    return
    yield b""


def _content_type(file: "InstanceFile") -> str:
    """Name the transfer syntax that the file meta information of what is sent names (8.7.9)."""
    uid = file.transfer_syntax_uid if file.given_out_as_stored else file.retrieved_transfer_syntax_uid
    return f"{DICOM}; transfer-syntax={syntax_label(uid)}"


def _location(file: "InstanceFile", base: str) -> str:
    return instance_url(base, file.study_instance_uid, file.series_instance_uid, file.sop_instance_uid)
