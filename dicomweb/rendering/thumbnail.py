"""Thumbnails: a small picture of an image, and a sign for what is none (PS3.18 8.3.5.2, 10.4.3.3.4).

Facts and clauses this module keeps:
- D-122: no text about the patient: no annotation, no overlays.
- D-124: what has no picture gets a sheet of paper with the modality on it, never an error.
- Pure: no I/O.
"""

from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dicomweb.rendering.encoders import Picture
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


def middle(count: int) -> int:
    """Return the number, from 1, of the middle one of a row of frames or instances."""
    return (max(count, 1) + 1) // 2


def limited(viewport: Viewport | None) -> Viewport:
    """Return the size of a thumbnail at most, for the one a client asks for."""
    if viewport is None:
        return Viewport(SIZE, SIZE)
    return Viewport(min(viewport.width, LARGEST), min(viewport.height, LARGEST))
