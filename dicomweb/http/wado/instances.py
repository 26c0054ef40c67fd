"""Retrieve a study, a series or an instance as DICOM files (PS3.18 10.4.1.1).

Facts this module keeps:

- One file per part, by series number and instance number; a single instance may come without multipart, which is what
  `*/*` gets, so that curl and browsers receive a file.
- Files come as stored, byte for byte, where that is asked for or nothing need change; implicit VR, big endian, deflated
  and headless ones are re-encoded to Explicit VR Little Endian, which the Standard wants on the wire (8.7.3).
- Without `transfer-syntax` they are decompressed, or compressed otherwise when another one is named (8.7.3.4).
- Each file is negotiated on its own, before the first byte: when one of them cannot be had as asked, the whole request
  is a 406 that says how many and why, never a shorter study (checklist D-009, D-010, A-114). A file that is found to be
  damaged while a study is sent cuts the connection.
- `type="application/octet-stream"` asks for the bulk data of all instances (Table 10.4.4-1 note 2); `application/zip`
  for an archive of files with a DICOMDIR (`zip.py`).
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.http.message.bodies import (
    Item,
    boundary_of,
    multipart,
    multipart_length,
    not_modified,
    one_item,
    single_part,
)
from dicomweb.http.message.conditional import entity_tag
from dicomweb.http.message.media_types import DICOM, OCTET_STREAM, Offer, available
from dicomweb.http.message.read_ahead import read_ahead
from dicomweb.http.message.target import accept_key, accepted, target_uids
from dicomweb.http.message.waiting import while_waited_for
from dicomweb.http.message.warning_header import warning_headers
from dicomweb.http.problems import NotAcceptable
from dicomweb.http.urls import base_url, instance_url
from dicomweb.http.wado.bulkdata import retrieve_bulkdata
from dicomweb.http.wado.forms import Stored, choose_form, file_offers, sent_in, stored_form, transcoded_to
from dicomweb.http.wado.request import cache_control, choose, made_on_request, refuse
from dicomweb.http.wado.zip import prefers_zip, retrieve_zip, zip_forms, zip_offers

if TYPE_CHECKING:
    from storage.archive import Archive
    from storage.retrieval.instance_file import InstanceFile

AHEAD = 3
"""Files that are opened, and decoded if need be, before they are wanted."""

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
    kinds = Counter(map(stored_form, files))
    single = instance is not None
    if prefers_zip(ranges, single=single):
        return await retrieve_zip(request, files, zip_forms(ranges, kinds))
    chosen = {kind: choose_form(ranges, kind, file_offers(kind, single=single)) for kind in kinds}
    if None in chosen.values():
        if choose(ranges, [BULK_DATA]) is not None:
            return await retrieve_bulkdata(request)
        raise _refuse(kinds, [kind for kind, offer in chosen.items() if offer is None], single)
    wanted = _Wanted({kind: offer for kind, offer in chosen.items() if offer is not None}, single)
    base = base_url(request)
    as_multipart = any(offer.multipart for offer in wanted.offers.values())
    offers = sorted(f"{kind.transfer_syntax_uid} {offer}" for kind, offer in wanted.offers.items())
    hashes = [file.sha256 for file in files]
    etag = entity_tag(*offers, *([base] if as_multipart else []), *hashes)
    cache = cache_control(request, can_change=True)
    unchanged = not_modified(request, etag, cache)
    if unchanged is not None:
        return unchanged
    length = wanted.length(files, base, etag)
    if len(files) > 1:
        return multipart(DICOM, wanted.items(archive, files, base), etag, cache, length)
    if request.method == "HEAD" and wanted.transfer_syntax(files[0]) is not None:  # its length would have to be made
        item = Item(wanted.content_type(files[0]), _location(files[0], base), None, _nothing)
    else:
        item = await while_waited_for(request, wanted.item(archive, files[0], base))
    if as_multipart:
        answer = multipart(DICOM, one_item(item), etag, cache, multipart_length(boundary_of(etag), [item]))
        answer.raw_headers += warning_headers(base_url(request), item.warnings)
        return answer
    disposition = f'attachment; filename="{files[0].sop_instance_uid}.dcm"'
    return single_part(request, item, etag, cache, [(b"content-disposition", disposition.encode())])


def _refuse(kinds: Counter[Stored], refused: list[Stored], single: bool) -> NotAcceptable:
    offers = [offer for kind in kinds for offer in file_offers(kind, single=single)]
    count = sum(kinds[kind] for kind in refused)
    what = "The instance" if single else f"{count} of {kinds.total()} instances"
    error = refuse(refused[0].transfer_syntax_uid, offers, what)
    zipped = [offer for kind in kinds for offer in zip_offers(kind)]
    return NotAcceptable(error.detail, available([*offers, BULK_DATA, *zipped]))


class _Wanted:
    """The form chosen for each kind of instance there is in the target."""

    def __init__(self, offers: dict[Stored, Offer], single: bool) -> None:
        self.offers = offers
        self._single = single

    def transfer_syntax(self, file: "InstanceFile") -> str | None:
        """Return the transfer syntax an instance is to be transcoded to, None for the stored one."""
        return transcoded_to(file, self.offers[stored_form(file)])

    async def items(self, archive: "Archive", files: "list[InstanceFile]", base: str) -> AsyncIterator[Item]:
        """Yield the parts in their order; the next few files are prepared while one is sent."""

        async def item(file: "InstanceFile") -> Item:
            return await self.item(archive, file, base, patient=file is not files[0])

        plain = all(kind.transfer_syntax_uid == offer.transfer_syntax for kind, offer in self.offers.items())
        async with aclosing(read_ahead(item, files, 1 if plain else AHEAD)) as items:
            async for made in items:
                yield made

    async def item(self, archive: "Archive", file: "InstanceFile", base: str, *, patient: bool = False) -> Item:
        """Open one file; patiently when the answer has begun.

        Raises
        ------
        NotAcceptable
            Its pixel data turned out not to be decodable.
        """
        kind = stored_form(file)
        offers = file_offers(kind, single=self._single)
        with made_on_request(kind.transfer_syntax_uid, offers, f"The instance {file.sop_instance_uid}"):
            part = await archive.part10(file, self.transfer_syntax(file), patient=patient)
        warnings = (part.warning,) if part.warning else ()
        return Item(self.content_type(file), _location(file, base), part.length, part.stream, warnings)

    def content_type(self, file: "InstanceFile") -> str:
        """Name the transfer syntax that the file meta information of what is sent names (8.7.9)."""
        return f"{DICOM}; transfer-syntax={sent_in(file, self.transfer_syntax(file))}"

    def length(self, files: "list[InstanceFile]", base: str, etag: str) -> int | None:
        """Return the length of the multipart body in bytes while it is known without opening the files."""
        if not all(file.given_out_as_stored and self.transfer_syntax(file) is None for file in files):
            return None
        items = (Item(self.content_type(file), _location(file, base), file.size, _nothing) for file in files)
        return multipart_length(boundary_of(etag), items)


async def _nothing(offset: int, length: int | None) -> AsyncIterator[bytes]:
    return
    yield b""


def _location(file: "InstanceFile", base: str) -> str:
    return instance_url(base, file.study_instance_uid, file.series_instance_uid, file.sop_instance_uid)
