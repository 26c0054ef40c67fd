"""Thumbnails: a small picture of an image, and a sign for what is none (PS3.18 8.3.5.2, 10.4.3.3.4).

Facts and clauses this module keeps:
- D-122: no text about the patient: no annotation, no overlays.
- A video has a play mark over its first frame, or over an empty one of its shape, and its duration below.
- D-124: what has no picture gets a sheet of paper with the modality on it, never an error.
- Pure: no I/O.
"""

from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dicomweb.rendering.annotation import font_of, write
from dicomweb.rendering.encoders import Picture
from dicomweb.rendering.grayscale import Levels
from dicomweb.rendering.pipeline import Frame, render
from dicomweb.rendering.rendering_parameters import RenderingParameters
from dicomweb.rendering.viewport import Viewport, fitted_size

SIZE: Final = 128
"""Width and height of a thumbnail at most, when the client names none."""

LARGEST: Final = 512
"""Width and height at most, whatever the client names."""

QUALITY: Final = 75

_PAPER, _LINE, _BACKGROUND = 245, 110, 40
_LONGEST_LABEL = 4
_LONGEST_FILM = 4.0


def thumbnail(frame: Frame, viewport: Viewport | None = None) -> Picture:
    """Return a small picture of a frame, in sRGB and without a profile.

    Parameters
    ----------
    frame : Frame
        The middle one of the middle instance, see `middle`.
    viewport : Viewport, optional
        Width and height the client asks for.
    """
    return render(frame, RenderingParameters(viewport=limited(viewport), icc_profile="no"))


def icon(label: str, viewport: Viewport | None = None) -> Picture:
    """Return a sign for an instance without a picture.

    Parameters
    ----------
    label : str
        What stands on it: the modality, such as `SR`; only letters and digits are shown.
    viewport : Viewport, optional
        Width and height the client asks for.
    """
    limits = limited(viewport)
    size, _ = fitted_size(1, 1, limits.width, limits.height)
    image = Image.new("L", (size, size), _BACKGROUND)
    canvas = ImageDraw.Draw(image)
    left, top, right, bottom, fold = size * 0.22, size * 0.12, size * 0.78, size * 0.88, size * 0.16
    sheet = [(left, top), (right - fold, top), (right, top + fold), (right, bottom), (left, bottom)]
    canvas.polygon(sheet, fill=_PAPER)
    canvas.polygon([(right - fold, top), (right - fold, top + fold), (right, top + fold)], fill=_LINE)
    shown = "".join(letter for letter in label if letter.isascii() and letter.isalnum())[:_LONGEST_LABEL]
    if shown and size >= 24:
        font = ImageFont.load_default(size * 0.6 / max(len(shown), 2))
        canvas.text((size / 2, size * 0.55), shown, _BACKGROUND, font, "mm")
    return Picture(np.asarray(image))


def film(
    shape: tuple[int, int], seconds: float, frame: Levels | None = None, viewport: Viewport | None = None
) -> Picture:
    """Return a sign for a video: its first frame, if there is one, with a play mark and its duration.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    seconds : float
        How long it is; 0 when that is not known.
    frame : ndarray of uint8 of shape (rows, columns, 3), optional
        What it shows.
    viewport : Viewport, optional
        Width and height the client asks for.
    """
    limits = limited(viewport)
    rows, columns = shape if frame is None else frame.shape[:2]
    aspect = min(max(columns / rows, 1 / _LONGEST_FILM), _LONGEST_FILM) if rows > 0 and columns > 0 else 4 / 3
    size = fitted_size(aspect, 1, limits.width, limits.height)
    image = Image.new("RGB", size, (_BACKGROUND,) * 3)
    if frame is not None:
        image = Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    canvas = ImageDraw.Draw(image, "RGBA")
    (width, height), radius = size, min(size) * 0.22
    x, y = width / 2, height / 2
    canvas.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(0, 0, 0, 150))
    half = radius * 0.5
    mark = [(x - half * 0.8, y - half), (x - half * 0.8, y + half), (x + half * 1.1, y)]
    canvas.polygon(mark, fill=(_PAPER, _PAPER, _PAPER, 255))
    if seconds > 0 and min(size) >= 48:
        font = font_of(max(9, min(size) // 9))
        write(canvas, (width - min(size) * 0.05, height - min(size) * 0.04), clock(seconds), font, "rd", _PAPER)
    return Picture(np.asarray(image))


def clock(seconds: float) -> str:
    """Return a duration as players show it: `0:07`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def middle(count: int) -> int:
    """Return the number, from 1, of the middle one of a row of frames or instances."""
    return (max(count, 1) + 1) // 2


def limited(viewport: Viewport | None) -> Viewport:
    """Return the size of a thumbnail at most, for the one a client asks for."""
    if viewport is None:
        return Viewport(SIZE, SIZE)
    return Viewport(min(viewport.width, LARGEST), min(viewport.height, LARGEST))
