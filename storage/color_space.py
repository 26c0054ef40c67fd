"""YBR color spaces <-> RGB, where somebody wants to see a picture (PS3.3 C.7.6.3.1.2).

Facts kept here:

- YBR_FULL: Y, CB and CR have the full range, and gray is CB = CR = half of it. 4:2:2 only says how it was sampled.
- YBR_PARTIAL: black is 16 and white 235 of 255, CB and CR are 16 to 240.
- YBR_ICT and YBR_RCT exist inside of JPEG 2000 streams only, and are undone by their decoder.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_FULL: Final = ("YBR_FULL", "YBR_FULL_422")
_PARTIAL: Final = ("YBR_PARTIAL_422", "YBR_PARTIAL_420")
_SHIFT: Final = 16
_LUMA_RED, _LUMA_BLUE = 0.299, 0.114
_RED, _GREEN_BLUE, _GREEN_RED, _BLUE = 1.402, 0.344136, 0.714136, 1.772


def is_ybr(photometric_interpretation: str) -> bool:
    """Whether samples in this photometric interpretation are luminance and chrominance."""
    return photometric_interpretation in _FULL + _PARTIAL


def rgb(pixels: NDArray[Any], photometric_interpretation: str, bits_stored: int | None = None) -> NDArray[Any]:
    """Return the samples as RGB; those of another photometric interpretation as they are.

    Parameters
    ----------
    pixels : ndarray
        Of shape (..., 3), unsigned, full samples (no subsampling left).
    photometric_interpretation : str
        Of these samples.
    bits_stored : int, optional
        Of these samples; all bits of the dtype when not given.

    Returns
    -------
    ndarray
        Of the same shape and dtype, rounded to the nearest value.

    Standard
    --------
    PS3.3 C.7.6.3.1.2.
    """
    if not is_ybr(photometric_interpretation):
        return pixels
    bits = bits_stored or pixels.dtype.itemsize * 8
    luminance, scale = pixels[..., 0].astype(np.int64 if bits > 8 else np.int32), 1.0
    if photometric_interpretation in _PARTIAL:
        black, stretch = 16 << (bits - 8), 255 / 219
        luminance = _times(stretch, luminance - black)
        scale = 255 / 224
    middle = 1 << (bits - 1)
    blue = pixels[..., 1].astype(luminance.dtype) - middle
    red = pixels[..., 2].astype(luminance.dtype) - middle
    result = np.empty_like(pixels)
    most = (1 << bits) - 1
    np.clip(luminance + _times(_RED * scale, red), 0, most, out=result[..., 0], casting="unsafe")
    green = _times(_GREEN_BLUE * scale, blue) + _times(_GREEN_RED * scale, red)
    np.clip(luminance - green, 0, most, out=result[..., 1], casting="unsafe")
    np.clip(luminance + _times(_BLUE * scale, blue), 0, most, out=result[..., 2], casting="unsafe")
    return result


def ybr_full(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return RGB samples as YBR_FULL, of the same shape and dtype, rounded to the nearest value.

    Parameters
    ----------
    pixels : ndarray
        Of shape (..., 3), unsigned.

    Standard
    --------
    PS3.3 C.7.6.3.1.2.
    """
    most = np.iinfo(pixels.dtype).max
    red, green, blue = (pixels[..., color].astype(float) for color in range(3))
    luminance = _LUMA_RED * red + (1 - _LUMA_RED - _LUMA_BLUE) * green + _LUMA_BLUE * blue
    middle = most // 2 + 1
    parts = (luminance, (blue - luminance) / _BLUE + middle, (red - luminance) / _RED + middle)
    return np.stack([np.clip(np.rint(part), 0, most) for part in parts], axis=-1).astype(pixels.dtype)


def _times(factor: float, values: NDArray[Any]) -> NDArray[Any]:
    """Multiply integers by a fraction, rounding to the nearest."""
    product: NDArray[Any] = (values * round(factor * (1 << _SHIFT)) + (1 << (_SHIFT - 1))) >> _SHIFT
    return product
