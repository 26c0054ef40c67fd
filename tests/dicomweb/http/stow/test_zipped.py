"""ZIP archives as the body of a store request."""

import bz2
import io
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from dicomweb.http.app import assemble
from dicomweb.http.stow import resource as stow
from dicomweb.http.stow import zipped
from dicomweb.http.stow.body import BodyError
from dicomweb.http.stow.zipped import ZipLimits, store_zip
from dicomweb.settings import Settings
from storage.archive import Archive
from storage.errors import ArchiveError
from tests.builders import ct_slice, dicom_file, sop_instance_uid, without_preamble

DIRECTORY = "1.2.840.10008.1.3.10"


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def app(archive: Archive, tmp_path: Path) -> Starlette:
    """The store resources over an empty archive."""
    return assemble(archive, Settings(data_dir=tmp_path / "data", allowed_hosts=["archive.test"]), stow.ROUTES)


async def post(client: httpx2.AsyncClient, body: bytes, content_type: str = "application/zip") -> httpx2.Response:
    return await client.post("/dicom-web/studies", content=body, headers={"Content-Type": content_type})


def stored(answer: httpx2.Response) -> set[str]:
    items = answer.json().get("00081199", {}).get("Value", [])
    return {item["00081155"]["Value"][0] for item in items}


def others(answer: httpx2.Response) -> int:
    return len(answer.json().get("0008119A", {}).get("Value", []))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("content_type", ["application/zip", "application/x-zip-compressed"])
async def test_the_files_of_an_archive_are_stored(client: httpx2.AsyncClient, method: int, content_type: str) -> None:
    """Every DICOM file of a ZIP is stored, whatever its name, folder and compression (user-pains 5)."""
    files = [ct_slice(), ct_slice(), without_preamble(ct_slice())]
    uids = {sop_instance_uid(file) for file in files}
    body = zip_of({"a/b/IM0001": files[0], "../ü.dcm": files[1], "C:\\x\\3": files[2]}, method)
    answer = await post(client, body, content_type)
    assert answer.status_code in (200, 202)
    assert stored(answer) == uids
    assert others(answer) == 0


async def test_what_is_no_image_is_left_out(client: httpx2.AsyncClient) -> None:
    """A whole disc can be sent: its directory, viewer and notes are not failures (user-pains 5)."""
    file = ct_slice()
    body = zip_of(
        {
            "DICOMDIR": b"anything",
            "copy/directory": dicom_file(SOPClassUID=DIRECTORY),
            "folder/": b"",
            "README.TXT": b"viewer",
            "__MACOSX/._IM1": b"\x00\x05\x16\x07",
            ".DS_Store": b"\0\0",
            "empty": b"",
            "IM1": file,
        }
    )
    answer = await post(client, body)
    assert (answer.status_code, stored(answer)) == (200, {sop_instance_uid(file)})


async def test_damaged_files_cost_only_themselves(client: httpx2.AsyncClient) -> None:
    """A file that is no DICOM for its name, one with a wrong checksum and an inner archive are failures."""
    good, bad = ct_slice(), ct_slice()
    body = bytearray(
        zip_of({"x.dcm": b"no", "inner.zip": zip_of({"a": good}), "bad": bad, "good": good}, zipfile.ZIP_STORED)
    )
    body[body.index(bad) + 4000] ^= 0xFF
    answer = await post(client, bytes(body))
    assert answer.status_code == 202
    assert (stored(answer), others(answer)) == ({sop_instance_uid(good)}, 3)


async def test_an_encrypted_file_is_a_failure(client: httpx2.AsyncClient) -> None:
    """What cannot be read is said so."""
    body = bytearray(zip_of({"a": ct_slice()}, zipfile.ZIP_STORED))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        body[body.index(signature) + flags] |= 1
    answer = await post(client, bytes(body))
    assert (answer.status_code, others(answer)) == (400, 1)
    assert "encrypted" in answer.text


@pytest.mark.parametrize(
    "body",
    [b"", b"PK", b"no archive", zip_of({"a": b"x" * 100})[:-30], zip_of({}), zip_of({"a.txt": b"a"})],
    ids=["empty", "two letters", "text", "cut off", "no member", "no DICOM"],  # an archive's bytes name the time
)
async def test_what_is_no_archive_is_a_bad_request(client: httpx2.AsyncClient, body: bytes) -> None:
    """No ZIP, a cut off one, and one without any DICOM file are a 400 (B-018)."""
    answer = await post(client, body)
    assert answer.status_code == 400


class Taken:
    """Stands for an `Ingest` where only the limits matter: it reads what it is given."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.failures: list[ArchiveError] = []

    async def add(self, chunks: Any) -> None:
        try:
            self.sizes.append(sum([len(chunk) async for chunk in chunks]))
        except ArchiveError as error:
            self.failures.append(error)

    def fail(self, error: ArchiveError) -> None:
        self.failures.append(error)


AMPLE = ZipLimits(1000, 10**9)


async def take(body: bytes, folder: Path, limits: ZipLimits = AMPLE) -> Taken:
    async def chunks() -> Any:
        for start in range(0, len(body), 1 << 16):
            yield body[start : start + (1 << 16)]

    taken = Taken()
    await store_zip(taken, chunks(), folder, limits)  # type: ignore[arg-type]
    return taken


async def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many entries, too large a sum or growth out of proportion is a 413 before anything is read (A-106)."""
    black = b"\0" * 128 + b"DICM" + bytes(2_000_000)
    assert (await take(zip_of({"a": black}), tmp_path)).sizes == [len(black)]
    for limits in (ZipLimits(2, 10**9), ZipLimits(1000, 5_000_000)):
        with pytest.raises(BodyError) as refused:
            await take(zip_of({str(number): black for number in range(3)}), tmp_path, limits)
        assert refused.value.status == 413
    monkeypatch.setattr(zipped, "FREE_INFLATION", 1_000_000)
    with pytest.raises(BodyError, match="200 times"):
        await take(zip_of({"a": black}), tmp_path)


async def test_an_entry_gives_no_more_than_it_claims(tmp_path: Path) -> None:
    """An entry of bzip2 is inflated in steps, and no further than the archive says that it goes (A-106)."""
    claimed, real = 1 << 20, 64 << 20
    packed = bz2.compress(b"\0" * 128 + b"DICM" + bytes(real))
    archive = bytearray(zip_of({"a.dcm": packed}, zipfile.ZIP_STORED))
    directory = archive.index(b"PK\x01\x02")
    for method, size in ((8, 22), (directory + 10, directory + 24)):  # of the entry, of the directory (APPNOTE 4.3)
        struct.pack_into("<H", archive, method, zipfile.ZIP_BZIP2)
        struct.pack_into("<L", archive, size, claimed)
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        tracemalloc.start()
        with zipped._opened(opened, opened.infolist()[0]) as file:
            assert len(file.read(claimed)) == claimed
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 16 * claimed
    (failure,) = (await take(bytes(archive), tmp_path)).failures
    assert "larger than the archive says" in str(failure)


async def test_a_claimed_directory_is_not_read(tmp_path: Path) -> None:
    """An end record that promises millions of entries is believed and refused, in ZIP64 too (A-106)."""
    plain = bytearray(zip_of({"a": b"x"}))
    end = plain.index(b"PK\x05\x06")
    struct.pack_into("<H", plain, end + 10, 60_000)
    with pytest.raises(BodyError, match="entries"):
        await take(bytes(plain), tmp_path)
    record = b"PK\x06\x06" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, 1 << 40, 1 << 40, 1 << 40, 0)
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, end, 1)
    with pytest.raises(BodyError, match="entries"):
        await take(bytes(plain[:end]) + record + locator + bytes(plain[end:]), tmp_path)


def zip64_of(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> bytes:
    """A ZIP archive whose end is written as ZIP64 whatever its size."""
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 0)
        body = zip_of(files)
    assert body[-42:-38] == b"PK\x06\x07"
    return body


async def test_a_zip64_archive_may_have_data_in_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ZIP64 is read, also when its locator is off by what stands before the archive."""
    body = zip64_of(monkeypatch, {"a": ct_slice(), "b": ct_slice()})
    for front in (b"", b"MZ a program that unpacks itself"):
        assert len((await take(front + body, tmp_path)).sizes) == 2


async def test_a_second_zip64_record_does_not_hide_a_long_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory that is limited is the one that is read: a locator that names another is refused (A-106)."""
    body = bytearray(zip64_of(monkeypatch, {str(number) * 100: b"x" for number in range(3)}))
    monkeypatch.setattr(zipped, "_LARGEST_DIRECTORY", 300)
    with pytest.raises(BodyError) as refused:
        await take(bytes(body), tmp_path)
    assert refused.value.status == 413
    small = b"PK\x06\x06" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, 1, 1, 46, 0)
    for front, named in ((small, 0), (b"--" + small, 2)):
        struct.pack_into("<Q", body, len(body) - 34, named)
        with pytest.raises(BodyError) as refused:
            await take(front + bytes(body), tmp_path)
        assert refused.value.status == 400


async def test_a_zip64_locator_without_a_record_is_a_bad_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locator that stands first in the file, or behind something else than its record, is a 400 (B-018)."""
    body = zip64_of(monkeypatch, {"a": ct_slice()})
    for damaged in (body[-42:], body.replace(b"PK\x06\x06", b"PK\x06\x05")):
        with pytest.raises(BodyError) as refused:
            await take(damaged, tmp_path)
        assert refused.value.status == 400


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """The temporary file has no name, and no entry is written under its own."""
    await take(zip_of({"../../escape": ct_slice()}), tmp_path)
    assert list(tmp_path.iterdir()) == []


WHOLE = zip_of({"one": ct_slice(rows=8, columns=8), "two.txt": b"two"})


@given(st.integers(min_value=0, max_value=len(WHOLE) - 1), st.binary(min_size=1, max_size=4))
@settings(max_examples=60)
async def test_damage_anywhere_is_an_error_of_the_client(
    tmp_path_factory: pytest.TempPathFactory, position: int, noise: bytes
) -> None:
    """Whatever bytes are damaged, the archive is read, refused, or one of its files is."""
    damaged = WHOLE[:position] + noise + WHOLE[position + len(noise) :]
    try:
        taken = await take(damaged, tmp_path_factory.getbasetemp())
    except BodyError as error:
        assert error.status in (400, 413)
    else:
        assert len(taken.sizes) + len(taken.failures) <= 2
