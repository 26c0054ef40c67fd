"""Grey pictures: stored values -> Modality LUT -> VOI LUT or window -> Presentation LUT -> 8 bits, as one table.

Facts and clauses this module keeps:
- PS3.4 N.2: the order of the steps. A missing step is the identity.
- PS3.3 C.11.2.1.2 and C.11.2.1.3: the three functions of a window; see `Window`.
- PS3.3 C.7.5.1.1.2: padding values are no part of the picture, so they count for nothing and are drawn black.
- PS3.5 8.1.1: bits of a sample outside Bits Stored are no part of the value.
- For samples of 8 and 16 bits every step is done once for each value there can be, and a frame is one look-up.
- Pure: no I/O.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomweb.rendering.lookup_tables import LookupTable

LINEAR: Final = "LINEAR"
LINEAR_EXACT: Final = "LINEAR_EXACT"
SIGMOID: Final = "SIGMOID"

Floats = npt.NDArray[np.float64]
Levels = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Window:
    """A window over values after the Modality LUT (PS3.3 C.11.2.1.2, C.11.2.1.3).

    Attributes
    ----------
    center, width : float
        In the units the Modality LUT gives, such as Hounsfield units.
    function : str
        LINEAR, LINEAR_EXACT or SIGMOID.
    """

    center: float
    width: float
    function: str = LINEAR

    @property
    def valid(self) -> bool:
        """Whether the width is one the function is defined for: at least 1 for LINEAR, above 0 for the others."""
        return self.width >= 1 if self.function == LINEAR else self.width > 0

    def fractions(self, values: Floats) -> Floats:
        """Return where values lie in the window, 0 to 1."""
        if self.function == SIGMOID:
            exponent = np.clip(-4 * (values - self.center) / self.width, -700, 700)
            return np.asarray(1 / (1 + np.exp(exponent)))
        if self.function == LINEAR_EXACT:
            return np.clip((values - self.center) / self.width + 0.5, 0, 1)
        if self.width <= 1:
            return np.where(values <= self.center - 0.5, 0.0, 1.0)
        return np.clip((values - (self.center - 0.5)) / (self.width - 1) + 0.5, 0, 1)


@dataclass(frozen=True, slots=True)
class Rescale:
    """A linear Modality LUT: output = slope x stored value + intercept (PS3.3 C.11.1.1.2)."""

    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True, slots=True)
class Padding:
    """Stored values that are no part of the picture, from `low` to `high`."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Grayscale:
    """All that turns the samples of a frame into grey levels.

    Attributes
    ----------
    bits_allocated, bits_stored, high_bit : int
        Where in a sample the value is; 0 bits stored for all of them. A sample that a decoder gave more bits than
        those allocated has no other bits in it.
    signed : bool
        Whether the value is in two's complement.
    modality : Rescale or LookupTable
        The Modality LUT.
    voi : Window or LookupTable or None
        None for the range the frame has.
    presentation : LookupTable or None
        None for the identity.
    inverted : bool
        Whether the least value is white.
    padding : Padding or None
        What is drawn as background.
    lossy : bool
        Whether a lossy codec made the samples: it may go beyond the values of the bits stored, and these are then
        the nearest ones, where other samples have foreign bits (overlays) there.
    """

    bits_stored: int = 0
    high_bit: int = -1
    signed: bool = False
    modality: Rescale | LookupTable = Rescale()
    voi: Window | LookupTable | None = None
    presentation: LookupTable | None = None
    inverted: bool = False
    padding: Padding | None = None
    bits_allocated: int = 0
    lossy: bool = False

    def stored_values(self, sample_bytes: int) -> Floats:
        """Return the stored value of every sample of 1 or 2 bytes, indexed by its bits as an unsigned number."""
        return _stored(np.arange(1 << (8 * sample_bytes), dtype=f"u{sample_bytes}"), self)


def grey_levels(samples: Samples, grayscale: Grayscale) -> Levels:
    """Return the grey levels of a frame.

    Parameters
    ----------
    samples : ndarray of shape (rows, columns)
        As decoded: integers of any size, whose bits outside Bits Stored may hold anything, or floats.
    grayscale : Grayscale
        What to do with them.

    Returns
    -------
    ndarray of uint8 of shape (rows, columns)
        0 is black.

    Standard
    --------
    PS3.4 N.2; PS3.18 8.3.5.1.
    """
    if grayscale.voi is None:
        grayscale = replace(grayscale, voi=window_of_range(value_range(samples, grayscale)))
    raw = _raw(samples)
    if raw is None:
        values, background = _values(samples, grayscale)
        return _levels(values, background, grayscale)
    return np.take(table(grayscale, raw.dtype.itemsize), raw)


@lru_cache(maxsize=128)
def table(grayscale: Grayscale, sample_bytes: int) -> Levels:
    """Return the grey level of every sample of 1 or 2 bytes, indexed by its bits as an unsigned number."""
    width = 8 * sample_bytes
    bits, shift = _place(grayscale, width)
    counted = width if shift or grayscale.lossy else bits  # higher bits make no difference
    values, background = _values(np.arange(1 << counted, dtype=f"u{sample_bytes}"), grayscale)
    levels = np.tile(_levels(values, background, grayscale), 1 << (width - counted))
    levels.flags.writeable = False
    return levels


def value_range(samples: Samples, grayscale: Grayscale) -> tuple[float, float]:
    """Return the least and the greatest value after the Modality LUT, without padding; (0, 0) when nothing is left.

    The frames of an animation are shown alike when one range is taken for all of them.
    """
    raw = _raw(samples)
    if raw is None:
        values, background = _values(samples, grayscale)
        kept = values[~background]
    else:
        values, background = _domain(replace(grayscale, voi=None, presentation=None), raw.dtype.itemsize)
        present = np.bincount(raw.ravel(), minlength=len(values)) > 0
        kept = values[present & ~background]
    if not kept.size:
        return 0.0, 0.0
    low, high = float(kept.min()), float(kept.max())
    return (low - 1 if low == high and grayscale.padding else low), high  # what is left beside padding is to be seen


def window_of_range(limits: tuple[float, float]) -> Window:
    """Return the window that shows the lower limit black and the upper one white; all black when they are equal."""
    low, high = limits
    if high <= low:
        return Window(low + 0.5, 1, LINEAR)
    return Window((low + high) / 2, high - low, LINEAR_EXACT)


def full_range(grayscale: Grayscale) -> tuple[float, float]:
    """Return the range of values after the Modality LUT that the bits stored allow."""
    if isinstance(grayscale.modality, LookupTable):
        return 0.0, float(grayscale.modality.greatest)
    bits = grayscale.bits_stored or 16
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if grayscale.signed else (0, (1 << bits) - 1)
    ends = [grayscale.modality.slope * end + grayscale.modality.intercept for end in (low, high)]
    return min(ends), max(ends)


@lru_cache(maxsize=16)
def _domain(grayscale: Grayscale, sample_bytes: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    return _values(np.arange(1 << (8 * sample_bytes), dtype=f"u{sample_bytes}"), grayscale)


def _raw(samples: Samples) -> npt.NDArray[np.unsignedinteger] | None:
    """Return samples of 1 or 2 bytes as unsigned numbers, others not at all."""
    kind, size = samples.dtype.kind, samples.dtype.itemsize
    if kind == "b":
        return samples.view(np.uint8)
    if kind not in "iu" or size > 2:
        return None
    native = samples if samples.dtype.isnative else samples.astype(samples.dtype.newbyteorder("="))
    return native.view(f"u{size}")


def _values(samples: Samples, grayscale: Grayscale) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return values after the Modality LUT, and which of them are padding."""
    if samples.dtype.kind == "f":
        stored = samples.astype(np.float64)
        background = ~np.isfinite(stored)
        stored = np.where(background, 0.0, stored)
    else:
        stored = _stored(samples, grayscale)
        background = np.zeros(stored.shape, np.bool_)
    if grayscale.padding:
        background |= (stored >= grayscale.padding.low) & (stored <= grayscale.padding.high)
    if isinstance(grayscale.modality, LookupTable):
        return grayscale.modality.outputs(stored).astype(np.float64), background
    return stored * grayscale.modality.slope + grayscale.modality.intercept, background


def _stored(samples: Samples, grayscale: Grayscale) -> Floats:
    """Return the stored values of integer samples: the bits stored, in two's complement when they are signed."""
    width = 8 * samples.dtype.itemsize
    bits, shift = _place(grayscale, width)
    cells = samples.astype(f"{'i' if grayscale.signed else 'u'}{samples.dtype.itemsize}")
    if grayscale.lossy and not shift:
        return _nearest(cells, bits, signed=grayscale.signed)
    value = (cells << (width - bits - shift)) >> (width - bits)  # other bits fall off; to the right the sign comes in
    return np.asarray(value, np.float64)


def _place(grayscale: Grayscale, width: int) -> tuple[int, int]:
    """Return how many bits of a sample of so many are its value, and how many lie below them."""
    whole = not 0 < grayscale.bits_stored < width or grayscale.bits_allocated not in (0, width)
    bits = width if whole else grayscale.bits_stored
    return bits, grayscale.high_bit + 1 - bits if bits <= grayscale.high_bit < width else 0


def _nearest(cells: Samples, bits: int, *, signed: bool) -> Floats:
    """Return the values of whole cells, brought into the range of `bits` bits."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return np.asarray(np.clip(cells, low, high), np.float64)


def _levels(values: Floats, background: npt.NDArray[np.bool_], grayscale: Grayscale) -> Levels:
    """Return grey levels of values after the Modality LUT."""
    voi = grayscale.voi or window_of_range(full_range(grayscale))
    fractions = voi.outputs(values) / voi.greatest if isinstance(voi, LookupTable) else voi.fractions(values)
    presentation = grayscale.presentation
    if presentation:  # its inputs span the whole of the table (C.11.4.1)
        inputs = fractions * (len(presentation.entries) - 1) + presentation.first
        fractions = presentation.outputs(inputs) / presentation.greatest
    levels = np.floor(fractions * 255 + 0.5).astype(np.uint8)
    if grayscale.inverted:
        levels = 255 - levels
    levels[background] = 0
    return levels
