"""DCMTK retrieves: movescu and getscu ask, storescp and dcmqrscp receive."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from storage.archive import Archive
from storage.dicom.transfer_syntax import RLE_LOSSLESS
from storage.matching.conditions import Level, Query
from storage.retrieval.data_set_file import is_sent_as_stored
from storage.retrieval.instance_file import InstanceFile
from storage.retrieval.selection import UniqueKeys
from storage.work.peers import Peer
from tests.builders import BIG_ENDIAN, DEFLATED, EXPLICIT_LE, IMPLICIT_LE, ct_slice, dataset_only
from tests.corpus import corpus_files, wheel_file
from tests.dcmtk import find_program
from tests.dicomweb.gateway.serving import listening
from tests.dicomweb.scu.remote_archive import wait_for_port
from tests.live_server import free_port

STUDY, TITLE = "1.2.77", "STORESCP"
OF_DCMTK = {EXPLICIT_LE, IMPLICIT_LE, BIG_ENDIAN, DEFLATED, RLE_LOSSLESS} | {
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 70, 80, 81, 90, 91)
}
"""Transfer syntaxes that `storescp +xa` takes."""


MOVESCU, GETSCU, STORESCP, DCMQRSCP = map(find_program, ("movescu", "getscu", "storescp", "dcmqrscp"))
pytestmark = pytest.mark.skipif(
    not (MOVESCU and GETSCU and STORESCP and DCMQRSCP), reason="needs DCMTK (Debian package dcmtk)"
)


@pytest.fixture
async def port(archive: Archive) -> AsyncIterator[int]:
    """A gateway over the archive."""
    async with listening(archive) as number:
        yield number


@contextmanager
def running(*command: str, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server until it listens, and to the end of the block."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_port(port, process)
            yield process
        finally:
            process.kill()


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """Run storescp, which writes what it is sent, as it is sent, into a folder."""
    assert STORESCP is not None
    folder.mkdir()
    port = free_port()
    options = ("-aet", TITLE, "-od", str(folder), "-pm", "-uf", *options)
    with running(STORESCP, *options, str(port), port=port) as process:
        yield port, process


async def ask(program: str | None, port: int, *arguments: str, folder: Path | None = None, **keys: str) -> str:
    """Run movescu or getscu, in a folder, to its end; returns what it says."""
    assert program is not None
    options = [part for keyword, value in keys.items() for part in ("-k", f"{keyword}={value}")]
    command = [program, "-v", "-S", "-aec", "DICOMWEB", *arguments, *options, "127.0.0.1", str(port)]
    process = partial(subprocess.run, capture_output=True, text=True, errors="replace", timeout=120, cwd=folder)
    ran = await asyncio.to_thread(process, command)
    return str(ran.stdout + ran.stderr)


async def destination(archive: Archive, port: int, title: str = TITLE) -> None:
    """Make it a peer."""
    await archive.peers.put(Peer(title, "127.0.0.1", port))


def arrived(folder: Path) -> list[bytes]:
    """The data sets in a folder."""
    return sorted(dataset_only(path.read_bytes()) for path in folder.iterdir())


async def store_slices(archive: Archive, number: int, **options: Any) -> list[bytes]:
    """Store small CT images; returns their data sets."""
    files = [ct_slice(STUDY, "1.2.78", instance_number=each, rows=8, columns=8, **options) for each in range(number)]
    for data in files:
        assert (await archive.store(data)).error is None
    return sorted(map(dataset_only, files))


async def store_corpus(archive: Archive) -> list[InstanceFile]:
    """Store every file of the corpus; returns those that DCMTK can take as they are."""
    for path in corpus_files():
        await archive.store(path.read_bytes())
    uids = {match["0020000D"]["Value"][0] for match in (await archive.find(Query(Level.STUDY))).rows}
    chosen = await archive.select(UniqueKeys(study_instance_uids=tuple(uids)))
    files = [file for file in await archive.files_of(chosen) if file is not None]
    return [file for file in files if file.transfer_syntax_uid in OF_DCMTK and is_sent_as_stored(file)]


def data_set_of(archive: Archive, file: InstanceFile) -> bytes:
    """The stored data set, padded to even length."""
    data = archive.blobs.path(file.blob).read_bytes()[file.layout.dataset_offset :]
    return data + bytes(len(data) % 2)


async def test_every_corpus_file_is_moved_to_storescp_as_it_is(archive: Archive, port: int, tmp_path: Path) -> None:
    """In its own transfer syntax, byte for byte, one list of studies in one C-MOVE (G-041, G-093, G-101)."""
    files = await store_corpus(archive)
    assert len(files) > 150
    studies = sorted({file.study_instance_uid for file in files})
    with storescp(tmp_path / "in", "+xa", "+B") as (listening, _):
        await destination(archive, listening)
        said = ""
        for start in range(0, len(studies), 20):
            some = "\\".join(studies[start : start + 20])
            said += await ask(MOVESCU, port, "-aem", TITLE, QueryRetrieveLevel="STUDY", StudyInstanceUID=some)
    assert "Failed: Unable" not in said, said
    found = set(arrived(tmp_path / "in"))
    missing = [file for file in files if data_set_of(archive, file) not in found]
    assert missing == []


async def test_getscu_gets_little_endian_as_it_is(archive: Archive, port: int, tmp_path: Path) -> None:
    """Corpus files of its first transfer syntax, byte for byte (G-101, G-111); others: tests/live/test_dimse_corpus."""
    files = [file for file in await store_corpus(archive) if file.transfer_syntax_uid == EXPLICIT_LE][::20]
    assert len(files) > 5
    await asyncio.gather(*(_get(archive, port, tmp_path / str(at), "+x=", file) for at, file in enumerate(files)))


@pytest.mark.parametrize(
    ("option", "name", "same_as"),
    [
        ("+xr", "MR_small_RLE.dcm", "MR_small.dcm"),
        ("+xv", "MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("+xt", "MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("+xd", "image_dfl.dcm", "image_dfl.dcm"),
    ],
)
async def test_getscu_gets_little_endian_where_it_is_among_what_it_takes(
    archive: Archive, port: int, tmp_path: Path, option: str, name: str, same_as: str
) -> None:
    """Its one context of a class lists little endian after what it prefers: that will do for all instances (G-111)."""
    path = wheel_file(name)
    uid = str((await archive.store(path.read_bytes())).study_instance_uid)
    folder = tmp_path / "in"
    folder.mkdir()
    said = await ask(GETSCU, port, option, "+B", "-od", str(folder), QueryRetrieveLevel="STUDY", StudyInstanceUID=uid)
    (written,) = folder.iterdir()
    received = dcmread(written)
    assert received.file_meta.TransferSyntaxUID == EXPLICIT_LE, said
    assert np.array_equal(received.pixel_array, dcmread(wheel_file(same_as)).pixel_array)


async def _get(archive: Archive, port: int, folder: Path, option: str, file: InstanceFile) -> None:
    folder.mkdir()
    keys = {"StudyInstanceUID": file.study_instance_uid, "SeriesInstanceUID": file.series_instance_uid}
    keys |= {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": file.sop_instance_uid}
    said = await ask(GETSCU, port, option, "+B", "-od", str(folder), **keys)
    assert arrived(folder) == [data_set_of(archive, file)], said


@pytest.mark.parametrize("option", ["+xv", "+xr", "+xi"])
async def test_getscu_gets_uncompressed_images_whatever_it_prefers(
    archive: Archive, port: int, tmp_path: Path, option: str
) -> None:
    """The same samples in something it takes (G-101, G-111)."""
    path = wheel_file("CT_small.dcm")
    outcome = await archive.store(path.read_bytes())
    folder = tmp_path / "in"
    folder.mkdir()
    uid = str(outcome.study_instance_uid)
    said = await ask(GETSCU, port, option, "+B", "-od", str(folder), QueryRetrieveLevel="STUDY", StudyInstanceUID=uid)
    (written,) = folder.iterdir()
    assert np.array_equal(dcmread(written).pixel_array, dcmread(path).pixel_array), said


async def test_movescu_receives_what_it_asked_for_itself(archive: Archive, port: int, tmp_path: Path) -> None:
    """Requester and destination are one program with two associations (G-092)."""
    expected = await store_slices(archive, 20)
    listening = free_port()
    await destination(archive, listening, "MOVESCU")
    (tmp_path / "in").mkdir()
    options = ("-aem", "MOVESCU", "+P", str(listening), "+B", "+xa")  # with +B it writes where it was started
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": STUDY}
    said = await ask(MOVESCU, port, *options, folder=tmp_path / "in", **keys)
    assert "Success" in said, said
    assert arrived(tmp_path / "in") == expected


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "MR_small_bigendian.dcm"])
async def test_a_destination_that_takes_implicit_vr_only(
    archive: Archive, port: int, tmp_path: Path, name: str
) -> None:
    """Decompressed or rewritten, with the same samples (PS3.5 10.1; G-101)."""
    path = wheel_file(name)
    outcome = await archive.store(path.read_bytes())
    with storescp(tmp_path / "in", "+xi") as (listening, _):
        await destination(archive, listening)
        uid = str(outcome.study_instance_uid)
        said = await ask(MOVESCU, port, "-aem", TITLE, QueryRetrieveLevel="STUDY", StudyInstanceUID=uid)
    assert "Success" in said, said
    (written,) = (tmp_path / "in").iterdir()
    received = dcmread(written)
    assert received.file_meta.TransferSyntaxUID == IMPLICIT_LE
    assert np.array_equal(received.pixel_array, dcmread(path).pixel_array)


async def test_dcmqrscp_takes_a_study(archive: Archive, port: int, tmp_path: Path) -> None:
    """Another archive as destination keeps all of it (G-092)."""
    expected = await store_slices(archive, 30)
    area, listening = tmp_path / "area", free_port()
    area.mkdir()
    configuration = tmp_path / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {listening}\nMaxPDUSize = 16384\nMaxAssociations = 16\nHostTable BEGIN\nHostTable END\n"
        f"VendorTable BEGIN\nVendorTable END\nAETable BEGIN\nQRSCP {area} RW (200, 1024mb) ANY\nAETable END\n"
    )
    assert DCMQRSCP is not None
    with running(DCMQRSCP, "-c", str(configuration), "--single-process", port=listening):
        await destination(archive, listening, "QRSCP")
        said = await ask(MOVESCU, port, "-aem", "QRSCP", QueryRetrieveLevel="STUDY", StudyInstanceUID=STUDY)
    assert "Success" in said, said
    written = [path for path in area.iterdir() if path.name != "index.dat"]
    assert len(written) == len(expected)
    pixels = {dcmread(path).PixelData for path in written}
    assert pixels == {dcmread(archive.blobs.path(file.blob)).PixelData for file in await archive.instances(STUDY)}


async def test_movescu_cancels(archive: Archive, port: int, tmp_path: Path) -> None:
    """FE00 after the sub-operation under way (G-099)."""
    await store_slices(archive, 200)
    with storescp(tmp_path / "in", "--sleep-after", "1") as (listening, _):
        await destination(archive, listening)
        keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": STUDY}
        said = await ask(MOVESCU, port, "-aem", TITLE, "--cancel", "2", **keys)
    assert "Cancel" in said, said
    assert 1 <= len(list((tmp_path / "in").iterdir())) < 10


async def test_a_storescp_that_is_killed_midway(archive: Archive, port: int, tmp_path: Path) -> None:
    """The move ends at once, with a warning: some arrived, the rest has failed (G-097, G-104)."""
    await store_slices(archive, 60)
    with storescp(tmp_path / "in") as (listening, process):
        await destination(archive, listening)
        keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": STUDY}
        moving = asyncio.create_task(ask(MOVESCU, port, "-d", "-aem", TITLE, **keys))
        while not (tmp_path / "in").exists() or len(list((tmp_path / "in").iterdir())) < 5:
            await asyncio.sleep(0)
        process.kill()
        said = await asyncio.wait_for(moving, 30)
    assert "0xb000" in said, said


async def test_a_storescp_that_aborts_every_time(archive: Archive, port: int, tmp_path: Path) -> None:
    """A702 with the UIDs, in bounded time (G-098, G-104)."""
    await store_slices(archive, 5)
    with storescp(tmp_path / "in", "--abort-after") as (listening, _):
        await destination(archive, listening)
        keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": STUDY}
        said = await ask(MOVESCU, port, "-d", "-aem", TITLE, **keys)
    assert "0xa702" in said, said
    assert "FailedSOPInstanceUIDList" in said
