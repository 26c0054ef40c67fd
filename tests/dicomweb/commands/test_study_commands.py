"""`dicomweb status`, `studies` and `export`: what is told of an archive, and what is written out of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicomweb.commands.exit_status import ExitStatus
from tests.builders import ct_slice
from tests.dicomweb.test_cli import run

STUDIES = {"1.2.1": ("4711", "Doe^Jane", 3), "1.2.2": ("4712", "Roe^Jane", 1)}


@pytest.fixture
def places(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, ...]:
    """The flags of an archive with two studies, whose files lie in `tmp_path / "in"`."""
    flags = ("--data-dir", str(tmp_path / "data"), "--database-url", database_url)
    (tmp_path / "in").mkdir()
    for study, (patient, name, count) in STUDIES.items():
        for number in range(count):
            uids = (study, f"{study}.1", f"{study}.1.{number}")
            data = ct_slice(*uids, PatientID=patient, PatientName=name, StudyDate="20260102", StudyTime="0800")
            (tmp_path / "in" / uids[2]).write_bytes(data)
    status, out, _ = run(capsys, "import", str(tmp_path / "in"), "--json", *flags)
    assert (status, json.loads(out)["stored"]) == (0, 4)
    return flags


def test_status_tells_what_is_stored_and_that_no_server_runs(
    places: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a person in lines, for a program as JSON."""
    status, out, _ = run(capsys, "status", "--json", *places)
    facts: dict[str, Any] = json.loads(out)
    assert status == ExitStatus.DONE
    sizes = sum(path.stat().st_size for path in (tmp_path / "in").iterdir())
    assert (facts["studies"], facts["instances"], facts["bytes"]) == (2, 4, sizes)
    assert facts["server"] is None and facts["unindexed_files"] == 0
    _, out, _ = run(capsys, "status", *places)
    assert "server       not running" in out and "2 studies, 2 series, 4 instances" in out


def test_studies_are_found_as_by_the_url_of_a_search(
    places: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Wildcards, a list of terms that all hold, and a bare Study Instance UID; as a table or as DICOM JSON."""
    _, out, err = run(capsys, "studies", "PatientName=doe*", "StudyDate=20260101-20260131", *places)
    assert out.splitlines()[1].split() == ["20260102", "4711", "Doe^Jane", "CT", "3", "1.2.1"]
    assert err == "1 studies.\n"
    _, out, _ = run(capsys, "studies", "1.2.2", "--json", *places)
    assert [json.loads(line)["0020000D"]["Value"] for line in out.splitlines()] == [["1.2.2"]]
    _, out, _ = run(capsys, "studies", "1.2.2", "1.2.1", "1.2.9", "--json", *places)
    assert sorted(json.loads(line)["0020000D"]["Value"] for line in out.splitlines()) == [["1.2.1"], ["1.2.2"]]
    _, out, _ = run(capsys, "studies", "PatientName=doe*", "PatientID=4712", "--json", *places)
    assert out == ""


def test_an_export_is_read_by_its_dicomdir_and_has_the_stored_bytes(
    places: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PS3.10 8, PS3.3 F: pydicom walks from the DICOMDIR to each file, and each file is what was stored."""
    to = tmp_path / "out"
    status, out, _ = run(capsys, "export", "PatientID=4711", "--to", str(to), "--json", *places)
    (line,) = map(json.loads, out.splitlines())
    assert status == ExitStatus.DONE
    assert (line["study_instance_uid"], line["files"], Path(line["folder"]).parent) == ("1.2.1", 3, to)
    folder = Path(line["folder"])
    records = [
        record for record in dcmread(folder / "DICOMDIR").DirectoryRecordSequence if "ReferencedFileID" in record
    ]
    found = {record.ReferencedSOPInstanceUIDInFile: folder.joinpath(*record.ReferencedFileID) for record in records}
    assert sorted(found) == ["1.2.1.1.0", "1.2.1.1.1", "1.2.1.1.2"]
    assert all(path.read_bytes() == (tmp_path / "in" / uid).read_bytes() for uid, path in found.items())
    assert not any("doe" in path.name.lower() for path in to.rglob("*"))
    status, _, err = run(capsys, "export", "PatientID=4711", "--to", str(to), *places)
    assert (status, "is there already" in err) == (ExitStatus.WRONG_USE, True)


def test_a_study_with_a_damaged_file_gets_no_dicomdir(
    places: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not whole says so; the other study is written all the same."""
    (damaged,) = (
        path for path in (tmp_path / "data" / "blobs").rglob("*.dcm") if dcmread(path).SOPInstanceUID == "1.2.1.1.1"
    )
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.chmod(0o600)
    damaged.write_bytes(content)
    to = tmp_path / "out"
    status, out, err = run(capsys, "export", "StudyDate=20260102", "--to", str(to), *places)
    assert status == ExitStatus.INCOMPLETE
    assert "1.2.1 is not whole" in err and "1.2.1.1.1" in err
    assert len(out.splitlines()) == len(list(to.rglob("DICOMDIR"))) == 1


@pytest.mark.parametrize(
    ("terms", "status", "said"),
    [
        (["1.2.3"], ExitStatus.NOT_FOUND, "No study was found"),
        (["PatientID"], ExitStatus.WRONG_USE, "KEYWORD=VALUE"),
        (["PatientIdentifier=4711"], ExitStatus.WRONG_USE, "PatientIdentifier"),
        (["StudyDate=yesterday"], ExitStatus.WRONG_USE, "StudyDate"),
        (["SeriesInstanceUID=1.2.1.1"], ExitStatus.WRONG_USE, "SeriesInstanceUID is not matched at this level"),
        (["PatientID="], ExitStatus.WRONG_USE, "PatientID= has no value"),
        (["StudyDate=20260102", "limit=1"], ExitStatus.WRONG_USE, "1 studies more"),
    ],
)
def test_an_export_of_what_is_not_understood_writes_nothing(
    terms: list[str],
    status: ExitStatus,
    said: str,
    places: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A key that is ignored would give out more than was meant."""
    ended, out, err = run(capsys, "export", *terms, "--to", str(tmp_path / "out"), *places)
    assert (ended, out) == (status, "") and said in err
    assert not (tmp_path / "out").exists()


def test_files_without_a_row_are_told_until_they_are_indexed(
    places: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], empty_database_url: str
) -> None:
    """A restored `blobs/` beside a new database: stock is taken, told, and is in order after `check --repair`."""
    fresh = (*places[:2], "--database-url", empty_database_url)
    run(capsys, "migrate", "--json", *fresh[2:])
    status, out, _ = run(capsys, "check", *fresh)
    assert (status, out.count("unindexed")) == (ExitStatus.INCOMPLETE, 4)
    facts = json.loads(run(capsys, "status", "--json", *fresh)[1])
    assert (facts["studies"], facts["unindexed_files"]) == (0, 4)
    assert "dicomweb check --repair" in facts["advice"] and "dicomweb reindex" in facts["advice"]
    assert run(capsys, "check", "--repair", *fresh)[0] == ExitStatus.DONE
    facts = json.loads(run(capsys, "status", "--json", *fresh)[1])
    assert (facts["studies"], facts["unindexed_files"], facts["advice"]) == (2, 0, "")
