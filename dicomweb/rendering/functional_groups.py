"""The attributes that rule one frame: those of the instance, and over them its functional groups.

Facts and clauses this module keeps:
- PS3.3 C.7.6.16: a functional group is in the Shared or in the Per-Frame Functional Groups Sequence, not in both;
  the item at position n of the latter is that of frame n, counted from 1.
- An attribute in a functional group goes before one of the same name at the top level.
"""

from dicomweb.rendering.attribute_values import Attributes, integer, item, items, key_of, text

# The macros that say how a frame is shown; each sequence has one item.
_MACROS = tuple(
    key_of(keyword)
    for keyword in (
        "PixelValueTransformationSequence",
        "FrameVOILUTSequence",
        "PixelMeasuresSequence",
        "MRImageFrameTypeSequence",
        "CTImageFrameTypeSequence",
        "PETFrameTypeSequence",
        "XAXRFFrameCharacteristicsSequence",
        "FramePixelDataPropertiesSequence",
    )
)
_PER_FRAME = "PerFrameFunctionalGroupsSequence"
_SHARED = "SharedFunctionalGroupsSequence"


def frame_attributes(attributes: Attributes, frame_number: int) -> Attributes:
    """Return the attributes of one frame at one level.

    Parameters
    ----------
    attributes : Attributes
        Of the instance.
    frame_number : int
        Counted from 1.

    Returns
    -------
    Attributes
        The instance itself when it has no functional groups; else a copy with those of the frame laid over it.
    """
    groups = functional_groups(attributes, frame_number)
    if not groups:
        return attributes
    merged = dict(attributes)
    for group in groups:
        for key in _MACROS:
            sequence = group.get(key)
            found = sequence.get("Value") if isinstance(sequence, dict) else None
            if isinstance(found, list) and found and isinstance(found[0], dict):
                merged.update(found[0])
    return merged


def functional_groups(attributes: Attributes, frame_number: int) -> list[Attributes]:
    """Return the shared item and the item of the frame, as far as they are there."""
    shared = item(attributes, _SHARED)
    frames = items(attributes, _PER_FRAME)
    of_frame = frames[frame_number - 1] if 0 < frame_number <= len(frames) else None
    return [group for group in (shared, of_frame) if group]


def optical_path(attributes: Attributes, frame_number: int) -> Attributes | None:
    """Return the item of the Optical Path Sequence that a frame of a microscopy image was made with (C.8.12.5)."""
    paths = items(attributes, "OpticalPathSequence")
    for group in functional_groups(attributes, frame_number):
        used = item(group, "OpticalPathIdentificationSequence")
        for path in paths if used else ():
            if used and text(path, "OpticalPathIdentifier") == text(used, "OpticalPathIdentifier"):
                return path
    return paths[0] if paths else None


def number_of_frames(attributes: Attributes) -> int:
    """Return how many frames the instance says it has, 1 when it does not say."""
    return max(integer(attributes, "NumberOfFrames", 1), 1)
