"""Softcopy presentation states as the target of rendering: an image as somebody saw it and marked it.

Facts and clauses this module keeps:
- PS3.4 N.2.1: the pipeline of the state replaces that of the image, Photometric Interpretation included; a step the
  state does not have is the identity.
- PS3.4 N.2.2, N.2.3: shutter, overlays and graphics in PIXEL units are laid on the image before rotation, flip and
  scaling, those in DISPLAY units after them.
- PS3.3 C.10.3, C.10.4, C.10.5: an item without references, or with one to the image and no or this frame number,
  is meant for the frame.
- PS3.3 C.11.7: only overlays whose group the state activates are drawn; one in the state goes before one of the image.
- Masks (subtraction) and blending are not done.
- Pure: no I/O.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from dicomweb.rendering.attribute_values import Attributes, BulkData, integer, item, items, numbers, text
from dicomweb.rendering.colour import colour_range, palette_of
from dicomweb.rendering.display_shutter import bitmap_shutter_group, shutter_level, shutter_mask
from dicomweb.rendering.displayed_area import DisplayedArea, displayed_area
from dicomweb.rendering.encoders import Picture
from dicomweb.rendering.functional_groups import frame_attributes
from dicomweb.rendering.graphics import draw_annotation
from dicomweb.rendering.grayscale import Grayscale, Levels, full_range, grey_levels, window_of_range
from dicomweb.rendering.grayscale_attributes import grayscale_of, modality_of, voi_of
from dicomweb.rendering.icc_profile import NO, source_profile
from dicomweb.rendering.lookup_tables import table_of_item
from dicomweb.rendering.overlays import Overlay, activated, draw, overlays_of
from dicomweb.rendering.pipeline import Frame, finished, pixels_of
from dicomweb.rendering.rendering_parameters import RenderingParameters

SOP_CLASSES: Final = frozenset(f"1.2.840.10008.5.1.4.1.1.11.{kind}" for kind in (1, 2, 3))
"""Grayscale, Color and Pseudo-Color Softcopy Presentation State Storage."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An image a presentation state is for.

    Attributes
    ----------
    series_instance_uid, sop_class_uid, sop_instance_uid : str
        Of the image; its study is that of the state.
    frame_numbers : tuple of int
        Counted from 1; empty for all frames.
    """

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    frame_numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class PresentationState:
    """A presentation state.

    Attributes
    ----------
    attributes : Attributes
        In the DICOM JSON Model.
    bulk : BulkData
        Values that are not in the attributes, see `needed_bulk_data`.
    absent : sequence of str
        Names of what the picture has to be made without.
    """

    attributes: Attributes
    bulk: BulkData = field(default_factory=dict)
    absent: Sequence[str] = ()

    def references(self) -> list[Reference]:
        """Return the images it is for, in its order (PS3.3 C.11.11)."""
        return [
            Reference(
                text(series, "SeriesInstanceUID"),
                text(image, "ReferencedSOPClassUID"),
                text(image, "ReferencedSOPInstanceUID"),
                tuple(int(number) for number in numbers(image, "ReferencedFrameNumber")),
            )
            for series in items(self.attributes, "ReferencedSeriesSequence")
            for image in items(series, "ReferencedImageSequence")
        ]

    def items_for(self, keyword: str, frame: Frame) -> Iterator[Attributes]:
        """Yield the items of a sequence that are meant for a frame."""
        uid = text(frame.attributes, "SOPInstanceUID")
        for entry in items(self.attributes, keyword):
            images = items(entry, "ReferencedImageSequence")
            if not images or any(_refers(image, uid, frame.number) for image in images):
                yield entry


def render_presentation(
    frame: Frame,
    state: PresentationState,
    parameters: RenderingParameters = RenderingParameters(),  # noqa: B008 - frozen
) -> Picture:
    """Render a frame as a presentation state says.

    Parameters
    ----------
    frame : Frame
        One the state is for.
    state : PresentationState
        What to do with it.
    parameters : RenderingParameters
        What the client asks for; window and region have no meaning here.

    Standard
    --------
    PS3.4 N.2; PS3.18 8.3.5.1.6.
    """
    pixels = _pixels(frame, state)
    rows, columns = pixels.shape[:2]
    pixels = _covered(pixels, frame, state)
    layers = _layer_levels(state)
    for overlay, layer in _overlays(frame, state):
        pixels = draw(pixels, [overlay], layers.get(layer, 255))
    selection = next(state.items_for("DisplayedAreaSelectionSequence", frame), None)
    area = displayed_area(state.attributes, selection, columns, rows, parameters.viewport)
    drawn = _annotated(area.shown(pixels), frame, state, area)
    profile = None
    if drawn.ndim == 3 and parameters.icc_profile != NO:
        profile = source_profile(state.attributes, 1, state.bulk)
        profile = profile or source_profile(frame.attributes, frame.number, frame.bulk)
    return finished(drawn, profile, replace(frame, absent=(*state.absent, *frame.absent)), parameters)


def _refers(image: Attributes, sop_instance_uid: str, frame_number: int) -> bool:
    frames = numbers(image, "ReferencedFrameNumber")
    return text(image, "ReferencedSOPInstanceUID") == sop_instance_uid and (not frames or frame_number in frames)


def _pixels(frame: Frame, state: PresentationState) -> Levels:
    if frame.plane.ndim == 3 or frame.photometric_interpretation == "PALETTE COLOR":
        return pixels_of(frame)
    levels = grey_levels(frame.plane, state_grayscale(frame, state))
    palette = palette_of(state.attributes, state.bulk)
    return colour_range(levels, palette) if palette else levels


def state_grayscale(frame: Frame, state: PresentationState) -> Grayscale:
    """Return the grey pipeline of a presentation state for a frame."""
    stated = grayscale_of(frame_attributes(frame.attributes, frame.number), "", bulk=frame.bulk)
    sequence = item(state.attributes, "PresentationLUTSequence")
    grayscale = replace(
        stated,
        modality=modality_of(state.attributes, state.bulk, signed=stated.signed),
        voi=None,
        presentation=table_of_item(sequence, state.bulk, signed_input=False) if sequence else None,
        inverted=text(state.attributes, "PresentationLUTShape") == "INVERSE",
    )
    selection = next(state.items_for("SoftcopyVOILUTSequence", frame), None)
    voi = voi_of(selection, grayscale, state.bulk) if selection else None
    return replace(grayscale, voi=voi or window_of_range(full_range(grayscale)))


def _covered(pixels: Levels, frame: Frame, state: PresentationState) -> Levels:
    """Return the pixels under the shutter."""
    rows, columns = pixels.shape[:2]
    covered = shutter_mask(state.attributes, rows, columns)
    level = shutter_level(state.attributes)
    if covered is not None:
        pixels = pixels.copy()
        pixels[covered] = level
    group = bitmap_shutter_group(state.attributes)
    planes = [overlay for overlay in _planes(frame, state) if overlay.group == group]
    return draw(pixels, planes, level) if planes else pixels


def _overlays(frame: Frame, state: PresentationState) -> list[tuple[Overlay, str]]:
    """Return the overlays that are drawn, with their graphic layers, in the order of these."""
    layers = activated(state.attributes)
    orders = {
        text(layer, "GraphicLayer"): integer(layer, "GraphicLayerOrder")
        for layer in items(state.attributes, "GraphicLayerSequence")
    }
    shutter = bitmap_shutter_group(state.attributes)
    drawn = [
        (plane, layers[plane.group])
        for plane in _planes(frame, state)
        if plane.group in layers and plane.group != shutter
    ]
    return sorted(drawn, key=lambda entry: orders.get(entry[1], 0))


def _planes(frame: Frame, state: PresentationState) -> list[Overlay]:
    own = list(overlays_of(state.attributes, frame.number, None, state.bulk))
    groups = {overlay.group for overlay in own}
    attributes = frame_attributes(frame.attributes, frame.number)
    of_image = overlays_of(attributes, frame.number, frame.plane, frame.bulk)
    return own + [overlay for overlay in of_image if overlay.group not in groups]


def _layer_levels(state: PresentationState) -> dict[str, int]:
    keyword = "GraphicLayerRecommendedDisplayGrayscaleValue"
    return {
        text(layer, "GraphicLayer"): min(max(integer(layer, keyword, 65535), 0), 65535) // 257
        for layer in items(state.attributes, "GraphicLayerSequence")
    }


def _annotated(pixels: Levels, frame: Frame, state: PresentationState, area: DisplayedArea) -> Levels:
    annotations = list(state.items_for("GraphicAnnotationSequence", frame))
    if not annotations:
        return pixels
    image = Image.fromarray(pixels)
    canvas = ImageDraw.Draw(image)
    layers = _layer_levels(state)
    for annotation in annotations:
        draw_annotation(canvas, annotation, area, layers.get(text(annotation, "GraphicLayer"), 255))
    return np.asarray(image)
