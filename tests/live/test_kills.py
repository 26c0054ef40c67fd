"""A few rounds of `python -m tests.kills`, and that it would notice what it looks for."""

import random
from pathlib import Path

import httpx2
import pytest

from tests.builders import new_uid
from tests.kills.images import made
from tests.kills.ledger import Ledger, Sent
from tests.kills.rounds import Rounds
from tests.kills.traffic import is_what_was_sent, read, stow
from tests.live.exchange import path_of
from tests.live_server import LiveServer

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

VICTIMS = ("gateway", "backend", "all")


def test_nothing_acknowledged_is_lost_whoever_is_killed(tmp_path: Path) -> None:
    """`kill -9` of one process after the other under STOW, C-STORE and reading: nothing is lost, nothing is wrong."""
    rounds = Rounds(tmp_path, random.Random(3))
    try:
        done = [rounds.run(victim) for victim in VICTIMS]
        checked = rounds.finish()
    finally:
        rounds.stop()
    assert rounds.lost == [] and rounds.ledger.wrong == []
    assert all(each is not None and each.acknowledged and each.reads for each in done)
    assert any(sent.by_store for sent in rounds.ledger.known())
    assert checked.endswith("0 findings.")


@pytest.fixture
def kept(server: LiveServer) -> tuple[Ledger, Sent, str]:
    """An instance that was acknowledged, the ledger that says so, and the root to ask."""
    ledger, sent = Ledger(), made(random.Random(1), new_uid(), new_uid(), 1)
    with httpx2.Client(base_url=server.root, timeout=60) as client:
        stow(client, ledger, [sent])
    assert ledger.known() == [sent]
    return ledger, sent, server.root


@pytest.mark.parametrize("form", ["file", "frames"])
def test_other_bytes_than_those_sent_are_wrong(kept: tuple[Ledger, Sent, str], form: str) -> None:
    """Files and samples are compared; what is not there any more is wrong, too."""
    ledger, sent, root = kept
    with httpx2.Client(base_url=root, timeout=60) as client:
        read(client, ledger, sent, form)
        assert (ledger.reads, ledger.wrong) == (1, [])
        read(client, ledger, sent._replace(file="", pixels=""), form)
        read(client, ledger, sent._replace(key=(new_uid(), new_uid(), new_uid())), form)
    assert len(ledger.wrong) == 2


def test_another_picture_than_before_is_wrong(kept: tuple[Ledger, Sent, str]) -> None:
    """A picture is the same whenever it is asked for."""
    ledger, sent, root = kept
    with httpx2.Client(base_url=root, timeout=60) as client:
        for _ in range(2):
            read(client, ledger, sent, "rendered")
        assert (ledger.reads, ledger.wrong) == (2, [])
        ledger.saw_picture(sent.key, "rendered", client.get(path_of(sent.key) + "/thumbnail").content)
    assert len(ledger.wrong) == 1


def test_two_parts_are_not_one_file() -> None:
    """An instance that comes back twice is not what was sent."""
    sent = made(random.Random(1), new_uid(), new_uid(), 1)
    assert is_what_was_sent(sent, "file", [sent.data])
    assert not is_what_was_sent(sent, "file", [sent.data, sent.data])
    assert not is_what_was_sent(sent, "file", [sent.data[:-1] + b"\1"])
