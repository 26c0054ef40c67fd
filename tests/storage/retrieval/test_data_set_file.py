"""The data set of a stored instance as a C-STORE message carries it."""

import asyncio
import hashlib
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from storage.archive import Archive
from storage.dicom.part10 import file_meta_bytes
from storage.dicom.transfer_syntax import JPEG_2000_LOSSLESS, RLE_LOSSLESS
from storage.errors import NotFound
from storage.pixels.decoders import UndecodablePixelData
from storage.pixels.encoders import UnencodablePixelData
from storage.retrieval.data_set_file import is_sent_as_stored
from storage.retrieval.instance_file import InstanceFile
from tests.builders import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT_LE,
    IMPLICIT_LE,
    ct_slice,
    dataset_only,
    dicom_file,
    encapsulated,
    multi_frame,
    without_preamble,
)
from tests.corpus import corpus_files, wheel_file

LITTLE_ENDIAN = (EXPLICIT_LE, IMPLICIT_LE)


async def stored(archive: Archive, data: bytes) -> InstanceFile:
    """Store a file and return it as the index has it."""
    outcome = await archive.store(data)
    assert outcome.error is None
    assert outcome.study_instance_uid and outcome.sop_instance_uid
    return (await archive.instances(outcome.study_instance_uid, outcome.series_instance_uid, outcome.sop_instance_uid))[
        0
    ]


def open_files(folder: Path) -> list[Path]:
    """Return the files below a folder that this process has open."""
    paths = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    return [path for path in paths if path.is_relative_to(folder.resolve())]


async def sent(archive: Archive, instance: InstanceFile, accepted: Collection[str]) -> tuple[str, bytes]:
    """Return transfer syntax and bytes of the data set, having checked the length that was promised."""
    file = await archive.data_set(instance, accepted)
    data = b"".join([chunk async for chunk in file.stream()])
    assert len(data) == file.length
    assert len(data) % 2 == 0
    return file.transfer_syntax_uid, data


def read(data: bytes, transfer_syntax_uid: str) -> Dataset:
    """Read a bare data set with pydicom."""
    implicit, little = transfer_syntax_uid == IMPLICIT_LE, transfer_syntax_uid != BIG_ENDIAN
    return read_dataset(DicomBytesIO(data), implicit, little)


def pixels_of(data: bytes, transfer_syntax_uid: str) -> Any:
    """Return the samples of a bare data set, by pydicom."""
    meta = file_meta_bytes(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=transfer_syntax_uid)
    return dcmread(DicomBytesIO(meta + data)).pixel_array


async def test_every_file_goes_out_as_it_came_in(archive: Archive) -> None:
    """Whoever accepts the stored transfer syntax gets the stored bytes, in every encoding (PS3.4 B.4.1; G-101)."""
    count = 0
    for path in corpus_files():
        data = path.read_bytes()
        outcome = await archive.store(data)
        if outcome.status != "stored" or outcome.study_instance_uid is None:
            continue
        uids = outcome.study_instance_uid, outcome.series_instance_uid, outcome.sop_instance_uid
        instance = (await archive.instances(*uids))[0]
        if not is_sent_as_stored(instance):
            continue
        uid, found = await sent(archive, instance, (instance.transfer_syntax_uid, *LITTLE_ENDIAN))
        assert uid == instance.transfer_syntax_uid
        expected = data[instance.layout.dataset_offset :]
        assert found == expected + bytes(len(expected) % 2)
        count += 1
    assert count > 100


@pytest.mark.parametrize("uid", [EXPLICIT_LE, IMPLICIT_LE, BIG_ENDIAN, DEFLATED])
async def test_each_encoding_is_sent_untouched_to_whoever_takes_it(archive: Archive, uid: str) -> None:
    """Big Endian and deflated data sets too; a deflated one is padded to even length (PS3.5 A.5)."""
    data = ct_slice(transfer_syntax=uid)
    instance = await stored(archive, data)
    expected = dataset_only(data)
    assert await sent(archive, instance, (uid,)) == (uid, expected + bytes(len(expected) % 2))


@pytest.mark.parametrize("wanted", LITTLE_ENDIAN)
@pytest.mark.parametrize("uid", [EXPLICIT_LE, IMPLICIT_LE, BIG_ENDIAN, DEFLATED])
async def test_others_get_little_endian(archive: Archive, uid: str, wanted: str) -> None:
    """One image in every encoding becomes the same data set (PS3.5 10.1; G-101)."""
    same = {"study": "1.2.3", "series": "1.2.4", "instance": "1.2.5"}
    instance = await stored(archive, ct_slice(**same, transfer_syntax=uid))
    expected = dataset_only(ct_slice(**same, transfer_syntax=wanted))
    assert await sent(archive, instance, (wanted,)) == (wanted, expected)


@pytest.mark.parametrize("wanted", LITTLE_ENDIAN)
@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "JPEG2000.dcm", "emri_small_RLE.dcm"])
async def test_compressed_pixels_are_decompressed_for_whoever_takes_nothing_else(
    archive: Archive, name: str, wanted: str
) -> None:
    """The samples are those of the stored file (G-101)."""
    path = wheel_file(name)
    instance = await stored(archive, path.read_bytes())
    uid, data = await sent(archive, instance, LITTLE_ENDIAN if wanted == EXPLICIT_LE else (wanted,))
    assert uid == wanted
    assert np.array_equal(pixels_of(data, uid), dcmread(path).pixel_array)


async def test_a_peer_may_be_sent_lossless_compression(archive: Archive) -> None:
    """What is accepted besides is used when it loses nothing, and last (G-101)."""
    data = ct_slice()
    instance = await stored(archive, data)
    uid, found = await sent(archive, instance, (JPEG_2000_LOSSLESS,))
    assert uid == JPEG_2000_LOSSLESS
    assert np.array_equal(pixels_of(found, uid), dcmread(DicomBytesIO(data)).pixel_array)
    assert (await sent(archive, instance, (JPEG_2000_LOSSLESS, IMPLICIT_LE)))[0] == IMPLICIT_LE
    with pytest.raises(UnencodablePixelData):
        await archive.data_set(instance, ("1.2.840.10008.1.2.4.50",))


async def test_a_data_set_that_is_not_in_its_transfer_syntax_is_written_anew(archive: Archive) -> None:
    """The bytes sent are those the context was accepted for (PS3.8 9.3.3.2)."""
    compressed = wheel_file("MR_small_RLE.dcm").read_bytes()
    bare = dataset_only(compressed)
    start = bare.index(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff")
    implicit = DicomBytesIO()
    implicit.is_implicit_VR, implicit.is_little_endian = True, True
    write_dataset(implicit, read(bare[:start], EXPLICIT_LE))
    meta = file_meta_bytes(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=RLE_LOSSLESS)
    mixed = meta + implicit.getvalue() + bare[start : start + 4] + bare[start + 8 :]
    instance = await stored(archive, mixed)
    assert instance.transfer_syntax_uid == RLE_LOSSLESS
    assert not is_sent_as_stored(instance)
    uid, data = await sent(archive, instance, (RLE_LOSSLESS,))
    assert uid == RLE_LOSSLESS
    assert np.array_equal(pixels_of(data, uid), dcmread(DicomBytesIO(compressed)).pixel_array)


async def test_a_data_set_with_bytes_that_are_no_vr_is_written_anew(archive: Archive) -> None:
    """What is stored stays as it came, what a peer is sent is legal (PS3.5 7.1.2)."""
    data = ct_slice(elements={0x00090010: ("LO", "ODD"), 0x00091001: ("SH", "ABCD")})
    head = b"\x09\0\x01\x10SH\4\0ABCD"
    assert head in data
    odd = data.replace(head, head.replace(b"SH", b"??"))
    instance = await stored(archive, odd)
    assert archive.blobs.path(instance.blob).read_bytes() == odd
    assert not is_sent_as_stored(instance)
    expected = dataset_only(data.replace(head, b"\x09\0\x01\x10UN\0\0\4\0\0\0ABCD"))
    assert await sent(archive, instance, (EXPLICIT_LE,)) == (EXPLICIT_LE, expected)


async def test_leftovers_of_messages_are_not_sent(archive: Archive) -> None:
    """Neither a missing preamble nor elements of group 0000 get into the data set (PS3.7 6.3)."""
    data = ct_slice(transfer_syntax=IMPLICIT_LE)
    expected = dataset_only(data)
    bare = await stored(archive, without_preamble(ct_slice()))
    assert (await sent(archive, bare, (EXPLICIT_LE,)))[1][:4] == b"\x08\0\x05\0"
    command = b"\0\0\0\0\4\0\0\0\x0a\0\0\0" + b"\0\0\0\x01\2\0\0\0\1\0"
    instance = await stored(archive, command + expected)
    assert await sent(archive, instance, (IMPLICIT_LE,)) == (IMPLICIT_LE, expected)


async def test_a_data_set_of_odd_length_is_written_anew(archive: Archive) -> None:
    """Fragments have even lengths, so values are padded (PS3.8 9.3.5.1, PS3.5 7.1)."""
    data = ct_slice() + b"\xfc\xff\xfc\xffOB\0\0\3\0\0\0abc"
    instance = await stored(archive, data)
    uid, found = await sent(archive, instance, (EXPLICIT_LE,))
    assert uid == EXPLICIT_LE
    assert found == dataset_only(data)[:-7] + b"\4\0\0\0abc\0"


async def test_what_cannot_be_decoded_goes_out_compressed_only(archive: Archive) -> None:
    """It is sent as it is stored, or not at all; nothing is sent half (G-102)."""
    data = encapsulated([b"no codec ", b"sees this"])
    instance = await stored(archive, data)
    assert (await sent(archive, instance, (instance.transfer_syntax_uid, EXPLICIT_LE)))[1] == dataset_only(data)
    with pytest.raises(UndecodablePixelData):
        await archive.data_set(instance, LITTLE_ENDIAN)


async def test_a_damaged_later_frame_is_noticed_before_anything_is_sent(archive: Archive) -> None:
    """Large ones are decoded to a temporary file first, which is gone afterwards (G-102; design 1.6)."""
    big = multi_frame(6, rows=1024, columns=1024)
    good = await stored(archive, big)
    _, rle = await sent(archive, good, (RLE_LOSSLESS,))
    meta = file_meta_bytes(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=RLE_LOSSLESS)
    uid = read(dataset_only(big), EXPLICIT_LE).SOPInstanceUID.encode()
    other = uid[:-1] + b"9" if uid[-1:] != b"9" else uid[:-1] + b"8"
    whole = meta + rle.replace(uid, other)
    instance = await stored(archive, whole)
    _, back = await sent(archive, instance, LITTLE_ENDIAN)
    assert back == dataset_only(big).replace(uid, other)
    last = whole.rindex(b"\xfe\xff\x00\xe0")
    third = other[:-1] + b"7"
    damaged = await stored(archive, whole.replace(other, third)[: last + 8] + bytes(len(whole) - last - 8))
    with pytest.raises(UndecodablePixelData):
        await archive.data_set(damaged, LITTLE_ENDIAN)
    assert not list((archive.blobs.root / ".staging").iterdir())


async def test_a_missing_or_shortened_file_is_noticed_before_anything_is_sent(archive: Archive) -> None:
    """The error says so, and where to look (G-102)."""
    instance = await stored(archive, ct_slice())
    path = archive.blobs.path(instance.blob)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(NotFound, match="not as long"):
        await archive.data_set(instance, (EXPLICIT_LE,))
    path.unlink()
    with pytest.raises(NotFound, match="missing"):
        await archive.data_set(instance, (IMPLICIT_LE,))


async def test_large_objects_are_sent_in_pieces(archive: Archive, tmp_path: Path) -> None:
    """Stored or rewritten, no chunk is larger than 4 MiB (design 1.6)."""
    data = dicom_file(pixels=bytes(range(256)) * 40_000, Rows=1000, Columns=10_240)
    instance = await stored(archive, data)
    for uid in LITTLE_ENDIAN:
        file = await archive.data_set(instance, (uid,))
        digest = hashlib.sha256()
        async for chunk in file.stream():
            assert len(chunk) <= 4 << 20
            digest.update(chunk)
        if uid == EXPLICIT_LE:
            assert digest.digest() == hashlib.sha256(dataset_only(data)).digest()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
async def test_a_file_that_is_not_streamed_can_be_closed(archive: Archive, tmp_path: Path) -> None:
    """Nothing stays open (design 1.6)."""
    instance = await stored(archive, dicom_file(pixels=bytes(6_000_000), Rows=1000, Columns=6000))
    for uid in LITTLE_ENDIAN:
        file = await archive.data_set(instance, (uid,))
        assert open_files(tmp_path)
        await file.close()
        await file.close()
        if uid == IMPLICIT_LE:
            del file  # with its last reference closes what it was to be written anew from
        async with asyncio.timeout(30):
            while open_files(tmp_path):
                await asyncio.sleep(0.01)


def test_deflated_streams_end_where_they_end() -> None:
    """The padding of a deflated data set does not disturb its reader (PS3.5 A.5)."""
    deflated = dataset_only(ct_slice(transfer_syntax=DEFLATED)) + b"\0"
    inflater = zlib.decompressobj(-15)
    inflater.decompress(deflated)
    assert inflater.eof
