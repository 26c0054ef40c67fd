"""Whole instances in another transfer syntax: the same pixels, the same elements, headers that tell the truth."""

import io
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from storage.dicom.transfer_syntax import (
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
from storage.errors import ArchiveError
from storage.pixels.frame_table import frame_table
from storage.pixels.layout import FrameTable, PixelLayout
from storage.pixels.pixel_data import UndecodablePixelData, UnencodablePixelData, decode_frame, encode_frame
from storage.writing import transcoded_pixels
from storage.writing.reencode import explicit_little_endian
from storage.writing.transcode import transcode
from tests.builders import BIG_ENDIAN, DEFLATED, IMPLICIT_LE, ct_slice, dicom_file, encapsulated, multi_frame
from tests.corpus import wheel_file
from tests.pixels import LOSSLESS, corpus_file, gray_frame, opened, raw_frames

PIXEL_DESCRIPTION = {"PhotometricInterpretation", "PlanarConfiguration", "PixelData"}


def transcoded(data: bytes, uid: str, **options: Any) -> bytes:
    """Return a file in another transfer syntax, having checked the length that was promised."""
    header, source = opened(data)
    with transcode(source, header, uid, **options) as result:
        written = b"".join(result.stream())
        assert (result.transfer_syntax_uid, result.length) == (uid, len(written))
        return written


def frames_of(data: bytes) -> tuple[PixelLayout, list[NDArray[Any]]]:
    """Decode all frames of a file; the file is well-formed and is what it says."""
    header, source = opened(data)
    assert header.warnings == []
    assert header.has_preamble
    raw = raw_frames(header, source)
    assert raw is not None
    table, pixel, frames = raw
    assert table.warnings == []
    found = []
    for frame in frames:
        result = decode_frame(frame, pixel, header.transfer_syntax_uid)
        assert result.transfer_syntax_uid in (header.transfer_syntax_uid, EXPLICIT_LE)
        found.append(result.pixels)
    return pixel, found


def dataset_of(data: bytes) -> Dataset:
    """Read a file with pydicom."""
    return pydicom.dcmread(io.BytesIO(data))


def color(frames: int = 3, *, rows: int = 20, columns: int = 30, **attributes: Any) -> bytes:
    """Return a multi-frame color image, native."""
    pixels = np.random.default_rng(3).integers(0, 256, (frames, rows, columns, 3), np.uint8)
    described = {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "Rows": rows,
        "Columns": columns,
        "NumberOfFrames": frames,
    }
    return dicom_file(pixels=pixels.tobytes(), **described | attributes)


SOURCES = {
    "ct": ct_slice(rows=33, columns=40),
    "signed": ct_slice(rows=33, columns=40, PixelRepresentation=1, BitsStored=16, HighBit=15),
    "frames": multi_frame(5, rows=12, columns=17, bits=16),
    "color": color(),
    "by plane": color(1, PlanarConfiguration=1),
    "big endian": multi_frame(3, bits=16, transfer_syntax=BIG_ENDIAN),
    "implicit": ct_slice(transfer_syntax=IMPLICIT_LE),
    "deflated": ct_slice(transfer_syntax=DEFLATED),
    "bits": multi_frame(11, rows=5, columns=7, bits=1),
    "odd": multi_frame(1, rows=5, columns=5, bits=8),
}


@pytest.mark.parametrize("uid", [EXPLICIT_LE, *LOSSLESS])
@pytest.mark.parametrize("name", SOURCES)
def test_compressing_and_decompressing_changes_no_pixel_and_no_element(name: str, uid: str) -> None:
    """Any lossless syntax and back: equal samples; all else as it was but the description of the pixels (D-013)."""
    data = SOURCES[name]
    if name == "bits" and uid in (JPEG_LOSSLESS_SV1, JPEG_LS_LOSSLESS):
        with pytest.raises(UnencodablePixelData, match="1 bits allocated"):
            transcoded(data, uid)
        return
    there = transcoded(data, uid)
    back = transcoded(there, EXPLICIT_LE)
    _, expected = frames_of(transcoded(data, EXPLICIT_LE))
    for result in (there, back):
        _, found = frames_of(result)
        assert len(found) == len(expected)
        assert all(np.array_equal(left, right) for left, right in zip(found, expected, strict=True))
        _same_but_pixels(dataset_of(data), dataset_of(result))
    if name != "by plane":
        assert back == transcoded(data, EXPLICIT_LE)


def _same_but_pixels(left: Dataset, right: Dataset) -> None:
    assert {element.keyword for element in left} == {element.keyword for element in right}
    for element in left:
        if element.keyword not in PIXEL_DESCRIPTION:
            assert element.value == right[element.tag].value, element.keyword


@pytest.mark.parametrize("uid", [EXPLICIT_LE, RLE_LOSSLESS, JPEG_2000_LOSSLESS])
def test_pydicom_reads_the_pixels(uid: str) -> None:
    """Another program finds the same samples in the transcoded files (PS3.5 A.4)."""
    for name in ("ct", "frames", "color", "signed"):
        expected = dataset_of(transcoded(SOURCES[name], EXPLICIT_LE)).pixel_array
        assert np.array_equal(dataset_of(transcoded(SOURCES[name], uid)).pixel_array, expected), name


@pytest.mark.parametrize(
    ("data", "uid"),
    [
        (SOURCES["ct"], EXPLICIT_LE),
        (SOURCES["big endian"], EXPLICIT_LE),
        (SOURCES["bits"], EXPLICIT_LE),
        (encapsulated([b"no codec ", b"sees this"]), JPEG_BASELINE),
        (dicom_file(), EXPLICIT_LE),
    ],
)
def test_what_need_not_change_is_copied(data: bytes, uid: str) -> None:
    """Native data asked for uncompressed, and compressed data in its own syntax, are not decoded (A-044, A-045)."""
    header, source = opened(data)
    assert transcoded(data, uid) == b"".join(explicit_little_endian(source, header))


@pytest.mark.parametrize(
    ("uid", "photometric"),
    [
        (RLE_LOSSLESS, "RGB"),
        (JPEG_LS_LOSSLESS, "RGB"),
        (JPEG_LOSSLESS_SV1, "RGB"),
        (JPEG_2000_LOSSLESS, "YBR_RCT"),
        (HTJ2K_LOSSLESS, "YBR_RCT"),
        (JPEG_2000, "YBR_ICT"),
        (JPEG_BASELINE, "YBR_FULL_422"),
    ],
)
def test_the_photometric_interpretation_follows_the_pixels(uid: str, photometric: str) -> None:
    """It is the one of the stream when compressed, and RGB again afterwards (PS3.5 8.2, D-014)."""
    there = transcoded(SOURCES["color"], uid)
    assert dataset_of(there).PhotometricInterpretation == photometric
    assert dataset_of(transcoded(there, EXPLICIT_LE)).PhotometricInterpretation == "RGB"


def test_the_planar_configuration_follows_the_pixels() -> None:
    """By pixel in compressed streams; RLE and native samples keep what the metadata says (D-014, D-053)."""
    planes = SOURCES["by plane"]
    assert dataset_of(transcoded(planes, JPEG_LS_LOSSLESS)).PlanarConfiguration == 0
    rle = transcoded(planes, RLE_LOSSLESS)
    assert dataset_of(rle).PlanarConfiguration == 1
    assert transcoded(rle, EXPLICIT_LE) == transcoded(planes, EXPLICIT_LE)
    frame = encode_frame(np.zeros((8, 8, 3), np.uint8), RLE_LOSSLESS, photometric_interpretation="RGB").data
    absent = encapsulated([frame], transfer_syntax=RLE_LOSSLESS, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    assert dataset_of(transcoded(absent, EXPLICIT_LE)).PlanarConfiguration == 0


def test_the_vr_of_pixel_data_follows_the_cells() -> None:
    """OB when compressed, OW for more than 8 bits, OB for 8 and fewer (PS3.5 A.2, A.4)."""
    wide = transcoded(SOURCES["ct"], JPEG_LS_LOSSLESS)
    assert dataset_of(wide)["PixelData"].VR == "OB"
    assert dataset_of(wide)["PixelData"].is_undefined_length
    assert dataset_of(transcoded(wide, EXPLICIT_LE))["PixelData"].VR == "OW"
    assert dataset_of(transcoded(transcoded(SOURCES["color"], RLE_LOSSLESS), EXPLICIT_LE))["PixelData"].VR == "OB"


def test_cells_grow_where_the_stream_holds_more_than_is_stated() -> None:
    """Bits Allocated, Bits Stored and High Bit tell what is really there (PS3.5 8.2)."""
    image = np.arange(64, dtype=np.uint16).reshape(8, 8) * 60
    stream = gray_frame(image, JPEG_2000_LOSSLESS, bits_stored=12)
    data = encapsulated([stream], transfer_syntax=JPEG_2000_LOSSLESS)
    for uid in (EXPLICIT_LE, JPEG_LS_LOSSLESS):
        dataset = dataset_of(transcoded(data, uid))
        assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (16, 12, 11)
        assert np.array_equal(frames_of(transcoded(data, uid))[1][0], image)


def test_offset_tables_are_those_of_the_new_encoding() -> None:
    """The Extended Offset Table and the total length go; a Basic Offset Table comes (PS3.3 C.7.6.3.1.8, PS3.5 A.4)."""
    stream = gray_frame(np.zeros((8, 8), np.uint8), RLE_LOSSLESS)
    data = encapsulated(
        [stream] * 3,
        transfer_syntax=RLE_LOSSLESS,
        offset_table="extended",
        EncapsulatedPixelDataValueTotalLength=3 * len(stream),
    )
    for uid in (EXPLICIT_LE, JPEG_LS_LOSSLESS):
        result = transcoded(data, uid)
        dataset = dataset_of(result)
        assert "ExtendedOffsetTable" not in dataset
        assert "ExtendedOffsetTableLengths" not in dataset
        assert "EncapsulatedPixelDataValueTotalLength" not in dataset
        assert len(frames_of(result)[1]) == 3
    value = dataset_of(transcoded(data, JPEG_LS_LOSSLESS)).PixelData
    assert struct.unpack_from("<HHL3L", value)[2:4] == (12, 0)


def test_offsets_beyond_32_bits_go_to_the_extended_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 4 GiB of frames get an empty Basic Offset Table and the Extended one, in any byte order (PS3.5 A.4)."""
    monkeypatch.setattr(transcoded_pixels, "_MOST_BASIC_OFFSET", 100)
    for name in ("frames", "big endian"):
        result = transcoded(SOURCES[name], RLE_LOSSLESS)
        dataset = dataset_of(result)
        frames = int(dataset.NumberOfFrames)
        assert len(dataset.ExtendedOffsetTable) == len(dataset.ExtendedOffsetTableLengths) == 8 * frames
        assert dataset.PixelData[:8] == b"\xfe\xff\x00\xe0\0\0\0\0"
        expected = frames_of(transcoded(SOURCES[name], EXPLICIT_LE))[1]
        assert all(np.array_equal(*pair) for pair in zip(frames_of(result)[1], expected, strict=True))


def test_loss_is_never_forgotten() -> None:
    """Decompressing keeps the record of loss, and makes one where a lossy stream came without (D-015)."""
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    stream = gray_frame(image, JPEG_BASELINE)
    silent = dataset_of(transcoded(encapsulated([stream]), EXPLICIT_LE))
    assert silent.LossyImageCompression == "01"
    assert silent.LossyImageCompressionRatio > 0
    assert silent.LossyImageCompressionMethod.startswith("ISO_")
    recorded = encapsulated([stream], LossyImageCompression="01", LossyImageCompressionRatio="7.5")
    dataset = dataset_of(transcoded(recorded, JPEG_2000_LOSSLESS))
    assert (dataset.LossyImageCompression, dataset.LossyImageCompressionRatio) == ("01", 7.5)
    assert "LossyImageCompression" not in dataset_of(transcoded(SOURCES["ct"], JPEG_2000_LOSSLESS))


@pytest.mark.parametrize(("uid", "method"), [(JPEG_BASELINE, "ISO_10918_1"), (JPEG_2000, "ISO_15444_1")])
def test_new_loss_is_recorded(uid: str, method: str) -> None:
    """Lossy compression sets the flag and appends ratio and method (A-053, PS3.3 C.7.6.1.1.5)."""
    data = color(1, rows=64, columns=64, LossyImageCompression="01", LossyImageCompressionRatio="2.5")
    dataset = dataset_of(transcoded(data, uid, quality=50))
    assert dataset.LossyImageCompression == "01"
    first, second = dataset.LossyImageCompressionRatio
    assert (first, second > 1) == (2.5, True)
    assert dataset.LossyImageCompressionMethod == method
    assert dataset.SOPInstanceUID == dataset_of(data).SOPInstanceUID


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colors_of_few_bits_have_eight_in_jpeg_baseline(photometric: str) -> None:
    """Chrominance is around 128 in every stream: the file states 8 bits, and pydicom sees the color (PS3.5 8.2.1)."""
    samples = {"RGB": (75, 56, 73), "YBR_FULL": (64, 69, 72)}[photometric]
    pixels = np.full((16, 16, 3), samples, np.uint8)
    described = {"Rows": 16, "Columns": 16, "SamplesPerPixel": 3, "PlanarConfiguration": 0, "BitsStored": 7}
    data = dicom_file(pixels=pixels.tobytes(), HighBit=6, PhotometricInterpretation=photometric, **described)
    dataset = dataset_of(transcoded(data, JPEG_BASELINE, quality=100))
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (8, 8, 7)
    assert np.abs(dataset.pixel_array.astype(int) - (75, 56, 73)).max() <= 2


def test_twelve_bits_are_compressed_with_loss() -> None:
    """JPEG Extended holds 12 bits; what is above them, an overlay for instance, does not become gray (PS3.5 8.1.2)."""
    image = (np.arange(4096).reshape(64, 64) | 0x8000).astype("<u2")
    data = ct_slice()
    dataset = dataset_of(data)
    dataset.PixelData = image.tobytes()
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    _, (found,) = frames_of(transcoded(buffer.getvalue(), JPEG_EXTENDED))
    assert np.abs(found.astype(int) - (image & 0xFFF)).max() < 64


ICON = {
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "Rows": 8,
    "Columns": 8,
    "BitsAllocated": 8,
    "BitsStored": 8,
    "HighBit": 7,
    "PixelRepresentation": 0,
}


def _with_icon(stream: bytes) -> bytes:
    """Return a JPEG-LS file whose icon is compressed too."""
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    frame = gray_frame(image, JPEG_LS_LOSSLESS)
    dataset = dataset_of(encapsulated([frame], transfer_syntax=JPEG_LS_LOSSLESS, IconImageSequence=[ICON]))
    icon = dataset.IconImageSequence[0]
    icon.add_new("PixelData", "OB", pydicom.encaps.encapsulate([stream]))
    icon["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def test_compressed_icons_are_decoded_with_the_image() -> None:
    """A file in one syntax has no pixel data of another one in its sequences (PS3.5 A.4)."""
    image = np.arange(64, dtype=np.uint8)[::-1].reshape(8, 8)
    stream = gray_frame(image, JPEG_LS_LOSSLESS)
    for uid in (EXPLICIT_LE, RLE_LOSSLESS):
        dataset = dataset_of(transcoded(_with_icon(stream), uid))
        assert dataset.IconImageSequence[0].PixelData == image.tobytes()


def test_an_icon_that_cannot_be_decoded_is_left_out() -> None:
    """An icon is optional (PS3.3 C.7.6.1): a broken one does not keep the image back."""
    dataset = dataset_of(transcoded(_with_icon(b"no JPEG-LS at all!"), EXPLICIT_LE))
    assert "IconImageSequence" not in dataset
    assert len(dataset.PixelData) == 64


def test_frames_that_cannot_be_compressed_fail_before_anything_is_sent() -> None:
    """A compressed file is ready when it is given out: a damaged last frame is an error, not a broken transfer."""
    image = np.zeros((8, 8), np.uint8)
    good = gray_frame(image, JPEG_LS_LOSSLESS)
    data = encapsulated([good, good, good[:20]], transfer_syntax=JPEG_LS_LOSSLESS)
    header, source = opened(data)
    with pytest.raises(UndecodablePixelData):
        transcode(source, header, RLE_LOSSLESS)
    with ThreadPoolExecutor(2) as executor, pytest.raises(UndecodablePixelData):
        transcode(source, header, RLE_LOSSLESS, executor=executor)
    with transcode(source, header, EXPLICIT_LE) as native, pytest.raises(UndecodablePixelData):
        b"".join(native.stream())


def test_frames_of_different_kinds_are_refused() -> None:
    """One header cannot describe frames of different depth."""
    shallow, deep = np.zeros((8, 8), np.uint8), np.full((8, 8), 4000, np.uint16)
    frames = [gray_frame(image, JPEG_LS_LOSSLESS) for image in (shallow, deep)]
    header, source = opened(encapsulated(frames, transfer_syntax=JPEG_LS_LOSSLESS))
    with pytest.raises(UndecodablePixelData, match="Frame 2 differs"):
        transcode(source, header, RLE_LOSSLESS)


@pytest.mark.parametrize(
    ("data", "uid"),
    [
        (dicom_file(), RLE_LOSSLESS),
        (SOURCES["ct"], IMPLICIT_LE),
        (SOURCES["ct"], JPEG_BASELINE),
        (SOURCES["ct"], "1.2.3"),
        (encapsulated([b"\0\0\1\xba video"], transfer_syntax="1.2.840.10008.1.2.4.102"), EXPLICIT_LE),
        (encapsulated([b"not a JPEG"]), EXPLICIT_LE),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_reason(data: bytes, uid: str) -> None:
    """Every refusal is one of our errors with a sentence to show (D-059)."""
    header, source = opened(data)
    with pytest.raises((UnencodablePixelData, UndecodablePixelData), match=r"[a-z]\.$"):
        transcode(source, header, uid)


@pytest.mark.parametrize("uid", [EXPLICIT_LE, HTJ2K_LOSSLESS])
def test_threads_change_nothing(uid: str) -> None:
    """Frames made ahead in other threads come in order, and are the same."""
    data = transcoded(color(9), JPEG_LS_LOSSLESS)
    with ThreadPoolExecutor(2) as executor:
        assert transcoded(data, uid, executor=executor) == transcoded(data, uid)


@pytest.mark.parametrize("uid", [EXPLICIT_LE, RLE_LOSSLESS])
def test_the_work_can_be_dropped(uid: str) -> None:
    """What is raised before a frame ends the work, since nobody may want the rest any more (issue 3, point 6)."""
    seen: list[int] = []

    def stop(index: int) -> None:
        seen.append(index)
        if index == 2:
            raise TimeoutError

    header, source = opened(transcoded(SOURCES["frames"], JPEG_LS_LOSSLESS))
    with pytest.raises(TimeoutError), transcode(source, header, uid, on_frame=stop) as result:
        b"".join(result.stream())
    assert seen == [0, 1, 2]


def test_a_known_frame_table_is_used() -> None:
    """Who has the table from the index need not have the fragments walked again."""
    header, source = opened(transcoded(SOURCES["frames"], JPEG_LS_LOSSLESS))
    table = frame_table(source, header)
    assert table is not None
    assert table.table is not None
    two = FrameTable(2, table.table[:32], "encapsulated")
    with transcode(source, header, EXPLICIT_LE, frames=two) as result:
        assert len(list(_native_frames(b"".join(result.stream()), 2))) == 2


def _native_frames(data: bytes, count: int) -> Iterator[bytes]:
    pixels = dataset_of(data).PixelData
    assert len(pixels) == count * 12 * 17 * 2
    yield from (pixels[index * 408 : index * 408 + 408] for index in range(count))


@pytest.mark.parametrize(
    "path",
    [
        "photometric/weasis/ybrFull-RLE.dcm",
        "photometric/weasis/ybr422-raw.dcm",
        "photometric/weasis/palette-multiframe-jpeg-ls.dcm",
        "photometric/weasis/jpeg2000-multiframe-multifragments.dcm",
        "transfer-syntaxes/pydicom-data-git-seg/liver_nonbyte_aligned_rle.dcm",
        "transfer-syntaxes/pylibjpeg-data/TOSHIBA_J2K_SIZ1_PixRep0.dcm",
        "transfer-syntaxes/dcm_qa_ts/3.dcm",
        "objects/op-sr-seg-dcmjs/sample-op.dcm",
    ],
)
@pytest.mark.parametrize("uid", [EXPLICIT_LE, RLE_LOSSLESS, HTJ2K_LOSSLESS])
def test_real_files_keep_their_pixels(path: str, uid: str) -> None:
    """Files of real makers come out in other syntaxes with equal samples and no stranger elements."""
    data = corpus_file(path).read_bytes()
    header, source = opened(data)
    raw = raw_frames(header, source, 1)
    assert raw is not None
    table, pixel, (first,) = raw
    expected = decode_frame(first, pixel, header.transfer_syntax_uid)
    result = transcoded(data, uid)
    _, found = frames_of(result)
    assert len(found) == table.frames
    assert np.array_equal(found[0], expected.pixels)
    extra = {"LossyImageCompression", "LossyImageCompressionMethod", "LossyImageCompressionRatio"}
    assert {element.keyword for element in dataset_of(result)} - {
        element.keyword for element in dataset_of(data)
    } <= extra


def test_a_file_of_many_frames_goes_through_in_constant_memory() -> None:
    """Two hundred frames come one by one: the stream never holds them all (promise 6)."""
    header, source = opened(transcoded(multi_frame(200, rows=32, columns=32), RLE_LOSSLESS))
    with transcode(source, header, EXPLICIT_LE) as result:
        assert max(len(chunk) for chunk in result.stream()) <= 1 << 20


def test_a_stream_that_lies_about_its_syntax_gets_a_true_label() -> None:
    """JPEG baseline stored as JPEG lossless is decoded; the loss is recorded (PS3.5 8.2)."""
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    stream = gray_frame(image, JPEG_BASELINE)
    data = encapsulated([stream], transfer_syntax=JPEG_LOSSLESS_SV1)
    dataset = dataset_of(transcoded(data, JPEG_LS_LOSSLESS))
    assert dataset.file_meta.TransferSyntaxUID == JPEG_LS_LOSSLESS
    assert dataset.LossyImageCompression == "01"


def test_the_wheels_color_cine_is_decompressed() -> None:
    """An ultrasound loop in baseline JPEG becomes RGB, and says so (D-014)."""
    header, source = opened(wheel_file("examples_ybr_color.dcm").read_bytes())
    assert header.dataset
    with transcode(source, replace(header), EXPLICIT_LE) as result:
        dataset = dataset_of(b"".join(result.stream()))
    assert (dataset.PhotometricInterpretation, dataset.NumberOfFrames) == ("RGB", 30)
    assert len(dataset.PixelData) == 30 * 240 * 320 * 3
    assert issubclass(UndecodablePixelData, ArchiveError)
