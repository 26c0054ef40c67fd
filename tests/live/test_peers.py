"""`dicomweb peers` and `/api` as a person uses them: beside a running server, without one, and over its accidents."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from storage.work.peers import Peer
from tests.builders import ct_slice, new_uid, sop_instance_uid
from tests.dicomweb.jobs.storage_peer import storage_peer
from tests.dicomweb.scu.remote_archive import remote_archive
from tests.live.test_commands import run
from tests.live_server import LiveServer, free_port

IN_TIME = 60.0


def stored(server: LiveServer, count: int) -> tuple[str, list[str]]:
    """Store a study there; its UID and those of its instances in order."""
    study = new_uid()
    files = [ct_slice(study, f"{study}.1", rows=8, columns=8, instance_number=number + 1) for number in range(count)]
    with httpx2.Client(base_url=server.root, timeout=60) as client:
        for file in files:
            answer = client.post("/studies", content=file, headers={"Content-Type": "application/dicom"})
            assert answer.status_code == 200
    return study, [sop_instance_uid(file) for file in files]


def put(server: LiveServer, peer: Peer) -> None:
    """Make a peer known there."""
    with httpx2.Client(base_url=server.url) as client:
        answer = client.put(f"/api/peers/{peer.ae_title}", json={"host": peer.host, "port": peer.port})
        assert answer.status_code == 201


def until(server: LiveServer, url: str, when: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until a job is as asked for."""
    deadline = time.monotonic() + IN_TIME
    with httpx2.Client(base_url=server.url) as client:
        while True:
            job: dict[str, Any] = client.get(url).json()
            if when(job):
                return job
            assert time.monotonic() < deadline, f"{job}\n{server.log_tail()}"
            time.sleep(0.05)


def child(server: LiveServer, name: str) -> int:
    """The process id of a child of the supervisor."""
    account = json.loads((server.data_dir / "run" / "children.json").read_text())
    return int(account[name]["pid"])


def test_peers_are_managed_beside_a_running_server(serve: Callable[..., LiveServer], tmp_path: Path) -> None:
    """What a command writes the server knows at once and the reverse; a server answers the C-ECHO and C-FIND of its
    own title (G-031)."""
    server = serve("--workers", "1", "--aet", "ARCHIVE")
    study, _ = stored(server, 2)
    folder = ("--data-dir", str(server.data_dir))
    status, out, err = run(
        tmp_path, "peers", "add", "ARCHIVE", "127.0.0.1", str(server.dimse_port), "--description", "we", *folder
    )
    assert (status, out.partition(":")[0]) == (0, "ARCHIVE is added"), err
    with httpx2.Client(base_url=server.url) as client:
        assert client.get("/api/peers/ARCHIVE").json()["description"] == "we"
        echoed = client.post("/api/peers/ARCHIVE/echo", json={})
        assert echoed.status_code == 200, echoed.text
        assert echoed.json()["status"] == "0000"
        found = client.post("/api/peers/ARCHIVE/find", json={"level": "STUDY", "keys": {"StudyInstanceUID": study}})
        assert found.headers["content-type"] == "application/dicom+json"
        assert [match["0020000D"]["Value"] for match in found.json()] == [[study]]
        wrong = client.post("/api/peers/ARCHIVE/find", json={"keys": {"Nonsense": ""}})
        assert (wrong.status_code, "Nonsense" in wrong.json()["detail"]) == (400, True)
        client.put("/api/peers/GONE", json={"host": "127.0.0.1", "port": free_port()})
        gone = client.post("/api/peers/GONE/echo", json={})
        assert gone.status_code == 502
        assert "cannot be reached" in gone.json()["detail"]
    assert f"ARCHIVE   127.0.0.1:{server.dimse_port}" in run(tmp_path, "peers", "list", *folder)[1]
    assert run(tmp_path, "peers", "echo", "ARCHIVE", *folder)[1].startswith("ARCHIVE answered 0000 after ")
    status, _, err = run(tmp_path, "peers", "echo", "GONE", *folder)
    assert (status, "cannot be reached" in err) == (5, True)
    status, out, err = run(tmp_path, "peers", "find", "ARCHIVE", "-k", f"StudyInstanceUID={study}", *folder)
    assert study in out and "1 matches." in err
    out = run(tmp_path, "peers", "find", "ARCHIVE", "--json", "-k", f"StudyInstanceUID={study}", *folder)[1]
    assert json.loads(out)["0020000D"]["Value"] == [study]
    assert run(tmp_path, "peers", "remove", "GONE", *folder)[0] == 0
    status, _, err = run(tmp_path, "peers", "show", "GONE", *folder)
    assert status == 3 and "dicomweb peers add GONE" in err
    assert json.loads(run(tmp_path, "peers", "show", "ARCHIVE", *folder)[1])["host"] == "127.0.0.1"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make certificates")
def test_commands_call_with_the_certificates_of_the_running_server(
    serve: Callable[..., LiveServer], tmp_path: Path
) -> None:
    """Beside a server its TLS settings hold, wherever the command is given; what the command is told itself wins."""
    make = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("we", "stranger"):
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", "-days", "2")
        subprocess.run([*make, *files], cwd=tmp_path, check=True, capture_output=True)
    tls = ("--dimse-tls-port", "0", "--dimse-tls-certificate", "we.pem", "--dimse-tls-key", "we.key")
    believed = ("--dimse-tls-ca", "we.pem", "--dimse-tls-client-certificates", "required")
    server = serve("--workers", "1", "--aet", "ARCHIVE", *tls, *believed)  # in the folder of these files
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "other.toml").write_text(f'dimse_tls_ca = "{tmp_path / "stranger.pem"}"\n')
    folder = ("--data-dir", str(server.data_dir))
    add = ("peers", "add", "ARCHIVE", "127.0.0.1", str(server.dimse_tls_port), "--tls")
    assert run(elsewhere, *add, *folder)[0] == 0
    status, out, err = run(elsewhere, "peers", "echo", "ARCHIVE", *folder)
    assert (status, out[:21]) == (0, "ARCHIVE answered 0000"), err
    assert run(elsewhere, "peers", "find", "ARCHIVE", *folder)[0] == 0
    status, _, err = run(elsewhere, "peers", "echo", "ARCHIVE", "--config", "other.toml", *folder)
    assert (status, "certificate is not trusted" in err) == (5, True), err


def test_a_study_is_sent_over_the_death_of_the_job_worker(serve: Callable[..., LiveServer]) -> None:
    """`kill -9` of the job worker amid a send: another one goes on, and what was acknowledged and written down before
    is not sent again."""
    server = serve("--workers", "1")
    study, instances = stored(server, 60)
    with storage_peer() as remote:

        def slowly(uid: str) -> int:
            time.sleep(0.05)
            return 0

        remote.answer = slowly
        put(server, remote.peer)
        with httpx2.Client(base_url=server.url) as client:
            queued = client.post("/api/jobs", json={"kind": "send", "peer": "STORE", "studies": [study]})
            assert queued.status_code == 202
        url = queued.headers["location"]
        until(server, url, lambda job: job["progress"]["done"] >= 15)
        written = until(server, url, lambda job: True)["progress"]["done"]
        os.kill(child(server, "jobs"), signal.SIGKILL)
        job = until(server, url, lambda job: job["state"] not in ("queued", "running", "waiting"))
        assert (job["state"], job["progress"]["done"], job["progress"]["failed"]) == ("done", 60, 0)
        assert set(remote.received) == set(instances)
        assert all(remote.received.count(uid) == 1 for uid in instances[:written])


def test_a_study_is_pulled_by_the_running_server(serve: Callable[..., LiveServer], tmp_path: Path) -> None:
    """`dicomweb peers pull` waits for the job of the server, by C-MOVE to its gateway, and says how it ended."""
    server = serve("--workers", "1")
    study = new_uid()
    files = [ct_slice(study, f"{study}.1", rows=8, columns=8) for _ in range(3)]
    with remote_archive(tmp_path, server.dimse_port, *files, compressed=False) as peer:
        put(server, peer)
        status, out, err = run(tmp_path, "peers", "pull", "REMOTE", study, "--data-dir", str(server.data_dir))
        assert (status, "is done: 3 done, 0 failed" in out) == (0, True), out + err
    with httpx2.Client(base_url=server.root) as client:
        assert len(client.get(f"/studies/{study}/instances").json()) == 3


def test_peers_work_without_a_server(tmp_path: Path) -> None:
    """The commands open the archive themselves: add, pull by C-GET, send; what needs a server says so."""
    study = new_uid()
    files = [ct_slice(study, f"{study}.1", rows=8, columns=8) for _ in range(3)]
    folder = ("--data-dir", str(tmp_path / "data"))
    with remote_archive(tmp_path, 1, *files) as peer, storage_peer() as store:
        for one in (peer, store.peer):
            status, _, err = run(tmp_path, "peers", "add", one.ae_title, one.host, str(one.port), *folder)
            assert status == 0, err
        status, _, err = run(tmp_path, "peers", "pull", "REMOTE", study, *folder)
        assert status == 2 and "--get" in err
        status, out, err = run(tmp_path, "peers", "pull", "REMOTE", study, "--get", *folder)
        assert (status, "is done: 3 done" in out) == (0, True), out + err
        status, out, err = run(tmp_path, "peers", "send", "STORE", study, *folder)
        assert (status, "is done: 3 done" in out) == (0, True), out + err
        assert sorted(store.received) == sorted(sop_instance_uid(file) for file in files)
        status, _, err = run(tmp_path, "peers", "send", "STORE", "../etc", *folder)
        assert status == 2 and "is not a UID" in err
    status, out, err = run(tmp_path, "peers", "send", "STORE", study, *folder)
    assert status == 1 and "waiting" in out and "cannot be reached" in out
