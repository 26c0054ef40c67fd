"""DCMTK's and pynetdicom's findscu search the archive."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from storage.archive import Archive
from tests.builders import dataset_of, part10
from tests.dcmtk import find_program
from tests.dicomweb.gateway.querying import FRENCH, GREEK, JAPANESE, KOREAN, store_many, store_studies
from tests.dicomweb.gateway.serving import listening

FINDSCU = find_program("findscu")
needs_dcmtk = pytest.mark.skipif(FINDSCU is None, reason="needs DCMTK (Debian package dcmtk)")


@pytest.fixture
async def port(archive: Archive) -> AsyncIterator[int]:
    """A gateway over an archive with a few studies."""
    await store_studies(archive)
    async with listening(archive) as number:
        yield number


async def run(*command: str) -> str:
    """Run a program to its end; its output, which it must end well."""
    ran = await asyncio.to_thread(
        subprocess.run,
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        errors="replace",
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


async def dcmtk(port: int, folder: Path, *arguments: str) -> list[Dataset]:
    """Search with DCMTK; the answers as it wrote them to files."""
    assert FINDSCU is not None
    folder.mkdir(exist_ok=True)
    addressed = ["127.0.0.1", str(port)]
    options = [argument for argument in arguments if not argument.endswith(".dcm")]
    files = [argument for argument in arguments if argument.endswith(".dcm")]
    said = await run(FINDSCU, "-v", "-aec", "DICOMWEB", "-X", "-od", str(folder), *options, *addressed, *files)
    assert "Success" in said or "Cancel" in said, said
    return [dcmread(path, force=True) for path in sorted(folder.glob("rsp*.dcm"))]


def keys(**values: Any) -> list[str]:
    return [part for keyword, value in values.items() for part in ("-k", f"{keyword}={value}")]


@needs_dcmtk
@pytest.mark.parametrize("proposed", ["-x=", "-xi", "-xb", "-xd"])
async def test_dcmtk_finds_at_every_level_in_every_transfer_syntax(port: int, tmp_path: Path, proposed: str) -> None:
    """G-060 to G-063, PS3.5 10.1: patient, study, series, image."""
    patients = keys(QueryRetrieveLevel="PATIENT", PatientName="Doe*", PatientID="", IssuerOfPatientID="")
    found = await dcmtk(port, tmp_path / "patients", proposed, "-P", *patients)
    assert [(each.PatientID, each.IssuerOfPatientID) for each in found] == [("P1", "H1"), ("P1", "H2")]
    studies = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID="", ModalitiesInStudy="CT", StudyDate="20240101-")
    found = await dcmtk(port, tmp_path / "studies", proposed, "-S", *studies)
    assert sorted(each.StudyInstanceUID for each in found) == ["1.9.1", "1.9.2"]
    series = keys(QueryRetrieveLevel="SERIES", StudyInstanceUID="1.9.1", SeriesInstanceUID="", Modality="")
    found = await dcmtk(port, tmp_path / "series", proposed, "-S", *series)
    assert [each.Modality for each in found] == ["CT", "CT", "SR"]
    images = keys(QueryRetrieveLevel="IMAGE", StudyInstanceUID="1.9.1", SeriesInstanceUID="1.9.1.1", InstanceNumber="")
    found = await dcmtk(port, tmp_path / "images", proposed, "-S", *images)
    assert [each.InstanceNumber for each in found] == [1, 2]


@needs_dcmtk
@pytest.mark.parametrize(
    ("declared", "key", "name"),
    [
        (["", "ISO 2022 IR 87"], "=山田*", JAPANESE),
        (["", "ISO 2022 IR 149"], "=洪^*", KOREAN),
        ("ISO_IR 126", "Διον*", GREEK),
        ("ISO_IR 100", "BUC^JÉRÔME", FRENCH),
        ("ISO_IR 192", "==やまだ*", JAPANESE),
    ],
)
async def test_dcmtk_asks_and_is_answered_in_many_scripts(
    port: int, tmp_path: Path, declared: Any, key: str, name: str
) -> None:
    """G-076: keys and names in the character set of the request."""
    asked = {"SpecificCharacterSet": declared, "QueryRetrieveLevel": "STUDY", "PatientName": key}
    file = tmp_path / "query.dcm"
    file.write_bytes(part10(dataset_of(asked)))
    (found,) = await dcmtk(port, tmp_path / "answers", "-S", str(file))
    assert str(found.PatientName) == name
    assert found.SpecificCharacterSet == dataset_of(asked).SpecificCharacterSet


@needs_dcmtk
async def test_dcmtk_cancels_after_ten_of_ten_thousand(archive: Archive, tmp_path: Path) -> None:
    """G-073: the search ends within moments."""
    await store_studies(archive)
    await store_many(archive, 10_000)
    async with listening(archive) as port:
        begun = time.perf_counter()
        many = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID="", AccessionNumber="MANY")
        found = await dcmtk(port, tmp_path / "answers", "-S", "--cancel", "10", *many)
        assert 10 <= len(found) < 9_000
        assert time.perf_counter() - begun < 20


async def test_pynetdicom_finds_with_everything_negotiated(port: int) -> None:
    """G-067: its own application, with all extended negotiation it knows."""
    extended = ["--relational-query", "--dt-matching", "--fuzzy-names", "--timezone-adj", "--enhanced-conversion"]
    searched = keys(QueryRetrieveLevel="SERIES", PatientName="Jane Doe", SeriesInstanceUID="", Modality="CT")
    command = [sys.executable, "-m", "pynetdicom", "findscu", "127.0.0.1", str(port), "-aec", "DICOMWEB", "-S", "-v"]
    said = await run(*command, *extended, *searched)
    assert len(re.findall(r"Find SCP Response: \d+ - 0xFF00", said)) == 3, said
    assert "0x0000 (Success)" in said
