"""STOW with metadata and bulk data (PS3.18 10.5.1.4): composed files are read back by pydicom and by our own parser."""

import base64
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.encaps import generate_frames

from storage.dicom import dicomjson
from storage.dicom.part10 import read_header
from storage.dicom.source import BytesSource
from storage.dicom.vr import tag_of
from storage.errors import ArchiveError, InvalidDicom, LimitExceeded, MissingIdentifier
from storage.writing.bulk_parts import CHUNK_BYTES, BulkPart
from storage.writing.compose import compose
from tests.corpus import wheel_files

IDENTITY: dict[str, Any] = {
    "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]},
    "00080018": {"vr": "UI", "Value": ["1.2.3.4"]},
    "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
    "0020000E": {"vr": "UI", "Value": ["1.2.3.1"]},
}
GREY: dict[str, Any] = {
    "00280002": {"vr": "US", "Value": [1]},
    "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
    "00280010": {"vr": "US", "Value": [4]},
    "00280011": {"vr": "US", "Value": [6]},
    "00280100": {"vr": "US", "Value": [16]},
    "00280101": {"vr": "US", "Value": [12]},
    "00280102": {"vr": "US", "Value": [11]},
    "00280103": {"vr": "US", "Value": [0]},
}
PIXELS: dict[str, Any] = {"7FE00010": {"vr": "OW", "BulkDataURI": "frames"}}
RAMP = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48)
COLOUR = np.dstack([RAMP % 251, RAMP % 13 * 19, RAMP // 48 * 3]).astype(np.uint8)

Parts = Callable[..., list[BulkPart]]


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """Write bodies to files and return them as the parts of one reference."""

    def make(*bodies: bytes, media_type: str = "application/octet-stream", syntax: str | None = None) -> list[BulkPart]:
        made = []
        for number, body in enumerate(bodies):
            path = tmp_path / f"part{number}"
            path.write_bytes(body)
            made.append(BulkPart(media_type, syntax, path, len(body)))
        return made

    return make


def composed(dataset: dict[str, Any], bulk: list[BulkPart] | None = None, *, identity: bool = True) -> bytes:
    """Compose, check the stated length, and return the file."""
    result = compose((IDENTITY if identity else {}) | dataset, lambda uri: bulk or [])
    chunks = list(result.chunks)
    result.close()
    file = b"".join(chunks)
    assert len(file) == result.length
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)
    return file


def read(file: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(file))


def reencoded(file: bytes) -> dict[str, Any]:
    """The DICOM JSON of a composed file, without its identity."""
    header, _ = read_header(BytesSource(file))
    dataset = dicomjson.encode(header, bulk_threshold=1 << 20).dataset
    return {key: attribute for key, attribute in dataset.items() if key not in IDENTITY}


ATTRIBUTES: list[dict[str, Any]] = [
    {"00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]}},
    {"00091001": {"vr": "AE", "Value": ["STORE"]}},
    {"00101010": {"vr": "AS", "Value": ["034Y"]}},
    {"00080020": {"vr": "DA", "Value": ["20240115"]}},
    {"0008002A": {"vr": "DT", "Value": ["20240115103000.123"]}},
    {"00080030": {"vr": "TM", "Value": ["101530"]}},
    {"00100020": {"vr": "LO", "Value": ["odd"]}},
    {"00204000": {"vr": "LT", "Value": ["  not\\split"]}},
    {"00080119": {"vr": "UC", "Value": ["a", "b"]}},
    {"00081190": {"vr": "UR", "Value": ["http://a/b"]}},
    {"0040A160": {"vr": "UT", "Value": ["x" * 5001]}},
    {"00200013": {"vr": "IS", "Value": [-7]}},
    {"00280030": {"vr": "DS", "Value": [0.5, 512, "1,5", 1e-7]}},
    {"00280106": {"vr": "SS", "Value": [-1]}},
    {"00280010": {"vr": "US", "Value": [65535]}},
    {"00091002": {"vr": "UL", "Value": [4294967295, 0]}},
    {"00091003": {"vr": "SL", "Value": [-2147483648]}},
    {"00091004": {"vr": "UV", "Value": ["18446744073709551615", 3]}},
    {"00091005": {"vr": "SV", "Value": ["-9223372036854775808"]}},
    {"00091006": {"vr": "FL", "Value": [0.1, 2.5]}},
    {"00091007": {"vr": "FD", "Value": [0.1]}},
    {"00280009": {"vr": "AT", "Value": ["7FE00010"]}},
    {"00091008": {"vr": "UN", "InlineBinary": "AAEC/w=="}},
    {"00091009": {"vr": "OB", "InlineBinary": "AAEC/w=="}},
    {"0009100A": {"vr": "OW", "InlineBinary": "AAEC/w=="}},
    {"0009100B": {"vr": "OF", "InlineBinary": "AAEC/w=="}},
    {"00100020": {"vr": "LO"}},
    {"00081115": {"vr": "SQ"}},
    {
        "00081115": {
            "vr": "SQ",
            "Value": [{}, {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1"]}}]}}],
        }
    },
]


@pytest.mark.parametrize("dataset", ATTRIBUTES, ids=lambda dataset: next(iter(dataset.values()))["vr"])
def test_every_vr_comes_back(dataset: dict[str, Any]) -> None:
    """B-003, B-007: each VR of JSON metadata is written so that reading it gives the same JSON."""
    assert reencoded(composed(dataset)) == dataset


def test_text_is_written_as_utf_8() -> None:
    """D-157, B-007: text beyond ASCII, and any metadata with (0008,0005), is ISO_IR 192 in all levels."""
    inner = {"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, "00100020": {"vr": "LO", "Value": ["ü"]}}
    name = {"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小東"}
    file = composed({"00100010": {"vr": "PN", "Value": [name, None]}, "00081115": {"vr": "SQ", "Value": [inner]}})
    dataset = read(file)
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert dataset.PatientName[0] == "Wang^XiaoDong=王^小東"
    assert dataset.ReferencedSeriesSequence[0].PatientID == "ü"
    assert "SpecificCharacterSet" not in dataset.ReferencedSeriesSequence[0]
    assert "SpecificCharacterSet" not in read(composed({"00100020": {"vr": "LO", "Value": ["x"]}}))


def test_what_clients_really_send_is_understood() -> None:
    """User pain 7: numbers as strings, text as numbers, null, lists of one InlineBinary, lower case, missing vr."""
    dataset = read(
        composed(
            {
                "0008103e": {"vr": "LO", "Value": ["Axial"]},
                "00280010": {"vr": "US", "Value": ["512"]},
                "00200013": {"vr": "IS", "Value": [3.0]},
                "00100020": {"Value": [12345]},
                "00280030": {"vr": "DS", "Value": ["0.5", 1 / 3]},
                "00081030": {"vr": "LO", "Value": [None]},
                "00091009": {"vr": "OB", "InlineBinary": ["AAE="]},
                "00091007": {"vr": "FD", "Value": [None, "2.5"]},
                "00100010": {"vr": "PN", "Value": ["Doe^Jane"]},
                "00020010": {"vr": "UI", "Value": ["1.2.840.10008.1.2.2"]},
                "00080000": {"vr": "UL", "Value": [4]},
            }
        )
    )
    assert (dataset.SeriesDescription, dataset.Rows, dataset.InstanceNumber) == ("Axial", 512, 3)
    assert (dataset.PatientID, dataset.PatientName, dataset.StudyDescription) == ("12345", "Doe^Jane", "")
    assert float(dataset.PixelSpacing[1]) == pytest.approx(1 / 3, abs=1e-13)
    assert dataset[0x00091009].value == b"\0\1"
    assert np.isnan(dataset[0x00091007].value[0])
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"PatientID": {"vr": "LO"}}, "PatientID"),
    ({"00100020": "x"}, "0010,0020"),
    ({"00100020": {"vr": "XX"}}, "0010,0020"),
    ({"00280106": {"Value": [1]}}, "0028,0106"),
    ({"00100020": {"vr": "LO", "Value": "x"}}, "0010,0020"),
    ({"00100020": {"vr": "LO", "Value": [{}]}}, "0010,0020"),
    ({"00100020": {"vr": ["LO"]}}, "0010,0020"),
    ({"00100010": {"vr": "PN", "Value": [{"Alphabetic": []}]}}, "0010,0010"),
    ({"00204000": {"vr": "LT", "Value": ["a", "b"]}}, "0020,4000"),
    ({"00280010": {"vr": "US", "Value": [65536]}}, "0028,0010"),
    ({"00280010": {"vr": "US", "Value": ["many"]}}, "0028,0010"),
    ({"00280010": {"vr": "US", "Value": [1.5]}}, "0028,0010"),
    ({"00280010": {"vr": "US", "Value": [None, 1]}}, "0028,0010"),
    ({"00200013": {"vr": "IS", "Value": [1.5]}}, "0020,0013"),
    ({"00189087": {"vr": "FD", "Value": ["x"]}}, "0018,9087"),
    ({"00091001": {"vr": "FL", "Value": [1e300]}}, "0009,1001"),
    ({"00280009": {"vr": "AT", "Value": ["0028"]}}, "0028,0009"),
    ({"00091001": {"vr": "OB", "Value": [1]}}, "0009,1001"),
    ({"00091001": {"vr": "OB", "InlineBinary": "%%"}}, "0009,1001"),
    ({"00091001": {"vr": "OB", "InlineBinary": 7}}, "0009,1001"),
    ({"00091001": {"vr": "OB", "InlineBinary": "AAE=", "BulkDataURI": "x"}}, "0009,1001"),
    ({"00081115": {"vr": "SQ", "Value": ["x"]}}, "object"),
    ({"00081115": {"vr": "SQ", "BulkDataURI": "x"}}, "0008,1115"),
    ({"00091001": {"vr": "OB", "BulkDataURI": "missing"}}, "0009,1001"),
    ({"00091001": {"vr": "OB", "BulkDataURI": 7}}, "0009,1001"),
    ({"7FE00010": {"vr": "OW", "BulkDataURI": "missing"}}, "7FE0,0010"),
    ({"00100020": {"vr": "LO", "Value": ["\ud800"]}}, "JSON"),
]


@pytest.mark.parametrize(("dataset", "named"), BAD)
def test_bad_metadata_is_refused_by_name(dataset: dict[str, Any], named: str) -> None:
    """B-017, promise 7: a wrong value or a reference without a part is told with its attribute."""
    with pytest.raises(InvalidDicom, match=named):
        composed(dataset)


def test_an_instance_needs_its_identifiers() -> None:
    """B-009: File Meta Information cannot be made without SOP Class and SOP Instance UID."""
    with pytest.raises(MissingIdentifier, match="0008,0016"):
        composed({"00080018": {"vr": "UI", "Value": ["1.2"]}}, identity=False)
    with pytest.raises(MissingIdentifier, match="0008,0018"):
        composed({"00080018": {"vr": "UI"}})


def test_nesting_has_a_limit() -> None:
    """User pain 37: hostile nesting ends in a clear refusal."""
    nested: dict[str, Any] = {}
    for _ in range(70):
        nested = {"00081115": {"vr": "SQ", "Value": [nested]}}
    with pytest.raises(LimitExceeded):
        composed(nested)
    for _ in range(400):
        nested = {"00081115": {"vr": "SQ", "Value": [nested]}}
    with pytest.raises(ArchiveError):
        composed(nested)


def test_uncompressed_pixels(parts: Parts) -> None:
    """B-011: one octet-stream in little endian becomes native Pixel Data, OW when deeper than 8 bits."""
    body = bytes(range(48))
    dataset = read(composed(GREY | {"7FE00010": {"vr": "OB", "BulkDataURI": "frames"}}, parts(body)))
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert (dataset.PixelData, dataset["PixelData"].VR) == (body, "OW")
    with pytest.raises(InvalidDicom, match="little endian"):
        composed(GREY | PIXELS, parts(body, syntax="1.2.840.10008.1.2.2"))


def test_bulk_data_of_any_attribute_is_streamed_and_padded(parts: Parts) -> None:
    """B-011: values of several chunks, of text and of odd length."""
    body = bytes(range(256)) * 12_000 + b"\7"
    dataset = read(composed({"00091001": {"vr": "OB", "BulkDataURI": "a"}}, parts(body)))
    assert dataset[0x00091001].value == body + b"\0"
    assert read(composed({"0040A160": {"vr": "UT", "BulkDataURI": "a"}}, parts(b"odd"))).TextValue == "odd"
    with pytest.raises(InvalidDicom, match="more than one part"):
        composed({"00091001": {"vr": "OB", "BulkDataURI": "a"}}, parts(b"a", b"b"))


def test_a_long_value_of_a_short_vr_is_written_as_un(parts: Parts) -> None:
    """PS3.5 6.2.2: 16 bit length fields cannot hold 64 KiB."""
    file = composed({"30060050": {"vr": "DS", "BulkDataURI": "a"}}, parts(b"1.5\\" * 20_000))
    assert b"\x06\x30\x50\x00UN\0\0" in file
    assert len(read(file)[0x30060050].value) in (80_000, 20_001)


def test_a_part_that_became_shorter_is_noticed(parts: Parts) -> None:
    """Promise 2: no file is made up of bytes that are not there."""
    (part,) = parts(b"abcd")
    result = compose(IDENTITY | {"00091001": {"vr": "OB", "BulkDataURI": "a"}}, lambda uri: [part])
    part.path.write_bytes(b"ab")
    with pytest.raises(InvalidDicom):
        list(result.chunks)


def test_an_encapsulated_document(parts: Parts) -> None:
    """B-013: the document as it is, its media type and unpadded length filled in when the metadata has them not."""
    pdf = {"00420011": {"vr": "OB", "BulkDataURI": "pdf"}}
    dataset = read(composed(pdf, parts(b"%PDF-", media_type="application/pdf; x=y")))
    assert (dataset.EncapsulatedDocument, dataset.EncapsulatedDocumentLength) == (b"%PDF-\0", 5)
    assert dataset.MIMETypeOfEncapsulatedDocument == "application/pdf"
    stated = {"00420012": {"vr": "LO", "Value": ["text/XML"]}, "00420015": {"vr": "UL", "Value": [4]}}
    dataset = read(composed(pdf | stated, parts(b"<x/>", media_type="text/xml")))
    assert (dataset.MIMETypeOfEncapsulatedDocument, dataset.EncapsulatedDocumentLength) == ("text/XML", 4)


YBR_422 = imagecodecs.jpeg8_encode(COLOUR, subsampling="422")
LOSSY_J2K = imagecodecs.jpeg2k_encode(COLOUR, codecformat="j2k", level=40)
STREAMS: list[tuple[str, bytes, str, dict[str, Any]]] = [
    ("image/jpeg", YBR_422, "1.2.840.10008.1.2.4.50", {"PI": "YBR_FULL_422"}),
    ("image/jpeg", imagecodecs.jpeg8_encode(COLOUR[..., 0].copy()), "1.2.840.10008.1.2.4.50", {"SPP": 1}),
    ("image/jpeg", imagecodecs.ljpeg_encode(RAMP, bitspersample=12), "1.2.840.10008.1.2.4.57", {"SPP": 1, "BS": 12}),
    ("image/jls", imagecodecs.jpegls_encode(RAMP), "1.2.840.10008.1.2.4.80", {"SPP": 1, "BS": 16}),
    ("image/x-jls", imagecodecs.jpegls_encode(COLOUR, level=2), "1.2.840.10008.1.2.4.81", {"PI": "RGB"}),
    ("image/jp2", imagecodecs.jpeg2k_encode(RAMP, codecformat="j2k"), "1.2.840.10008.1.2.4.90", {"SPP": 1, "BS": 16}),
    ("image/jp2", imagecodecs.jpeg2k_encode(COLOUR, codecformat="jp2"), "1.2.840.10008.1.2.4.90", {"PI": "YBR_RCT"}),
    ("image/jp2", LOSSY_J2K, "1.2.840.10008.1.2.4.91", {"PI": "YBR_ICT"}),
    ("image/jphc", imagecodecs.htj2k_encode(RAMP), "1.2.840.10008.1.2.4.201", {"SPP": 1, "BS": 16}),
]  # fmt: skip


@pytest.mark.parametrize(("media_type", "stream", "syntax", "told"), STREAMS, ids=lambda value: str(value)[:24])
def test_compressed_frames_describe_themselves(
    parts: Parts, media_type: str, stream: bytes, syntax: str, told: dict[str, Any]
) -> None:
    """B-012, B-014, B-015: the stream is kept; its syntax and missing image description are read from its header."""
    dataset = read(composed(PIXELS, parts(stream, media_type=media_type)))
    assert dataset.file_meta.TransferSyntaxUID == syntax
    assert (dataset.Rows, dataset.Columns) == (64, 48)
    assert dataset.SamplesPerPixel == told.get("SPP", 3)
    assert dataset.PhotometricInterpretation == told.get("PI", "MONOCHROME2")
    assert dataset.BitsStored == told.get("BS", 8)
    assert dataset.HighBit == dataset.BitsStored - 1
    assert dataset.BitsAllocated == (16 if dataset.BitsStored > 8 else 8)
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    at = stream.find(b"\xff\x4f\xff\x51") if media_type == "image/jp2" else 0
    assert frame.rstrip(b"\0") == stream[at:].rstrip(b"\0")  # without JP2 boxes


def test_what_the_metadata_says_is_kept(parts: Parts) -> None:
    """B-015: only what is missing is filled in; the transfer-syntax parameter decides; stale offset tables go."""
    stream = imagecodecs.jpeg8_encode(COLOUR)
    metadata = PIXELS | {
        "00280004": {"vr": "CS", "Value": ["RGB"]},
        "00280010": {"vr": "US"},
        "7FE00001": {"vr": "OV", "InlineBinary": base64.b64encode(bytes(8)).decode()},
    }
    bulk = parts(stream, media_type="image/jpeg", syntax="1.2.840.10008.1.2.4.51")
    dataset = read(composed(metadata, bulk))
    assert (dataset.file_meta.TransferSyntaxUID, dataset.PhotometricInterpretation) == ("1.2.840.10008.1.2.4.51", "RGB")
    assert dataset.Rows == 64
    assert "ExtendedOffsetTable" not in dataset


def test_compressed_frames_are_one_part_each(parts: Parts) -> None:
    """B-012: parts of one location are the frames in their order; their number must be the stated one."""
    frames = [imagecodecs.jpegls_encode(RAMP + number) for number in range(3)]
    bulk = parts(*frames, media_type="image/jls")
    dataset = read(composed(PIXELS | {"00280008": {"vr": "IS", "Value": ["3"]}}, bulk))
    decoded = [imagecodecs.jpegls_decode(frame) for frame in generate_frames(dataset.PixelData, number_of_frames=3)]
    assert [array[0, 0] for array in decoded] == [0, 1, 2]
    table = struct.unpack("<3L", dataset.PixelData[8:20])
    assert table[0] == 0
    with pytest.raises(InvalidDicom, match="Number of Frames is 4"):
        composed(PIXELS | {"00280008": {"vr": "IS", "Value": ["4"]}}, bulk)


@pytest.mark.parametrize(
    ("media_type", "syntax", "expected"),
    [
        ("image/dicom-rle", None, "1.2.840.10008.1.2.5"),
        ("video/mp4", None, "1.2.840.10008.1.2.4.102"),
        ("video/mp4", "1.2.840.10008.1.2.4.104", "1.2.840.10008.1.2.4.104"),
        ("VIDEO/H265", None, "1.2.840.10008.1.2.4.107"),
        ("video/mpeg", None, "1.2.840.10008.1.2.4.101"),
        ("image/jpx", None, "1.2.840.10008.1.2.4.92"),
        ("image/jxl", None, "1.2.840.10008.1.2.4.110"),
        ("application/octet-stream", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.80"),
    ],
)
def test_the_transfer_syntax_of_a_part(parts: Parts, media_type: str, syntax: str | None, expected: str) -> None:
    """A-060 to A-072, B-009: the parameter, else the default of the media type (PS3.18 Table 8.7.3-5)."""
    stream = b"\xff\x4f\xff\x51am!" if media_type == "image/jpx" else b"stream!"
    dataset = read(composed(GREY | PIXELS, parts(stream, media_type=media_type, syntax=syntax)))
    assert dataset.file_meta.TransferSyntaxUID == expected
    assert dataset["PixelData"].VR == "OB"
    assert next(generate_frames(dataset.PixelData, number_of_frames=1)) == stream + b"\0"


def test_parts_that_are_no_pixel_data_are_refused(parts: Parts) -> None:
    """B-012, B-014: wrong media types, mixed parts, several videos, native syntax, odd processes, no image at all."""
    progressive = image_file("JPEG", Image.fromarray(COLOUR), progressive=True)
    for bodies, media_type, syntax in (
        ([b"x"], "text/plain", None),
        ([b"x"], "image/jpeg", "1.2.840.10008.1.2.1"),
        ([b"x", b"y"], "video/mp4", None),
        ([progressive], "image/jpeg", None),
        ([b""], "image/jpeg", None),
        ([b"not an image"], "image/jpeg", None),
        ([b"not an image"], "image/jls", "1.2.840.10008.1.2.4.80"),
        ([b"not an image"], "image/jp2", None),
        ([b"not an image"], "image/png", None),
    ):
        with pytest.raises(InvalidDicom):
            composed(GREY | PIXELS, parts(*bodies, media_type=media_type, syntax=syntax))
    with pytest.raises(InvalidDicom, match="differ"):
        composed(GREY | PIXELS, parts(b"x", media_type="image/jls") + parts(b"x", media_type="image/jpeg"))


def image_file(kind: str, image: Image.Image, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


IMAGES: list[tuple[str, np.ndarray, bytes]] = [
    ("MONOCHROME2", RAMP, imagecodecs.png_encode(RAMP)),
    ("RGB", COLOUR.astype(np.uint16) * 257, imagecodecs.png_encode(COLOUR.astype(np.uint16) * 257)),
    ("RGB", COLOUR, image_file("PNG", Image.fromarray(COLOUR))),
    ("RGB", COLOUR, image_file("PNG", Image.fromarray(np.dstack([COLOUR, COLOUR[..., 0]])))),
    ("MONOCHROME2", COLOUR[..., 0], image_file("PNG", Image.fromarray(COLOUR[..., 0]))),
    ("MONOCHROME2", (COLOUR[..., 0] > 99) * np.uint8(255), image_file("PNG", Image.fromarray(COLOUR[..., 0] > 99))),
]


@pytest.mark.parametrize(("photometric", "pixels", "file"), IMAGES)
def test_png_is_decoded(parts: Parts, photometric: str, pixels: Any, file: bytes) -> None:
    """B-014, B-016: PNG becomes native pixels without transparency, and the metadata describes what they are."""
    dataset = read(composed(GREY | PIXELS, parts(file, media_type="image/png")))
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert dataset.PhotometricInterpretation == photometric
    assert dataset.BitsAllocated == pixels.dtype.itemsize * 8
    assert np.array_equal(dataset.pixel_array, pixels)


def test_an_animated_gif_has_frames(parts: Parts) -> None:
    """B-016: an animated GIF becomes a multi-frame RGB image."""
    frames = [Image.fromarray(np.full((8, 6), level, np.uint8)) for level in (0, 128, 255)]
    animated = image_file("GIF", frames[0], save_all=True, append_images=frames[1:])
    dataset = read(composed(PIXELS, parts(animated, media_type="image/gif")))
    assert (dataset.NumberOfFrames, dataset.PhotometricInterpretation) == (3, "RGB")
    assert [tuple(frame[0, 0]) for frame in dataset.pixel_array] == [(0, 0, 0), (128, 128, 128), (255, 255, 255)]


def test_a_picture_of_too_many_pixels_is_refused(parts: Parts) -> None:
    """Promise 6: the size in the header is checked before anything is decoded."""
    head = bytearray(image_file("PNG", Image.new("L", (1, 1))))
    for side in (9_000, 100_000):
        head[16:24] = struct.pack(">LL", side, side)
        head[29:33] = struct.pack(">L", zlib.crc32(bytes(head[12:29])))
        with pytest.raises(LimitExceeded):
            composed(PIXELS, parts(bytes(head), media_type="image/png"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
VRS = st.sampled_from(["LO", "PN", "US", "FL", "FD", "DS", "IS", "AT", "UV", "SQ", "OB", "UN", "LT", "UI"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["00100010", "00091001", "00280008", "7FE00010", "00420011", "00080005", "x"]),
        JSON
        | st.fixed_dictionaries(
            {},
            optional={
                "vr": VRS | JSON,
                "Value": st.lists(JSON, max_size=2) | JSON,
                "InlineBinary": JSON,
                "BulkDataURI": JSON,
            },
        ),
        max_size=3,
    )
)
def test_any_metadata_gives_a_readable_file_or_our_own_error(parts: Parts, dataset: dict[str, Any]) -> None:
    """Promise 7: hostile JSON ends in a clear refusal, never in another exception."""
    try:
        file = composed(dataset, parts(b"abc"))
    except ArchiveError:
        return
    read_header(BytesSource(file))


def test_real_files_are_composed_from_their_metadata(tmp_path: Path) -> None:
    """B-003: what /metadata and /bulkdata give out makes the same data set again when it is stored."""
    compared = 0
    for path in wheel_files():
        try:
            header, source = read_header(BytesSource(path.read_bytes()))
        except ArchiveError:
            continue
        pixels = header.dataset.get(tag_of("PixelData"))
        if not header.encoding.little_endian or (pixels is not None and pixels.encapsulated):
            continue
        first = dicomjson.encode(header)
        bulk: dict[str, list[BulkPart]] = {}
        for number, (key, (offset, length, _)) in enumerate(first.bulk.items()):
            place = tmp_path / f"{compared}-{number}"
            place.write_bytes(source.read(offset, length))
            bulk[key] = [BulkPart("application/octet-stream", None, place, length)]
        result = compose(IDENTITY | first.dataset, bulk.__getitem__)
        again, _ = read_header(BytesSource(b"".join(result.chunks)))
        second = dicomjson.encode(again)
        assert comparable(second.dataset) == comparable(IDENTITY | first.dataset), path.name
        assert len(second.bulk) == len(first.bulk)
        compared += 1
    assert compared > 100


def comparable(dataset: dict[str, Any]) -> dict[str, Any]:
    """Without what composing decides by itself: the character set, the places of bulk data, and padding."""
    kept: dict[str, Any] = {}
    for key, attribute in sorted(dataset.items()):
        if attribute["vr"] == "SQ":
            kept[key] = [comparable(item) for item in attribute.get("Value", [])]
        elif "InlineBinary" in attribute:
            raw = base64.b64decode(attribute["InlineBinary"])
            kept[key] = raw + bytes(len(raw) % 2)
        elif "BulkDataURI" not in attribute and key != "00080005":
            kept[key] = attribute
    return kept
