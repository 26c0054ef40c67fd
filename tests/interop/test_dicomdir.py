"""pydicom, DCMTK, dicom3tools, Info-ZIP and our own import read the ZIP archives with DICOMDIR that are given out.

Facts kept here:

- Every study that the corpus and the wheels of pydicom make is stored and given out as it is stored.
- dciodvfy judges the directory; UIDs that are wrong in a file are as wrong in its record, which is no fault of that.
- DCMTK's dcmmkdir makes its own directory of the same files, for the profile that wants most (STD-GEN-BD): ours has
  the same kinds of records, and in each what that has. Where a file lacks a value both make one up, in their own way;
  dcmmkdir takes values out of functional groups and copies what is no value of its VR, ours does not. It leaves out
  classes that are newer than it.
"""

import gc
import io
import re
import shutil
import subprocess
import warnings
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pydicom
import pytest
from pydicom import Dataset
from pydicom.fileset import FileSet
from pydicom.multival import MultiValue

from tests.corpus import corpus_files, corpus_folder, wheel_files
from tests.dcmtk import find_program, program
from tests.dicomweb.stowing import read_back
from tests.live.test_commands import counts, run

ZIP = {"Accept": "application/zip"}
LARGEST = 30_000_000
FEWEST_STUDIES = 40
UIDS = re.compile(r"Illegal root for UID|Leading zeroes in embedded|dataset contains invalid data values")
"""What dciodvfy says of UIDs that are those of the file."""

LINKS = ("OffsetOfTheNextDirectoryRecord", "OffsetOfReferencedLowerLevelDirectoryEntity", "SpecificCharacterSet")
MADE_UP = ("PatientID", "StudyID", "StudyDate", "StudyTime", "SeriesNumber", "InstanceNumber")
NO_VALUES = ("ImageType", "PatientBirthDate")
"""What some files have in a form that is none of its VR."""

MIXED = "1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322"
"""A series of more than one modality; its record has that of the first instance, whichever that is."""


class FileSetContents(NamedTuple):
    """What is in a File-set."""

    files: list[Path]
    patients: int
    studies: int


@pytest.fixture
async def studies(archive: Any, client: httpx2.AsyncClient, tmp_path: Path) -> dict[Path, list[bytes]]:
    """Folders with what was in the archive of each study, and beside it `zip`; and the files as they are given out."""
    found: set[str] = set()
    for file in [*(corpus_files() if corpus_folder() else ()), *wheel_files()]:
        if file.stat().st_size <= LARGEST:
            outcome = await archive.store(file.read_bytes())
            found |= {outcome.study_instance_uid} if outcome.status == "stored" else set()
    folders = {}
    for number, uid in enumerate(sorted(found)):
        answer = await client.get(f"/dicom-web/studies/{uid}", headers=ZIP)
        assert answer.status_code == 200, answer.text
        folder = tmp_path / f"study{number}"
        folder.mkdir()
        (folder / "zip").write_bytes(answer.content)
        with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
            assert opened.testzip() is None
            opened.extractall(folder)
        folders[folder] = await read_back(archive, uid)
    return folders


def file_sets(folders: Iterable[Path]) -> dict[Path, FileSetContents]:
    """What pydicom finds in folders; it leaves a temporary folder of each to the collector, which would complain."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for folder in folders:
            opened = FileSet(folder / "DICOMDIR")
            patients, studies = opened.find_values("PatientID"), opened.find_values("StudyInstanceUID")
            found[folder] = FileSetContents([Path(one.path) for one in opened], len(patients), len(studies))
        del opened
        gc.collect()
    return found


def complaints(command: list[str], folder: Path) -> list[str]:
    """What a program says of the directory of a folder."""
    ran = subprocess.run([*command, "DICOMDIR"], cwd=folder, capture_output=True, check=False)
    lines = (ran.stdout + ran.stderr).decode(errors="replace").splitlines()
    return [line for line in lines if line.startswith(("Error", "E:", "W:", "F:"))]


async def test_every_reader_finds_every_file(studies: dict[Path, list[bytes]]) -> None:
    """pydicom's FileSet has all instances, byte for byte; dcmdump and dciodvfy have no complaints (H-001 to H-017)."""
    assert len(studies) >= FEWEST_STUDIES
    for folder, found in file_sets(studies).items():
        assert [path.read_bytes() for path in found.files] == studies[folder]
        assert (found.patients, found.studies) == (1, 1)
    dumped = find_program("dcmdump")
    if dumped:
        assert {folder: lines for folder in studies if (lines := complaints([dumped, "+E"], folder))} == {}
    if shutil.which("dciodvfy"):
        judged = {folder: complaints(["dciodvfy"], folder) for folder in studies}
        assert [line for lines in judged.values() for line in lines if not UIDS.search(line)] == []
    if shutil.which("unzip"):
        for folder in studies:
            subprocess.run(["unzip", "-tqq", "zip"], cwd=folder, check=True, capture_output=True)


def records(path: Path) -> dict[Any, Dataset]:
    """The records of a directory, by what they stand for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {_stands_for(record): record for record in pydicom.dcmread(path).DirectoryRecordSequence}


def _stands_for(record: Dataset) -> Any:
    if "ReferencedFileID" in record:
        return tuple(record.ReferencedFileID)
    return record.get("SeriesInstanceUID") or record.DirectoryRecordType


def differences(folder: Path, dcmmkdir: str) -> list[str] | None:
    """What dcmmkdir has in the directory of a folder and we have not, None when it makes none of such files."""
    options = ["-q", "+I", "+Nrs", "-Nxc", "-Nec", "-W", "-Pbd", "+id", ".", "+r", "+D", "THEIRS", "DICOM"]
    if subprocess.run([dcmmkdir, *options], cwd=folder, capture_output=True, check=False).returncode:
        return None
    ours, theirs = records(folder / "DICOMDIR"), records(folder / "THEIRS")
    if theirs.keys() - ours.keys():
        return [f"{folder.name}: {theirs.keys() - ours.keys()}"]
    found = []
    for key, record in theirs.items():
        of_file = _keywords(folder.joinpath(*record.ReferencedFileID)) if "ReferencedFileID" in record else None
        for element in record:
            name, own = element.keyword, ours[key].get(element.keyword)
            if name in (*LINKS, *MADE_UP) or key == MIXED:
                continue
            if own is None and name not in NO_VALUES and (of_file is None or name in of_file):
                found.append(f"{folder.name} {key}: no {name}")
            elif own is not None and _plain(own) != _plain(element.value):
                found.append(f"{folder.name} {key}: {name} {own!r} not {element.value!r}")
    return found


def _keywords(path: Path) -> set[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return set(pydicom.dcmread(path, stop_before_pixels=True).dir())


def _plain(value: Any) -> Any:
    """A value without the padding and the spelling of numbers."""
    values = list(value) if isinstance(value, MultiValue) else [value]
    return [float(one) if isinstance(one, float) else str(one).replace(" ", "") for one in values]


async def test_dcmtk_makes_the_same_directory(studies: dict[Path, list[bytes]]) -> None:
    """Kinds of records and their values are those that dcmmkdir writes for the same files (H-010 to H-016)."""
    dcmmkdir = program("dcmmkdir")
    with ThreadPoolExecutor(2) as executor:
        found = list(executor.map(lambda folder: differences(folder, dcmmkdir), studies))
    compared = [lines for lines in found if lines is not None]
    assert len(compared) >= FEWEST_STUDIES
    assert [line for lines in compared for line in lines] == []


async def test_our_own_import_brings_everything_back(studies: dict[Path, list[bytes]], tmp_path: Path) -> None:
    """Archives are imported whole; a directory stands for exactly the files that it names."""
    count = sum(map(len, studies.values()))
    zipped = []
    for folder in studies:
        zipped.append(folder.with_suffix(".zip"))
        (folder / "zip").rename(zipped[-1])
    status, out, err = run(tmp_path, "import", *map(str, zipped), "--data-dir", "data")
    assert (status, counts(out)["stored"], counts(out)["refused"]) == (0, count, 0), out + err
    status, out, err = run(tmp_path, "import", *(str(folder / "DICOMDIR") for folder in studies), "--data-dir", "data")
    again = counts(out)
    assert (status, again["there"], again["stored"], again["passed"]) == (0, count, 0, len(studies)), out + err
