"""JPEG processes that were retired from DICOM, and are in archives all the same: progressive, and arithmetic coding."""

import base64
import subprocess
from pathlib import Path
from typing import Final

import imagecodecs
import numpy as np
import pydicom
import pytest

from storage.dicom.transfer_syntax import JPEG_RETIRED
from storage.pixels.pixel_data import decode_frame
from tests.builders import dicom_file
from tests.dcmtk import program
from tests.pixels import decoded, frames_of, layout, picture

EXTENDED_ARITHMETIC, SPECTRAL, SPECTRAL_ARITHMETIC, PROGRESSIVE, PROGRESSIVE_ARITHMETIC = JPEG_RETIRED

SIDES: Final = {"Rows": 32, "Columns": 40}

# cjpeg -quality 95 -arithmetic [-progressive] of `wave()`
ARITHMETIC: Final = {
    EXTENDED_ARITHMETIC: """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoKCgoKBggLDAsKDAkKCgr/
yQALCAAQABgBAREA/8wABgAQEAX/2gAIAQEAAD8A0tkKl9D+BxbdwnYorGtyjy+WgY4Nk2WhGPdG9PPBeOqDcglJiz/xQqIY+9agOnf/ALOWJQ8bp4/ipr6M
h9tIIEhblTqKnPSnNUD/2Q==""",
    PROGRESSIVE_ARITHMETIC: """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoKCgoKBggLDAsKDAkKCgr/
ygALCAAQABgBAREA/8wABAAQ/9oACAEBAAAAAdLAhx1xo1UmhRr/zAAEEAX/2gAIAQEAAQUCFnaoV6n2l8bDJ5G1sBAc6/TyhQRhlV7g7XlM/8wABBAF/9oA
CAEBAAY/AgnN/wAcdVZ9IP/MAAQQBf/aAAgBAQABPyEv4coeDmx9/9oACAEBAAAAEJj/zAAEEAX/2gAIAQEAAT8QicGyN5ZvucPWDZqbAT5YHYGA/9k=""",
}


def wave() -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    """Return the picture that the streams above were made of."""
    rows, columns = np.mgrid[0:16, 0:24]
    return (128 + 70 * np.sin(columns / 5) + 30 * np.cos(rows / 3)).round().astype(np.uint8)


@pytest.mark.parametrize("uid", [EXTENDED_ARITHMETIC, SPECTRAL_ARITHMETIC, PROGRESSIVE_ARITHMETIC])
def test_arithmetic_coding_is_decoded(uid: str) -> None:
    """Processes 3, 5, 7, 9, 11 and 13 of ITU-T T.81 (PS3.6 Annex A, retired)."""
    stream = base64.b64decode(ARITHMETIC.get(uid, ARITHMETIC[PROGRESSIVE_ARITHMETIC]))
    found = decode_frame(stream, layout((16, 24)), uid)
    assert (found.transfer_syntax_uid, found.lossy) == (uid, True)
    assert np.abs(found.pixels.astype(int) - wave()).max() <= 1


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize(("uid", "option"), [(SPECTRAL, "+es"), (PROGRESSIVE, "+ep")])
def test_progressive_streams_are_what_dcmtk_decodes(uid: str, option: str, bits: int, tmp_path: Path) -> None:
    """Spectral selection and full progression, encoded and decoded by DCMTK (processes 6, 8, 10 and 12)."""
    image = picture((32, 40), bits=bits)
    described = {**SIDES, "BitsAllocated": 8 * image.itemsize, "BitsStored": bits, "HighBit": bits - 1}
    (tmp_path / "plain.dcm").write_bytes(dicom_file(pixels=image.tobytes(), **described))
    names = [str(tmp_path / f"{name}.dcm") for name in ("plain", "compressed", "native")]
    subprocess.run([program("dcmcjpeg"), option, "+q", "95", *names[:2]], check=True)
    subprocess.run([program("dcmdjpeg"), *names[1:]], check=True)
    stored = frames_of(Path(names[1]))
    assert stored is not None
    assert (stored[0], b"\xff\xc2" in stored[2][0]) == (uid, True)
    found = decoded(Path(names[1]))
    assert (found.transfer_syntax_uid, found.lossy, found.bits) == (uid, True, bits)
    expected = pydicom.dcmread(names[2]).pixel_array
    assert np.abs(found.pixels.astype(int) - expected).max() <= 1
    assert np.abs(found.pixels.astype(int) - image).max() <= 40


def test_a_progressive_colour_stream_is_rgb() -> None:
    """Photometric Interpretation of what is decoded is RGB (PS3.5 8.2.1)."""
    image = picture((32, 40, 3))
    stream = bytes(imagecodecs.jpeg8_encode(image, level=95))
    baseline = decode_frame(stream, layout(image.shape, photometric="YBR_FULL_422"), SPECTRAL)
    assert baseline.photometric_interpretation == "RGB"
    assert np.abs(baseline.pixels.astype(int) - image).mean() <= 4
