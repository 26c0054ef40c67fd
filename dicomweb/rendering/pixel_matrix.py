"""Whole slides: frames that are tiles of one picture, and which level of a slide to show (PS3.3 C.8.12.4, C.8.12.14).

Facts and clauses this module keeps:
- TILED_FULL says no places: tiles come row by row from the top left, then by focal plane, then by optical path
  (C.7.6.17.3). Otherwise each frame says where its top left pixel is, counted from 1 (C.8.12.14.1).
- Of several focal planes and optical paths, the picture is that of the first frame.
- Tiles at the right and lower edge may reach over it. Where there is no tile, nothing was scanned: the background.
- Image Type, value 3: a LABEL names the patient, and an OVERVIEW may show the label (C.8.12.4.1.1).
- Pure: no I/O.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from dicomweb.rendering.attribute_values import Attributes, integer, item, text, values
from dicomweb.rendering.functional_groups import functional_groups, number_of_frames
from dicomweb.rendering.grayscale_attributes import bits_stored_of
from dicomweb.rendering.pipeline import Frame

WHOLE_SLIDE: Final = str(VLWholeSlideMicroscopyImageStorage)

MOST_TILES: Final = 1024
"""The most tiles one picture is made of."""

MOST_PIXELS: Final = 1 << 24
"""The largest picture that is made of tiles."""

MOST_FRAMES: Final = 16 * MOST_TILES
"""Frames whose places are looked at, those of all focal planes and optical paths."""

MOST_PIXELS_OF_ALL: Final = 64 * MOST_PIXELS
"""The most pixels that all frames of an instance may have, with all focal planes and optical paths."""

_FLAVOURS = ("THUMBNAIL", "VOLUME", "OVERVIEW", "LABEL")
_OVERVIEW = _FLAVOURS.index("OVERVIEW")


@dataclass(frozen=True, slots=True)
class Tile:
    """A frame, and where its top left pixel is in the matrix, from 0."""

    frame_number: int
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class PixelMatrix:
    """The Total Pixel Matrix of one instance.

    Attributes
    ----------
    rows, columns : int
        Of the whole.
    tiles : tuple of Tile
        Of one focal plane and one optical path.
    trouble : str or None
        Why it cannot be made one picture.
    """

    rows: int
    columns: int
    tiles: tuple[Tile, ...]
    trouble: str | None = None


TOO_LARGE: Final = PixelMatrix(
    0, 0, (), "This level of a slide is too large to be made one picture; its frames can be had one by one."
)
NO_PLACES: Final = PixelMatrix(
    0, 0, (), "Where the tiles of this slide belong is not said; its frames can be had one by one."
)


def pixel_matrix(attributes: Attributes) -> PixelMatrix | None:
    """Return the matrix that the frames of an instance are tiles of, None when each is a picture of its own.

    Parameters
    ----------
    attributes : Attributes
        Of a whole slide.
    """
    rows, columns = integer(attributes, "TotalPixelMatrixRows"), integer(attributes, "TotalPixelMatrixColumns")
    frames = number_of_frames(attributes)
    if rows <= 0 or columns <= 0 or frames < 2:
        return None
    if rows * columns > MOST_PIXELS or frames > MOST_FRAMES:
        return TOO_LARGE
    if text(attributes, "ConcatenationUID"):
        return NO_PLACES
    tile = integer(attributes, "Rows"), integer(attributes, "Columns")
    full = text(attributes, "DimensionOrganizationType") == "TILED_FULL"
    stated = None if full else _stated(attributes, frames)
    tiles = _in_order((rows, columns), tile, frames) if stated is None else stated
    if len(tiles) > MOST_TILES:
        return TOO_LARGE
    return PixelMatrix(rows, columns, tiles) if tiles else NO_PLACES


def assembled(matrix: PixelMatrix, frames: Iterator[Frame]) -> Frame:
    """Return the whole as one frame.

    Parameters
    ----------
    matrix : PixelMatrix
        Without `trouble`.
    frames : iterator of Frame
        Those of the tiles, in their order.
    """
    first = next(frames)
    whole = np.empty((matrix.rows, matrix.columns, *first.plane.shape[2:]), first.plane.dtype)
    whole[:] = _background(first)
    warning = first.warning
    for place, tile in enumerate(matrix.tiles):
        frame = next(frames) if place else first
        warning = warning or frame.warning
        _put(whole, frame.plane, tile)
    return replace(first, samples=whole, warning=warning)


def level_rank(attributes: Attributes) -> int:
    """Return how well an instance stands for its slide, 0 best: thumbnails and levels, overviews, labels."""
    kind = values(attributes, "ImageType")[2:3]
    place = _FLAVOURS.index(kind[0]) if kind and kind[0] in _FLAVOURS else _FLAVOURS.index("VOLUME")
    return max(0, place - _OVERVIEW + 1)


def _stated(attributes: Attributes, frames: int) -> tuple[Tile, ...] | None:
    """Return the tiles of the focal plane and optical path of the first frame; None when no frame says its place."""
    found: dict[tuple[int, int], Tile] = {}
    first: tuple[Any, ...] | None = None
    for number in range(1, frames + 1):
        groups = functional_groups(attributes, number)
        place = next((place for group in groups if (place := item(group, "PlanePositionSlideSequence"))), None)
        if place is None:
            return None if first is None else ()
        row = integer(place, "RowPositionInTotalImagePixelMatrix")
        column = integer(place, "ColumnPositionInTotalImagePixelMatrix")
        path = next((path for group in groups if (path := item(group, "OpticalPathIdentificationSequence"))), {})
        kind = text(path, "OpticalPathIdentifier"), text(place, "ZOffsetInSlideCoordinateSystem")
        first = first or kind
        if kind == first:
            found.setdefault((row, column), Tile(number, row - 1, column - 1))
    return tuple(found.values())


def _in_order(matrix: tuple[int, int], tile: tuple[int, int], frames: int) -> tuple[Tile, ...]:
    if min(tile) <= 0:
        return ()
    down, across = (-(-whole // part) for whole, part in zip(matrix, tile, strict=True))
    if down * across > frames:
        return ()
    return tuple(
        Tile(row * across + column + 1, row * tile[0], column * tile[1])
        for row in range(down)
        for column in range(across)
    )


def _put(whole: NDArray[Any], tile: NDArray[Any], place: Tile) -> None:
    top, left = max(place.row, 0), max(place.column, 0)
    bottom = min(place.row + tile.shape[0], whole.shape[0])
    right = min(place.column + tile.shape[1], whole.shape[1])
    if top < bottom and left < right:
        whole[top:bottom, left:right] = tile[
            top - place.row : bottom - place.row, left - place.column : right - place.column
        ]


def _background(frame: Frame) -> Sequence[int] | int:
    """White in the samples of a colour image, which is light through glass; 0 where light is what was found."""
    if frame.plane.ndim != 3:
        return 0
    most = (1 << min(bits_stored_of(frame.attributes) or 8, 16)) - 1
    neutral = (most + 1) // 2
    return (most, neutral, neutral) if frame.photometric_interpretation.startswith("YBR") else most
