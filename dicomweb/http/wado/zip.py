"""Retrieve a study, a series or an instance as a ZIP archive with a DICOMDIR: what is burnt on discs and mailed.

Facts this module keeps:

- `Accept: application/zip` gives each file as it is stored, `transfer-syntax=UID` all of them in one transfer syntax,
  where a file without pixel data is as good in any; what cannot be had so is a 406 for all of it (D-009).
- DICOMDIR comes first, made from the index; the files lie below `DICOM/` under names that discs can hold (PS3.10 8.2).
- Entries are stored, not compressed, so the archive is as long as its parts: while nothing is re-encoded its length is
  known before the first byte, a browser shows how far it is, and a download that broke off goes on with Range.
- The same files make the same archive, byte for byte: its entity tag is strong.
- A file that is missing, or short, is an error before anything is sent. One that turns out damaged meanwhile cuts the
  connection, before the directory without which nobody takes the archive for whole (checklist A-114): an archive with
  a note inside that something is missing would be read by programs, which do not read notes.
- Every file is read once before it is sent, and compared with what was stored; its checksum then stands before it,
  as readers that read as they receive want it. Only what is made while it is sent, and large, has it behind.
- Memory is constant: files pass through, a few small ones that had to be made are held for their checksums.
- The name of the archive tells the date and the kind of what is in it, and nothing about whom it is.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import blake2b
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Final
from zlib import crc32

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.http.message.bodies import Item, not_modified, single_part
from dicomweb.http.message.conditional import entity_tag
from dicomweb.http.message.media_types import DICOM, OCTET_STREAM, ZIP, MediaRange, Offer, available
from dicomweb.http.message.read_ahead import read_ahead
from dicomweb.http.message.target import target_uids
from dicomweb.http.message.waiting import while_waited_for
from dicomweb.http.message.zip_stream import CentralDirectory, archive_length, entry_head, entry_length, entry_tail
from dicomweb.http.problems import NotAcceptable
from dicomweb.http.urls import base_url, instance_url, series_url, study_url
from dicomweb.http.wado.forms import Stored, choose_form, made_forms, sent_in, stored_form, transcoded_to
from dicomweb.http.wado.request import cache_control, choose, made_on_request, refuse
from storage.dicom.transfer_syntax import EXPLICIT_LE
from storage.retrieval.instance_file import cut
from storage.writing.dicomdir import NAME as DICOMDIR
from storage.writing.dicomdir import file_ids

if TYPE_CHECKING:
    from storage.archive import Archive
    from storage.retrieval.dicomdir_file import DicomdirFile
    from storage.retrieval.instance_file import InstanceFile
    from storage.retrieval.intact_file import IntactFile

HELD: Final = 4 << 20
"""Bytes up to which a file that is made is held to have its checksum first."""

AHEAD: Final = 3
"""Files that are made ready while another is sent."""

Forms = Mapping[Stored, Offer]


def prefers_zip(ranges: Sequence[MediaRange], *, single: bool) -> bool:
    """Whether a client likes a ZIP archive better than what a retrieve answers otherwise; `*/*` does not."""
    zipped = Offer(ZIP)
    others = [Offer(DICOM, multipart=True), *([Offer(DICOM)] if single else []), Offer(OCTET_STREAM, multipart=True)]
    return choose(ranges, [*others, zipped]) is zipped


def zip_offers(stored: Stored) -> list[Offer]:
    """Return the forms in which a stored file can lie in a ZIP archive; the first is the one meant when none is named.

    Standard
    --------
    Checklist H-018, D-009, A-049.
    """
    made = [uid for uid in made_forms(stored) if uid != EXPLICIT_LE or stored.fits]
    as_stored = Offer(ZIP, transfer_syntax=stored.transfer_syntax_uid, default=True)
    return [as_stored, *(Offer(ZIP, transfer_syntax=uid, default=False) for uid in made)]


def zip_forms(ranges: Sequence[MediaRange], kinds: Counter[Stored]) -> Forms:
    """Choose the form of each kind of file.

    Raises
    ------
    NotAcceptable
        Some of them cannot be had as asked.
    """
    chosen = {kind: choose_form(ranges, kind, zip_offers(kind)) for kind in kinds}
    forms = {kind: offer for kind, offer in chosen.items() if offer is not None}
    refused = [kind for kind in kinds if kind not in forms]
    if refused:
        offers = [offer for kind in kinds for offer in zip_offers(kind)]
        what = f"{sum(kinds[kind] for kind in refused)} of {kinds.total()} instances"
        raise NotAcceptable(refuse(refused[0].transfer_syntax_uid, offers, what).detail, available(offers))
    return forms


async def retrieve_zip(request: Request, files: "list[InstanceFile]", forms: Forms) -> Response:
    """Answer with the ZIP archive of the files of one study.

    Standard
    --------
    PS3.10 8; PS3.11 D.3.3; checklist H-001 to H-021.
    """
    archive: Archive = request.app.state.archive
    contents = _Contents(archive, files, forms)
    dicomdir = await while_waited_for(request, archive.dicomdir(files, contents.transfer_syntax))
    try:
        response = _response(request, contents, dicomdir)
    except BaseException:
        dicomdir.close()
        raise
    if request.method == "HEAD" or response.status_code == HTTPStatus.NOT_MODIFIED:
        dicomdir.close()
    return response


def _response(request: Request, contents: "_Contents", dicomdir: "DicomdirFile") -> Response:
    offers = sorted(f"{kind.transfer_syntax_uid} {offer}" for kind, offer in contents.forms.items())
    etag = entity_tag(dicomdir.file_set_uid, *offers, *(file.sha256 for file in contents.files))
    cache = cache_control(request, can_change=True)
    unchanged = not_modified(request, etag, cache)
    if unchanged is not None:
        return unchanged
    target = target_uids(request)
    length = contents.length(dicomdir.length)
    item = Item(ZIP, _location(base_url(request), *target), length, _Body(contents, dicomdir).stream)
    disposition = f'attachment; filename="{file_name(*target, study_date=dicomdir.study_date)}"'
    return single_part(request, item, etag, cache, [(b"content-disposition", disposition.encode())])


def file_name(study: str, series: str | None, instance: str | None, *, study_date: str) -> str:
    """Return what a downloaded archive is called: its kind, the date, and 8 digits that tell it from others.

    Neither a name nor a number of the patient or of the order is in it: file names are seen by many.
    """
    kind = "instance" if instance else "series" if series else "study"
    digits = blake2b((instance or series or study).encode(), digest_size=4).hexdigest()
    return "-".join(filter(None, (kind, study_date, digits))) + ".zip"


class _Contents:
    """The files that lie in an archive, and in which form each."""

    def __init__(self, archive: "Archive", files: "list[InstanceFile]", forms: Forms) -> None:
        self.files = files
        self.forms = forms
        self._archive = archive

    def transfer_syntax(self, file: "InstanceFile") -> str:
        """Return the transfer syntax a file lies there in."""
        return sent_in(file, self._made(file))

    def names(self) -> Iterator[str]:
        """Yield the name of each file."""
        return file_ids(file.series_instance_uid for file in self.files)

    def length(self, dicomdir: int) -> int | None:
        """Return how long the archive will be, None when a file must be made to know."""
        if not all(file.given_out_as_stored and self._made(file) is None for file in self.files):
            return None
        sizes = chain((dicomdir,), (file.size for file in self.files))
        names = chain((DICOMDIR,), self.names())
        return archive_length((name, size, False) for name, size in zip(names, sizes, strict=True))

    async def open(self, file: "InstanceFile") -> "IntactFile":
        """Open a file.

        Raises
        ------
        NotAcceptable
            Its pixel data turned out not to be decodable.
        ArchiveError
            It is damaged.
        """
        kind = stored_form(file)
        with made_on_request(kind.transfer_syntax_uid, zip_offers(kind), f"The instance {file.sop_instance_uid}"):
            return await self._archive.intact(file, self._made(file))

    def _made(self, file: "InstanceFile") -> str | None:
        return transcoded_to(file, self.forms[stored_form(file)])


@dataclass(slots=True)
class _Entry:
    """A file about to be sent.

    Attributes
    ----------
    name : str
        Where it lies in the archive.
    source : IntactFile or DicomdirFile
        The open file.
    crc : int or None
        Its checksum, None until all of it was sent.
    streamed : bool
        Whether that follows it.
    body : bytes or None
        All of it, when it had to be made for the checksum.
    """

    name: str
    source: "IntactFile | DicomdirFile"
    crc: int | None
    streamed: bool = False
    body: bytes | None = None

    @property
    def length(self) -> int:
        """Bytes in the archive."""
        return entry_length(self.name, self.source.length, streamed=self.streamed)

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield them, once."""
        size = self.source.length
        yield entry_head(self.name, size, self.crc)
        if self.body is not None:
            yield self.body
            return
        crc = 0
        async with aclosing(self.source.stream()) as chunks:
            async for chunk in chunks:
                if self.streamed:
                    crc = crc32(chunk, crc)
                yield chunk
        if self.streamed:
            self.crc = crc
            yield entry_tail(size, crc)


class _Body:
    """The bytes of an archive, to be read once."""

    def __init__(self, contents: _Contents, dicomdir: "DicomdirFile") -> None:
        self._contents = contents
        self._dicomdir = dicomdir
        self._open: set[IntactFile | DicomdirFile] = {dicomdir}

    async def stream(self, offset: int, length: int | None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `offset`; files before it are only read for their checksums."""
        try:
            async with aclosing(self._archive(offset)) as chunks:
                wanted = chunks if length is None else cut(chunks, 0, length)
                async for chunk in wanted:
                    yield chunk
        finally:
            for source in self._open:
                source.close()

    async def _archive(self, skip: int) -> AsyncGenerator[bytes, None]:
        directory = CentralDirectory()
        async with aclosing(self._entries()) as entries:
            async for entry in entries:
                if skip >= entry.length and entry.crc is not None:
                    skip -= entry.length
                    entry.source.close()
                else:
                    async with aclosing(entry.stream()) as chunks:
                        async for chunk in chunks:
                            piece = chunk[skip:]
                            skip -= len(chunk) - len(piece)
                            if piece:
                                yield piece
                assert entry.crc is not None
                self._open.discard(entry.source)
                directory.add(entry.name, entry.source.length, entry.crc, streamed=entry.streamed)
        yield directory.end()[skip:]

    async def _entries(self) -> AsyncGenerator[_Entry, None]:
        yield _Entry(DICOMDIR, self._dicomdir, self._dicomdir.crc)
        named = zip(self._contents.names(), self._contents.files, strict=True)
        async with aclosing(read_ahead(self._ready, named, AHEAD)) as entries:
            async for entry in entries:
                yield entry

    async def _ready(self, named: "tuple[str, InstanceFile]") -> _Entry:
        name, file = named
        source = await self._contents.open(file)
        if source.crc is None and source.length <= HELD:
            async with aclosing(source.stream()) as chunks:
                body = b"".join([chunk async for chunk in chunks])
            return _Entry(name, source, await asyncio.to_thread(crc32, body), body=body)
        self._open.add(source)
        return _Entry(name, source, source.crc, streamed=source.crc is None)


def _location(base: str, study: str, series: str | None, instance: str | None) -> str:
    if series is None:
        return study_url(base, study)
    if instance is None:
        return series_url(base, study, series)
    return instance_url(base, study, series, instance)
