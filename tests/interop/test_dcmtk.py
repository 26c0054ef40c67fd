"""DCMTK reads what the archive gives out."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.builders import (
    BIG_ENDIAN,
    DEFLATED,
    IMPLICIT_LE,
    big_sequence,
    ct_slice,
    dataset_only,
    dicom_file,
    encapsulated,
    multi_frame,
    without_preamble,
)
from tests.corpus import corpus_files, wheel_files
from tests.live.exchange import path_of, retrieve, store, stored_keys
from tests.live_server import running_server

pytestmark = pytest.mark.skipif(
    not (shutil.which("dcmdump") and shutil.which("dcmftest")), reason="needs DCMTK (Debian package dcmtk)"
)

MADE = {
    "implicit": ct_slice(transfer_syntax=IMPLICIT_LE),
    "big endian": ct_slice(transfer_syntax=BIG_ENDIAN),
    "deflated": ct_slice(transfer_syntax=DEFLATED),
    "headless": without_preamble(ct_slice()),
    "bare": dataset_only(ct_slice(transfer_syntax=IMPLICIT_LE)),
    "bits": multi_frame(3, rows=3, columns=5, bits=1),
    "fragments": encapsulated([[b"\xff\xd8on", b"e\xff\xd9"], [b"\xff\xd8two\xff\xd9"]]),
    "extended offsets": encapsulated(offset_table="extended"),
    "nested": big_sequence(50, depth=20, transfer_syntax=IMPLICIT_LE),
    "private": dicom_file(
        transfer_syntax=IMPLICIT_LE, elements={0x00090010: ("LO", "ACME"), 0x00091001: ("UT", "long " * 20_000)}
    ),
    "Japanese": dicom_file(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎"),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A client of an empty server."""
    with (
        running_server(tmp_path_factory.mktemp("dcmtk") / "data", "--workers", "1") as server,
        httpx2.Client(base_url=server.root, timeout=60) as opened,
    ):
        yield opened


def complaints(path: Path) -> list[str]:
    """What dcmdump says against a file, and whether dcmftest takes it for a DICOM file."""
    dump = subprocess.run(["dcmdump", str(path)], capture_output=True, check=False)
    said = dump.stderr.decode(errors="replace").splitlines()
    if dump.returncode:
        said.append(f"dcmdump ended with {dump.returncode}")
    if subprocess.run(["dcmftest", str(path)], capture_output=True, check=False).returncode:
        said.append("dcmftest says no")
    return said


@pytest.mark.parametrize("name", MADE)
def test_what_is_given_out_is_read_without_complaint(client: httpx2.Client, tmp_path: Path, name: str) -> None:
    """Files of every encoding come out as files DCMTK has nothing to say against (A-045, A-128; PS3.10 7.1)."""
    answer = store(client, MADE[name])
    assert answer.status_code in (200, 202), answer.text
    (key,) = stored_keys(answer)
    (file,) = retrieve(client, path_of(key))
    (tmp_path / "out.dcm").write_bytes(file)
    assert complaints(tmp_path / "out.dcm") == []


def test_real_files_come_out_no_worse_than_they_went_in(client: httpx2.Client, tmp_path: Path) -> None:
    """DCMTK's complaints about a retrieved file are at most those about the file that was sent (A-045; promise 3)."""
    worse = []
    rewritten = 0
    for path in [
        *corpus_files("transfer-syntaxes"),
        *corpus_files("malformed"),
        *corpus_files("objects"),
        *wheel_files(),
    ]:
        data = path.read_bytes()
        keys = stored_keys(store(client, data))
        if not keys:
            continue
        (file,) = retrieve(client, path_of(keys[0]))
        if file == data:
            continue
        rewritten += 1
        (tmp_path / "out.dcm").write_bytes(file)
        if (after := complaints(tmp_path / "out.dcm")) and not complaints(path):
            worse.append(f"{path.name}: {after}")
    assert not worse, worse
    assert rewritten > 25
