"""`dicomweb import`, `check` and `reindex` as processes of their own, alone and beside a running server."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.builders import ct_slice
from tests.corpus import REPOSITORY, wheel_files
from tests.live_server import LiveServer

WITHIN = 120.0
SUMMARY = re.compile(
    r"(?P<files>[\d,]+) files?: (?P<stored>[\d,]+) stored, (?P<there>[\d,]+) already there, "
    r"(?P<replaced>[\d,]+) replaced, (?P<passed>[\d,]+) passed over \(not DICOM\), (?P<refused>[\d,]+) refused"
    r"(?:, (?P<taken>[\d,]+) taken by an earlier run)?\."
)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a command in a process group of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DICOMWEB_")}
    return subprocess.Popen(
        [sys.executable, "-m", "dicomweb.cli", *arguments],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(REPOSITORY), "XDG_STATE_HOME": str(folder / "state")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a command; its exit status and what it wrote. No command ever shows a traceback."""
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=WITHIN)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def counts(out: str) -> dict[str, int]:
    """The numbers of the summary of an import."""
    found = SUMMARY.match(out)
    assert found, out
    return {name: int((number or "0").replace(",", "")) for name, number in found.groupdict().items()}


def series(folder: Path, count: int, study: str = "1.2.3") -> Path:
    """Write a series of small images."""
    folder.mkdir(parents=True)
    for number in range(count):
        image = ct_slice(study, f"{study}.1", f"{study}.1.{number + 1}", rows=32, columns=32)
        (folder / f"IM{number:05}").write_bytes(image)
    return folder


def stored_files(data: Path) -> list[Path]:
    """The published files of an archive."""
    return sorted((data / "blobs").glob("2*/*/*.dcm"))


def test_import_check_and_reindex_of_the_files_of_the_wheels(tmp_path: Path) -> None:
    """Real files of every kind: taken or refused with a reason, then index and files agree, then it is made anew."""
    folders = sorted({str(path.parent) for path in wheel_files()})
    status, out, _ = run(tmp_path, "import", *folders, "--data-dir", "data", "--report", "report.jsonl")
    first = counts(out)
    assert status == 1  # pydicom brings files that are broken on purpose
    assert first["stored"] > 100
    assert first["refused"] > 10
    lines = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    refused = [line for line in lines if line["status"] == "refused"]
    assert len(refused) == first["refused"]
    assert all(line["reason"] and line["path"] for line in refused)
    assert list((tmp_path / "data" / "imports").iterdir()) == []

    status, out, _ = run(tmp_path, "import", *folders, "--data-dir", "data")
    again = counts(out)
    assert (again["stored"], again["there"]) == (0, first["stored"] + first["there"])

    shutil.rmtree(tmp_path / "data" / "postgres")
    status, out, _ = run(tmp_path, "reindex", "--data-dir", "data")
    assert (status, out) == (0, f"{first['stored']:,} files indexed, 0 could not be.\n")
    assert run(tmp_path, "check", "--data-dir", "data")[:2] == (0, "")


def test_an_import_that_was_killed_goes_on_without_sending_again(tmp_path: Path) -> None:
    """SIGKILL midway: what was acknowledged is passed by, everything else arrives, nothing is left behind."""
    count = 1500
    series(tmp_path / "in", count - 1)
    with zipfile.ZipFile(tmp_path / "in" / "more.zip", "w") as archive:
        archive.writestr("IM1", ct_slice("1.2.4", "1.2.4.1", "1.2.4.1.1", rows=32, columns=32))
    data = tmp_path / "data"
    process = start(tmp_path, "import", "in", "--data-dir", "data")
    deadline = time.monotonic() + WITHIN
    while len(stored_files(data) if data.exists() else []) < 300 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    status, out, err = run(tmp_path, "import", "in", "--data-dir", "data")
    result = counts(out)
    assert status == 0
    assert "Going on where an earlier run stopped" in err
    assert result["taken"] >= 64
    assert result["taken"] + result["there"] + result["stored"] == count
    assert result["there"] <= 4 * 32  # committed, not yet written down: at most what four jobs had under way
    assert len(stored_files(data)) == count
    assert list((data / "blobs" / ".staging").iterdir()) == []
    assert list((data / "imports").iterdir()) == []
    assert run(tmp_path, "check", "--data-dir", "data")[0] == 0


def test_ctrl_c_finishes_what_is_under_way_and_says_how_to_go_on(
    serve: Callable[..., LiveServer], tmp_path: Path
) -> None:
    """SIGINT into an import by STOW-RS: status 130, and the next run sends only the rest."""
    server = serve("--workers", "1")
    series(tmp_path / "in", 1500)
    process = start(tmp_path, "import", "in", "--to", server.root)
    deadline = time.monotonic() + WITHIN
    while len(stored_files(server.data_dir)) < 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WITHIN)
    assert process.returncode == 130, err
    assert "the same command goes on" in err
    before = counts(out)["stored"]
    assert 100 < before < 1500

    status, out, _ = run(tmp_path, "import", "in", "--to", server.root)
    assert status == 0
    assert counts(out)["taken"] == before
    assert counts(out)["stored"] == 1500 - before
    found = httpx2.get(f"{server.root}/studies", params={"includefield": "NumberOfStudyRelatedInstances"}).json()
    assert found[0]["00201208"]["Value"] == [1500]


def test_commands_beside_a_running_server(serve: Callable[..., LiveServer], tmp_path: Path) -> None:
    """import and check join the server's database; reindex says in one line that it must be alone."""
    server = serve("--workers", "1")
    series(tmp_path / "in", 40)
    (tmp_path / "in" / "IM00000.txt").write_text("not an image")
    folder = str(server.data_dir)
    status, out, _ = run(tmp_path, "import", "in", "--data-dir", folder)
    assert status == 0
    assert (counts(out)["stored"], counts(out)["passed"]) == (40, 1)
    assert len(httpx2.get(f"{server.root}/instances").json()) == 40

    damaged, missing, *_ = stored_files(server.data_dir)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    missing.unlink()
    stray = missing.with_name("0199aaaaaaaa7000800000000000aaaa.dcm")
    stray.write_bytes(b"what is this?")
    status, out, _ = run(tmp_path, "check", "--data-dir", folder, "--json")
    assert status == 1
    found = {line["kind"]: line for line in map(json.loads, out.splitlines())}
    assert set(found) == {"damaged", "missing", "unindexed"}
    assert found["missing"]["what"].endswith(missing.name)
    assert found["missing"]["repair"] is None
    status, out, err = run(tmp_path, "check", "--data-dir", folder, "--repair")
    assert status == 0, err
    assert "send the instance again" in out
    assert run(tmp_path, "check", "--data-dir", folder)[0] == 0
    assert len(httpx2.get(f"{server.root}/instances").json()) == 38

    status, out, err = run(tmp_path, "import", "in", "--data-dir", folder)
    assert (counts(out)["stored"], counts(out)["there"]) == (2, 38)
    status, _, err = run(tmp_path, "reindex", "--data-dir", folder)
    assert status == 4
    assert len(err.splitlines()) == 1
    assert "stop that one first" in err


def test_a_server_that_goes_away_stops_the_import_and_loses_nothing(
    serve: Callable[..., LiveServer], tmp_path: Path
) -> None:
    """The import ends with one clear line; when the server is back the rest is sent."""
    server = serve("--workers", "1")
    series(tmp_path / "in", 1200)
    process = start(tmp_path, "import", "in", "--to", server.root, "--jobs", "2")
    deadline = time.monotonic() + WITHIN
    while len(stored_files(server.data_dir)) < 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    server.kill()
    process.send_signal(signal.SIGINT)  # nobody waits for the pauses between attempts
    _, err = process.communicate(timeout=WITHIN)
    assert process.returncode in (1, 130), err
    assert "Traceback" not in err

    restarted = serve("--workers", "1", data_dir=server.data_dir)
    status, out, err = run(tmp_path, "import", "in", "--to", restarted.root)  # on another port: begins anew
    assert status == 0, err
    assert counts(out)["files"] == 1200
    assert len(stored_files(server.data_dir)) == 1200


def test_reindex_keeps_what_a_crash_left_and_names_what_it_cannot_read(tmp_path: Path) -> None:
    """Promises 2 and 4: without a database nobody knows what was acknowledged, so every published file is taken."""
    series(tmp_path / "in", 5)
    run(tmp_path, "import", "in", "--data-dir", "data")
    files = stored_files(tmp_path / "data")
    staging = tmp_path / "data" / "blobs" / ".staging"
    for path in files:
        (staging / path.name).hardlink_to(path)
    shutil.rmtree(tmp_path / "data" / "postgres")
    files[2].write_bytes(b"garbled")
    status, out, _ = run(tmp_path, "reindex", "--data-dir", "data")
    assert status == 1
    assert files[2].name in out
    assert "4 files indexed, 1 could not be." in out
    assert stored_files(tmp_path / "data") == files
    assert list(staging.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("import", "gone"), 2, "There is no file or folder gone."),
        (("import", ".", "--to", "somewhere"), 2, "--to somewhere"),
        (("import", ".", "--header", "A: b"), 2, "--to"),
        (("import", ".", "--report", "no/such/folder"), 2, "--report"),
        (("check", "--data-dir", "gone"), 3, "There is no archive"),
        (("reindex", "--data-dir", "gone"), 3, "There is no archive"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, arguments: tuple[str, ...], status: int, words: str) -> None:
    """The status of its kind, one line that names what is wrong, nothing made on the way (user-pains 18)."""
    ended, out, err = run(tmp_path, *arguments)
    assert (ended, out) == (status, "")
    assert words in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "gone").exists()
