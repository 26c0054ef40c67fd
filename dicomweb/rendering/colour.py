"""Colour pictures: palettes, RGB and the YBR family to 8-bit RGB.

Facts and clauses this module keeps:
- PS3.3 C.7.6.3.1.2: the YBR family is converted by `color_space`; 4:2:2 and 4:2:0 come here with a sample for every
  pixel.
- YBR_ICT and YBR_RCT are inside the compressed stream: what decoders give is RGB.
- PS3.3 C.7.6.3.1.5: palette entries of 16 bits are shown by their high byte.
- PS3.3 C.7.6.19 and C.8.16.2.1.1.2: with a supplemental palette, values from the first mapped on are colours, those
  below grey; COLOR_RANGE (C.8.32.2) colours the output of the grey pipeline.
- Pure: no I/O.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dicomweb.rendering.attribute_values import Attributes, BulkData, integer, text
from dicomweb.rendering.grayscale import Grayscale, Levels, Padding, Samples, grey_levels, value_range, window_of_range
from dicomweb.rendering.lookup_tables import LookupTable, palette_component
from storage.pixels.color_space import eight_bits, rgb


@dataclass(frozen=True, slots=True)
class Palette:
    """The three components of a palette; `first` of red is that of all (PS3.3 C.7.9)."""

    red: LookupTable
    green: LookupTable
    blue: LookupTable

    @property
    def first(self) -> int:
        """The stored value that has the first colour."""
        return self.red.first


def palette_of(attributes: Attributes, bulk: BulkData) -> Palette | None:
    """Return the palette of a frame, or None when a component is missing or broken."""
    signed = integer(attributes, "PixelRepresentation") == 1
    found = [palette_component(attributes, name, bulk, signed_input=signed) for name in ("Red", "Green", "Blue")]
    red, green, blue = found
    if not (red and green and blue):
        return None
    if max(int(component.entries.max()) for component in (red, green, blue)) <= 255:  # whatever bits are stated
        red, green, blue = (replace(component, bits=8) for component in (red, green, blue))
    return Palette(red, green, blue)


def is_supplemental(attributes: Attributes) -> bool:
    """Return whether a palette beside MONOCHROME2 is for showing values beyond the grey ones."""
    return text(attributes, "PixelPresentation") in ("COLOR", "MIXED")


def is_colour_range(attributes: Attributes) -> bool:
    """Return whether a palette beside MONOCHROME2 colours what the grey pipeline gives."""
    return text(attributes, "PixelPresentation") == "COLOR_RANGE"


def palette_colours(samples: Samples, palette: Palette, stored: Grayscale) -> Levels:
    """Return the colours of stored values.

    Parameters
    ----------
    samples : ndarray of integers, of shape (rows, columns)
        As decoded.
    palette : Palette
        Of the frame.
    stored : Grayscale
        How samples hold their values.

    Returns
    -------
    ndarray of uint8 of shape (rows, columns, 3)
    """
    raw = _unsigned(samples)
    return _looked_up(_palette_table(palette, stored, raw.dtype.itemsize), raw)


def supplemented(samples: Samples, palette: Palette, grayscale: Grayscale) -> Levels:
    """Return grey levels below the first value a supplemental palette maps, and its colours from there on.

    The window of the grey part, when none is given, spans the grey values only.
    """
    raw = _unsigned(samples)
    if grayscale.voi is None:
        grey_only = replace(grayscale, padding=Padding(palette.first, np.inf))
        grayscale = replace(grayscale, voi=window_of_range(value_range(samples, grey_only)))
    coloured = np.take(_first_mapped(palette, grayscale, raw.dtype.itemsize), raw)
    grey = grey_levels(samples, grayscale)
    return np.where(coloured[..., None], palette_colours(samples, palette, grayscale), grey[..., None])


def colour_range(levels: Levels, palette: Palette) -> Levels:
    """Return the colours of grey levels 0 to 255 spread over the whole palette."""
    spread = np.arange(256) / 255 * (len(palette.red.entries) - 1) + palette.first
    return _looked_up(_colours(palette, spread), levels)


def rgb_of(samples: Samples, photometric_interpretation: str, bits_stored: int) -> Levels:
    """Return the RGB picture of samples of three or more components.

    Parameters
    ----------
    samples : ndarray of shape (rows, columns, samples)
        As decoded, chrominance with a sample for every pixel.
    photometric_interpretation : str
        Of the decoded samples.
    bits_stored : int
        Of a sample; more than 8 are cut to the 8 most significant.

    Returns
    -------
    ndarray of uint8 of shape (rows, columns, 3)
    """
    if photometric_interpretation == "CMYK" and samples.shape[2] == 4:
        inks = 255 - _eight_bits(samples, bits_stored).astype(np.uint16)
        return np.asarray((inks[..., :3] * inks[..., 3:] + 127) // 255, dtype=np.uint8)
    components = samples[..., 1:4] if photometric_interpretation == "ARGB" else samples[..., :3]
    picture = _eight_bits(components, bits_stored)
    return np.asarray(rgb(picture, photometric_interpretation, 8), dtype=np.uint8)


def _eight_bits(samples: Samples, bits_stored: int) -> Levels:
    if samples.dtype.kind == "f":
        return np.clip(np.nan_to_num(samples.astype(np.float64)), 0, 255).astype(np.uint8)
    return eight_bits(samples, bits_stored)


def _unsigned(samples: Samples) -> npt.NDArray[np.unsignedinteger]:
    if samples.dtype.kind not in "iub" or samples.dtype.itemsize > 2:
        return samples.astype(np.int64).astype(np.uint16)
    if samples.dtype.kind == "b":
        return samples.view(np.uint8)
    native = samples if samples.dtype.isnative else samples.astype(samples.dtype.newbyteorder("="))
    return native.view(f"u{samples.dtype.itemsize}")


@lru_cache(maxsize=16)
def _palette_table(palette: Palette, stored: Grayscale, sample_bytes: int) -> Levels:
    return _colours(palette, stored.stored_values(sample_bytes))


@lru_cache(maxsize=16)
def _first_mapped(palette: Palette, stored: Grayscale, sample_bytes: int) -> npt.NDArray[np.bool_]:
    return np.asarray(stored.stored_values(sample_bytes) >= palette.first)


def _colours(palette: Palette, values: npt.NDArray[np.float64]) -> Levels:
    components = [
        (component.outputs(values) >> max(component.bits - 8, 0)).astype(np.uint8)
        for component in (palette.red, palette.green, palette.blue)
    ]
    return np.stack(components)


def _looked_up(table: Levels, index: npt.NDArray[np.unsignedinteger]) -> Levels:
    """Return the colour of each index; three look-ups are faster than one of three values."""
    picture = np.empty((*index.shape, 3), np.uint8)
    for place in range(3):
        picture[..., place] = np.take(table[place], index)
    return picture
