"""Text about patient and technique, burned into a picture as the last step (PS3.18 8.3.5.1.1).

Facts and clauses this module keeps:
- `patient` is drawn at the top left, `technique` at the bottom left, white with a black edge on every background.
- What a picture had to be made without is said at the top right, asked for or not.
- The font is Pillow's own, which has Latin letters; of a name the first group is drawn.
- Pure: no I/O.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dicomweb.rendering.attribute_values import Attributes, integer, number, text
from dicomweb.rendering.functional_groups import number_of_frames
from dicomweb.rendering.grayscale import Levels, Window

PATIENT: Final = "patient"
TECHNIQUE: Final = "technique"

KEYWORDS: Final = (PATIENT, TECHNIQUE)
"""The values of the `annotation` parameter that are drawn."""

ABSENT: Final = "absent"
"""Names what the picture had to be made without."""

_SMALLEST_FONT, _LARGEST_FONT = 8, 40
_MOST_LETTERS = 80
_MEASURES = (
    ("KVP", "{:g} kV"),
    ("XRayTubeCurrent", "{:g} mA"),
    ("Exposure", "{:g} mAs"),
    ("RepetitionTime", "TR {:g} ms"),
    ("EchoTime", "TE {:g} ms"),
    ("FlipAngle", "FA {:g}°"),
    ("SliceThickness", "ST {:g} mm"),
    ("SliceLocation", "SL {:g} mm"),
)


def annotate(picture: Levels, groups: dict[str, list[str]]) -> Levels:
    """Return a copy of a picture with lines of text burned in.

    Parameters
    ----------
    picture : ndarray of uint8 of shape (rows, columns) or (rows, columns, 3)
        Not changed.
    groups : dict of str to list of str
        Lines by keyword, see `KEYWORDS` and `ABSENT`.
    """
    image = Image.fromarray(picture)
    canvas = ImageDraw.Draw(image)
    font = font_for(image.width, image.height)
    margin = max(2, image.height // 100)
    bottom, right = image.height - margin, image.width - margin
    styles = {PATIENT: ("la", (margin, margin)), TECHNIQUE: ("ld", (margin, bottom)), ABSENT: ("ra", (right, margin))}
    for keyword, lines in groups.items():
        anchor, corner = styles[keyword]
        write(canvas, corner, "\n".join(line[:_MOST_LETTERS] for line in lines), font, anchor)
    return np.asarray(image)


def write(
    canvas: ImageDraw.ImageDraw,
    position: tuple[float, float],
    lines: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    anchor: str,
    level: int = 255,
) -> None:
    """Draw lines of text with an edge of the opposite grey level, as many as can be on the picture."""
    width, height = canvas.im.size
    lines = "\n".join(line[:width] for line in lines.split("\n")[:height])  # no letter takes less than a pixel
    colour = level if canvas.mode == "L" else (level,) * 3
    edge = 0 if level > 127 else 255
    edge_colour = edge if canvas.mode == "L" else (edge,) * 3
    canvas.multiline_text(position, lines, colour, font, anchor, spacing=1, stroke_width=1, stroke_fill=edge_colour)


def font_for(width: int, height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font at a size that goes with a picture."""
    return font_of(min(max(min(width, height) // 32, _SMALLEST_FONT), _LARGEST_FONT))


def patient_lines(attributes: Attributes) -> list[str]:
    """Return what identifies the patient: name, identifier, birth date and sex."""
    family, _, given = text(attributes, "PatientName").partition("^")
    name = ", ".join(part for part in (family, " ".join(given.replace("^", " ").split())) if part)
    birth = " ".join(
        part for part in (_date(text(attributes, "PatientBirthDate")), text(attributes, "PatientSex")) if part
    )
    return [line for line in (name, text(attributes, "PatientID"), birth) if line]


def absent_lines(names: Sequence[str]) -> list[str]:
    """Return what says that a picture was made without values of these names."""
    return ["Shown without:", *dict.fromkeys(names)] if names else []


def technique_lines(attributes: Attributes, frame_number: int, window: Window | None = None) -> list[str]:
    """Return what was made and how: place, date, descriptions, numbers, scan parameters and window.

    Parameters
    ----------
    attributes : Attributes
        Of the frame, see `frame_attributes`.
    frame_number : int
        Counted from 1.
    window : Window, optional
        The one the frame is shown with.
    """
    moment = f"{_date(text(attributes, 'StudyDate'))} {_time(text(attributes, 'StudyTime'))}".strip()
    measures = [form.format(found) for keyword, form in _MEASURES if (found := number(attributes, keyword)) is not None]
    lines = [
        text(attributes, "InstitutionName"),
        " ".join(part for part in (text(attributes, "Modality"), moment) if part),
        text(attributes, "StudyDescription"),
        text(attributes, "SeriesDescription"),
        _numbers(attributes, frame_number),
        "  ".join(measures),
        f"W {window.width:g} C {window.center:g}" if window else "",
    ]
    return [line for line in lines if line]


def _numbers(attributes: Attributes, frame_number: int) -> str:
    parts = [
        f"{label} {integer(attributes, keyword)}"
        for label, keyword in (("Series", "SeriesNumber"), ("Image", "InstanceNumber"))
        if number(attributes, keyword) is not None
    ]
    frames = number_of_frames(attributes)
    if frames > 1:
        parts.append(f"Frame {frame_number}/{frames}")
    return "  ".join(parts)


def _date(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:8]}" if len(value) == 8 and value.isdigit() else value


def _time(value: str) -> str:
    return f"{value[:2]}:{value[2:4]}" if len(value) >= 4 and value[:4].isdigit() else ""


@lru_cache(maxsize=64)
def font_of(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font at a size in pixels."""
    return ImageFont.load_default(size)
