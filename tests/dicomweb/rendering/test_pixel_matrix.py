"""Whole slides: tiles put together, and the level that stands for a slide (PS3.3 C.8.12.4, C.8.12.14)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from dicomweb.rendering.pipeline import Frame
from dicomweb.rendering.pixel_matrix import (
    MOST_FRAMES,
    MOST_PIXELS,
    MOST_TILES,
    NO_PLACES,
    TOO_LARGE,
    PixelMatrix,
    Tile,
    assembled,
    level_rank,
    pixel_matrix,
)
from tests.builders import dataset_of


def slide(
    matrix: tuple[int, int], tile: tuple[int, int], frames: int, places: Sequence[Any] = (), **more: Any
) -> dict[str, Any]:
    """Attributes of a slide in the DICOM JSON Model; places are (row, column, z, path) from 1, as they are written."""
    groups = [
        {
            "PlanePositionSlideSequence": [
                {
                    "RowPositionInTotalImagePixelMatrix": row,
                    "ColumnPositionInTotalImagePixelMatrix": column,
                    "ZOffsetInSlideCoordinateSystem": z,
                }
            ],
            "OpticalPathIdentificationSequence": [{"OpticalPathIdentifier": path}],
        }
        for row, column, z, path in places
    ]
    described = {
        "TotalPixelMatrixRows": matrix[0],
        "TotalPixelMatrixColumns": matrix[1],
        "Rows": tile[0],
        "Columns": tile[1],
        "NumberOfFrames": frames,
        "BitsStored": 8,
        "DimensionOrganizationType": "TILED_SPARSE" if groups else "TILED_FULL",
    }
    found: dict[str, Any] = dataset_of(
        described | ({"PerFrameFunctionalGroupsSequence": groups} if groups else {}) | more
    ).to_json_dict()
    return found


def tiles_of(matrix: PixelMatrix | None) -> list[tuple[int, int, int]]:
    """Frame numbers and places."""
    assert matrix is not None
    return [(tile.frame_number, tile.row, tile.column) for tile in matrix.tiles]


FULL = [(1, 0, 0), (2, 0, 4), (3, 0, 8), (4, 3, 0), (5, 3, 4), (6, 3, 8)]


@pytest.mark.parametrize("frames", [6, 12, 30], ids=["one plane", "two planes", "five planes"])
def test_full_tiling_goes_row_by_row(frames: int) -> None:
    """Then by focal plane and optical path, of which the first is shown (C.7.6.17.3)."""
    assert tiles_of(pixel_matrix(slide((5, 10), (3, 4), frames))) == FULL


def test_stated_places_count_from_one() -> None:
    """In whatever order; a plane or path other than the first frame's is left out (C.8.12.14.1)."""
    places = [(4, 5, 0, "A"), (1, 1, 0, "A"), (1, 1, 0, "B"), (4, 1, 0.5, "A"), (4, 1, 0, "A"), (4, 1, 0, "A")]
    assert tiles_of(pixel_matrix(slide((6, 8), (3, 4), 6, places))) == [(1, 3, 4), (2, 0, 0), (5, 3, 0)]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (slide((5, 10), (3, 4), 1), None),
        (slide((0, 10), (3, 4), 6), None),
        ({}, None),
        (slide((5, 10), (3, 4), 5), NO_PLACES),  # a tile is missing
        (slide((5, 10), (0, 4), 6), NO_PLACES),
        (slide((5, 10), (3, 4), 6, ConcatenationUID="1.2.3"), NO_PLACES),  # a part of it
        (slide((5, 10), (3, 4), 6, [(1, 1, 0, "A")]), NO_PLACES),  # only one frame says where it is
        (slide((4097, 4096), (4097, 2048), 2), TOO_LARGE),
        (slide((MOST_TILES + 1, 1), (1, 1), MOST_TILES + 1), TOO_LARGE),
        (slide((1, 1), (1, 1), MOST_FRAMES + 1), TOO_LARGE),  # looked at one by one, for a single pixel
    ],
)
def test_what_cannot_be_put_together_says_why(attributes: dict[str, Any], expected: PixelMatrix | None) -> None:
    """A frame alone is a picture of its own; a slide whose tiles have no places is none."""
    assert pixel_matrix(attributes) == expected
    assert MOST_PIXELS == 4096 * 4096


@pytest.mark.parametrize(
    ("photometric", "background"), [("RGB", (255, 255, 255)), ("YBR_FULL", (255, 128, 128)), ("MONOCHROME2", 0)]
)
def test_tiles_are_where_they_belong(photometric: str, background: Any) -> None:
    """Cut at the edges; where there is none the glass is empty: white in colour, dark in fluorescence."""
    colour = photometric != "MONOCHROME2"
    shape = (3, 4, 3) if colour else (3, 4)
    matrix = PixelMatrix(5, 10, (Tile(2, 3, 8), Tile(1, 0, 4), Tile(3, -1, -1)))
    frames = [Frame(np.full(shape, 10 * tile.frame_number, np.uint8), photometric, {}) for tile in matrix.tiles]
    expected = np.empty((5, 10, 3) if colour else (5, 10), np.uint8)
    expected[:] = background
    expected[3:5, 8:10], expected[0:3, 4:8], expected[0:2, 0:3] = 20, 10, 30
    whole = assembled(matrix, iter(frames))
    assert np.array_equal(whole.samples, expected) and whole.photometric_interpretation == photometric


def test_what_was_mended_in_a_tile_is_said_of_the_whole() -> None:
    """And what is done without in its frames."""
    tiles = (Tile(1, 0, 0), Tile(2, 0, 2), Tile(3, 0, 4))
    warnings = ("", "The stream was mended.", "")
    frames = [Frame(np.zeros((2, 2), np.uint8), "RGB", {}, warning=each, absent=("Profile",)) for each in warnings]
    whole = assembled(PixelMatrix(2, 6, tiles), iter(frames))
    assert whole.warning == warnings[1] and whole.absent == ("Profile",)


@pytest.mark.parametrize(
    ("kind", "rank"),
    [("THUMBNAIL", 0), ("VOLUME", 0), ("LOCALIZER", 0), (None, 0), ("OVERVIEW", 1), ("LABEL", 2)],
)
def test_labels_and_overviews_stand_last(kind: str | None, rank: int) -> None:
    """What names the patient, or shows a label that does, is no thumbnail (C.8.12.4.1.1; PS3.18 10.4.3.3.4)."""
    values = ["ORIGINAL", "PRIMARY", *([kind, "NONE"] if kind else [])]
    assert level_rank({"00080008": {"vr": "CS", "Value": values}}) == rank
