"""Display shutters: what of an image is covered (PS3.3 C.7.6.11, C.7.6.15).

Facts and clauses this module keeps:
- Edges are columns and rows counted from 1, the pixels on them are visible; centre and vertices are row, column.
- Several shapes leave visible what is inside of all of them.
- A bitmap shutter covers where the overlay of its group is 1.
- The value of the shutter is a P-Value of 16 bits, 0 is black.
- Pure: no I/O.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from dicomweb.rendering.attribute_values import Attributes, integer, numbers, values

Mask = npt.NDArray[np.bool_]


def shutter_mask(state: Attributes, rows: int, columns: int) -> Mask | None:
    """Return which pixels are covered, None when there is no shutter with a shape.

    Parameters
    ----------
    state : Attributes
        Has the Display Shutter module.
    rows, columns : int
        Of the image.
    """
    visible = np.ones((rows, columns), np.bool_)
    shapes = {"RECTANGULAR": _rectangle, "CIRCULAR": _circle, "POLYGONAL": _polygon}
    stated = [shape for shape in values(state, "ShutterShape") if shape in shapes]
    for shape in stated:
        inside = shapes[shape](state, rows, columns)
        if inside is not None:
            visible &= inside
    return ~visible if stated else None


def shutter_level(state: Attributes) -> int:
    """Return the grey level of the shutter, 0 to 255."""
    return min(max(integer(state, "ShutterPresentationValue"), 0), 65535) // 257


def bitmap_shutter_group(state: Attributes) -> int | None:
    """Return the group of the overlay that is a shutter, None when there is none."""
    group = integer(state, "ShutterOverlayGroup")
    return group if "BITMAP" in values(state, "ShutterShape") and group else None


def _rectangle(state: Attributes, rows: int, columns: int) -> Mask:
    left = integer(state, "ShutterLeftVerticalEdge", 1)
    right = integer(state, "ShutterRightVerticalEdge", columns)
    top = integer(state, "ShutterUpperHorizontalEdge", 1)
    bottom = integer(state, "ShutterLowerHorizontalEdge", rows)
    row, column = _positions(rows, columns)
    return (column >= left) & (column <= right) & (row >= top) & (row <= bottom)


def _circle(state: Attributes, rows: int, columns: int) -> Mask | None:
    center = numbers(state, "CenterOfCircularShutter")
    radius = integer(state, "RadiusOfCircularShutter")
    if len(center) < 2 or radius <= 0:
        return None
    row, column = _positions(rows, columns)
    return np.asarray((row - center[0]) ** 2 + (column - center[1]) ** 2 <= radius**2)


def _polygon(state: Attributes, rows: int, columns: int) -> Mask | None:
    vertices = numbers(state, "VerticesOfThePolygonalShutter")
    corners = [(column - 1, row - 1) for row, column in zip(vertices[::2], vertices[1::2], strict=False)]
    if len(corners) < 3:
        return None
    image = Image.new("1", (columns, rows))
    ImageDraw.Draw(image).polygon(corners, fill=1, outline=1)
    return np.asarray(image)


def _positions(rows: int, columns: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    row, column = np.ogrid[1 : rows + 1, 1 : columns + 1]
    return row, column
