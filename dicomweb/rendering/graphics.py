"""Vector graphics and text of a presentation state (PS3.3 C.10.5).

Facts and clauses this module keeps:
- Graphic types: POINT, POLYLINE, INTERPOLATED (a smooth curve through the points), CIRCLE (centre and a point on it),
  ELLIPSE (ends of the major axis, ends of the minor axis).
- Text is put into its bounding box, or at its anchor point when it has none; an anchor point that shall be visible is
  joined to the box.
- Compound graphics are not looked at: every one has an equivalent of these simple ones (C.10.5.1.3).
- Pure: no I/O.
"""

import math
from collections.abc import Callable, Sequence

from PIL import ImageDraw

from dicomweb.rendering.annotation import font_for, write
from dicomweb.rendering.attribute_values import Attributes, items, numbers, text
from dicomweb.rendering.displayed_area import DisplayedArea, Point

_STEPS = 72  # of a closed curve
_STEPS_BETWEEN = 12  # two points of an interpolated one
_FARTHEST = 20_000.0  # pixels off the corner; a line is drawn pixel by pixel, seen or not
_JUSTIFIED = {"LEFT": "la", "CENTER": "ma", "RIGHT": "ra"}


def draw_annotation(canvas: ImageDraw.ImageDraw, annotation: Attributes, area: DisplayedArea, level: int) -> None:
    """Draw an item of a Graphic Annotation Sequence.

    Parameters
    ----------
    canvas : ImageDraw
        Over the picture of the displayed area, in mode L or RGB.
    annotation : Attributes
        The item.
    area : DisplayedArea
        Where pixels of the image are on the picture.
    level : int
        Grey level, 0 to 255.
    """
    for graphic in items(annotation, "GraphicObjectSequence"):
        _draw_graphic(canvas, graphic, area, level)
    for label in items(annotation, "TextObjectSequence"):
        _draw_text(canvas, label, area, level)


def outline(graphic_type: str, points: Sequence[Point]) -> list[Point]:
    """Return the corners of the line that shows a graphic; empty when its points are too few."""
    if graphic_type == "CIRCLE" and len(points) >= 2:
        (x, y), rim = points[0], points[1]
        radius = math.dist(points[0], rim)
        return _ellipse((x, y), (radius, 0.0), (0.0, radius))
    if graphic_type == "ELLIPSE" and len(points) >= 4:
        center = _middle(points[0], points[1])
        return _ellipse(center, _half(points[0], points[1]), _half(points[2], points[3]))
    if graphic_type == "INTERPOLATED":
        return _curve(points)
    return list(points) if graphic_type == "POLYLINE" else []


def _draw_graphic(canvas: ImageDraw.ImageDraw, graphic: Attributes, area: DisplayedArea, level: int) -> None:
    data = numbers(graphic, "GraphicData")
    points = list(zip(data[::2], data[1::2], strict=False))
    place = _placer(area, text(graphic, "GraphicAnnotationUnits"))
    kind = text(graphic, "GraphicType")
    width = max(1, min(area.width, area.height) // 400)
    colour = _colour(canvas, level)
    if kind == "POINT":
        for x, y in (place(point) for point in points[:1]):
            canvas.ellipse((x - width - 1, y - width - 1, x + width + 1, y + width + 1), fill=colour)
        return
    line = [place(point) for point in outline(kind, points)]
    if len(line) > 2 and text(graphic, "GraphicFilled") == "Y":
        canvas.polygon(line, fill=colour)
    elif len(line) > 1:
        canvas.line(line, fill=colour, width=width, joint="curve")


def _draw_text(canvas: ImageDraw.ImageDraw, label: Attributes, area: DisplayedArea, level: int) -> None:
    lines = text(label, "UnformattedTextValue").replace("\r\n", "\n").replace("\r", "\n")
    font = font_for(area.width, area.height)
    anchor = _point(label, "AnchorPoint", area, "AnchorPointAnnotationUnits")
    first = _point(label, "BoundingBoxTopLeftHandCorner", area, "BoundingBoxAnnotationUnits")
    last = _point(label, "BoundingBoxBottomRightHandCorner", area, "BoundingBoxAnnotationUnits")
    if first and last:
        left, right = sorted((first[0], last[0]))
        top, bottom = sorted((first[1], last[1]))
        justified = _JUSTIFIED.get(text(label, "BoundingBoxTextHorizontalJustification"), "la")
        x = {"l": left, "m": (left + right) / 2, "r": right}[justified[0]]
        if anchor and text(label, "AnchorPointVisibility") == "Y":
            near = min(max(anchor[0], left), right), min(max(anchor[1], top), bottom)
            canvas.line([near, anchor], fill=_colour(canvas, level))
        write(canvas, (x, top), lines, font, justified, level)
    elif anchor:
        write(canvas, anchor, lines, font, "la", level)


def _point(label: Attributes, keyword: str, area: DisplayedArea, units_keyword: str) -> Point | None:
    data = numbers(label, keyword)
    return _placer(area, text(label, units_keyword))((data[0], data[1])) if len(data) >= 2 else None


def _placer(area: DisplayedArea, units: str) -> Callable[[Point], Point]:
    place = area.fraction_to_display if units == "DISPLAY" else area.pixel_to_display

    def placed(point: Point) -> Point:
        x, y = place(point)
        return min(max(x, -_FARTHEST), _FARTHEST), min(max(y, -_FARTHEST), _FARTHEST)

    return placed


def _colour(canvas: ImageDraw.ImageDraw, level: int) -> int | tuple[int, int, int]:
    return level if canvas.mode == "L" else (level, level, level)


def _middle(first: Point, last: Point) -> Point:
    return (first[0] + last[0]) / 2, (first[1] + last[1]) / 2


def _half(first: Point, last: Point) -> Point:
    return (last[0] - first[0]) / 2, (last[1] - first[1]) / 2


def _ellipse(center: Point, major: Point, minor: Point) -> list[Point]:
    turns = [2 * math.pi * step / _STEPS for step in range(_STEPS + 1)]
    return [
        (
            center[0] + major[0] * math.cos(turn) + minor[0] * math.sin(turn),
            center[1] + major[1] * math.cos(turn) + minor[1] * math.sin(turn),
        )
        for turn in turns
    ]


def _curve(points: Sequence[Point]) -> list[Point]:
    """Return a Catmull-Rom curve through points, closed when the last is the first."""
    if len(points) < 3:
        return list(points)
    closed = points[0] == points[-1]
    before, after = (points[-2], points[1]) if closed else (points[0], points[-1])
    around = [before, *points, after]
    curve = [points[0]]
    for p0, p1, p2, p3 in zip(around, around[1:], around[2:], around[3:], strict=False):
        curve += [_between(p0, p1, p2, p3, step / _STEPS_BETWEEN) for step in range(1, _STEPS_BETWEEN + 1)]
    return curve


def _between(p0: Point, p1: Point, p2: Point, p3: Point, t: float) -> Point:
    x, y = (
        b + (c - a) / 2 * t + (a - 2.5 * b + 2 * c - d / 2) * t * t + (1.5 * (b - c) + (d - a) / 2) * t**3
        for a, b, c, d in zip(p0, p1, p2, p3, strict=True)
    )
    return x, y
