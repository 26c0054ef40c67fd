"""The region of a picture that is shown and the size it is shown at (PS3.18 8.3.5.1.3).

Facts and clauses this module keeps:
- The region is cut out first, then scaled as large as it fits into the viewport, its aspect ratio kept. The picture
  has the size of the scaled region, not of the viewport; it may be larger than the source.
- A negative width of the region flips left and right, a negative height top and bottom.
- Pixels that are not square are made so when a viewport is given: by their spacing in the patient, at the detector
  or on the film, or by Pixel Aspect Ratio, all of which give the vertical value first (PS3.3 10.7.1.3, C.7.6.3.1.7).
- Pure: no I/O.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from dicomweb.rendering.attribute_values import Attributes, numbers
from dicomweb.rendering.grayscale import Levels
from storage.errors import InvalidQuery

MOST_PIXELS: Final = 64 * 1024 * 1024
"""The largest picture that is made."""

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
_MOST_UNEQUAL = 20.0


@dataclass(frozen=True, slots=True)
class Viewport:
    """Where a picture is shown.

    Attributes
    ----------
    width, height : int
        In pixels, the most the picture may have.
    x, y : float
        Top left corner of the region in pixels of the source.
    region_width, region_height : float or None
        In pixels of the source; None for all of it from the left or the top, however `x` and `y` are.
    flip_horizontally, flip_vertically : bool
        Whether the region is mirrored.
    """

    width: int
    height: int
    x: float = 0.0
    y: float = 0.0
    region_width: float | None = None
    region_height: float | None = None
    flip_horizontally: bool = False
    flip_vertically: bool = False


Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the source."""


def pixel_aspect(attributes: Attributes) -> float:
    """Return the height of a pixel divided by its width; 1 when it is not known."""
    for keyword in _SPACINGS:
        spacing = numbers(attributes, keyword)
        if len(spacing) >= 2 and min(spacing[:2]) > 0:
            aspect = spacing[0] / spacing[1]
            return aspect if 1 / _MOST_UNEQUAL <= aspect <= _MOST_UNEQUAL else 1.0
    return 1.0


def source_box(viewport: Viewport, columns: int, rows: int) -> Box:
    """Return the region of a source, cut to it.

    Raises
    ------
    InvalidQuery
        The region lies outside of the source.
    """
    width = columns if viewport.region_width is None else viewport.region_width
    height = rows if viewport.region_height is None else viewport.region_height
    box = (
        viewport.x,
        viewport.y,
        min(viewport.x + width, float(columns)),
        min(viewport.y + height, float(rows)),
    )
    if box[0] >= box[2] or box[1] >= box[3]:
        raise InvalidQuery(f"viewport names a region outside of the image of {columns} x {rows} pixels")
    return box


def fitted_size(width: float, height: float, viewport_width: int, viewport_height: int) -> tuple[int, int]:
    """Return the largest width and height in whole pixels of that aspect ratio that fit into a viewport.

    Raises
    ------
    InvalidQuery
        The picture would be too large to be made.
    """
    scale = min(viewport_width / width, viewport_height / height)
    size = max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))
    if size[0] * size[1] > MOST_PIXELS:
        raise InvalidQuery(f"The picture would have more than {MOST_PIXELS} pixels")
    return size


def shown(picture: Levels, viewport: Viewport, aspect: float = 1.0) -> Levels:
    """Return the region of a picture at the size of a viewport.

    Parameters
    ----------
    picture : ndarray of uint8 of shape (rows, columns) or (rows, columns, 3)
        The whole frame.
    viewport : Viewport
        What the client asked for.
    aspect : float
        Height of a pixel of the frame divided by its width.

    Raises
    ------
    InvalidQuery
        The region lies outside of the frame.
    """
    rows, columns = picture.shape[:2]
    box = source_box(viewport, columns, rows)
    size = fitted_size(box[2] - box[0], (box[3] - box[1]) * aspect, viewport.width, viewport.height)
    scaled = resampled(picture, box, size)
    if viewport.flip_horizontally:
        scaled = scaled[:, ::-1]
    if viewport.flip_vertically:
        scaled = scaled[::-1]
    return np.ascontiguousarray(scaled)


def resampled(picture: Levels, box: Box, size: tuple[int, int]) -> Levels:
    """Return a region of a picture at a size (width, height): bilinear, of all pixels when it gets smaller."""
    rows, columns = picture.shape[:2]
    if box == (0, 0, columns, rows) and size == (columns, rows):
        return picture
    if all(side % 1 == 0 for side in box) and size == (box[2] - box[0], box[3] - box[1]):
        left, top, right, bottom = (int(side) for side in box)
        return picture[top:bottom, left:right]
    image = Image.fromarray(picture)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0))
