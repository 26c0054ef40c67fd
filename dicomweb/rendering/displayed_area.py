"""Where the pixels of an image go on the display of a presentation state.

Facts and clauses this module keeps:
- PS3.3 C.10.4: the corners of the displayed area are column, row from 1\\1 before the spatial transformation, and name
  the pixels that are top left and bottom right after it; they may lie outside of the image, where nothing is shown.
- C.10.6: rotation clockwise by a multiple of 90 degrees, then a horizontal flip.
- C.10.5: PIXEL coordinates have 0.0\\0.0 at the top left corner of the top left pixel; DISPLAY coordinates go from
  0.0\\0.0 to 1.0\\1.0 over the displayed area, after the transformation.
- C.10.4: SCALE TO FIT and TRUE SIZE fit the viewport; MAGNIFY has its own size when there is no viewport.
- Pure: no I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dicomweb.rendering.attribute_values import Attributes, integer, number, numbers, text
from dicomweb.rendering.grayscale import Levels
from dicomweb.rendering.viewport import MOST_PIXELS, Viewport, fitted_size, resampled

Point = tuple[float, float]
"""x, y."""


@dataclass(frozen=True, slots=True)
class DisplayedArea:
    """The way from image to display.

    Attributes
    ----------
    left, top, right, bottom : int
        The area in pixels of the image, counted from 0, right and bottom exclusive.
    rotation : int
        Clockwise in degrees: 0, 90, 180 or 270.
    flipped : bool
        Whether left and right change places after the rotation.
    width, height : int
        Of the picture.
    """

    left: int
    top: int
    right: int
    bottom: int
    rotation: int
    flipped: bool
    width: int
    height: int

    def shown(self, picture: Levels) -> Levels:
        """Return the area of an image as it is displayed.

        Parameters
        ----------
        picture : ndarray of uint8 of shape (rows, columns) or (rows, columns, 3)
            The whole image.
        """
        area = self._area(picture)
        turned = np.rot90(area, -self.rotation // 90)
        if self.flipped:
            turned = turned[:, ::-1]
        turned = np.ascontiguousarray(turned)
        return resampled(turned, (0, 0, turned.shape[1], turned.shape[0]), (self.width, self.height))

    def pixel_to_display(self, point: Point) -> Point:
        """Return where a point in PIXEL coordinates is on the picture."""
        x, y = point[0] - self.left, point[1] - self.top
        width, height = self.right - self.left, self.bottom - self.top
        turned = {0: (x, y), 90: (height - y, x), 180: (width - x, height - y), 270: (y, width - x)}
        x, y = turned[self.rotation]
        if self.rotation % 180:
            width, height = height, width
        if self.flipped:
            x = width - x
        return x * self.width / width, y * self.height / height

    def fraction_to_display(self, point: Point) -> Point:
        """Return where a point in DISPLAY coordinates is on the picture."""
        return point[0] * self.width, point[1] * self.height

    def _area(self, picture: Levels) -> Levels:
        """Cut the area out; what is outside of the image is black."""
        rows, columns = picture.shape[:2]
        if self.left >= 0 and self.top >= 0 and self.right <= columns and self.bottom <= rows:
            return picture[self.top : self.bottom, self.left : self.right]
        area = np.zeros((self.bottom - self.top, self.right - self.left, *picture.shape[2:]), np.uint8)
        left, top = max(self.left, 0), max(self.top, 0)
        inside = picture[top : max(self.bottom, 0), left : max(self.right, 0)]
        area[top - self.top :, left - self.left :][: inside.shape[0], : inside.shape[1]] = inside
        return area


def displayed_area(
    state: Attributes, selection: Attributes | None, columns: int, rows: int, viewport: Viewport | None
) -> DisplayedArea:
    """Return the displayed area of an image.

    Parameters
    ----------
    state : Attributes
        Of the presentation state; has the spatial transformation.
    selection : Attributes or None
        The item of the Displayed Area Selection Sequence for the image; None for all of it.
    columns, rows : int
        Of the image.
    viewport : Viewport or None
        Width and height the picture fits into.
    """
    selection = selection or {}
    left, top, right, bottom = _corners(selection, columns, rows)
    rotation = integer(state, "ImageRotation") % 360
    rotation = rotation if rotation in (90, 180, 270) else 0
    width, height = float(right - left), (bottom - top) * _aspect(selection)
    if rotation % 180:
        width, height = height, width
    size = _size(selection, width, height, viewport)
    flipped = text(state, "ImageHorizontalFlip") == "Y"
    return DisplayedArea(left, top, right, bottom, rotation, flipped, *size)


def _corners(selection: Attributes, columns: int, rows: int) -> tuple[int, int, int, int]:
    first = numbers(selection, "DisplayedAreaTopLeftHandCorner")
    last = numbers(selection, "DisplayedAreaBottomRightHandCorner")
    if len(first) < 2 or len(last) < 2:
        return 0, 0, columns, rows
    left, right = sorted((int(first[0]), int(last[0])))
    top, bottom = sorted((int(first[1]), int(last[1])))
    overlaps = right >= 1 and bottom >= 1 and left <= columns and top <= rows
    if not overlaps or (right - left + 1) * (bottom - top + 1) > MOST_PIXELS:
        return 0, 0, columns, rows
    return left - 1, top - 1, right, bottom


def _aspect(selection: Attributes) -> float:
    """Return the height of a pixel divided by its width, as it is to be displayed."""
    for keyword in ("PresentationPixelSpacing", "PresentationPixelAspectRatio"):
        pair: Sequence[float] = numbers(selection, keyword)
        if len(pair) >= 2 and min(pair) > 0 and 0.05 <= pair[0] / pair[1] <= 20:
            return pair[0] / pair[1]
    return 1.0


def _size(selection: Attributes, width: float, height: float, viewport: Viewport | None) -> tuple[int, int]:
    if viewport:
        return fitted_size(width, height, viewport.width, viewport.height)
    scale = 1.0
    if text(selection, "PresentationSizeMode") == "MAGNIFY":
        scale = min(max(number(selection, "PresentationPixelMagnificationRatio") or 1.0, 0.01), 100.0)
    scale = min(scale, (MOST_PIXELS / (width * height)) ** 0.5)
    return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))
