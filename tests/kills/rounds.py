"""One round after the other: traffic, a kill, recovery, and everything that was acknowledged looked at."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from tests.builders import new_uid
from tests.kills.ledger import Ledger, Sent
from tests.kills.traffic import Traffic, read, stow
from tests.kills.victims import RESTARTED, kill
from tests.live.exchange import View
from tests.live_server import REPOSITORY, LiveServer, runs, start_server, wait_until_ready

READY_WITHIN = 180.0
FLAGS = ("--workers", "2", "--log-level", "warning")


@dataclass
class Round:
    """What became of a round.

    Attributes
    ----------
    seconds : float
        From the kill until everything was ready again.
    """

    victim: str
    acknowledged: int = 0
    by_store: int = 0
    reads: int = 0
    lost: int = 0
    wrong: int = 0
    seconds: float = 0.0

    @property
    def line(self) -> str:
        """One line."""
        return (
            f"{self.victim:12} {self.acknowledged:5} acknowledged, {self.by_store:4} of them by C-STORE, "
            f"{self.reads:5} reads, {self.lost} lost, {self.wrong} wrong, ready after {self.seconds:.1f} s"
        )


ROUNDS_OF_A_STUDY = 20
"""In which all clients store into one study: it is to stay smaller than the longest list there is, 5 000 instances."""


@dataclass
class Rounds:
    """A server that is killed again and again, and what it was told to keep.

    Attributes
    ----------
    lost : list of str
        What was acknowledged and is not there any more.
    """

    folder: Path
    chance: random.Random
    ledger: Ledger = field(default_factory=Ledger)
    lost: list[str] = field(default_factory=list)
    shared: str = field(default_factory=new_uid)

    def __post_init__(self) -> None:
        self.server = self._started()
        self._is_fresh = True
        self._in_shared = 0

    def run(self, victim: str) -> Round | None:
        """Do one round; None when there is nobody of this kind to kill."""
        before = set(self.ledger.acknowledged), self.ledger.reads, len(self.lost), len(self.ledger.wrong)
        self._in_shared += 1
        if self._in_shared > ROUNDS_OF_A_STUDY:
            self.shared, self._in_shared = new_uid(), 1
        with Traffic(self.server, self.ledger, self.chance, self.shared) as traffic:
            traffic.wait_for_the_first_answer()
            self._give_work_to_jobs()
            time.sleep(self.chance.uniform(0.1, 1.0))
            killed = time.monotonic()
            if not kill(self.server, victim, self.chance):
                return None
            if victim not in RESTARTED:
                time.sleep(self.chance.uniform(0.2, 1.5))  # clients go on while it is missing
        self._is_fresh = victim in RESTARTED
        if self._is_fresh:
            self.server.process.wait()
            self.server = self._started()
        self._wait_until_all_run()
        seconds = time.monotonic() - killed
        keys, reads, lost, wrong = before
        fresh = [sent for key, sent in self.ledger.acknowledged.items() if key not in keys]
        self._look_at(fresh)
        self._send_again()
        return Round(
            victim,
            len(fresh),
            sum(sent.by_store for sent in fresh),
            self.ledger.reads - reads,
            len(self.lost) - lost,
            len(self.ledger.wrong) - wrong,
            seconds,
        )

    def finish(self) -> str:
        """Look at everything again, after a restart; returns what `dicomweb check` said."""
        if not self._is_fresh:  # what nobody was told of is swept at a start: `check` is to find nothing after it
            self.server.stop()
            self.server = self._started()
        everything = self.ledger.known()
        self._look_at(everything)
        with httpx2.Client(base_url=self.server.root, timeout=60) as client:
            self._count(client, everything)
        command = [sys.executable, "-m", "dicomweb.cli", "check", "--data-dir", str(self.server.data_dir)]
        checked = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=900, check=False)
        said = (checked.stdout + checked.stderr).strip()
        if checked.returncode:
            self.ledger.wrong.append(f"check: {said[-2000:]}")
        return said.splitlines()[-1]

    def stop(self) -> None:
        """End the server."""
        self.server.stop()

    def _started(self) -> LiveServer:
        """Start the server; who took over after a killed supervisor may need a moment to leave the folder."""
        deadline = time.monotonic() + READY_WITHIN
        while True:
            server = start_server(self.folder / "data", *FLAGS)
            try:
                wait_until_ready(server, within=READY_WITHIN)
                return server
            except BaseException as error:
                has_ended = server.process.poll() is not None
                server.stop()
                if not (has_ended and isinstance(error, AssertionError)) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _wait_until_all_run(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        listed = self.server.data_dir / "run" / "children.json"
        while time.monotonic() < deadline:
            wait_until_ready(self.server, within=READY_WITHIN)
            if all(each["pid"] and runs(each["pid"]) for each in json.loads(listed.read_text()).values()):
                return
            time.sleep(0.05)
        raise AssertionError(f"not everything runs again:\n{self.server.log_tail()}")

    def _give_work_to_jobs(self) -> None:
        """Have a study sent from the archive to itself, so that the job worker has something to lose."""
        studies = sorted({sent.key[0] for sent in self.ledger.known()})
        peer = {"host": "127.0.0.1", "port": self.server.dimse_port}
        with httpx2.Client(base_url=self.server.url, timeout=60) as client:
            assert client.put("/api/peers/DICOMWEB", json=peer).status_code < 300
            wanted = {"kind": "send", "peer": "DICOMWEB", "studies": self.chance.sample(studies, 1)}
            assert client.post("/api/jobs", json=wanted).status_code < 300

    def _look_at(self, instances: Iterable[Sent]) -> None:
        """Read instances back and find them; what is not there is lost."""
        with httpx2.Client(base_url=self.server.root, timeout=120) as client:
            for sent in instances:
                found = client.get("instances", params={"SOPInstanceUID": sent.key[2]})
                matches = len(found.json()) if found.status_code == 200 else 0
                if matches != 1:
                    self.lost.append(f"{sent.key[2]} is found {matches} times ({found.status_code})")
                for form in ("file", "frames", "rendered"):
                    before = self.ledger.reads
                    read(client, self.ledger, sent, form)
                    if self.ledger.reads == before:
                        self.lost.append(f"{form} of {sent.key[2]} does not come back")
            for study in {sent.key[0] for sent in instances}:
                if not (view := View.of(client, study)).agrees:
                    self.ledger.wrong.append(f"study {study} is counted {view.counted}, listed {len(view.listed)}")

    def _send_again(self) -> None:
        """Send again what had no answer, as clients do: a success, whether it had arrived or not."""
        with httpx2.Client(base_url=self.server.root, timeout=120) as client:
            for sent in self.ledger.take_unanswered():
                if sent.by_store:  # its file has another head: only its key and its data set must be the same
                    continue
                stow(client, self.ledger, [sent])
                if sent.key not in self.ledger.acknowledged:
                    self.ledger.wrong.append(f"{sent.key[2]} cannot be sent again")

    def _count(self, client: httpx2.Client, everything: list[Sent]) -> None:
        """No instance is listed twice, and nothing that nobody sent."""
        listed: Counter[str] = Counter()
        while page := client.get("instances", params={"limit": 1000, "offset": listed.total()}).json():
            listed.update(item["00080018"]["Value"][0] for item in page)
        twice = [uid for uid, count in listed.items() if count > 1]
        self.ledger.wrong += [f"{uid} is listed more than once" for uid in twice]
        self.lost += [f"{sent.key[2]} is not listed" for sent in everything if sent.key[2] not in listed]
