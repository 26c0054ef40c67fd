"""The journal of an import and the account of its results."""

import io
from pathlib import Path

import orjson
import pytest

from dicomweb.importing.journal import Journal, state_folder
from dicomweb.importing.results import Result, Status, Tally, shown
from storage.errors import InUse, Unavailable

KEYS = [bytes([number] * 16) for number in range(3)]


def test_what_was_written_is_there_for_the_next_run(tmp_path: Path) -> None:
    """An import that was cut short knows what was acknowledged; a complete one leaves nothing behind."""
    first = Journal(tmp_path, "there", [Path("a")])
    first.add(KEYS[:2])
    first.close(complete=False)
    second = Journal(tmp_path, "there", [Path("a")])
    assert second.taken_earlier == 2
    assert [second.taken(key) for key in KEYS] == [True, True, False]
    second.close(complete=True)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_belongs_to_its_target_and_paths(tmp_path: Path) -> None:
    """Another server or other folders begin anew, and so does --restart."""
    first = Journal(tmp_path, "there", [Path("a"), Path("b")])
    first.add(KEYS)
    first.close(complete=False)
    for target, paths, restart, taken in (
        ("there", ["b", "a"], False, 3),
        ("elsewhere", ["a", "b"], False, 0),
        ("there", ["a"], False, 0),
        ("there", ["a", "b"], True, 0),
    ):
        other = Journal(tmp_path, target, [Path(path) for path in paths], restart=restart)
        assert other.taken_earlier == taken
        other.close(complete=False)


def test_the_same_import_does_not_run_twice_at_once(tmp_path: Path) -> None:
    """The second one is told so at once."""
    first = Journal(tmp_path, "there", [Path("a")])
    with pytest.raises(InUse, match="running already"):
        Journal(tmp_path, "there", [Path("a")])
    first.close(complete=False)


def test_a_damaged_journal_is_begun_anew(tmp_path: Path) -> None:
    """Files are sent again, which is harmless; nobody has to clean up."""
    first = Journal(tmp_path, "there", [Path("a")])
    first.add(KEYS)
    first.close(complete=False)
    first.path.write_bytes(b"garbled" * 1000)
    second = Journal(tmp_path, "there", [Path("a")])
    assert second.taken_earlier == 0
    second.close(complete=False)


def test_a_journal_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    """No traceback: the path and the system's word for it."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="cannot be written"):
        Journal(tmp_path / "file" / "journals", "there", [Path("a")])


def test_journals_of_servers_lie_in_the_users_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_STATE_HOME is kept to; a relative one is not (XDG Base Directory Specification)."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "dicomweb" / "imports"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert state_folder().is_absolute()


def test_the_summary_groups_refusals_and_the_report_lists_them_all() -> None:
    """Stored, already there, replaced, passed over, refused: each counted, reasons once with the first names."""
    report = io.BytesIO()
    tally = Tally(report)
    tally.add(Result("a", Status.STORED, size=5, key=b"k"))
    tally.add(Result("b", Status.DUPLICATE))
    tally.add(Result("c", Status.PASSED_OVER, "It is not a DICOM file."))
    for number in range(7):
        tally.add(Result(f"bad{number}", Status.REFUSED, "Too odd."))
    tally.add(Result("other", Status.REFUSED, "Too large.", again=True))
    lines = tally.summary().splitlines()
    assert lines[0] == "11 files: 1 stored, 1 already there, 0 replaced, 1 passed over (not DICOM), 8 refused."
    assert lines[1:4] == ["Refused, 7: Too odd.", "    bad0", "    bad1"]
    assert lines[7].strip() == "... and 2 more; --report FILE lists them all"
    assert tally.again
    written = [orjson.loads(line) for line in report.getvalue().splitlines()]
    assert [line["path"] for line in written] == ["c", *(f"bad{n}" for n in range(7)), "other"]
    assert written[-1] == {"path": "other", "status": "refused", "reason": "Too large.", "size": 0}


def test_reasons_without_end_do_not_fill_the_memory() -> None:
    """Reasons that all differ are counted together after the first fifty."""
    tally = Tally()
    for number in range(1000):
        tally.add(Result("x", Status.REFUSED, f"reason {number}"))
    assert len(tally.refusals) == 51
    assert tally.counts[Status.REFUSED] == 1000


def test_a_name_cannot_command_the_terminal() -> None:
    """Control characters and bytes that are no text are shown as escapes."""
    assert shown(Path("a\x1b[2J\n\udcff/ü")) == "a\\x1b[2J\\n\\xff/ü"
