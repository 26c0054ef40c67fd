"""The grey pipeline of a frame out of the attributes of its instance.

Facts and clauses this module keeps:
- D-107: a VOI LUT Sequence goes before windows; of several windows the first usable one rules; with none of them the
  range of the frame is shown. Segmentations have a range of their own (PS3.3 C.8.20.2).
- PS3.3 C.7.6.3.1.2 and C.11.6.1.2: MONOCHROME1, and Presentation LUT Shape INVERSE, show the least value white.
- PS3.3 C.8.7.1.1.2: in XA and RF whose values are for display (LOG, DISP), the Modality LUT Sequence leads to X-Ray
  intensities, which are measured, not shown.
- PS3.3 C.7.5.1.1.2: Pixel Padding Value, with Pixel Padding Range Limit the inclusive range between both.
- Pure: no I/O.
"""

import re
from dataclasses import replace

from dicomweb.rendering.attribute_values import (
    Attributes,
    BulkData,
    as_number,
    integer,
    item,
    items,
    key_of,
    number,
    text,
    values,
)
from dicomweb.rendering.grayscale import (
    LINEAR,
    LINEAR_EXACT,
    SIGMOID,
    Grayscale,
    Padding,
    Rescale,
    Window,
    full_range,
    window_of_range,
)
from dicomweb.rendering.lookup_tables import LookupTable, table_of_item
from storage.dicom.transfer_syntax import TRANSFER_SYNTAXES

_WIDEST = 64
_PROJECTIONS = frozenset(f"1.2.840.10008.5.1.4.1.1.12.{kind}" for kind in ("1", "1.1", "2", "2.1"))
_PADDING = (
    ("PixelPaddingValue", "PixelPaddingRangeLimit"),
    ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"),
    ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"),
)


def grayscale_of(
    attributes: Attributes, photometric_interpretation: str, *, window: Window | None = None, bulk: BulkData
) -> Grayscale:
    """Return how the frame is shown.

    Parameters
    ----------
    attributes : Attributes
        Of one frame, see `frame_attributes`.
    photometric_interpretation : str
        Of the decoded samples.
    window : Window, optional
        Asked for by the client; goes before what the attributes say (PS3.18 8.3.5.1.4).
    bulk : BulkData
        Values that are not in the attributes.
    """
    stored = stored_values_of(attributes)
    grayscale = replace(
        stored,
        modality=modality_of(attributes, bulk, signed=stored.signed),
        inverted=photometric_interpretation == "MONOCHROME1" or text(attributes, "PresentationLUTShape") == "INVERSE",
        padding=_padding(attributes, stored),
    )
    voi = window or voi_of(attributes, grayscale, bulk) or _range_of_kind(attributes)
    return replace(grayscale, voi=voi)


def stored_values_of(attributes: Attributes) -> Grayscale:
    """Return only how samples hold their values."""
    bits = bits_stored_of(attributes)
    return Grayscale(
        bits_stored=bits,
        high_bit=integer(attributes, "HighBit", bits - 1),
        bits_allocated=integer(attributes, "BitsAllocated"),
        signed=integer(attributes, "PixelRepresentation") == 1,
        lossy=_is_lossy(attributes),
    )


def bits_stored_of(attributes: Attributes) -> int:
    """Return Bits Stored: what is allocated when there cannot be so many, 0 when neither is known (PS3.5 8.1.1)."""
    stored, allocated = integer(attributes, "BitsStored"), integer(attributes, "BitsAllocated")
    most = allocated if 0 < allocated <= _WIDEST else _WIDEST
    if 0 < stored <= most:
        return stored
    return allocated if stored and most == allocated else 0


def _is_lossy(attributes: Attributes) -> bool:
    """Whether a lossy codec made the samples and no overlay is kept in bits that the values leave free."""
    stored = TRANSFER_SYNTAXES.get(text(attributes, "AvailableTransferSyntaxUID"))
    return stored is not None and stored.lossy and not any(re.fullmatch("60..0102", tag) for tag in attributes)


def modality_of(attributes: Attributes, bulk: BulkData, *, signed: bool) -> Rescale | LookupTable:
    """Return the Modality LUT: the table if there is one, else the rescale, else the identity (PS3.3 C.11.1)."""
    sequence = item(attributes, "ModalityLUTSequence")
    if sequence and not _for_display(attributes):
        table = table_of_item(sequence, bulk, signed_input=signed)
        if table:
            return table
    slope = number(attributes, "RescaleSlope")
    intercept = number(attributes, "RescaleIntercept")
    return Rescale(slope or 1.0, intercept or 0.0)


def voi_of(attributes: Attributes, grayscale: Grayscale, bulk: BulkData) -> Window | LookupTable | None:
    """Return the VOI LUT or window that attributes hold, or None.

    Parameters
    ----------
    attributes : Attributes
        Of a frame, or an item of a Softcopy VOI LUT Sequence.
    grayscale : Grayscale
        With the Modality LUT before it, which tells whether its input may be negative.
    bulk : BulkData
        Values that are not in the attributes.
    """
    for sequence in items(attributes, "VOILUTSequence"):
        table = table_of_item(sequence, bulk, signed_input=full_range(grayscale)[0] < 0)
        if table:
            return table
    stated = text(attributes, "VOILUTFunction")
    function = stated if stated in (LINEAR_EXACT, SIGMOID) else LINEAR
    pairs = zip(values(attributes, "WindowCenter"), values(attributes, "WindowWidth"), strict=False)
    for center, width in ((as_number(center), as_number(width)) for center, width in pairs):
        if center is None or width is None:
            continue
        window = Window(center, width, function)
        if function == LINEAR and (0 < width < 1 or (width == 1 and _has_floats(attributes))):
            window = Window(center, width, LINEAR_EXACT)  # LINEAR counts whole numbers, and would leave two levels
        if window.valid:
            return window
    return None


def _has_floats(attributes: Attributes) -> bool:
    return any(key_of(keyword) in attributes for keyword in ("FloatPixelData", "DoubleFloatPixelData"))


def _for_display(attributes: Attributes) -> bool:
    return text(attributes, "SOPClassUID") in _PROJECTIONS and text(attributes, "PixelIntensityRelationship") in (
        "LOG",
        "DISP",
    )


def _range_of_kind(attributes: Attributes) -> Window | None:
    """Return the range of values whose meaning does not depend on the frame: 1 bit, fractions, labels of segments."""
    if integer(attributes, "BitsStored") == 1:
        return window_of_range((0, 1))
    kind = text(attributes, "SegmentationType")
    if kind == "FRACTIONAL":
        return window_of_range((0, integer(attributes, "MaximumFractionalValue", 255)))
    if kind == "LABELMAP":
        return window_of_range((0, _greatest_label(attributes)))
    return None


def _greatest_label(attributes: Attributes) -> int:
    """Return the greatest value that stands for a segment, so that each looks the same in all frames (C.8.20.2)."""
    segments = items(attributes, "SegmentSequence")
    numbers = [integer(segment, "SegmentNumber") for segment in segments]
    return max(numbers, default=0) or (1 << (bits_stored_of(attributes) or 16)) - 1


def _padding(attributes: Attributes, stored: Grayscale) -> Padding | None:
    for keyword, limit_keyword in _PADDING:
        value = number(attributes, keyword)
        if value is None:
            continue
        limit = number(attributes, limit_keyword)
        ends = [value] if limit is None else [value, limit]
        if keyword == "PixelPaddingValue":
            ends = [_as_stored(end, stored) for end in ends]
        return Padding(min(ends), max(ends))
    return None


def _as_stored(value: float, stored: Grayscale) -> float:
    """Return a padding value in the representation of the pixels: writers mix up US and SS."""
    bits = stored.bits_stored or 16
    if stored.signed and value >= 1 << (bits - 1):
        return value - (1 << bits) if value < 1 << bits else value - 65536
    if not stored.signed and value < 0:
        return value + (1 << bits)
    return value
