"""The whole program in one minute: start, store, search, read back, stop. Needs neither corpus nor root."""

import json
from collections.abc import Callable

import httpx2

from tests.builders import ct_slice, new_uid
from tests.live_server import LiveServer


def test_what_is_stored_is_found_and_comes_back_byte_for_byte(serve: Callable[..., LiveServer]) -> None:
    """STOW, QIDO, metadata, frame and instance on a server started from nothing (PS3.18 10.4, 10.5, 10.6)."""
    study, series, instance = new_uid(), new_uid(), new_uid()
    image = ct_slice(study, series, instance, rows=16, columns=16)
    server = serve("--workers", "1")
    with httpx2.Client(base_url=server.root, timeout=60) as client:
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + image + b"\r\n--b--\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary=b'
        stored = client.post(f"{server.root}/studies", content=body, headers={"Content-Type": kind})
        assert stored.status_code == 200, stored.text

        found = client.get(f"{server.root}/studies", params={"StudyInstanceUID": study})
        assert [match["0020000D"]["Value"] for match in found.json()] == [[study]]

        resource = f"{server.root}/studies/{study}/series/{series}/instances/{instance}"
        (metadata,) = client.get(f"{resource}/metadata").json()
        assert metadata["00080018"] == {"vr": "UI", "Value": [instance]}

        accept = {"Accept": 'multipart/related; type="application/octet-stream"'}
        frame = client.get(f"{resource}/frames/1", headers=accept)
        assert frame.status_code == 200
        assert image[-16 * 16 * 2 :] in frame.content

        whole = client.get(resource, headers={"Accept": 'multipart/related; type="application/dicom"'})
        assert image in whole.content

        refused = client.get(f"{server.root}/studies", params={"StudyDate": "yesterday"})
        assert refused.status_code == 400
        assert json.loads(refused.content)["status"] == 400
    assert server.stop() == 0


def test_what_was_acknowledged_survives_a_kill(serve: Callable[..., LiveServer]) -> None:
    """After SIGKILL of every process of the server, a new one on the same folder has the instance."""
    image = ct_slice(rows=16, columns=16)
    first = serve("--workers", "1")
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + image + b"\r\n--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    assert httpx2.post(f"{first.root}/studies", content=body, headers={"Content-Type": kind}).status_code == 200
    first.kill()

    second = serve("--workers", "1", data_dir=first.data_dir)
    assert len(httpx2.get(f"{second.root}/instances").json()) == 1
    assert image in httpx2.get(f"{second.root}/studies/{_study(second)}").content


def _study(server: LiveServer) -> str:
    (match,) = httpx2.get(f"{server.root}/studies").json()
    uid: str = match["0020000D"]["Value"][0]
    return uid
