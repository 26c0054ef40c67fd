"""ICC profiles of rendered pictures: the three the Standard names, and conversion to them.

Facts and clauses this module keeps:
- PS3.18 8.3.5.1.5: `no` no profile in the picture; `yes` the profile that describes it; `srgb`, `adobergb` and
  `rommrgb` the picture is converted to that colour space and carries its profile. Without the parameter a profile
  goes along when the instance has one.
- Colours without a profile are taken as sRGB, and so are grey levels.
- ICC.1:2010: a profile of matrix and curves; colorants are adapted to D50. Made here, so that they are the same bytes
  in every process: an ETag may be made of a picture.
"""

import struct
from functools import cache
from typing import Final

import numpy as np
from PIL import Image

from dicomweb.rendering.attribute_values import Attributes, BulkData, binary, key_of
from dicomweb.rendering.functional_groups import optical_path
from dicomweb.rendering.grayscale import Levels
from storage.pixels.codec_children import CHILDREN, CodecRefused

NO: Final = "no"
YES: Final = "yes"
SRGB: Final = "srgb"
ADOBE_RGB: Final = "adobergb"
ROMM_RGB: Final = "rommrgb"

CHOICES: Final = (NO, YES, SRGB, ADOBE_RGB, ROMM_RGB)
"""The values of the `iccprofile` parameter."""

_D50 = (0.9642, 1.0, 0.8249)

# Name, colorants of red, green and blue in XYZ relative to D50, and the curve: an exponent alone, or the exponent,
# factor and offset above a limit and the slope of the line below it.
_SPACES: dict[str, tuple[str, tuple[tuple[float, float, float], ...], tuple[float, ...]]] = {
    SRGB: (
        "sRGB IEC61966-2.1",
        ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)),
        (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    ),
    ADOBE_RGB: (
        "Adobe RGB (1998)",
        ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
        (563 / 256,),
    ),
    ROMM_RGB: (
        "ROMM RGB",
        ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491)),
        (1.8, 1.0, 0.0, 1 / 16, 16 ** (1.8 / -0.8)),
    ),
}


def source_profile(attributes: Attributes, frame_number: int, bulk: BulkData) -> bytes | None:
    """Return the ICC profile of a frame: of the instance, else of its optical path (PS3.3 C.11.15, C.8.12.5)."""
    path = optical_path(attributes, frame_number) or {}
    for holder in (attributes, path):
        profile = binary(holder.get(key_of("ICCProfile")), bulk)
        if profile and _is_for_rgb(profile):
            return profile
    return None


def apply_profile(picture: Image.Image, choice: str | None, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """Return a picture in the colour space asked for, and the profile to put beside it.

    Parameters
    ----------
    picture : Image
        In mode L or RGB; L becomes RGB when a profile is asked for.
    choice : str or None
        One of CHOICES, None when the client did not ask.
    profile : bytes or None
        What the colours are in now; None for sRGB.
    """
    if choice == NO or (choice is None and (profile is None or picture.mode != "RGB")):
        return picture, None
    colours = picture.convert("RGB")
    if choice in (None, YES):
        return colours, profile if profile and picture.mode == "RGB" else named_profile(SRGB)
    source = profile if profile and picture.mode == "RGB" else named_profile(SRGB)
    target = named_profile(str(choice))
    if source != target:
        colours = Image.fromarray(_converted(np.asarray(colours), source, target))
    return colours, target


@cache
def named_profile(name: str) -> bytes:
    """Return the profile of `srgb`, `adobergb` or `rommrgb`."""
    description, colorants, curve = _SPACES[name]
    shape = 3 if len(curve) > 1 else 0
    trc = b"para" + struct.pack(">IHH", 0, shape, 0) + b"".join(map(_fixed, curve))
    elements = [
        (b"desc", _localized(description)),
        (b"cprt", _localized("No copyright, use freely")),
        (b"wtpt", _xyz(_D50)),
        *((tag, _xyz(colorant)) for tag, colorant in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True)),
        *((tag, trc) for tag in (b"rTRC", b"gTRC", b"bTRC")),
    ]
    offset = 128 + 4 + 12 * len(elements)
    tags, data = struct.pack(">I", len(elements)), b""
    for tag, element in elements:
        tags += tag + struct.pack(">II", offset + len(data), len(element))
        data += element + b"\0" * (-len(element) % 4)
    return _header(offset + len(data)) + tags + data


def _header(size: int) -> bytes:
    created = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    start = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x04200000, b"mntr", b"RGB ", b"XYZ ") + created + b"acsp"
    illuminant = b"".join(map(_fixed, _D50))
    return (start + b"\0" * 28 + illuminant).ljust(128, b"\0")


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _localized(text: str) -> bytes:
    coded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">III2s2sII", 0, 1, 12, b"en", b"US", len(coded), 28) + coded


def _converted(colours: Levels, source: bytes, target: bytes) -> Levels:
    """Convert colours; a profile that can be read, but lacks what is needed, says no more of them than none."""
    try:
        return CHILDREN.converted("convert", colours, source, target)
    except CodecRefused:
        srgb = named_profile(SRGB)
        return colours if target == srgb else CHILDREN.converted("convert", colours, srgb, target)


def _is_for_rgb(profile: bytes) -> bool:
    """Whether a profile is one for RGB: not broken, and not for something else."""
    return CHILDREN.encoded("is_for_rgb", np.frombuffer(profile, np.uint8)) == b"\1"
