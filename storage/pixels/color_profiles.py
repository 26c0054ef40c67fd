"""ICC profiles that somebody sent, read and applied by LittleCMS: run in children (`codec_process`) only.

Facts kept here:

- A profile that is broken, or for anything but RGB, says nothing of the colors of a picture.
- Colors are kept as they are relative to white (relative colorimetric), as viewers do.
"""

import io
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile  # noqa: F401 - Pillow would load ImageFile when it is too late


def is_for_rgb(profile: NDArray[np.uint8]) -> bytes:
    """Return one byte, 1 for a profile for RGB that can be read."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile.tobytes()))
    except (OSError, TypeError, ValueError):
        return b"\0"
    return b"\1" if opened.profile.xcolor_space.strip() == "RGB" else b"\0"


def convert(pixels: NDArray[Any], source: NDArray[np.uint8], target: NDArray[np.uint8], *, out: NDArray[Any]) -> None:
    """Write the pixels to `out` as the target profile has them.

    Parameters
    ----------
    pixels : ndarray of uint8 of shape (rows, columns, 3)
        In the colors of the source profile.
    source, target : ndarray of uint8
        Profiles for RGB.
    out : ndarray
        Of the shape of the pixels.
    """
    picture = Image.fromarray(pixels)
    ImageCms.applyTransform(picture, _transform(source.tobytes(), target.tobytes()), inPlace=True)
    out[...] = np.asarray(picture)


@lru_cache(maxsize=8)
def _transform(source: bytes, target: bytes) -> ImageCms.ImageCmsTransform:
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    flags = ImageCms.Flags.NOCACHE
    return ImageCms.buildTransform(io.BytesIO(source), io.BytesIO(target), "RGB", "RGB", intent, flags)
