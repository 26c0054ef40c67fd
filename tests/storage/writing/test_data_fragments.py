"""Encapsulated Pixel Data given fragment by fragment in the metadata, as dcm4che's dcm2json writes it."""

import base64
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_fragments, generate_frames

from storage.dicom import dicomjson, dicomxml
from storage.dicom.part10 import read_header
from storage.dicom.source import BytesSource
from storage.errors import InvalidDicom
from storage.writing.compose import BulkPart, compose
from tests.corpus import wheel_files

JPEG_LS, MPEG4 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.102"
FRAMES = [imagecodecs.jpegls_encode(np.full((4, 6), level, np.uint8)) for level in (10, 20, 30)]
IMAGE: dict[str, Any] = {
    "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]},
    "00080018": {"vr": "UI", "Value": ["1.2.3.4"]},
    "00280008": {"vr": "IS", "Value": [3]},
}
NOTHING: dict[str, Any] = {}
DAMAGED = ("too_short", "embedded-sequence-delimiter")
"""Files whose frames are broken on purpose."""


def inline(data: bytes) -> dict[str, Any]:
    return {"InlineBinary": base64.b64encode(data).decode()}


def metadata(table: Any, frames: list[Any], **more: Any) -> dict[str, Any]:
    """Return the metadata of an image with fragments."""
    return IMAGE | {"7FE00010": {"vr": "OB", "DataFragment": [table, *frames]}} | more


def file_of(dataset: dict[str, Any], resolve: Callable[[str], list[BulkPart]] = lambda uri: []) -> pydicom.Dataset:
    """Compose a file, and read it with pydicom."""
    composed = compose(dataset, resolve)
    file = b"".join(composed.chunks)
    composed.close()
    assert len(file) == composed.length and not composed.warnings
    return pydicom.dcmread(BytesIO(file))


def levels(dataset: pydicom.Dataset) -> list[int]:
    """Return the level each frame has all over."""
    frames = [imagecodecs.jpegls_decode(frame) for frame in generate_frames(dataset.PixelData, number_of_frames=3)]
    assert all((frame == frame[0, 0]).all() for frame in frames)
    return [int(frame[0, 0]) for frame in frames]


def offsets() -> list[int]:
    """Return where the frames begin behind the offset table, each in an item of even length (PS3.5 A.4)."""
    lengths = [8 + len(frame) + len(frame) % 2 for frame in FRAMES]
    return [0, lengths[0], lengths[0] + lengths[1]]


def test_the_frames_of_a_video_are_in_one_fragment() -> None:
    """A video is one stream, in one fragment or in many, however many frames it has (PS3.5 8.2.5, 8.2.7)."""
    video = bytes(range(100))
    stated = {"00020010": {"vr": "UI", "Value": [MPEG4]}, "00280008": {"vr": "IS", "Value": [300]}}
    dataset = file_of(metadata(None, [inline(video)], **stated))
    assert (dataset.file_meta.TransferSyntaxUID, dataset.NumberOfFrames) == (MPEG4, 300)
    assert [*generate_fragments(dataset.PixelData)] == [b"", video]


@pytest.mark.parametrize("table", [None, NOTHING, {"InlineBinary": ""}, inline(struct.pack("<3L", *offsets()))])
def test_fragments_become_pixel_data(table: Any) -> None:
    """The frames are those that were sent, the offset table too, and the first tells what is missing (B-015)."""
    dataset = file_of(metadata(table, [inline(frame) for frame in FRAMES]))
    assert dataset.file_meta.TransferSyntaxUID == JPEG_LS
    assert levels(dataset) == [10, 20, 30]
    assert next(generate_fragments(dataset.PixelData)) == base64.b64decode((table or {}).get("InlineBinary", ""))
    described = (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.BitsStored)
    assert described == (4, 6, 1, 8)


def test_fragments_may_be_parts_of_the_message(tmp_path: Path) -> None:
    """A fragment may be a BulkDataURI, beside others that are inline (PS3.18 10.5.1.4)."""
    (tmp_path / "second").write_bytes(FRAMES[1])
    part = BulkPart("application/octet-stream", None, tmp_path / "second", len(FRAMES[1]))
    fragments = [inline(FRAMES[0]), {"BulkDataURI": "second"}, inline(FRAMES[2])]
    dataset = file_of(metadata(None, fragments), lambda uri: [part] if uri == "second" else [])
    assert levels(dataset) == [10, 20, 30]
    with pytest.raises(InvalidDicom, match="no part"):
        file_of(metadata(None, fragments))


def test_an_extended_offset_table_stays() -> None:
    """Fragments are written as they came, so what finds them stays true (PS3.5 A.4)."""
    table = base64.b64encode(struct.pack("<3Q", *offsets())).decode()
    lengths = base64.b64encode(struct.pack("<3Q", *(len(frame) + len(frame) % 2 for frame in FRAMES))).decode()
    extended = {"7FE00001": {"vr": "OV", "InlineBinary": table}, "7FE00002": {"vr": "OV", "InlineBinary": lengths}}
    dataset = file_of(metadata(None, [inline(frame) for frame in FRAMES], **extended))
    assert dataset.ExtendedOffsetTable == struct.pack("<3Q", *offsets())
    assert levels(dataset) == [10, 20, 30]


@pytest.mark.parametrize(
    ("key", "stated", "written"),
    [
        ("00020010", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.81"),
        ("00083002", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.81"),
        ("00020010", "1.2.840.10008.1.2.1", JPEG_LS),  # cannot be that of fragments
    ],
)
def test_the_metadata_states_the_transfer_syntax(key: str, stated: str, written: str) -> None:
    """What the tool wrote of the file it read decides, when it can be true; else the stream does."""
    told = {key: {"vr": "UI", "Value": [stated]}}
    dataset = file_of(metadata(None, [inline(frame) for frame in FRAMES], **told))
    assert dataset.file_meta.TransferSyntaxUID == written


@pytest.mark.parametrize(
    ("fragments", "named"),
    [
        ([], "DataFragment"),
        ([None], "none of them empty"),
        ([None, None], "none of them empty"),
        ([inline(FRAMES[0]), inline(FRAMES[1])], "no Basic Offset Table"),
        ([inline(struct.pack("<2L", 0, 9)), inline(FRAMES[0])], "no Basic Offset Table"),
        ([None, inline(FRAMES[0]), inline(FRAMES[1])], "Number of Frames is 3, but the fragments are 2"),
        ([None, *[inline(b"what is this")] * 3], "transfer syntax"),
        ([None, *[{"inlineBinary": "AAAA"}] * 3], '"inlineBinary"'),
        ([None, *[{"InlineBinary": "%"}] * 3], "Base64"),
        ([None, *["AAAA"] * 3], "objects or null"),
        ({"1": None}, "array"),
    ],
)
def test_what_is_no_pixel_data_is_refused(fragments: Any, named: str) -> None:
    """Nothing is made up, and nothing left out: the reason names Pixel Data or what is wrong with it."""
    dataset = IMAGE | {"7FE00010": {"vr": "OB", "DataFragment": fragments}}
    with pytest.raises(InvalidDicom, match=named):
        file_of(dataset)


def test_only_pixel_data_has_fragments() -> None:
    """An attribute that cannot be encapsulated is refused by its tag, also one with a value beside the fragments."""
    fragments = [None, inline(FRAMES[0])]
    with pytest.raises(InvalidDicom, match=r"\(0042,0011\).*Pixel Data"):
        file_of(IMAGE | {"00420011": {"vr": "OB", "DataFragment": fragments}})
    with pytest.raises(InvalidDicom, match=r"\(7FE0,0010\).*only one of"):
        file_of(IMAGE | {"7FE00010": {"vr": "OB", "DataFragment": fragments, "InlineBinary": "AAAA"}})


def test_xml_has_fragments_too() -> None:
    """The same in the Native DICOM Model, where an empty offset table is left out (SAXWriter of dcm4che)."""
    for first in (1, 2):
        table = "<DataFragment number='1'/>" if first == 1 else ""
        numbered = [(number, inline(frame)["InlineBinary"]) for number, frame in enumerate(FRAMES, 2)]
        fragments = "".join(
            f"<DataFragment number='{number}'><InlineBinary>{text}</InlineBinary></DataFragment>"
            for number, text in numbered
        )
        model = dicomxml.encode(IMAGE).replace(
            b"</NativeDicomModel>",
            f"<DicomAttribute tag='7FE00010' vr='OB'>{table}{fragments}</DicomAttribute></NativeDicomModel>".encode(),
        )
        assert levels(file_of(dicomxml.decode(model))) == [10, 20, 30]


def test_real_files_go_through_fragments_unchanged() -> None:
    """Pixel Data of every small compressed file of pydicom, taken apart and composed again, is the same bytes."""
    compared = 0
    for path in wheel_files():
        if path.stat().st_size > 1_000_000 or any(damage in path.name for damage in DAMAGED):
            continue
        try:
            header, _ = read_header(BytesSource(path.read_bytes()))
        except InvalidDicom:
            continue
        pixels = header.dataset.get(0x7FE00010)
        if pixels is None or not pixels.encapsulated or "SOPInstanceUID" not in pydicom.dcmread(path, force=True):
            continue
        original = pydicom.dcmread(path, force=True)
        table, *fragments = list(generate_fragments(original.PixelData))
        dataset = dicomjson.encode(header, bulk_threshold=1 << 24).dataset
        dataset["7FE00010"] = {"vr": "OB", "DataFragment": [inline(table) if table else None, *map(inline, fragments)]}
        dataset["00020010"] = {"vr": "UI", "Value": [header.transfer_syntax_uid]}
        composed = compose(dataset, lambda uri: [])
        again = pydicom.dcmread(BytesIO(b"".join(composed.chunks)))
        assert list(generate_fragments(again.PixelData)) == [table, *fragments], path.name
        assert again.file_meta.TransferSyntaxUID == header.transfer_syntax_uid
        compared += 1
    assert compared > 20
