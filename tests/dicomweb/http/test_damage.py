"""One flipped bit in a stored file: whatever is asked by whatever door, what differs is an error and no picture."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicomweb.http.process import build
from storage.blobs.damage import damaged_files
from storage.dicom.transfer_syntax import RLE_LOSSLESS
from storage.errors import Damaged
from storage.retrieval.data_set_file import DataSetFile
from storage.retrieval.instance_file import InstanceFile
from tests.builders import DEFLATED, ct_slice, encapsulated, multi_frame
from tests.dicomweb.gateway.retrieving import ask_get, ask_move, concluded, make_peer
from tests.dicomweb.gateway.serving import listening as gateway
from tests.dicomweb.http.wado.test_instances import stored
from tests.dicomweb.loopback import listening
from tests.dicomweb.scu.receiving import receiver

PROFILE = bytes(range(256)) * 512
FRAME_BYTES = 256 * 256 * 2
ANY_FRAME = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
FILES = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


def flip(archive: Any, instance: InstanceFile, position: int) -> None:
    """Turn one bit of a stored file; a negative position counts from its end."""
    path: Path = archive.blobs.path(instance.blob)
    path.chmod(0o640)
    with path.open("r+b") as file:
        file.seek(position, 0 if position >= 0 else 2)
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 0x10]))


async def the_instance(archive: Any, path: str) -> InstanceFile:
    """Return the one instance at a path of ours."""
    (instance,) = await archive.instances(*path.split("/")[3::2])
    assert isinstance(instance, InstanceFile)
    return instance


def doors(path: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Return what can be asked of an instance of two frames: URL and headers by name."""
    _, _, _, study, _, series, _, uid = path.split("/")
    uri = f"/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={uid}"
    return {
        "file": (path, {"Accept": "application/dicom; transfer-syntax=*"}),
        "multipart": (path, FILES),
        "study": (f"/dicom-web/studies/{study}", FILES),
        "transcoded": (path, {"Accept": f"application/dicom; transfer-syntax={RLE_LOSSLESS}"}),
        "wado-uri": (f"{uri}&contentType=application/dicom", {}),
        "frame 1": (f"{path}/frames/1", ANY_FRAME),
        "frame 2": (f"{path}/frames/2", ANY_FRAME),
        "transcoded frame 2": (f"{path}/frames/2", {"Accept": f"image/dicom-rle; transfer-syntax={RLE_LOSSLESS}"}),
        "rendered 1": (f"{path}/frames/1/rendered", {}),
        "rendered 2": (f"{path}/frames/2/rendered", {}),
        "thumbnail 2": (f"{path}/frames/2/thumbnail", {}),
        "wado-uri picture 2": (f"{uri}&contentType=image/png&frameNumber=2", {}),
        "bulk data": (f"{path}/bulkdata/00282000", {}),
        "pixel data": (f"{path}/bulkdata/7FE00010", {}),
        "all bulk data": (f"{path}/bulkdata", {}),
        "metadata": (f"{path}/metadata", {}),
    }


async def ask(client: httpx2.AsyncClient, url: str, headers: dict[str, str]) -> bytes | None:
    """Return a whole body; None when the answer is an error that says so, or breaks off as one does."""
    try:
        answer = await client.get(url, headers=headers)
    except RuntimeError as error:  # in the middle: the server cuts the connection then
        assert isinstance(error.__cause__, Damaged)
        return None
    if answer.status_code == 500:
        assert "is damaged" in answer.json()["detail"] and answer.headers["cache-control"] == "no-store"
        return None
    assert answer.status_code == 200, (url, answer.text)
    return answer.content


WHOLE = {"file", "multipart", "study", "transcoded", "wado-uri"}
PLACES = {
    "the preamble": (lambda _: 5, WHOLE | {"bulk data", "all bulk data"}),  # the value begins in the same block
    "the header": (lambda raw: raw.index(b"Flipped^Patient"), WHOLE | {"bulk data", "all bulk data"}),
    "the bulk value": (lambda raw: raw.index(PROFILE) + 100_000, WHOLE | {"bulk data", "all bulk data"}),
    "the second frame": (
        lambda raw: len(raw) - FRAME_BYTES // 2,
        WHOLE
        | {"frame 2", "transcoded frame 2", "rendered 2", "thumbnail 2", "wado-uri picture 2"}
        | {"pixel data", "all bulk data"},
    ),
}


@pytest.mark.parametrize("place", PLACES)
async def test_a_flipped_bit_is_an_error_by_every_door(archive: Any, client: httpx2.AsyncClient, place: str) -> None:
    """What the bit belongs to is an error and not kept by anybody; everything else comes as it did before."""
    find, failing = PLACES[place]
    file = multi_frame(2, rows=256, columns=256, PatientName="Flipped^Patient", ICCProfile=PROFILE)
    path, other = await stored(archive, file, ct_slice())
    asked = doors(path)
    before = {name: await ask(client, *door) for name, door in asked.items() if name not in failing}
    assert None not in before.values()
    flip(archive, await the_instance(archive, path), find(file))
    after = {name: await ask(client, *door) for name, door in asked.items()}
    assert {name for name, body in after.items() if body is None} == failing
    assert {name: after[name] for name in before} == before
    assert await ask(client, *doors(other)["file"]) is not None


@pytest.mark.parametrize(("frame", "position"), [(1, 0), (2, 0), (1, -1), (2, -1)])
async def test_a_compressed_frame_is_compared(
    archive: Any, client: httpx2.AsyncClient, frame: int, position: int
) -> None:
    """First and last byte of an encapsulated frame; its neighbour comes as it is."""
    frames = [b"\xff\xd8" + bytes([n]) * 500 + b"\xff\xd9" for n in (1, 2)]
    file = encapsulated(frames, transfer_syntax="1.2.840.10008.1.2.4.50", NumberOfFrames=2)
    (path,) = await stored(archive, file)
    start = file.index(frames[frame - 1])
    flip(archive, await the_instance(archive, path), start if position == 0 else start + len(frames[0]) - 1)
    answers = {n: await ask(client, f"{path}/frames/{n}", ANY_FRAME) for n in (1, 2)}
    assert [n for n, body in answers.items() if body is None] == [frame]


async def test_the_offset_table_is_compared(archive: Any, client: httpx2.AsyncClient) -> None:
    """What leads to the frames is in the index, so they come; the file, and what is made of it, does not."""
    frames = [b"\xff\xd8" + bytes([n]) * 500 + b"\xff\xd9" for n in (1, 2)]
    file = encapsulated(frames, transfer_syntax="1.2.840.10008.1.2.4.50", NumberOfFrames=2)
    (path,) = await stored(archive, file)
    flip(archive, await the_instance(archive, path), file.index(frames[0]) - 12)  # the second offset
    assert await ask(client, *doors(path)["file"]) is None
    assert None not in [await ask(client, f"{path}/frames/{n}", ANY_FRAME) for n in (1, 2)]


async def test_a_deflated_file_is_compared(archive: Any, client: httpx2.AsyncClient) -> None:
    """What cannot be read in part is compared as a whole."""
    (path,) = await stored(archive, multi_frame(2, rows=64, columns=64, transfer_syntax=DEFLATED))
    assert await ask(client, f"{path}/frames/1", ANY_FRAME) is not None
    instance = await the_instance(archive, path)
    flip(archive, instance, instance.size - 30)
    assert [await ask(client, f"{path}{what}", ANY_FRAME) for what in ("/frames/1", "/frames/2")] == [None, None]


async def test_long_text_of_a_damaged_file_is_an_error_not_a_gap(archive: Any, client: httpx2.AsyncClient) -> None:
    """A report whose text cannot be told is not drawn without it."""
    file = ct_slice(ImageComments="x", TextValue="word " * 30_000)
    (path,) = await stored(archive, file)
    assert (await client.get(f"{path}/rendered")).status_code == 200
    flip(archive, await the_instance(archive, path), file.index(b"word word") + 70_000)
    app = client._transport.app  # type: ignore[attr-defined]
    app.state.renderer._attributes.held = 0
    app.state.renderer._attributes._entries.clear()
    app.state.renderer._pictures._entries.clear()
    assert await ask(client, f"{path}/rendered", {}) is None


async def test_the_connection_is_cut_where_the_file_differs(archive: Any, app: Any) -> None:
    """A file of more than is read at once: its length was promised, and the client sees that it did not come."""
    (path,) = await stored(archive, multi_frame(16, rows=256, columns=256))
    flip(archive, await the_instance(archive, path), -10)
    async with listening(app) as url, httpx2.AsyncClient(base_url=url) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(path, headers={"Accept": "application/dicom; transfer-syntax=*"})
        part = await client.get(path, headers={"Range": "bytes=0-99999", "Accept": "application/dicom"})
        assert (part.status_code, len(part.content)) == (206, 100_000)


async def test_damage_is_told(archive: Any, app: Any, client: httpx2.AsyncClient, caplog: Any) -> None:
    """Once in the log, with file and instance; in health, status and metrics until a good file is in its place."""
    file = ct_slice()
    (path,) = await stored(archive, file)
    instance = await the_instance(archive, path)
    served, _ = build(archive, app.state.settings.model_copy(update={"dimse": False}))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=served), base_url="http://archive.test") as asking:
        assert "advice" not in (await asking.get("/health")).json()
        flip(archive, instance, -1)
        for _ in range(3):
            assert await ask(asking, f"{path}/frames/1", ANY_FRAME) is None
        await archive.blobs.damage.written()
        told = [one for one in caplog.records if one.name == "storage.blobs.damage"]
        assert len(told) == 1
        assert instance.blob in told[0].getMessage() and instance.sop_instance_uid in told[0].getMessage()
        health = await asking.get("/health")
        assert health.status_code == 200 and health.json()["advice"].startswith("1 stored file is damaged or missing.")
        assert (await asking.get("/health/ready")).status_code == 200
        status = (await asking.get("/api/status")).json()["archive"]
        assert status["damaged_files"] == 1 and "damaged" in status["advice"]
        assert "dicomweb_damaged_files 1.0" in (await asking.get("/metrics")).text
        assert (await archive.store(file)).status == "stored"
        assert await damaged_files(archive.pool) == 0
        assert await ask(asking, f"{path}/frames/1", ANY_FRAME) is not None


async def test_c_get_and_c_move_fail_for_the_damaged_instance_alone(archive: Any) -> None:
    """It is one failed sub-operation, and says why; nothing of it arrives (G-102)."""
    files = [ct_slice("1.2.77", "1.2.78", instance_number=n) for n in (1, 2, 3)]
    paths = await stored(archive, *files)
    damaged = await the_instance(archive, paths[1])
    flip(archive, damaged, -1)
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.77"}
    expected = 0xB000, {"Completed": 2, "Failed": 1, "Warning": 0}, [damaged.sop_instance_uid]
    async with gateway(archive) as port:
        with receiver() as to:
            await make_peer(archive, to)
            answers = await ask_move(port, keys)
        assert concluded(answers, 3) == expected
        assert "is damaged" in answers[-1][0].ErrorComment
        assert len(to.received) == 2 and damaged.sop_instance_uid not in to.data
        answers, received = await ask_get(port, keys, sop_classes=[CTImageStorage], syntaxes=[ExplicitVRLittleEndian])
        assert concluded(answers, 3) == expected
        assert len(received) == 2 and damaged.sop_instance_uid not in received


async def test_a_long_data_set_ends_before_what_differs_and_costs_itself_alone_after_that(archive: Any) -> None:
    """The first time the association is ended in the middle of the message; the second time nothing is begun."""
    (path,) = await stored(archive, multi_frame(48, rows=256, columns=256))
    instance = await the_instance(archive, path)
    flip(archive, instance, -1)
    data = await archive.data_set(instance, [instance.transfer_syntax_uid])
    received = b""
    with pytest.raises(Damaged):
        received = await _all(data, received)
    with pytest.raises(Damaged):
        await archive.data_set(instance, [instance.transfer_syntax_uid])


async def _all(data: DataSetFile, received: bytes) -> bytes:
    async for chunk in data.stream():
        received += chunk
    return received
