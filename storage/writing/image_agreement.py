"""Whether compressed frames are what the metadata beside them says (PS3.18 10.5.2).

Facts kept here:

* Size and number of samples that differ make another image of it, or none: the instance is refused, both values are
  named. An alpha component beside those that are stated is left out by decoders, and is a warning.
* Samples of more bits than Bits Allocated cannot be held: refused. Fewer than Bits Stored fit, and real archives have
  such JPEG 2000: a warning. In between nothing is said, since many encoders write all bits allocated.
* An RLE frame has a segment for each byte of a pixel, and one for single bits (PS3.5 G.2).
* Photometric Interpretation is not compared: labels and streams differ in what they call the same colours.
* PNG and GIF are transformed and described anew: what was stated of their size is replaced with a warning.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydicom.datadict import dictionary_description

from storage.dicom.dicomjson import Attribute, integer_string, key_of
from storage.dicom.json_attribute import shown
from storage.dicom.vr import tag_of
from storage.errors import ContradictoryPixelData
from storage.pixels.image_header import ImageHeader
from storage.writing.pixel_parts import PixelValue

_NAMES: Final = {"Rows": "rows", "Columns": "columns", "SamplesPerPixel": "samples"}
_ALPHA: Final = "The image has an alpha component beside what the metadata says; it is not shown."


def disagreements(stated: Mapping[str, Attribute], pixels: PixelValue) -> list[str]:
    """Return warnings about what frames and metadata say differently but nothing is lost by.

    Parameters
    ----------
    stated : mapping of str to Attribute
        What the metadata says.
    pixels : PixelValue
        What came beside it.

    Raises
    ------
    ContradictoryPixelData
        A frame is not the image that the metadata describes, or the frames differ.
    """
    if pixels.certain:
        return [f"{text}; the metadata was corrected." for text in _replaced(stated, pixels.description)]
    described = {**pixels.description, **{key: value for key, value in stated.items() if value.get("Value")}}
    for count, frame in pixels.segments.items():
        _check_segments(described, count, frame)
    warnings = [_compare(described, header, frame) for header, frame in pixels.headers.items()]
    return list(dict.fromkeys(filter(None, warnings)))


def _compare(described: Mapping[str, Attribute], header: ImageHeader, frame: int) -> str:
    """Return a warning about a frame, or ""; raises InvalidDicom when it is another image."""
    told = {keyword: _number(described, keyword) for keyword in (*_NAMES, "BitsStored", "BitsAllocated")}
    alpha = header.samples in (2, 4) and told["SamplesPerPixel"] == header.samples - 1
    for keyword, name in _NAMES.items():
        found: int = getattr(header, name)
        if told[keyword] not in (None, found) and found and not (alpha and keyword == "SamplesPerPixel"):
            raise ContradictoryPixelData(_said(keyword, told[keyword], str(found), frame))
    stored, allocated, bits = told["BitsStored"], told["BitsAllocated"], header.bits_stored
    if allocated is not None and bits > allocated:
        raise ContradictoryPixelData(_said("BitsAllocated", allocated, f"samples of {bits} bits", frame))
    if stored is not None and bits < stored:
        return _said("BitsStored", stored, f"samples of {bits} bits", frame) + "."
    return _ALPHA if alpha else ""


def _check_segments(described: Mapping[str, Attribute], count: int, frame: int) -> None:
    samples, allocated = _number(described, "SamplesPerPixel"), _number(described, "BitsAllocated")
    if samples is not None and allocated is not None and count != samples * max(allocated // 8, 1):
        told = f"{samples} samples of {allocated} bits"
        raise ContradictoryPixelData(
            f"the metadata says {told}, but {_place(frame)} has {count} RLE segments, one a byte (PS3.5 G)"
        )


def _replaced(stated: Mapping[str, Attribute], description: Mapping[str, Attribute]) -> list[str]:
    pairs = (
        (keyword, _number(stated, keyword), _number(description, keyword)) for keyword in (*_NAMES, "NumberOfFrames")
    )
    return [
        _said(keyword, told, str(found), 1)
        for keyword, told, found in pairs
        if None not in (told, found) and told != found
    ]


def _said(keyword: str, told: int | None, found: str, frame: int) -> str:
    tag = tag_of(keyword)
    return f"{shown(key_of(tag))}: {dictionary_description(tag)} is {told}, but {_place(frame)} has {found}"


def _place(frame: int) -> str:
    return "the image" if frame == 1 else f"frame {frame}"


def _number(attributes: Mapping[str, Attribute], keyword: str) -> int | None:
    values: Any = attributes.get(key_of(tag_of(keyword)), {}).get("Value")
    number = integer_string(str(values[0]).strip()) if isinstance(values, list) and values else None
    return number if isinstance(number, int) else None
