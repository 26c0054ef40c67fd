"""YBR color spaces <-> RGB, where somebody wants to see a picture (PS3.3 C.7.6.3.1.2).

Facts kept here:

- YBR_FULL: Y, CB and CR have the full range, and gray is CB = CR = half of it. 4:2:2 only says how it was sampled.
- YBR_PARTIAL: black is 16 and white 235 of 255, CB and CR are 16 to 240.
- YBR_ICT and YBR_RCT exist inside of JPEG 2000 streams only, and are undone by their decoder. Whether there is such a
  transformation, and chrominance with fewer samples, the stream knows for certain; the range of YBR it does not know.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_FULL: Final = ("YBR_FULL", "YBR_FULL_422", "YBR_FULL_420")
_PARTIAL: Final = ("YBR_PARTIAL_422", "YBR_PARTIAL_420")
TRANSFORMED: Final = ("YBR_RCT", "YBR_ICT")
_SHIFT: Final = 16
_LUMINANCE_STRETCH, _CHROMINANCE_STRETCH = 255 / 219, 255 / 224
_RED, _GREEN_BLUE, _GREEN_RED, _BLUE = 1.402, 0.344136, 0.714136, 1.772


def is_ybr(photometric_interpretation: str) -> bool:
    """Whether samples in this photometric interpretation are luminance and chrominance."""
    return photometric_interpretation in _FULL + _PARTIAL


def is_partial(photometric_interpretation: str) -> bool:
    """Whether black is 16 and white 235 of 255 in this photometric interpretation."""
    return photometric_interpretation in _PARTIAL


def of_components(told: str, stated: str) -> str:
    """Return what three components of a JPEG 2000 codestream are once its own transformation is undone.

    Parameters
    ----------
    told : str
        What the codestream tells (`image_header`): YBR_RCT or YBR_ICT when it has a transformation, YBR_FULL_422 when
        chrominance has fewer samples, RGB when neither.
    stated : str
        Photometric Interpretation in the data set.

    Standard
    --------
    PS3.5 8.2.4: where they contradict each other, the stream is right.
    """
    if told in TRANSFORMED:
        return "RGB" if not stated or stated in TRANSFORMED or is_ybr(stated) else stated
    if stated in _PARTIAL:
        return stated
    if told == "YBR_FULL_422" or stated in TRANSFORMED:
        return "YBR_FULL"
    return stated or "RGB"


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
        luminance = _times(_LUMINANCE_STRETCH, luminance - (16 << (bits - 8)))
        scale = _CHROMINANCE_STRETCH
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


def eight_bits(samples: NDArray[Any], bits_stored: int) -> NDArray[np.uint8]:
    """Return whole samples as screens show them: the 8 most significant bits, fewer spread over all of 8.

    Parameters
    ----------
    samples : ndarray
        Of any shape.
    bits_stored : int
        Of a sample; those above do not count. All bits of the dtype when it cannot be right.
    """
    width = 8 * samples.dtype.itemsize
    bits = bits_stored if 0 < bits_stored <= width else width
    if bits == 8 and samples.dtype == np.uint8:
        return np.ascontiguousarray(samples.view(np.uint8))
    values = samples.astype(np.uint64) & ((1 << bits) - 1)
    if bits > 8:
        return (values >> (bits - 8)).astype(np.uint8)
    return (values * 255 // ((1 << bits) - 1)).astype(np.uint8)


def rgb_of_partial(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """Return RGB of what was made of YBR_PARTIAL as if it were YBR_FULL.

    Parameters
    ----------
    pixels : ndarray
        Of shape (..., 3), unsigned. Colors that YBR_PARTIAL can be lie within the range then: nothing was cut off.
    bits : int
        Of a sample.
    """
    luminance = _luminance(pixels)[..., None]
    stretched = _LUMINANCE_STRETCH * (luminance - 16 * 2.0 ** (bits - 8)) + _CHROMINANCE_STRETCH * (pixels - luminance)
    return _rounded(stretched, bits, pixels.dtype)


def ybr_full(pixels: NDArray[Any], bits: int | None = None) -> NDArray[Any]:
    """Return RGB samples as YBR_FULL, of the same shape and dtype, rounded to the nearest value.

    Parameters
    ----------
    pixels : ndarray
        Of shape (..., 3), unsigned.
    bits : int, optional
        Of a sample; all bits of the dtype when not given.

    Standard
    --------
    PS3.3 C.7.6.3.1.2.
    """
    red, blue = pixels[..., 0].astype(np.float64), pixels[..., 2].astype(np.float64)
    luminance = _luminance(pixels)
    bits = bits or pixels.dtype.itemsize * 8
    middle = 1 << (bits - 1)
    blue_difference = (blue - luminance) / _BLUE + middle
    red_difference = (red - luminance) / _RED + middle
    return _rounded(np.stack([luminance, blue_difference, red_difference], -1), bits, pixels.dtype)


def _rounded(samples: NDArray[Any], bits: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    rounded: NDArray[Any] = np.clip(np.rint(samples), 0, (1 << bits) - 1).astype(dtype)
    return rounded


def _luminance(pixels: NDArray[Any]) -> NDArray[Any]:
    luminance: NDArray[Any] = pixels @ np.array([0.299, 0.587, 0.114])
    return luminance


def _times(factor: float, values: NDArray[Any]) -> NDArray[Any]:
    """Multiply integers by a fraction, rounding to the nearest."""
    product: NDArray[Any] = (values * round(factor * (1 << _SHIFT)) + (1 << (_SHIFT - 1))) >> _SHIFT
    return product
