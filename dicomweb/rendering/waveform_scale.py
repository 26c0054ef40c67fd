"""How high values are drawn.

Facts this module keeps:
- An electrocardiogram has 10 mm a millivolt, fewer only when that would not fit.
- What is measured in one electrical unit has one scale in a group, so that channels can be compared; every other
  channel has its own, in round numbers.
- The base line is zero, unless the values lie far from it.
- Pure: no I/O.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dicomweb.rendering.waveform import MILLIVOLTS
from dicomweb.rendering.waveform_plan import round_below
from dicomweb.rendering.waveform_samples import Values

HIGHEST: Final = 60.0
"""Millimetres an electrocardiogram may take in one line."""

_GAINS = (10.0, 5.0, 2.5)  # mm a millivolt
_LINE_HEIGHT, _LOW_LINE_HEIGHT, _FEW = 20.0, 12.0, 12
_NEAR = 2.0  # millivolts from zero, or spans of the values


@dataclass(frozen=True, slots=True)
class Scale:
    """Where values of a channel are drawn.

    Attributes
    ----------
    gain : float
        Millimetres a unit.
    centre : float
        The value of the base line.
    lowest, highest : float
        Of what is drawn.
    words : str
        The gain, for people.
    """

    gain: float
    centre: float
    lowest: float
    highest: float
    words: str

    @property
    def above(self) -> float:
        """Millimetres taken above the base line."""
        return max(0.0, (self.highest - self.centre) * self.gain)

    @property
    def below(self) -> float:
        """Millimetres taken below the base line."""
        return max(0.0, (self.centre - self.lowest) * self.gain)


def scales_of(units: Sequence[str], values: Sequence[Values], *, electrocardiogram: bool) -> list[Scale]:
    """Return the scale of each of some channels of a group.

    Parameters
    ----------
    units : sequence of str
        Of each channel.
    values : sequence of ndarray of float64 of shape (samples,)
        What is drawn of each.
    electrocardiogram : bool
        Whether millivolts have the gain of one.
    """
    limits = [_limits(each) for each in values]
    centres = [
        _centre(*limit, _NEAR / MILLIVOLTS[unit] if electrocardiogram and unit in MILLIVOLTS else 0.0)
        for unit, limit in zip(units, limits, strict=True)
    ]
    spans = [max(high, centre) - min(low, centre) for (low, high), centre in zip(limits, centres, strict=True)]
    height = _LINE_HEIGHT if len(units) <= _FEW else _LOW_LINE_HEIGHT
    found = []
    for unit, span, (low, high), centre in zip(units, spans, limits, centres, strict=True):
        if unit in MILLIVOLTS:
            span = max(span for other, span in zip(units, spans, strict=True) if other == unit)
        if electrocardiogram and unit in MILLIVOLTS:
            per_millivolt = _gain(span * MILLIVOLTS[unit])
            found.append(Scale(per_millivolt * MILLIVOLTS[unit], centre, low, high, f"{per_millivolt:g} mm/mV"))
        else:
            per_millimetre = _round_above(span / height)
            words = f"{per_millimetre:g} {unit}/mm" if unit else ""
            found.append(Scale(1 / per_millimetre, centre, low, high, words))
    return found


def _limits(values: Values) -> tuple[float, float]:
    there = values[~np.isnan(values)]
    return (float(there.min()), float(there.max())) if there.size else (0.0, 0.0)


def _centre(low: float, high: float, near: float) -> float:
    return 0.0 if max(abs(low), abs(high)) <= max(_NEAR * (high - low), near) else (low + high) / 2


def _gain(millivolts: float) -> float:
    """Return the millimetres a millivolt with which a span fits into a line."""
    customary = next((gain for gain in _GAINS if gain * millivolts <= HIGHEST), None)
    return customary or round_below(HIGHEST / millivolts)


def _round_above(value: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is not below a value; 1 for 0."""
    if not value > 1e-100:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return min(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= value * (1 - 1e-9))
