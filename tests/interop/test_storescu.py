"""DCMTK's echoscu and storescu, and pynetdicom's applications of the same names, as peers of a real server."""

import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx2
import pydicom
import pytest
from pydicom import Dataset

from storage.dicom.transfer_syntax import TRANSFER_SYNTAXES
from tests.builders import BIG_ENDIAN, DEFLATED, IMPLICIT_LE, ct_slice, new_uid
from tests.corpus import corpus_files, wheel_file
from tests.dcmtk import find_program, program
from tests.live.exchange import key_in, path_of, retrieve
from tests.live_server import LiveServer, running_server

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

OPTIONS = {
    "explicit": ("-xe", ct_slice()),
    "implicit": ("-xi", ct_slice(transfer_syntax=IMPLICIT_LE)),
    "big endian": ("-xb", ct_slice(transfer_syntax=BIG_ENDIAN)),
    "deflated": ("-xd", ct_slice(transfer_syntax=DEFLATED)),
    "JPEG baseline": ("-xy", "SC_rgb_jpeg_dcmtk.dcm"),
    "JPEG extended": ("-xx", "JPGExtended.dcm"),
    "JPEG lossless": ("-xs", "SC_rgb_jpeg_gdcm.dcm"),
    "JPEG 2000 lossless": ("-xv", "MR_small_jp2klossless.dcm"),
    "JPEG 2000": ("-xw", "JPEG2000.dcm"),
    "JPEG-LS": ("-xt", "MR_small_jpeg_ls_lossless.dcm"),
    "RLE": ("-xr", "MR_small_RLE.dcm"),
}
"""The option by which storescu proposes a transfer syntax, and a file in it (of pydicom's wheel when it is a name)."""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """An empty server."""
    with running_server(tmp_path_factory.mktemp("storescu") / "data", "--workers", "1") as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
def client(live: LiveServer) -> Iterator[httpx2.Client]:
    """A client of the DICOMweb root."""
    with httpx2.Client(base_url=live.root, timeout=60) as opened:
        yield opened


def run(live: LiveServer, name: str, *options: str, called: str = "DICOMWEB") -> subprocess.CompletedProcess[str]:
    """Run a program of DCMTK against the server; files come last."""
    switches = [each for each in options if not Path(each).is_absolute()]
    files = [each for each in options if Path(each).is_absolute()]
    command = [program(name), "-v", "-aet", "DCMTK", "-aec", called, *switches, "127.0.0.1", str(live.dimse_port)]
    return subprocess.run([*command, *files], capture_output=True, text=True, timeout=120, check=False)


def test_echoscu_is_answered(live: LiveServer) -> None:
    """G-030: DCMTK's echoscu, several times on one association."""
    answer = run(live, "echoscu", "--repeat", "3")
    assert answer.returncode == 0 and answer.stderr.count("(Success)") == 3, answer.stderr


def test_termscu_and_wrong_titles_do_no_harm(live: LiveServer) -> None:
    """G-004: another called AE title is rejected by the words of the Standard; shutdown by DIMSE is not offered."""
    refused = run(live, "echoscu", called="OTHER")
    assert refused.returncode != 0 and "Called AE Title Not Recognized" in refused.stderr
    assert run(live, "termscu").returncode != 0
    assert run(live, "echoscu").returncode == 0


@pytest.mark.parametrize("combined", [[], ["+C"], ["-R"]], ids=["separate", "combined", "required"])
@pytest.mark.parametrize("name", list(OPTIONS))
def test_storescu_sends_each_transfer_syntax(
    live: LiveServer, client: httpx2.Client, tmp_path: Path, name: str, combined: list[str]
) -> None:
    """G-001 to G-003, G-049: DCMTK's own proposals, one context a syntax or all in one; the data set comes back."""
    option, source = OPTIONS[name]
    dataset = pydicom.dcmread(BytesIO(source) if isinstance(source, bytes) else wheel_file(source))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = new_uid()
    file = tmp_path / "sent.dcm"
    dataset.save_as(file)
    if combined == ["+C"] and TRANSFER_SYNTAXES[dataset.file_meta.TransferSyntaxUID].lossy:
        pytest.skip("we choose what loses nothing, and storescu cannot decompress")
    sent = run(live, "storescu", option, *combined, str(file))
    assert sent.returncode == 0 and "(Success)" in sent.stderr, sent.stderr
    (returned,) = retrieve(client, path_of(key_in(file.read_bytes())))
    assert_same(pydicom.dcmread(BytesIO(returned)), pydicom.dcmread(file))


def assert_same(one: Dataset, other: Dataset) -> None:
    """Compare data sets as their elements, apart from encodings and padding that storescu writes anew."""
    for dataset in (one, other):
        for tag in [each.tag for each in dataset if each.tag.element == 0 or each.tag == 0xFFFCFFFC]:
            del dataset[tag]
    first, second = one.file_meta.TransferSyntaxUID, other.file_meta.TransferSyntaxUID
    if first.is_compressed or second.is_compressed or first == second:
        assert one.PixelData.rstrip(b"\0") == other.PixelData.rstrip(b"\0")
    else:
        assert (one.pixel_array == other.pixel_array).all()
    del one.PixelData, other.PixelData
    assert one == other


def test_storescu_sends_a_folder(live: LiveServer, client: httpx2.Client) -> None:
    """G-001: `storescu +sd`, as people use it; every file of a series is there, and again is a success."""
    files = corpus_files("series/ct-philips-phantom-28")
    study = key_in(files[0].read_bytes())[0]
    for _ in range(2):
        sent = run(live, "storescu", "+sd", str(files[0].parent))
        assert sent.returncode == 0, sent.stderr
        assert sent.stderr.count("Received Store Response (Success)") == len(files)
    assert len(client.get(f"studies/{study}/instances").json()) == len(files)


def test_a_conflict_does_not_end_the_association(live: LiveServer, client: httpx2.Client, tmp_path: Path) -> None:
    """G-048, 0111: storescu goes on with the next file; what was first is kept."""
    first, next_one = ct_slice(), ct_slice()
    other = ct_slice(*key_in(first), PatientID="other")
    paths = []
    for number, data in enumerate((first, other, next_one)):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(data)
        paths.append(str(path))
    sent = run(live, "storescu", "-nh", *paths)
    assert sent.stderr.count("Received Store Response (Success)") == 2, sent.stderr
    assert "Status 0x0111" in sent.stderr or "0x0111" in sent.stderr or "Unknown Status" in sent.stderr, sent.stderr
    assert len(retrieve(client, path_of(key_in(next_one)))) == 1


def test_aborting_peers_are_forgotten(live: LiveServer) -> None:
    """G-010: echoscu and storescu that abort instead of releasing."""
    assert run(live, "echoscu", "--abort").returncode == 0
    assert run(live, "echoscu").returncode == 0


def test_small_and_large_pdus(live: LiveServer, client: httpx2.Client, tmp_path: Path) -> None:
    """G-007: a peer that takes, or sends, the smallest and the largest PDUs DCMTK knows."""
    for size in ("4096", "131072"):
        data = ct_slice(rows=512, columns=512)
        path = tmp_path / f"{size}.dcm"
        path.write_bytes(data)
        sent = run(live, "storescu", "--max-pdu", size, "--max-send-pdu", size, str(path))
        assert sent.returncode == 0, sent.stderr
        (returned,) = retrieve(client, path_of(key_in(data)))
        assert pydicom.dcmread(BytesIO(returned)).PixelData == pydicom.dcmread(path).PixelData


@pytest.mark.parametrize("application", ["echoscu", "storescu"])
def test_applications_of_pynetdicom(live: LiveServer, tmp_path: Path, application: str) -> None:
    """Independent programs beside DCMTK: the applications that come with pynetdicom."""
    path = tmp_path / "one.dcm"
    path.write_bytes(ct_slice())
    files = [str(path)] if application == "storescu" else []
    command = [sys.executable, "-m", "pynetdicom", application, "-v", "127.0.0.1", str(live.dimse_port), *files]
    answer = subprocess.run(
        [*command, "-aec", "DICOMWEB"], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert answer.returncode == 0 and "Success" in answer.stderr + answer.stdout, answer.stderr


def test_tls_with_echoscu(tmp_path: Path) -> None:
    """G-017: DCMTK over TLS, when it was built with it."""
    if "+tls" not in subprocess.run([program("echoscu"), "--help"], capture_output=True, text=True, check=False).stdout:
        pytest.skip("this echoscu was built without TLS")
    if find_program("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    subprocess.run(["openssl", *request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    files = ["--dimse-tls-certificate", str(certificate), "--dimse-tls-key", str(key)]
    with running_server(tmp_path / "data", "--workers", "1", "--dimse-tls-port", "0", *files) as server:
        command = [program("echoscu"), "-v", "-aec", "DICOMWEB", "+tla", "+cf", str(certificate)]
        for port, expected in ((server.dimse_tls_port, 0), (server.dimse_port, 1)):
            answer = subprocess.run([*command, "127.0.0.1", str(port)], capture_output=True, timeout=60, check=False)
            assert (answer.returncode != 0) == expected, answer.stderr
