"""Files, frames and bulk data in other transfer syntaxes than the stored one (PS3.18 8.7.3, 10.4)."""

import hashlib
import io
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array

from storage.dicom.transfer_syntax import (
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_LE,
    HTJ2K_LOSSLESS,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from storage.pixels.pixel_data import decode_frame, encode_frame
from storage.pixels.threads import PixelThreads
from storage.retrieval.frame_set import FrameSet
from tests.builders import ct_slice, dicom_file, encapsulated, multi_frame, new_uid
from tests.corpus import corpus_folder, corpus_manifest, wheel_files
from tests.dicomweb.http.wado.test_instances import stored
from tests.dicomweb.parts import parts_of
from tests.pixels import LOSSLESS, layout, picture

MULTIPART = {"Accept": 'multipart/related; type="application/octet-stream"'}
NATIVE = {"Accept": f"application/dicom; transfer-syntax={EXPLICIT_LE}"}
OCTETS = f"application/octet-stream; transfer-syntax={EXPLICIT_LE}"
SHAPE = (40, 48)
LARGEST = 30_000_000


def compressed(frames: int = 1, uid: str = JPEG_2000_LOSSLESS, **attributes: Any) -> tuple[bytes, list[Any]]:
    """Return a file of 12-bit frames that differ, and their samples."""
    pictures = [np.roll(picture(SHAPE, bits=12), 3 * index, axis=1) for index in range(frames)]
    encoded = [encode_frame(p, uid, photometric_interpretation="MONOCHROME2", bits_stored=12).data for p in pictures]
    described = {"Rows": 40, "Columns": 48, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
    return encapsulated(encoded, transfer_syntax=uid, **described, **attributes), pictures


def dataset_of(answer: Any) -> pydicom.Dataset:
    assert answer.status_code == 200, answer.text
    return pydicom.dcmread(io.BytesIO(answer.content))


async def retrieved(archive: Any, client: httpx2.AsyncClient, file: Path) -> pydicom.Dataset | None:
    """The file as it comes in Explicit VR Little Endian; None when it is no image or was refused or sent before."""
    outcome = await archive.store(file.read_bytes())
    if outcome.status != "stored":
        return None
    path = f"studies/{outcome.study_instance_uid}/series/{outcome.series_instance_uid}"
    answer = await client.get(f"/dicom-web/{path}/instances/{outcome.sop_instance_uid}", headers=NATIVE)
    return dataset_of(answer)


async def test_the_corpus_comes_decompressed_bit_for_bit(archive: Any, client: httpx2.AsyncClient) -> None:
    """Every image that independent decoders agree on has the same samples in Explicit LE (A-042, D-013)."""
    entries = corpus_manifest()["files"]
    folder = corpus_folder()
    assert folder is not None
    exact = [entry for entry in entries if (entry.get("decode") or {}).get("agreement") == "exact"]
    wrong, read = [], 0
    for entry in exact:
        if entry["size"] > LARGEST or entry["transfer_syntax"] == EXPLICIT_LE:
            continue
        dataset = await retrieved(archive, client, folder / entry["path"])
        if dataset is None:
            continue
        assert dataset.file_meta.TransferSyntaxUID == EXPLICIT_LE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = pixel_array(dataset, index=0, raw=True)
        little = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<")))
        if hashlib.sha256(little.tobytes()).hexdigest() != entry["decode"]["frame0_sha256"]:
            wrong.append(entry["path"])
        read += 1
    assert wrong == []
    assert read > 40


async def test_the_wheels_come_decompressed_as_pydicom_decodes_them(archive: Any, client: httpx2.AsyncClient) -> None:
    """Samples of every compressed file pydicom decodes, photometric interpretation included (D-013, D-014)."""
    read = 0
    for file in wheel_files():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                original = pydicom.dcmread(file, force=True)
                if not original.file_meta.TransferSyntaxUID.is_encapsulated or file.stat().st_size > LARGEST:
                    continue
                expected = pixel_array(original, index=0)
            except (RuntimeError, AttributeError, ValueError, NotImplementedError):
                continue
            dataset = await retrieved(archive, client, file)
            if dataset is None:
                continue
            found = pixel_array(dataset, index=0)
        assert dataset.file_meta.TransferSyntaxUID == EXPLICIT_LE
        assert found.shape == expected.shape, file.name
        difference = np.abs(found.astype(np.int64) - expected.astype(np.int64))
        if original.file_meta.TransferSyntaxUID in (JPEG_BASELINE, JPEG_EXTENDED):
            assert difference.mean() < 1 and np.percentile(difference, 99) <= 2, file.name
        else:
            assert difference.max() <= ("YBR" in original.PhotometricInterpretation), file.name
        read += 1
    assert read > 30


@pytest.mark.parametrize("uid", LOSSLESS)
async def test_files_come_in_the_lossless_syntax_that_is_named(
    archive: Any, client: httpx2.AsyncClient, uid: str
) -> None:
    """Named in Accept, told in Content-Type and in the file, equal in every sample (A-040, A-050, A-064 to A-067)."""
    for path in await stored(archive, compressed(3)[0], multi_frame(3)):
        expected = dataset_of(await client.get(path, headers=NATIVE)).PixelData
        accept = f"application/dicom; transfer-syntax={uid}"
        answer = await client.get(path, headers={"Accept": accept})
        assert answer.headers["content-type"] == accept
        assert answer.headers["content-length"] == str(len(answer.content))
        dataset = dataset_of(answer)
        assert dataset.file_meta.TransferSyntaxUID == uid
        frames = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=3))
        shape = (dataset.Rows, dataset.Columns)
        pixel = layout(shape, bits=dataset.BitsAllocated, stored=dataset.BitsStored)
        assert b"".join(decode_frame(frame, pixel, uid).pixels.tobytes() for frame in frames) == expected


async def test_a_compressed_file_comes_decompressed_unless_asked_otherwise(
    archive: Any, client: httpx2.AsyncClient
) -> None:
    """application/dicom alone means Explicit VR Little Endian; the rest of the data set is as it was (A-042, D-014)."""
    file, pictures = compressed(5)
    (path,) = await stored(archive, file)
    answer = await client.get(path, headers={"Accept": "application/dicom"})
    dataset = dataset_of(answer)
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT_LE}"
    assert dataset.PixelData == b"".join(image.tobytes() for image in pictures)
    original = pydicom.dcmread(io.BytesIO(file))
    assert {e.keyword: e.value for e in original if e.keyword != "PixelData"} == {
        e.keyword: e.value for e in dataset if e.keyword != "PixelData"
    }
    part = await client.get(path, headers={"Accept": "application/dicom", "Range": "bytes=5000-9999"})
    assert part.status_code == 206 and part.content == answer.content[5000:10000]
    head = await client.head(path, headers={"Accept": "application/dicom"})
    assert head.status_code == 200 and head.headers["content-type"] == answer.headers["content-type"]
    tag = {"Accept": "application/dicom", "If-None-Match": answer.headers["etag"]}
    assert (await client.get(path, headers=tag)).status_code == 304
    assert (await client.get(path, headers={**tag, "Accept": "*/*"})).content == file


async def test_what_was_lost_is_remembered(archive: Any, client: httpx2.AsyncClient) -> None:
    """Lossy files come as stored, decompressed when that is named; loss made here is recorded (A-043, A-053, D-015)."""
    image = picture((32, 32))
    lossy = encode_frame(image, JPEG_BASELINE, photometric_interpretation="MONOCHROME2").data
    described = {"Rows": 32, "Columns": 32, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    record = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "7"}
    file = encapsulated([lossy], transfer_syntax=JPEG_BASELINE, **described, **record)
    first, second = await stored(archive, file, ct_slice())
    assert (await client.get(first, headers={"Accept": "application/dicom"})).content == file
    decoded = dataset_of(await client.get(first, headers=NATIVE))
    assert decoded.LossyImageCompression == "01" and decoded.LossyImageCompressionRatio == 7
    assert decoded.PixelData == decode_frame(lossy, layout((32, 32)), JPEG_BASELINE).pixels.tobytes()
    made = dataset_of(await client.get(second, headers={"Accept": f"application/dicom; transfer-syntax={JPEG_2000}"}))
    assert made.LossyImageCompression == "01" and made.LossyImageCompressionMethod == "ISO_15444_1"
    assert made.LossyImageCompressionRatio > 1


async def test_each_file_of_a_study_is_negotiated_on_its_own(archive: Any, client: httpx2.AsyncClient) -> None:
    """Native, compressed and lossy images and a report in one study (D-009)."""
    study = new_uid()
    j2k, _ = compressed(StudyInstanceUID=study, SeriesNumber=2)
    rle, _ = compressed(uid=RLE_LOSSLESS, StudyInstanceUID=study, SeriesNumber=3)
    report = dicom_file(StudyInstanceUID=study, SeriesNumber=4)
    await stored(archive, ct_slice(study, SeriesNumber=1), j2k, rle, report)
    target = f"/dicom-web/studies/{study}"
    for syntax, expected in (
        ("", [EXPLICIT_LE] * 4),
        ("; transfer-syntax=*", [EXPLICIT_LE, JPEG_2000_LOSSLESS, RLE_LOSSLESS, EXPLICIT_LE]),
        (f"; transfer-syntax={JPEG_LS_LOSSLESS}", [JPEG_LS_LOSSLESS] * 3 + [EXPLICIT_LE]),
    ):
        accept = f'multipart/related; type="application/dicom"{syntax}'
        parts = parts_of(await client.get(target, headers={"Accept": accept}))
        files = [pydicom.dcmread(io.BytesIO(part.body)) for part in parts]
        assert [file.file_meta.TransferSyntaxUID for file in files] == expected
        assert [file.SeriesNumber for file in files] == [1, 2, 3, 4]
        assert [part.headers["Content-Type"].rpartition("=")[2] for part in parts] == expected


async def test_a_series_with_shallow_values_is_not_refused(archive: Any, client: httpx2.AsyncClient) -> None:
    """One image of 8 bits stored in 16 allocated does not keep a series from JPEG Lossless (D-009, D-059)."""
    study, series = new_uid(), new_uid()
    images = [picture(SHAPE, bits=stored, cell=16) for stored in (12, 8)]
    uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    described = {"Rows": 40, "Columns": 48, "BitsAllocated": 16, **uids}
    files = [
        dicom_file(pixels=image.tobytes(), BitsStored=bits, HighBit=bits - 1, **described)
        for image, bits in zip(images, (12, 8), strict=True)
    ]
    await stored(archive, *files)
    accept = f'multipart/related; type="application/dicom"; transfer-syntax={JPEG_LOSSLESS_SV1}'
    answer = await client.get(f"/dicom-web/studies/{study}/series/{series}", headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    assert len(parts_of(answer)) == 2


async def test_frames_come_decompressed(archive: Any, client: httpx2.AsyncClient) -> None:
    """application/octet-stream without transfer syntax is samples, one part a frame, in the order asked (D-043)."""
    file, pictures = compressed(7)
    (path,) = await stored(archive, file)
    parts = parts_of(await client.get(f"{path}/frames/5,1-3", headers=MULTIPART))
    assert [part.body for part in parts] == [pictures[index].tobytes() for index in (4, 0, 1, 2)]
    assert {part.headers["Content-Type"] for part in parts} == {OCTETS}
    single = await client.get(f"{path}/frames/2", headers={"Accept": "application/octet-stream"})
    assert single.content == pictures[1].tobytes() and single.headers["content-type"] == OCTETS


@pytest.mark.parametrize(
    ("accept", "uid"),
    [
        ("image/jpeg", JPEG_LOSSLESS_SV1),
        ("image/jls", JPEG_LS_LOSSLESS),
        ("image/jp2", JPEG_2000_LOSSLESS),
        ("image/jphc", HTJ2K_LOSSLESS),
        ("image/dicom-rle", RLE_LOSSLESS),
    ],
)
async def test_frames_come_under_the_media_type_that_is_named(
    archive: Any, client: httpx2.AsyncClient, accept: str, uid: str
) -> None:
    """Each type means its default transfer syntax; nothing is lost (A-062 to A-067, D-047, D-058)."""
    (rle, pictures), (j2k, _) = compressed(2, RLE_LOSSLESS), compressed(2)
    for path in await stored(archive, rle, j2k):
        answer = await client.get(f"{path}/frames/2", headers={"Accept": accept})
        assert answer.headers["content-type"] == f"{accept}; transfer-syntax={uid}"
        frame = decode_frame(answer.content, layout(SHAPE, bits=16, stored=12), uid)
        assert np.array_equal(frame.pixels, pictures[1])
        parts = parts_of(
            await client.get(f"{path}/bulkdata/7FE00010", headers={"Accept": f'multipart/related; type="{accept}"'})
        )
        found = [decode_frame(part.body, layout(SHAPE, bits=16, stored=12), uid).pixels for part in parts]
        assert all(np.array_equal(left, right) for left, right in zip(found, pictures, strict=True))


async def test_pixel_data_comes_decompressed_as_one_value(archive: Any, client: httpx2.AsyncClient) -> None:
    """Uncompressed bulk data of all frames is one value, readable by range (D-074, A-061)."""
    study = new_uid()
    file, pictures = compressed(4, StudyInstanceUID=study)
    samples = b"".join(image.tobytes() for image in pictures)
    (path,) = await stored(archive, file)
    for target in (f"{path}/bulkdata/7FE00010", f"{path}/pixeldata", f"/dicom-web/studies/{study}/pixeldata"):
        (part,) = parts_of(await client.get(target, headers=MULTIPART))
        assert part.body == samples and part.headers["Content-Type"] == OCTETS
    single = {"Accept": "application/octet-stream"}
    answer = await client.get(f"{path}/bulkdata/7FE00010", headers=single)
    assert answer.content == samples and answer.headers["content-length"] == str(len(samples))
    part = await client.get(f"{path}/bulkdata/7FE00010", headers={**single, "Range": "bytes=3841-7000"})
    assert part.status_code == 206 and part.content == samples[3841:7001]


async def test_what_cannot_be_had_is_a_406_with_a_list(archive: Any, client: httpx2.AsyncClient) -> None:
    """Nothing is a 500; the list names what the archive can make of this image (A-035, D-059)."""
    (path,) = await stored(archive, compressed()[0])
    refused = await client.get(f"{path}/frames/1", headers={"Accept": "image/jxl"})
    assert refused.status_code == 406
    available = refused.json()["available"]
    assert {"image/jls; transfer-syntax=" + JPEG_LS_LOSSLESS, OCTETS} <= set(available)
    assert not any("jxl" in offer or JPEG_BASELINE in offer for offer in available)  # 12 bits are no baseline JPEG


async def test_too_much_at_once_is_a_503(archive: Any, client: httpx2.AsyncClient) -> None:
    """A full queue answers at once, with the time to come again (A-111)."""
    archive.pixel_threads.close()
    archive.pixel_threads = PixelThreads(1, -1)
    (path,) = await stored(archive, compressed()[0])
    for target in (path, f"{path}/frames/1", f"{path}/bulkdata/7FE00010"):
        accept = "application/dicom" if target == path else "application/octet-stream"
        refused = await client.get(target, headers={"Accept": accept})
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
    assert (await client.get(path)).status_code == 200


async def test_nothing_is_decoded_for_a_client_that_takes_the_stored_form(
    archive: Any, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`transfer-syntax=*` costs no codec, nor do native bytes asked for as they are (A-044)."""

    def never(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(FrameSet, "transcoded", never)
    file, _ = compressed()
    for path in await stored(archive, file, ct_slice()):
        for accept in ("*/*", "application/dicom; transfer-syntax=*"):
            assert (await client.get(path, headers={"Accept": accept})).status_code == 200
        for accept in ("*/*", 'multipart/related; type="application/octet-stream"; transfer-syntax=*'):
            assert (await client.get(f"{path}/frames/1", headers={"Accept": accept})).status_code == 200


@pytest.mark.skipif(not shutil.which("dcmdump"), reason="needs DCMTK (Debian package dcmtk)")
@pytest.mark.parametrize(
    ("uid", "decoder"),
    [
        (EXPLICIT_LE, "dcmdump"),
        (JPEG_LOSSLESS_SV1, "dcmdjpeg"),
        (JPEG_LS_LOSSLESS, "dcmdjpls"),
        (RLE_LOSSLESS, "dcmdrle"),
    ],
)
async def test_dcmtk_reads_what_was_transcoded(
    archive: Any, client: httpx2.AsyncClient, tmp_path: Path, uid: str, decoder: str
) -> None:
    """DCMTK dumps the files without complaint and its decoders find the same samples."""
    file, pictures = compressed(2)
    (path,) = await stored(archive, file)
    answer = await client.get(path, headers={"Accept": f"application/dicom; transfer-syntax={uid}"})
    made, plain = tmp_path / "made.dcm", tmp_path / "plain.dcm"
    made.write_bytes(answer.content)
    dump = subprocess.run(["dcmdump", str(made)], capture_output=True, check=False)
    assert dump.returncode == 0 and not dump.stderr, dump.stderr
    if decoder != "dcmdump":
        subprocess.run([decoder, str(made), str(plain)], capture_output=True, check=True)
        made = plain
    assert pydicom.dcmread(made).PixelData == b"".join(image.tobytes() for image in pictures)


async def test_uncompressed_fragments_come_in_every_form(archive: Any, client: httpx2.AsyncClient) -> None:
    """Encapsulated Uncompressed Explicit VR Little Endian: frames, pictures, files and its own form (PS3.5 A.4.11)."""
    pictures = [np.roll(picture((5, 7), bits=16), index, axis=1) for index in range(3)]
    described = {"Rows": 5, "Columns": 7, "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}
    fragments = [image.tobytes() for image in pictures]
    file = encapsulated(fragments, transfer_syntax=ENCAPSULATED_UNCOMPRESSED, **described)
    (path,) = await stored(archive, file)
    answer = await client.get(f"{path}/frames/2", headers={"Accept": "application/octet-stream"})
    assert (answer.content, answer.headers["content-type"]) == (fragments[1], OCTETS)
    assert (await client.get(f"{path}/rendered", headers={"Accept": "image/png"})).status_code == 200
    assert dataset_of(await client.get(path, headers=NATIVE)).PixelData == b"".join(fragments)
    asked = {"Accept": f"application/dicom; transfer-syntax={ENCAPSULATED_UNCOMPRESSED}"}
    assert (await client.get(path, headers=asked)).content == file
    (native,) = await stored(archive, multi_frame(3, rows=5, columns=7))
    made = dataset_of(await client.get(native, headers=asked))
    assert made.file_meta.TransferSyntaxUID == ENCAPSULATED_UNCOMPRESSED
    whole = dataset_of(await client.get(native, headers=NATIVE)).PixelData
    found = pydicom.encaps.generate_frames(made.PixelData, number_of_frames=3)
    assert b"".join(found) == whole


async def test_whoever_gets_a_mended_frame_is_told(archive: Any, client: httpx2.AsyncClient) -> None:
    """A Warning header says what was done; the stored bytes stay as they are (PS3.18 8.5)."""
    image = picture(SHAPE, bits=12)
    stream = encode_frame(image, JPEG_LS_LOSSLESS, photometric_interpretation="MONOCHROME2", bits_stored=12).data
    odd = stream[:-2] + bytes(4) + stream[-2:]
    described = {"Rows": 40, "Columns": 48, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
    (path,) = await stored(archive, encapsulated([odd], transfer_syntax=JPEG_LS_LOSSLESS, **described))
    frame = await client.get(f"{path}/frames/1", headers={"Accept": "application/octet-stream"})
    part = await client.get(f"{path}/frames/1", headers=MULTIPART)
    file = await client.get(path, headers=NATIVE)
    pictures = [await client.get(f"{path}/rendered", headers={"Accept": "image/png"}) for _ in range(2)]
    for answer in (frame, part, file, *pictures):
        assert answer.status_code == 200
        assert answer.headers["warning"].startswith('299 http://archive.test/dicom-web "There are zeros before the end')
    assert frame.content == image.tobytes()
    assert parts_of(part)[0].body == dataset_of(file).PixelData == image.tobytes()
    as_stored = await client.get(f"{path}/frames/1", headers={"Accept": "image/jls"})
    assert "warning" not in as_stored.headers
    assert as_stored.content.rstrip(b"\0") == odd
