"""GE's private transfer syntax: Implicit VR Little Endian, in which words (VR OW) are big endian.

GDCM and DCMTK turn 16-bit samples of it round; samples of 8 bits are bytes, and come as they are.
"""

import base64
import io
from typing import Any, Final

import httpx2
import numpy as np
import pydicom
import pytest
from PIL import Image

from storage.dicom.transfer_syntax import (
    EXPLICIT_LE,
    GE_BIG_ENDIAN_WORDS,
    IMPLICIT_LE,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from storage.pixels.pixel_data import decode_frame
from tests.builders import dataset_only, dicom_file
from tests.dicomweb.gateway.retrieving import ask_get
from tests.dicomweb.gateway.serving import listening
from tests.dicomweb.http.wado.test_instances import stored
from tests.pixels import layout
from tests.storage.labelled import labelled

ANGIOGRAPHY: Final = "1.2.840.10008.5.1.4.1.1.12.1"
SAMPLES: Final = np.arange(2 * 4 * 6, dtype="<u2").reshape(2, 4, 6) * 200 + 5
TABLE: Final = np.arange(0, 65536, 256, dtype="<u2")
LONG_TABLE: Final = np.arange(65536, dtype="<u2")[::-1].copy()
OVERLAY: Final = np.arange(12, dtype="<u2")
LONG_OVERLAY: Final = np.arange(5000, dtype="<u2")


def angiography(pixels: bytes = SAMPLES.byteswap().tobytes(), **attributes: Any) -> bytes:
    """Return a file in the private syntax, whose words are written big endian by hand."""
    described = {"SOPClassUID": ANGIOGRAPHY, "Rows": 4, "Columns": 6, "NumberOfFrames": 2, "RescaleSlope": 1}
    bits = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}
    tables = [
        {"LUTDescriptor": [len(table) % 65536, 0, 16], "LUTData": table.byteswap().tobytes()}
        for table in (TABLE, LONG_TABLE)
    ]
    planes = {0x60003000: OVERLAY, 0x60023000: LONG_OVERLAY}
    overlays = {tag: ("OW", words.byteswap().tobytes()) for tag, words in planes.items()}
    given = {**described, **bits, "VOILUTSequence": tables, **attributes}
    file = dicom_file(transfer_syntax=IMPLICIT_LE, pixels=pixels, elements=overlays, **given)
    return labelled(file, GE_BIG_ENDIAN_WORDS)


async def test_frames_and_bulk_data_are_little_endian(archive: Any, client: httpx2.AsyncClient) -> None:
    """PS3.18 8.7.3.3.1: whatever the order they are stored in."""
    (path,) = await stored(archive, angiography())
    for number, samples in enumerate(SAMPLES, 1):
        answer = await client.get(f"{path}/frames/{number}", headers={"Accept": "application/octet-stream"})
        assert answer.content == samples.tobytes()
    assert (await client.get(f"{path}/bulkdata/7FE00010")).content == SAMPLES.tobytes()
    ranged = await client.get(f"{path}/bulkdata/7FE00010", headers={"Range": "bytes=3-6"})
    assert ranged.content == SAMPLES.tobytes()[3:7]
    assert (await client.get(f"{path}/bulkdata/60023000")).content == LONG_OVERLAY.tobytes()


async def test_lookup_tables_and_overlays_of_the_metadata_are_little_endian(
    archive: Any, client: httpx2.AsyncClient
) -> None:
    """PS3.18 F.2.7: InlineBinary is little endian."""
    (path,) = await stored(archive, angiography())
    (metadata,) = (await client.get(f"{path}/metadata")).json()
    assert metadata["00280010"]["Value"] == [4]
    tables = metadata["00283010"]["Value"]
    assert tables[0]["00283002"]["Value"] == [256, 0, 16]
    assert base64.b64decode(tables[0]["00283006"]["InlineBinary"]) == TABLE.tobytes()
    assert base64.b64decode(metadata["60003000"]["InlineBinary"]) == OVERLAY.tobytes()


async def test_a_picture_is_made_of_the_samples_meant(archive: Any, client: httpx2.AsyncClient) -> None:
    """Frame 1, without a table, is shown with its own range: grey levels in proportion to the samples (D-107)."""
    (path,) = await stored(archive, angiography(VOILUTSequence=[]))
    answer = await client.get(f"{path}/frames/1/rendered", headers={"Accept": "image/png"})
    levels = np.asarray(Image.open(io.BytesIO(answer.content)))
    first = SAMPLES[0].astype(float)
    assert np.array_equal(levels, np.floor((first - first.min()) / np.ptp(first) * 255 + 0.5))


@pytest.mark.parametrize("uid", [EXPLICIT_LE, RLE_LOSSLESS, JPEG_LS_LOSSLESS])
async def test_files_given_out_are_little_endian(archive: Any, client: httpx2.AsyncClient, uid: str) -> None:
    """PS3.18 8.7.3: samples, tables and overlays of a file in another transfer syntax."""
    (path,) = await stored(archive, angiography())
    answer = await client.get(path, headers={"Accept": f"application/dicom; transfer-syntax={uid}"})
    dataset = pydicom.dcmread(io.BytesIO(answer.content))
    assert dataset.file_meta.TransferSyntaxUID == uid
    if uid == EXPLICIT_LE:
        assert dataset.PixelData == SAMPLES.tobytes()
    else:
        frames = [bytes(frame) for frame in pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=2)]
        pixel = layout((4, 6), bits=16)
        assert np.array_equal([decode_frame(frame, pixel, uid).pixels for frame in frames], SAMPLES)
    assert [table.LUTData for table in dataset.VOILUTSequence] == [TABLE.tobytes(), LONG_TABLE.tobytes()]
    assert dataset[0x60003000].value == OVERLAY.tobytes()


async def test_samples_of_8_bits_are_bytes(archive: Any, client: httpx2.AsyncClient) -> None:
    """The known files of 8 bits hold them in order; they are labelled as bytes (PS3.5 8.1.1)."""
    pixels = bytes(range(48))
    (path,) = await stored(archive, angiography(pixels, BitsAllocated=8, BitsStored=8, HighBit=7))
    assert (await client.get(f"{path}/bulkdata/7FE00010")).content == pixels
    answer = await client.get(path, headers={"Accept": f"application/dicom; transfer-syntax={EXPLICIT_LE}"})
    element = pydicom.dcmread(io.BytesIO(answer.content))["PixelData"]
    assert (element.VR, element.value) == ("OB", pixels)


@pytest.mark.parametrize("uid", [GE_BIG_ENDIAN_WORDS, EXPLICIT_LE, IMPLICIT_LE])
async def test_c_get_sends_what_its_transfer_syntax_promises(archive: Any, uid: str) -> None:
    """PS3.4 C.4.3: byte for byte in the stored transfer syntax, little endian in all others."""
    file = angiography(StudyInstanceUID="1.2.77")
    assert (await archive.store(file)).status == "stored"
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.77"}
    async with listening(archive) as port:
        answers, received = await ask_get(port, keys, sop_classes=[ANGIOGRAPHY], syntaxes=[uid])
    assert answers[-1][0].Status == 0
    ((syntax, data),) = received.values()
    assert syntax == uid
    if uid == GE_BIG_ENDIAN_WORDS:
        assert data == dataset_only(file)
    else:
        dataset = pydicom.dcmread(io.BytesIO(_part10(data, uid)))
        assert dataset.PixelData == SAMPLES.tobytes()
        assert dataset.VOILUTSequence[0].LUTData == TABLE.tobytes()


def _part10(data: bytes, uid: str) -> bytes:
    empty = labelled(dicom_file(), uid)
    return empty[: len(empty) - len(dataset_only(empty))] + data
