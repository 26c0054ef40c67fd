"""What was acknowledged is never lost: many clients at once, and `kill -9` of everything while they store."""

import asyncio
import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from storage.archive import Archive
from storage.database.data_folder import DataFolder
from storage.upkeep.verify import Finding, verify
from tests.builders import ct_slice, new_uid
from tests.live.exchange import (
    Key,
    View,
    failures,
    key_in,
    path_of,
    retrieve,
    store,
    stored_keys,
)
from tests.live_server import REPOSITORY, LiveServer, start_server, wait_until_ready

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

KILLS = int(os.environ.get("DICOMWEB_TEST_KILLS", "20"))
CLIENTS = 8


@dataclass
class Ledger:
    """What the clients were told: the files acknowledged by their key, and those sent without an answer."""

    acknowledged: dict[Key, bytes] = field(default_factory=dict)
    unanswered: list[bytes] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def send(self, client: httpx2.Client, files: list[bytes]) -> bool:
        """Store files in one request and write down what became of them; False when there is no answer."""
        try:
            answer = store(client, *files)
        except httpx2.TransportError:
            self.unanswered += files
            return False
        if answer.status_code not in (200, 202, 409, 503):
            self.told.append(f"{answer.status_code} {answer.text}")
        keys = set(stored_keys(answer)) if answer.status_code in (200, 202) else set()
        for file in files:
            if (key := key_in(file)) in keys:
                self.acknowledged[key] = hashlib.sha256(file).digest()
            else:
                self.unanswered.append(file)
                self.told += [f"{reason:04X} {text}" for reason, text in failures(answer)]
        return True


def test_parallel_clients_are_counted_exactly(serve: Callable[..., LiveServer]) -> None:
    """Eight clients store into one study at once: no failure, no miscount, all modalities (C-080, C-081; B-064)."""
    server = serve("--workers", "2")
    study, shared = new_uid(), new_uid()
    ledger = Ledger()
    start = threading.Barrier(CLIENTS)

    def client(number: int) -> None:
        own = new_uid()
        with httpx2.Client(base_url=server.root, timeout=60) as opened:
            start.wait()
            for turn in range(10):
                modality = ("CT", "MR", "PT", "US")[number % 4]
                files = [
                    ct_slice(study, shared, rows=8, columns=8, instance_number=100 * number + turn),
                    ct_slice(study, own, rows=8, columns=8, instance_number=turn, Modality=modality),
                ]
                assert ledger.send(opened, files[: 1 + turn % 2])

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    assert ledger.told == [] and ledger.unanswered == []
    assert len(ledger.acknowledged) == CLIENTS * 15
    with httpx2.Client(base_url=server.root, timeout=60) as opened:
        view = View.of(opened, study)
        assert view.agrees
        assert view.listed == set(ledger.acknowledged)
        assert (view.counted, view.series) == (CLIENTS * 15, 1 + CLIENTS)
        assert view.modalities == ["CT", "MR", "PT", "US"]
        series = opened.get(f"studies/{study}/series").json()
        counts = {item["0020000E"]["Value"][0]: item["00201209"]["Value"][0] for item in series}
        assert counts.pop(shared) == CLIENTS * 10
        assert set(counts.values()) == {5}
    assert findings(server) == []


def test_one_file_from_all_clients_is_stored_once(serve: Callable[..., LiveServer]) -> None:
    """The same instance sent by eight clients at once is a success for each, and one instance (B-042, C-084)."""
    server = serve("--workers", "2")
    same = [ct_slice(rows=8, columns=8) for _ in range(5)]
    study, series, instance = new_uid(), new_uid(), new_uid()
    other = [ct_slice(study, series, instance, rows=8, columns=8, instance_number=number) for number in range(CLIENTS)]
    start = threading.Barrier(CLIENTS)

    def client(number: int) -> tuple[list[int], int]:
        with httpx2.Client(base_url=server.root, timeout=60) as opened:
            start.wait()
            statuses = [store(opened, file).status_code for file in same]
            return statuses, store(opened, other[number]).status_code

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(client, range(CLIENTS)))
    assert [statuses for statuses, _ in answers] == [[200] * 5] * CLIENTS
    assert sorted(status for _, status in answers) == [200] + [409] * (CLIENTS - 1)
    winner = next(other[number] for number, (_, status) in enumerate(answers) if status == 200)
    with httpx2.Client(base_url=server.root, timeout=60) as opened:
        assert retrieve(opened, path_of((study, series, instance))) == [winner]
        assert all(View.of(opened, key_in(file)[0]).listed == {key_in(file)} for file in same)
    assert findings(server) == []


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    """`kill -9` of every process, PostgreSQL too, in the middle of storing, again and again (promise 2; B-020)."""
    chance = random.Random(20)
    everything = Ledger()
    shared = new_uid()
    server = running(tmp_path / "data")
    try:
        for cycle in range(KILLS):
            ledger = Ledger()
            kill_while_storing(server, ledger, shared, chance)
            server = running(tmp_path / "data", workers=1 + cycle % 2)
            with httpx2.Client(base_url=server.root, timeout=60) as client:
                assert_all_is_there(client, ledger)
                everything.acknowledged |= ledger.acknowledged
                view = View.of(client, shared)
                assert view.agrees
                assert {key for key in everything.acknowledged if key[0] == shared} <= view.listed
                everything.acknowledged |= resend(client, ledger.unanswered)
            assert list((tmp_path / "data" / "blobs" / ".staging").iterdir()) == []
        assert len(everything.acknowledged) > 10 * KILLS
        check = [sys.executable, "-m", "dicomweb.cli", "check", "--data-dir", str(tmp_path / "data")]
        checked = subprocess.run(check, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        with httpx2.Client(base_url=server.root, timeout=60) as client:
            assert_all_is_there(client, everything)
            total = sum(1 for _ in all_instances(client))
            assert total == len(everything.acknowledged)
    finally:
        server.stop()


def running(folder: Path, workers: int = 2) -> LiveServer:
    server = start_server(folder, "--workers", str(workers))
    wait_until_ready(server)
    return server


def kill_while_storing(server: LiveServer, ledger: Ledger, shared: str, chance: random.Random) -> None:
    """Let four clients store until the server is killed under them, some time after the first answer."""
    began = threading.Event()

    def client(number: int) -> None:
        study, series = (shared, new_uid()) if number % 2 else (new_uid(), new_uid())
        with httpx2.Client(base_url=server.root, timeout=30) as opened:
            turn = 0
            going = True
            while going:
                turn += 1
                sizes = [8 + 120 * (turn % 3)] * (1 if number < 2 else 4)
                files = [
                    ct_slice(study, series, rows=size, columns=size, instance_number=turn * 10 + place)
                    for place, size in enumerate(sizes)
                ]
                going = ledger.send(opened, files)
                began.set()

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in clients:
        thread.start()
    assert began.wait(30)
    time.sleep(chance.uniform(0.05, 0.4))
    server.kill()
    for thread in clients:
        thread.join()
    assert ledger.told == []


def assert_all_is_there(client: httpx2.Client, ledger: Ledger) -> None:
    """Everything acknowledged comes back with the bytes that were sent; what is visible is whole."""
    for study in {key[0] for key in ledger.acknowledged}:
        assert View.of(client, study).agrees
    for key, digest in ledger.acknowledged.items():
        (file,) = retrieve(client, path_of(key))
        assert hashlib.sha256(file).digest() == digest


def resend(client: httpx2.Client, files: list[bytes]) -> dict[Key, bytes]:
    """Send again what had no answer, as a client does: always a success, whether it had arrived or not (B-042)."""
    if not files:
        return {}
    answer = store(client, *files)
    assert answer.status_code == 200, answer.text
    return {key_in(file): hashlib.sha256(file).digest() for file in files}


def all_instances(client: httpx2.Client) -> Iterator[str]:
    """The SOP Instance UIDs of the whole archive, page by page."""
    offset = 0
    while page := client.get("instances", params={"limit": 1000, "offset": offset}).json():
        yield from (item["00080018"]["Value"][0] for item in page)
        offset += len(page)


def test_a_replacement_is_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """`kill -9` while files take each other's place: never neither, never less than what was told (B-043)."""
    keys = [(new_uid(), new_uid(), new_uid()) for _ in range(4)]
    told, sent = dict.fromkeys(keys, 0), dict.fromkeys(keys, 0)

    def version(key: Key, number: int) -> bytes:
        return ct_slice(*key, rows=64, columns=64, instance_number=number)

    def client(server: LiveServer, key: Key) -> None:
        with httpx2.Client(base_url=server.root, timeout=30) as opened:
            while True:
                sent[key] += 1
                try:
                    answer = store(opened, version(key, sent[key]))
                except httpx2.TransportError:
                    return
                if answer.status_code in (200, 202):
                    told[key] = sent[key]

    for _ in range(max(1, KILLS // 5)):
        server = start_server(tmp_path / "data", "--workers", "2", "--duplicates", "replace")
        wait_until_ready(server)
        with ThreadPoolExecutor(len(keys)) as pool:
            clients = [pool.submit(client, server, key) for key in keys]
            time.sleep(1)
            server.kill()
            for future in clients:
                future.result()
        server = start_server(tmp_path / "data", "--workers", "1")
        try:
            wait_until_ready(server)
            with httpx2.Client(base_url=server.root, timeout=60) as opened:
                for key in keys:
                    allowed = [version(key, number) for number in range(max(told[key], 1), sent[key] + 1)]
                    (file,) = retrieve(opened, path_of(key))
                    assert file in allowed
                    assert View.of(opened, key[0]).agrees
            assert findings(server) == []
            assert len(list((tmp_path / "data" / "blobs").rglob("*.dcm"))) == len(keys)
        finally:
            server.stop()


def test_a_killed_database_loses_nothing(serve: Callable[..., LiveServer]) -> None:
    """PostgreSQL killed under eight clients: failures say so, nobody is told a lie, storing goes on (design 2)."""
    server = serve("--workers", "2")
    ledger = Ledger()
    over = time.monotonic() + 4

    def client(_: int) -> None:
        study, series = new_uid(), new_uid()
        with httpx2.Client(base_url=server.root, timeout=60) as opened:
            turn = 0
            while time.monotonic() < over:
                turn += 1
                ledger.send(opened, [ct_slice(study, series, rows=8, columns=8, instance_number=turn)])

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, number) for number in range(CLIENTS)]
        time.sleep(1)
        for pid in server.processes():
            if Path(f"/proc/{pid}/comm").read_text().startswith("postgres"):
                os.kill(pid, 9)
                break
        for future in clients:
            future.result()
    assert all(text.startswith("A700") for text in ledger.told), ledger.told
    with httpx2.Client(base_url=server.root, timeout=60) as opened:
        wait_until_ready(server)
        assert ledger.acknowledged
        assert_all_is_there(opened, ledger)
        resend(opened, ledger.unanswered)
    assert findings(server) == []


def findings(server: LiveServer) -> list[Finding]:
    """What a check of files against index finds wrong."""

    async def check() -> list[Finding]:
        facts = DataFolder.running(server.data_dir)
        assert facts
        archive = await Archive.open(facts["database_url"], server.data_dir)
        try:
            return [found async for found in verify(archive) if isinstance(found, Finding)]
        finally:
            await archive.close()

    deadline = time.monotonic() + 10
    while DataFolder.running(server.data_dir) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return asyncio.run(check())
