"""The number of bulk data parts against the number of frames the metadata states."""

from pathlib import Path

import pytest

from storage.errors import InvalidDicom
from storage.writing.bulk_parts import BulkPart, length_of
from storage.writing.pixel_parts import pixel_value

NATIVE = "application/octet-stream"
COMPRESSED = "image/dicom-rle"
PNG = "image/png"


def parts(folder: Path, media_type: str, count: int) -> list[BulkPart]:
    path = folder / "part"
    path.write_bytes(b"part")
    return [BulkPart(media_type, None, path, 4)] * count


@pytest.mark.parametrize(
    ("media_type", "count", "stated"),
    [
        *((kind, count, stated) for kind in (NATIVE, COMPRESSED, PNG) for count, stated in ((2, 1), (2, 3), (3, 2))),
        (COMPRESSED, 1, 2),
        (NATIVE, 2, 0),
    ],
)
def test_parts_must_be_as_many_as_the_frames(tmp_path: Path, media_type: str, count: int, stated: int) -> None:
    """B-012: another number of parts than of frames is refused with both numbers."""
    with pytest.raises(InvalidDicom, match=rf"Number of Frames is {stated}, .* are {count}$"):
        pixel_value(parts(tmp_path, media_type, count), stated)


@pytest.mark.parametrize("media_type", [NATIVE, COMPRESSED, PNG])
def test_several_parts_are_no_single_frame(tmp_path: Path, media_type: str) -> None:
    """B-012: without Number of Frames there is one frame, which is never made of several parts."""
    with pytest.raises(InvalidDicom, match=r"Number of Frames is absent, so 1, .* are 2$"):
        pixel_value(parts(tmp_path, media_type, 2), None)


@pytest.mark.parametrize("stated", [None, 1, 3])
def test_one_native_part_holds_any_number_of_frames(tmp_path: Path, stated: int | None) -> None:
    """B-011: uncompressed Pixel Data of all frames is one part."""
    assert length_of(pixel_value(parts(tmp_path, NATIVE, 1), stated).pieces) == 4


@pytest.mark.parametrize(("media_type", "length"), [(NATIVE, 12), (COMPRESSED, 8 + 12 + 3 * (8 + 4) + 8)])
def test_a_part_a_frame(tmp_path: Path, media_type: str, length: int) -> None:
    """B-012: as many parts as frames are stated become one value."""
    assert length_of(pixel_value(parts(tmp_path, media_type, 3), 3).pieces) == length


def test_a_video_is_one_part_of_many_frames(tmp_path: Path) -> None:
    """B-012: the frames of a video are not counted, and several parts are no video."""
    assert pixel_value(parts(tmp_path, "video/mp4", 1), 100).encapsulated
    with pytest.raises(InvalidDicom, match="a video is one part"):
        pixel_value(parts(tmp_path, "video/mp4", 2), 100)
