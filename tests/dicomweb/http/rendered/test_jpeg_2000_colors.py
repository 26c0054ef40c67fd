"""The colors of JPEG 2000 and HTJ2K by every door: the stream and the label say together what its components are."""

import io
from collections.abc import Callable
from typing import Any

import httpx2
import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array
from pynetdicom.dsutils import decode

from storage.dicom.transfer_syntax import (
    EXPLICIT_LE,
    HTJ2K_LOSSLESS,
    IMPLICIT_LE,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from tests.builders import encapsulated, new_uid
from tests.dicomweb.gateway.retrieving import ask_get, concluded
from tests.dicomweb.gateway.serving import listening
from tests.dicomweb.http.wado.test_instances import stored
from tests.jpeg_2000 import FORMS, LABELS, PICTURE, Pixels, colored, encoded, named, rgb

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DESCRIPTION = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "Rows": PICTURE.shape[0], "Columns": PICTURE.shape[1]}
EXACT, LOSSY = 3, 8
"""The largest difference of a color to the formula, of 255: some roundings, or those and JPEG's error in a patch."""

Retrieve = Callable[[httpx2.AsyncClient, str], Any]


def file_of(form: str, label: str, *, high_throughput: bool, **attributes: Any) -> bytes:
    """Return the picture in a DICOM file."""
    stream = colored(form, label, high_throughput=high_throughput)
    syntax = HTJ2K_LOSSLESS if high_throughput else JPEG_2000_LOSSLESS
    described = DESCRIPTION | {"PhotometricInterpretation": label}
    return encapsulated([stream], transfer_syntax=syntax, **described, **attributes)


async def got(client: httpx2.AsyncClient, path: str, accept: str) -> bytes:
    answer = await client.get(path, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    return answer.content


async def instance(client: httpx2.AsyncClient, path: str, uid: str) -> pydicom.Dataset:
    content = await got(client, path, f"application/dicom; transfer-syntax={uid}")
    return pydicom.dcmread(io.BytesIO(content))


def picture(content: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def native(dataset: pydicom.Dataset) -> Pixels:
    return np.frombuffer(dataset.PixelData[: PICTURE.size], np.uint8).reshape(PICTURE.shape)


def only_frame(dataset: pydicom.Dataset) -> bytes:
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


async def doors(
    client: httpx2.AsyncClient, path: str, label: str, space: str
) -> dict[str, tuple[Pixels, str, str, int]]:
    """Return by door: samples, what they are called, what they are to be called, and the difference that may be.

    What comes without a header is YBR_FULL when the metadata says so. Where that states chrominance with fewer samples,
    and all are there, viewers do not believe it.
    """
    bare = label if label == "YBR_FULL" else space
    explicit, rle, jpeg_ls, jpeg = [
        await instance(client, path, uid) for uid in (EXPLICIT_LE, RLE_LOSSLESS, JPEG_LS_LOSSLESS, JPEG_BASELINE)
    ]
    frame, bulk = [
        np.frombuffer(await got(client, place, f"application/octet-stream; transfer-syntax={EXPLICIT_LE}"), np.uint8)
        for place in (f"{path}/frames/1", f"{path}/bulkdata/7FE00010")
    ]
    coded = await got(client, f"{path}/frames/1", f"image/jls; transfer-syntax={JPEG_LS_LOSSLESS}")
    small = await got(client, f"{path}/thumbnail?viewport={PICTURE.shape[1]},{PICTURE.shape[0]}", "image/png")
    return {
        "rendered": (picture(await got(client, f"{path}/rendered", "image/png")), "RGB", "RGB", EXACT),
        "thumbnail": (picture(small), "RGB", "RGB", EXACT),
        "frame": (frame.reshape(PICTURE.shape), bare, bare, EXACT),
        "frame in JPEG-LS": (imagecodecs.jpegls_decode(coded), bare, bare, EXACT),
        "bulk data": (bulk.reshape(PICTURE.shape), bare, bare, EXACT),
        "Explicit LE": (native(explicit), explicit.PhotometricInterpretation, space, EXACT),
        "RLE": (pixel_array(rle, raw=True), rle.PhotometricInterpretation, space, EXACT),
        "JPEG-LS": (
            imagecodecs.jpegls_decode(only_frame(jpeg_ls)),
            jpeg_ls.PhotometricInterpretation,
            space,
            EXACT,
        ),
        "JPEG": (picture(only_frame(jpeg)), "RGB", "RGB", LOSSY),
    }


def wrong(samples: Pixels, called: str, wanted: str, most: int) -> str:
    """Return what is wrong with decoded samples, nothing when they are the picture."""
    if called != wanted:
        return f"is called {called}, not {wanted}"
    difference = np.abs(rgb(samples, called) - PICTURE)
    if most == LOSSY:  # between patches JPEG mixes their colors
        difference = difference.reshape(2, 16, 4, 16, 3)[:, 4:12, :, 4:12]
    return f"differs by {difference.max():.0f} of 255" if difference.max() > most else ""


@pytest.mark.parametrize("high_throughput", [False, True], ids=["JPEG 2000", "HTJ2K"])
@pytest.mark.parametrize("form", FORMS)
async def test_colors_are_right_by_every_door(
    archive: Any, client: httpx2.AsyncClient, form: str, high_throughput: bool
) -> None:
    """Pictures, frames, bulk data and four transcoded files show the colors of the formula, and are what Photometric
    Interpretation says (PS3.3 C.7.6.3.1.2; PS3.5 8.2.4: the stream is right where the label contradicts it)."""
    found = {}
    for label in LABELS:
        (path,) = await stored(archive, file_of(form, label, high_throughput=high_throughput))
        for door, result in (await doors(client, path, label, named(form, label))).items():
            found[f"{label}, {door}"] = wrong(*result)
    assert {name: text for name, text in found.items() if text} == {}
    assert len(found) == 9 * len(LABELS)


@pytest.mark.parametrize("high_throughput", [False, True], ids=["JPEG 2000", "HTJ2K"])
async def test_a_picture_with_alpha(archive: Any, client: httpx2.AsyncClient, high_throughput: bool) -> None:
    """Frames, files and pictures come without alpha, and a `Warning` header says so; what is stored stays as it is."""
    stream = encoded(np.dstack([PICTURE, PICTURE[..., 0]]), high_throughput=high_throughput)
    syntax = HTJ2K_LOSSLESS if high_throughput else JPEG_2000_LOSSLESS
    file = encapsulated([stream], transfer_syntax=syntax, **DESCRIPTION, PhotometricInterpretation="RGB")
    (path,) = await stored(archive, file)
    frame = await client.get(f"{path}/frames/1", headers={"Accept": "application/octet-stream"})
    assert (frame.status_code, frame.content) == (200, PICTURE.tobytes())
    rendered = await client.get(f"{path}/rendered", headers={"Accept": "image/png"})
    assert np.array_equal(picture(rendered.content), PICTURE)
    explicit = await client.get(path, headers={"Accept": f"application/dicom; transfer-syntax={EXPLICIT_LE}"})
    assert np.array_equal(native(pydicom.dcmread(io.BytesIO(explicit.content))), PICTURE)
    for answer in (frame, rendered, explicit):
        assert "such as alpha; they were left out" in answer.headers["warning"]
    assert (await client.get(path)).content == file


async def test_colors_are_right_over_dimse(archive: Any) -> None:
    """C-GET in Explicit and Implicit VR LE brings the same colors and names (PS3.5 8.2.4; PS3.4 C.4.3)."""
    study, kinds = new_uid(), {}
    for form in FORMS:
        for label in LABELS:
            for high_throughput in (False, True):
                uid = new_uid()
                kinds[uid] = form, label, high_throughput
                attributes = {"StudyInstanceUID": study, "SOPInstanceUID": uid}
                await stored(archive, file_of(form, label, high_throughput=high_throughput, **attributes))
    for syntax in (EXPLICIT_LE, IMPLICIT_LE):
        async with listening(archive) as port:
            keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study}
            answers, received = await ask_get(port, keys, sop_classes=(SECONDARY_CAPTURE,), syntaxes=(syntax,))
        assert concluded(answers, len(kinds))[0] == 0
        found = {}
        for uid, (form, label, high_throughput) in kinds.items():
            came, data = received[uid]
            assert came == syntax
            dataset = decode(io.BytesIO(data), syntax == IMPLICIT_LE, True)
            called = dataset.PhotometricInterpretation
            found[form, label, high_throughput] = wrong(native(dataset), called, named(form, label), EXACT)
        assert {kind: text for kind, text in found.items() if text} == {}
