"""A drawing on millimetre paper, before it is SVG or pixels.

Facts this module keeps:
- Places are in hundredths of a millimetre from the top left corner, whole numbers: as exact as paper is read.
- Pure: no I/O.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

UNITS: Final = 100
"""How many units a millimetre has."""

Points = NDArray[np.int64]
"""Corners of a line, of shape (points, 2): x and y in units."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A field of millimetre paper with a stronger line every 5 mm, in units."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text that begins at x and stands on y, in units.

    Attributes
    ----------
    x, y, size : int
        In units.
    words : str
        As it was written: who draws it must escape it.
    strong : bool
        Whether it is bold.
    """

    x: int
    y: int
    size: int
    words: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """One line with gaps: the curve of a channel, or a mark.

    Attributes
    ----------
    name : str
        What it is the curve of, "" for a mark.
    runs : tuple of ndarray
        Its parts, each of one point at least.
    """

    name: str
    runs: tuple[Points, ...]


@dataclass(slots=True)
class Sheet:
    """Everything that is drawn, and its size in units."""

    title: str
    width: int
    height: int = 0
    grids: list[Grid] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)


def units(millimetres: float) -> int:
    """Return millimetres in units."""
    return round(millimetres * UNITS)
