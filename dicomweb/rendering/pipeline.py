"""From a decoded frame and the attributes of its instance to a picture (PS3.18 8.3.5.1).

Facts and clauses this module keeps:
- The steps: grey or colour pipeline, overlays (with `annotation` only), region and size, ICC profile, text burned in.
- D-103: without a viewport the picture has the matrix size of the source.
- Pure: no I/O, no decoder; values that are not in the attributes are given by the caller, see `needed_bulk_data`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from dicomweb.rendering.annotation import ABSENT, PATIENT, absent_lines, annotate, patient_lines, technique_lines
from dicomweb.rendering.attribute_values import Attributes, bulk_data_path, key_of, number, numbers
from dicomweb.rendering.colour import (
    colour_range,
    is_colour_range,
    is_supplemental,
    palette_colours,
    palette_of,
    rgb_of,
    supplemented,
)
from dicomweb.rendering.encoders import Picture
from dicomweb.rendering.functional_groups import frame_attributes, functional_groups, number_of_frames
from dicomweb.rendering.grayscale import Levels, Samples, Window, grey_levels, value_range, window_of_range
from dicomweb.rendering.grayscale_attributes import bits_stored_of, grayscale_of, stored_values_of
from dicomweb.rendering.icc_profile import NO, apply_profile, source_profile
from dicomweb.rendering.overlays import draw, overlay_data_keys, overlays_of
from dicomweb.rendering.rendering_parameters import RenderingParameters
from dicomweb.rendering.viewport import pixel_aspect, shown
from storage.pixels.pixel_data import UndecodablePixelData

_DEFAULT_DURATION = 100.0
_SLOWEST_RATE = 1e-6  # frames a second
_PER_FRAME = key_of("PerFrameFunctionalGroupsSequence")
_TABLES = frozenset(
    key_of(keyword)
    for keyword in (
        "LUTData",
        *(
            f"{kind}{colour}PaletteColorLookupTableData"
            for kind in ("", "Segmented")
            for colour in ("Red", "Green", "Blue")
        ),
    )
)
_ICC_PROFILE = key_of("ICCProfile")


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes
    ----------
    samples : ndarray of shape (rows, columns) or (rows, columns, samples)
        Stored values as decoded. Chrominance has a sample for every pixel. Native samples keep all bits allocated,
        so that overlays in unused bits can be drawn.
    photometric_interpretation : str
        Of the samples, which may not be that of the instance once they are decoded.
    attributes : Attributes
        Of the instance, in the DICOM JSON Model.
    number : int
        Of the frame, from 1.
    bulk : mapping of str to bytes
        The values `needed_bulk_data` names, by path; those that are missing are done without.
    warning : str
        What was mended before it could be decoded; empty for nothing.
    absent : sequence of str
        Names of what is done without.
    """

    samples: Samples
    photometric_interpretation: str
    attributes: Attributes
    number: int = 1
    bulk: Mapping[str, bytes] = field(default_factory=dict)
    warning: str = ""
    absent: Sequence[str] = ()

    @property
    def plane(self) -> Samples:
        """The samples without an axis of length 1 for a single component."""
        return self.samples[..., 0] if self.samples.ndim == 3 and self.samples.shape[2] == 1 else self.samples


def render(
    frame: Frame,
    parameters: RenderingParameters = RenderingParameters(),  # noqa: B008 - frozen
    limits: tuple[float, float] | None = None,
) -> Picture:
    """Render a frame.

    Parameters
    ----------
    frame : Frame
        What to render.
    parameters : RenderingParameters
        What the client asks for.
    limits : (float, float), optional
        The range shown when there is no window; that of the frame when not given. See `shared_range`.

    Raises
    ------
    InvalidQuery
        The viewport names a region outside of the frame.
    UndecodablePixelData
        The samples of a pixel are no color.

    Standard
    --------
    PS3.18 8.3.5.1; D-098 to D-113.
    """
    attributes = frame_attributes(frame.attributes, frame.number)
    window = parameters.window
    pixels = pixels_of(frame, window, limits)
    if parameters.annotation:
        pixels = draw(pixels, overlays_of(attributes, frame.number, frame.plane, frame.bulk))
    if parameters.viewport:
        pixels = shown(pixels, parameters.viewport, pixel_aspect(attributes))
    profile = None if parameters.icc_profile == NO else source_profile(frame.attributes, frame.number, frame.bulk)
    return finished(pixels, profile, frame, parameters, window)


def finished(
    pixels: Levels, profile: bytes | None, frame: Frame, parameters: RenderingParameters, window: Window | None = None
) -> Picture:
    """Return the picture with its ICC profile and with text burned in.

    Parameters
    ----------
    pixels : ndarray of uint8
        At the size of the picture.
    profile : bytes or None
        ICC profile of the pixels.
    frame : Frame
        Has the attributes the text is made of.
    parameters : RenderingParameters
        What the client asks for.
    window : Window, optional
        Shown in the text.
    """
    if parameters.icc_profile not in (None, NO) or profile:
        image, profile = apply_profile(Image.fromarray(pixels), parameters.icc_profile, profile)
        pixels = np.asarray(image)
    lines = {ABSENT: absent_lines(frame.absent)}
    if parameters.annotation:
        attributes = frame_attributes(frame.attributes, frame.number)
        lines |= {
            keyword: patient_lines(attributes)
            if keyword == PATIENT
            else technique_lines(attributes, frame.number, window)
            for keyword in parameters.annotation
        }
    if said := {keyword: found for keyword, found in lines.items() if found}:
        pixels = annotate(pixels, said)
    return Picture(pixels, profile)


def pixels_of(frame: Frame, window: Window | None = None, limits: tuple[float, float] | None = None) -> Levels:
    """Return the picture of a frame at the size of its matrix.

    Parameters
    ----------
    frame : Frame
        What to render.
    window : Window, optional
        Goes before what the attributes say; for grey values only.
    limits : (float, float), optional
        The range shown when there is no window.

    Returns
    -------
    ndarray of uint8 of shape (rows, columns) or (rows, columns, 3)

    Raises
    ------
    UndecodablePixelData
        The samples of a pixel are no color: neither 1 nor 3 or 4.
    """
    attributes = frame_attributes(frame.attributes, frame.number)
    samples = frame.plane
    if samples.ndim == 3:
        if samples.shape[2] not in (3, 4):
            raise UndecodablePixelData(f"Pixels of {samples.shape[2]} samples cannot be made a picture of.")
        return rgb_of(samples, frame.photometric_interpretation, bits_stored_of(attributes))
    is_palette = frame.photometric_interpretation == "PALETTE COLOR"
    palette = palette_of(attributes, frame.bulk) if is_palette or "00281101" in attributes else None
    if is_palette and palette:
        return palette_colours(samples, palette, stored_values_of(attributes))
    grayscale = grayscale_of(attributes, frame.photometric_interpretation, window=window, bulk=frame.bulk)
    if grayscale.voi is None and limits:
        grayscale = replace(grayscale, voi=window_of_range(limits))
    if palette and is_supplemental(attributes):
        return supplemented(samples, palette, grayscale)
    levels = grey_levels(samples, grayscale)
    return colour_range(levels, palette) if palette and is_colour_range(attributes) else levels


def shared_range(frames: Iterable[Frame]) -> tuple[float, float] | None:
    """Return the range that all frames of an animation are shown with, None when they have windows or are coloured.

    Without it, frames that have no window would each be shown with their own range, and the animation would flicker.
    """
    ranges = []
    for frame in frames:
        attributes = frame_attributes(frame.attributes, frame.number)
        if frame.plane.ndim == 3 or frame.photometric_interpretation == "PALETTE COLOR":
            return None
        grayscale = grayscale_of(attributes, frame.photometric_interpretation, bulk=frame.bulk)
        if grayscale.voi is not None:
            return None
        ranges.append(value_range(frame.plane, grayscale))
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None


def needed_bulk_data(attributes: Attributes, frame_number: int = 1, *, overlays: bool = False) -> list[str]:
    """Return the paths of values that are not in the attributes and that a picture needs, such as `00282000`.

    Parameters
    ----------
    attributes : Attributes
        Of an image or of a presentation state.
    frame_number : int
        Counted from 1.
    overlays : bool
        Whether overlays are drawn: with `annotation`, and for presentation states.
    """
    wanted = _TABLES | {_ICC_PROFILE}
    if overlays:
        wanted |= frozenset(overlay_data_keys(attributes))
    top = {key: value for key, value in attributes.items() if key != _PER_FRAME}
    holders = [top, *functional_groups(attributes, frame_number)[-1:]]
    return sorted({path for holder in holders for path in _paths(holder, wanted)})


def _paths(attributes: Attributes, wanted: frozenset[str]) -> Iterable[str]:
    for key, attribute in attributes.items():
        path = bulk_data_path(attribute) if key in wanted else None
        if path is not None:
            yield path
        nested: Any = attribute.get("Value") if isinstance(attribute, dict) and attribute.get("vr") == "SQ" else None
        for item in nested or ():
            if isinstance(item, dict):
                yield from _paths(item, wanted)


def frame_durations(attributes: Attributes, frame_numbers: Sequence[int]) -> list[float]:
    """Return how long each frame of an animation is shown, in ms (PS3.3 C.7.6.5).

    Frame Time Vector tells the time since the frame before; then Frame Time, Recommended Display Frame Rate and Cine
    Rate; 100 ms when none is there.
    """
    vector = numbers(attributes, "FrameTimeVector")
    duration = number(attributes, "FrameTime")
    if not duration or duration <= 0:
        rate = number(attributes, "RecommendedDisplayFrameRate") or number(attributes, "CineRate") or 0
        duration = 1000 / rate if rate >= _SLOWEST_RATE else _DEFAULT_DURATION
    # The frame at index n is followed by that at n + 1 after the increment at n + 1.
    return [vector[frame] if frame < len(vector) and vector[frame] > 0 else duration for frame in frame_numbers]


def video_seconds(attributes: Attributes) -> float:
    """Return how long a video is by what its attributes say of its frames (PS3.3 C.7.6.5); 0 when they do not."""
    timed = any(number(attributes, name) for name in ("FrameTime", "RecommendedDisplayFrameRate", "CineRate"))
    (duration,) = frame_durations(attributes, [0])
    return number_of_frames(attributes) * duration / 1000 if timed else 0.0
