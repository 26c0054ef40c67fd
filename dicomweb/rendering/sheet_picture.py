"""A sheet as a picture.

Facts this module keeps:
- Lines are drawn at twice the size and made smaller, so that their edges are smooth.
- Lines of the paper that would lie closer than 2.5 pixels are left out.
- The font is Pillow's own, which has Latin letters.
- Pure: no I/O.
"""

from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from dicomweb.rendering.annotation import font_of
from dicomweb.rendering.encoders import Picture
from dicomweb.rendering.grayscale import Levels
from dicomweb.rendering.sheet import UNITS, Grid, Sheet
from dicomweb.rendering.viewport import Viewport, fitted_size, shown

MOST_PIXELS: Final = 12 * 1024 * 1024
"""The most pixels a sheet is drawn with."""

_DENSITY = 8.0  # pixels a millimetre, when nobody asks for another size
_CLOSEST = 2.5
_PAPER, _INK = (255, 255, 255), (16, 20, 24)
_STEPS = ((UNITS, (246, 201, 198)), (5 * UNITS, (227, 142, 136)))
_TRACE = 0.3 * UNITS
_NARROWEST = 5  # letters in a width as large as they are high; what is beyond the edge is not drawn


def sheet_picture(sheet: Sheet, viewport: Viewport | None = None) -> Picture:
    """Return a sheet as an RGB picture.

    Parameters
    ----------
    sheet : Sheet
        What to draw.
    viewport : Viewport, optional
        Where it is shown; its region is one of the picture of 8 pixels a millimetre.

    Raises
    ------
    InvalidQuery
        The region lies outside of the picture, or the picture would be too large.
    """
    if viewport is not None and (viewport.x or viewport.y or viewport.region_width or viewport.region_height):
        return Picture(shown(_drawn(sheet, _natural_scale(sheet)), viewport))
    scale = _natural_scale(sheet)
    if viewport is not None:
        width, _ = fitted_size(sheet.width, sheet.height, viewport.width, viewport.height)
        scale = min(width / sheet.width, _largest_scale(sheet))
    return Picture(_drawn(sheet, scale))


def _natural_scale(sheet: Sheet) -> float:
    return min(_DENSITY / UNITS, _largest_scale(sheet))


def _largest_scale(sheet: Sheet) -> float:
    return float((MOST_PIXELS / (sheet.width * sheet.height)) ** 0.5)


def _drawn(sheet: Sheet, scale: float) -> Levels:
    size = max(1, round(sheet.width * scale)), max(1, round(sheet.height * scale))
    image = Image.new("RGB", size, _PAPER)
    canvas = ImageDraw.Draw(image)
    for grid in sheet.grids:
        _rule(canvas, grid, scale)
    image.paste(_INK, (0, 0), _traced(sheet, scale, size))
    for label in sheet.labels:
        font = font_of(max(1, round(label.size * scale)))
        edge = 1 if label.strong and label.size * scale > 12 else 0
        place = label.x * scale, label.y * scale
        words = label.words[: _NARROWEST * sheet.width // label.size].replace("µ", "u")  # which the font has not
        canvas.text(place, words, _INK, font, "ls", stroke_width=edge * 0.5, stroke_fill=_INK)
    return np.asarray(image)


def _rule(canvas: ImageDraw.ImageDraw, grid: Grid, scale: float) -> None:
    """Draw the lines of millimetre paper."""
    right, bottom = grid.x + grid.width, grid.y + grid.height
    for step, colour in _STEPS:
        if step * scale < _CLOSEST:
            continue
        for x in range(grid.x, right + 1, step):
            canvas.line([(round(x * scale), grid.y * scale), (round(x * scale), bottom * scale)], colour)
        for y in range(grid.y, bottom + 1, step):
            canvas.line([(grid.x * scale, round(y * scale)), (right * scale, round(y * scale))], colour)


def _traced(sheet: Sheet, scale: float, size: tuple[int, int]) -> Image.Image:
    """Return how much of each pixel the lines cover."""
    mask = Image.new("L", (size[0] * 2, size[1] * 2))
    canvas = ImageDraw.Draw(mask)
    width = max(2, round(_TRACE * scale * 2))
    for trace in sheet.traces:
        for run in trace.runs:
            points = (run * (2 * scale)).ravel().tolist()
            if len(points) == 2:
                points += [points[0] + width, points[1]]
            canvas.line(points, 255, width)
    return mask.reduce(2)
