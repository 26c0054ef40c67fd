"""`dicomweb jobs`: what it lists and shows, and what can be cancelled and tried again."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.archive import Archive
from storage.work.jobs import JobQueue, Jobs
from tests.dicomweb.test_cli import run

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `dicomweb jobs` on an archive with two jobs: a failed pull, and a send that is queued."""

    async def fill() -> None:
        archive = await Archive.open(database_url, tmp_path / "data")
        jobs = Jobs(archive.pool)
        await jobs.add("pull", {"peer": "PACS", "entities": [{"study_instance_uid": "1.2"}]})
        claimed = await JobQueue(archive.pool, ["pull"]).claim()
        assert claimed is not None
        await claimed.keep(total=3, items={"1.2.1": None, "1.2.2": "It did not come."})
        await claimed.finish("failed", "1 of the items cannot be done.")
        await jobs.add("send", {"peer": "STORE", "entities": []})
        await archive.close()

    asyncio.run(fill())

    def call(*arguments: str) -> tuple[int, str, str]:
        return run(capsys, "jobs", *arguments, "--data-dir", str(tmp_path / "data"), "--database-url", database_url)

    return call


def test_jobs_are_listed_the_newest_first(command: Command) -> None:
    """Each is one line: number, state, kind, peer, when it was asked for, how far it is, why it stopped."""
    status, out, _ = command("list")
    send, pull = out.splitlines()
    assert (status, send.split()[:4], pull.split()[:4]) == (
        0,
        ["2", "queued", "send", "STORE"],
        ["1", "failed", "pull", "PACS"],
    )
    assert pull.endswith(" 1 of 3 done, 1 failed: 1 of the items cannot be done.")
    assert command("list", "--state", "failed")[1] == command("list", "--kind", "pull")[1] == pull + "\n"
    assert command("list", "--limit", "1")[1] == send + "\n"


def test_a_job_is_shown_with_what_failed(command: Command) -> None:
    """In words, and as `/api/jobs` shows it; one that is not there is said so."""
    _, out, _ = command("show", "1")
    assert out.splitlines()[1:] == [
        '{"peer":"PACS","entities":[{"study_instance_uid":"1.2"}]}',
        "1.2.2: It did not come.",
    ]
    _, out, _ = command("show", "1", "--json")
    shown: dict[str, Any] = json.loads(out)
    assert (shown["id"], shown["progress"]["failed"], shown["parameters"]["peer"]) == (1, 1, "PACS")
    status, _, err = command("show", "99")
    assert (status, err) == (3, "dicomweb: There is no job 99; dicomweb jobs list shows those there are.\n")


def test_jobs_are_cancelled_and_tried_again(command: Command) -> None:
    """What is in no state for that is refused with its state."""
    assert command("cancel", "2") == (0, "Job 2 is cancelled.\n", "")
    assert command("cancel", "1") == (1, "", "dicomweb: Job 1 is over: failed.\n")
    assert command("retry", "1") == (0, "Job 1 is queued again.\n", "")
    assert command("retry", "1") == (1, "", "dicomweb: There is nothing to try again: job 1 is queued.\n")
    assert command("retry", "99")[0] == 3
