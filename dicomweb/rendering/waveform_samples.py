"""The samples of a multiplex group as values in their units (PS3.3 C.10.9.1.4, C.10.9.1.5).

Facts and clauses this module keeps:
- Samples are little endian here, whatever the file is in, and lie one after the other, channel by channel.
- Waveform Bits Stored is of each channel: the bits above are no part of a sample; of signed ones the highest bit
  stored is the sign.
- A sample that equals Waveform Padding Value, all bits allocated, is none.
- ITU-T G.711: MB and AB are expanded to 16 bits linear.
- Pure: no I/O.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from dicomweb.rendering.attribute_values import binary
from dicomweb.rendering.waveform import INTERPRETATIONS, MultiplexGroup

Values = NDArray[np.float64]
"""Values of shape (samples, channels) or (samples,); NaN where there is none."""

_KINDS = {"S": "i", "U": "u", "M": "u", "A": "u"}
_MOST = 1e100
_BIAS = 0x84  # of mu-law


def values_of(group: MultiplexGroup, data: bytes) -> Values:
    """Return the values of a group's samples.

    Parameters
    ----------
    group : MultiplexGroup
        One that can be drawn.
    data : bytes
        The first samples of it, all channels; an incomplete one at the end and padding are left out.

    Returns
    -------
    ndarray of float64 of shape (samples, channels)
        In the units of each channel; NaN where there is no value.
    """
    bits, kind = INTERPRETATIONS[group.interpretation]
    dtype = np.dtype(f"<{_KINDS[kind]}{bits // 8}")
    whole = min(len(data) // group.sample_bytes, group.samples)
    raw = np.frombuffer(data[: whole * group.sample_bytes], dtype).reshape(-1, len(group.channels))
    found = np.empty(raw.shape, np.float64)
    for place, channel in enumerate(group.channels):
        linear = _EXPANDED[kind]()[raw[:, place]] if kind in _EXPANDED else _stored(raw[:, place], channel.bits_stored)
        with np.errstate(over="ignore", invalid="ignore"):
            found[:, place] = linear * channel.factor + channel.baseline
    padding = binary(group.padding, {})[: bits // 8]
    missing = ~(np.abs(found) < _MOST)  # NaN too
    if len(padding) == bits // 8:
        missing |= raw == np.frombuffer(padding, dtype)[0]
    found[missing] = np.nan
    return found


def _stored(raw: NDArray[np.integer], bits_stored: int) -> NDArray[np.integer]:
    """Return the low bits of samples, the highest of them as the sign of signed ones."""
    above = raw.dtype.itemsize * 8 - bits_stored
    if bits_stored <= 0 or above <= 0:
        return raw
    shift = np.array(above, raw.dtype)
    return (raw << shift) >> shift


@cache
def _mu_law() -> NDArray[np.integer]:
    code = ~np.arange(256) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + _BIAS) << ((code & 0x70) >> 4)) - _BIAS
    return np.where(code & 0x80, -magnitude, magnitude)


@cache
def _a_law() -> NDArray[np.integer]:
    code = np.arange(256) ^ 0x55
    exponent = (code & 0x70) >> 4
    magnitude = ((code & 0x0F) << 4) + 8
    magnitude = np.where(exponent, (magnitude + 0x100) << np.maximum(exponent - 1, 0), magnitude)
    return np.where(code & 0x80, magnitude, -magnitude)


_EXPANDED = {"M": _mu_law, "A": _a_law}
