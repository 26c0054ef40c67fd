"""Other programs read what the archive transcodes: DCMTK and dicomweb-client."""

import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import imagecodecs
import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient
from numpy.typing import NDArray
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from storage.dicom.transfer_syntax import (
    EXPLICIT_LE,
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from tests.builders import new_uid
from tests.corpus import wheel_file
from tests.dicomweb.parts import parts_of
from tests.live.exchange import Key, key_in, path_of, store
from tests.live_server import LiveServer, running_server
from tests.pixels import corpus_file

LOSSLESS = {
    EXPLICIT_LE: "dcmconv",
    RLE_LOSSLESS: "dcmdrle",
    JPEG_LOSSLESS_SV1: "dcmdjpeg",
    JPEG_LS_LOSSLESS: "dcmdjpls",
    JPEG_2000_LOSSLESS: "",
    HTJ2K_LOSSLESS: "",
}
"""What every image is transcoded to, and DCMTK's program that decodes it, if there is one."""


class Image(NamedTuple):
    """A file as it was sent, and its key."""

    data: bytes
    key: Key

    def samples(self) -> NDArray[np.generic]:
        """Its samples as pydicom reads them from the uncompressed original."""
        return pixel_array(pydicom.dcmread(io.BytesIO(self.data)), raw=True)


class Live(NamedTuple):
    """A server, a client of it, and the images it has."""

    server: LiveServer
    http: httpx2.Client
    images: dict[str, Image]

    def retrieve(self, name: str, transfer_syntax_uid: str) -> bytes:
        """Return an image transcoded."""
        accept = f'multipart/related; type="application/dicom"; transfer-syntax={transfer_syntax_uid}'
        answer = self.http.get(path_of(self.images[name].key), headers={"Accept": accept})
        assert answer.status_code == 200, answer.text
        return parts_of(answer)[0].body


WHEEL = {
    "CT": "CT_small.dcm",
    "MR": "MR_small.dcm",
    "RGB": "SC_rgb.dcm",
}
CORPUS = {
    "planar": "photometric/pm5644/PM5644-960x540_RGB.dcm",
    "palette": "photometric/pm5644/PM5644-960x540_Palette_8.dcm",
}
NAMES = [*WHEEL, *CORPUS]
COMPRESSED = {"jpeg2000": "JPEG2000.dcm", "RLE": "MR_small_RLE.dcm", "JPEG": "SC_rgb_jpeg_dcmtk.dcm"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with some images that are not compressed and some that are."""
    with (
        running_server(tmp_path_factory.mktemp("transcoded") / "data", "--workers", "1") as server,
        httpx2.Client(base_url=server.root, timeout=60) as http,
    ):
        images = {}
        for name, path in files().items():
            data = with_uid_of_its_own(path)
            answer = store(http, data)
            assert answer.status_code in (200, 202), answer.text
            images[name] = Image(data, key_in(data))
        yield Live(server, http, images)
        assert "Traceback" not in server.log.read_text(errors="replace")


def with_uid_of_its_own(path: Path) -> bytes:
    """A file with a new SOP Instance UID: some are one image in several encodings."""
    dataset = pydicom.dcmread(path)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(new_uid())
    written = io.BytesIO()
    dataset.save_as(written)
    return written.getvalue()


def files() -> dict[str, Path]:
    """The files that are stored, by the names the tests use."""
    from_wheel = {name: wheel_file(file) for name, file in (WHEEL | COMPRESSED).items()}
    return from_wheel | {name: corpus_file(CORPUS[name]) for name in CORPUS}


def said(program: str, *arguments: str | Path) -> list[str]:
    """Run a program and return what it says on standard error, and that it failed if it did."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program} (Debian package dcmtk)")
    ran = subprocess.run([program, *map(str, arguments)], capture_output=True, check=False)
    lines = ran.stderr.decode(errors="replace").splitlines()
    return [*lines, f"{program} ended with {ran.returncode}"] if ran.returncode else lines


@pytest.mark.parametrize("uid", LOSSLESS)
@pytest.mark.parametrize("name", NAMES)
def test_dcmtk_reads_and_decodes_what_was_transcoded(live: Live, tmp_path: Path, name: str, uid: str) -> None:
    """Nothing to complain about for dcmdump; dcmdjpeg, dcmdjpls and dcmdrle decode the samples sent (D-013)."""
    path = tmp_path / "transcoded.dcm"
    path.write_bytes(live.retrieve(name, uid))
    assert said("dcmdump", path) == []
    assert said("dcmftest", path) == []
    assert pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == uid
    if LOSSLESS[uid]:
        assert said(LOSSLESS[uid], path, tmp_path / "native.dcm") == []
        decoded = pixel_array(pydicom.dcmread(tmp_path / "native.dcm"), raw=True)
        assert np.array_equal(decoded, live.images[name].samples())


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("uid", [EXPLICIT_LE, JPEG_LS_LOSSLESS, RLE_LOSSLESS])
def test_dcmtk_reads_what_was_compressed_otherwise_before(live: Live, tmp_path: Path, name: str, uid: str) -> None:
    """JPEG 2000, RLE and JPEG files become others of the same samples (A-042, D-013)."""
    native, other = tmp_path / "native.dcm", tmp_path / "other.dcm"
    native.write_bytes(live.retrieve(name, EXPLICIT_LE))
    other.write_bytes(live.retrieve(name, uid))
    assert said("dcmdump", other) == []
    assert said(LOSSLESS[uid], other, tmp_path / "decoded.dcm") == []
    expected = pixel_array(pydicom.dcmread(native), raw=True)
    assert np.array_equal(pixel_array(pydicom.dcmread(tmp_path / "decoded.dcm"), raw=True), expected)


def test_dcmtk_decodes_a_lossy_jpeg_to_nearly_the_same(live: Live, tmp_path: Path) -> None:
    """JPEG Baseline is made for those who name it, and the data set says so (A-049; PS3.3 C.7.6.1.1.5)."""
    path = tmp_path / "lossy.dcm"
    path.write_bytes(live.retrieve("RGB", JPEG_BASELINE))
    dataset = pydicom.dcmread(path)
    assert dataset.LossyImageCompression == "01" and dataset.LossyImageCompressionMethod == "ISO_10918_1"
    assert dataset.PhotometricInterpretation in ("YBR_FULL_422", "YBR_FULL")
    assert said("dcmdump", path) == []
    assert said("dcmdjpeg", path, tmp_path / "native.dcm") == []
    decoded = pixel_array(pydicom.dcmread(tmp_path / "native.dcm"))
    off = np.abs(decoded.astype(int) - live.images["RGB"].samples().astype(int))
    assert off.mean() < 3


DECODERS = {
    "image/dicom-rle": None,
    "image/jpeg": imagecodecs.ljpeg_decode,
    "image/jls": imagecodecs.jpegls_decode,
    "image/jp2": imagecodecs.jpeg2k_decode,
}


@pytest.mark.parametrize("media_type", DECODERS)
def test_dicomweb_client_retrieves_frames_in_each_image_media_type(live: Live, media_type: str) -> None:
    """Every lossless image media type the client knows, by its name alone, decodes to the samples sent (D-058)."""
    client = DICOMwebClient(live.server.root)
    for name in ("CT", "RGB"):
        (frame,) = client.retrieve_instance_frames(*live.images[name].key, [1], media_types=(media_type,))
        decode = DECODERS[media_type]
        if decode is not None:
            expected = live.images[name].samples()
            assert np.array_equal(decode(frame).view(expected.dtype).reshape(expected.shape), expected)
        else:
            assert int.from_bytes(frame[:4], "little") == {"CT": 2, "RGB": 3}[name]


RENDERED = {
    "image/jpeg": imagecodecs.jpeg8_decode,
    "image/png": imagecodecs.png_decode,
    "image/gif": imagecodecs.gif_decode,
    "image/jp2": imagecodecs.jpeg2k_decode,
}


@pytest.mark.parametrize("media_type", RENDERED)
def test_dicomweb_client_retrieves_rendered_images(live: Live, media_type: str) -> None:
    """Rendered instances and frames in every media type the client may ask for (D-090, D-091)."""
    client = DICOMwebClient(live.server.root)
    for name in ("CT", "RGB", "palette"):
        key = live.images[name].key
        rows, columns = live.images[name].samples().shape[:2]
        try:
            pictures = [
                client.retrieve_instance_rendered(*key, media_types=(media_type,)),
                client.retrieve_instance_frames_rendered(*key, [1], media_types=(media_type,)),
            ]
        except requests.HTTPError as error:
            assert media_type == "image/jp2" and error.response.status_code == 406
            continue
        for body in pictures:
            assert RENDERED[media_type](body).squeeze().shape[:2] == (rows, columns)
