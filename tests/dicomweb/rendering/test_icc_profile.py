"""ICC profiles: those of the Standard's names, conversion, and where they are put."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from dicomweb.rendering.attribute_values import key_of
from dicomweb.rendering.encoders import Picture, encode
from dicomweb.rendering.icc_profile import (
    ADOBE_RGB,
    NO,
    ROMM_RGB,
    SRGB,
    YES,
    apply_profile,
    named_profile,
    source_profile,
)
from dicomweb.rendering.pipeline import Frame, render
from dicomweb.rendering.rendering_parameters import RenderingParameters
from tests.dicomweb.decoded import attributes_of, grey_frame

COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [10, 200, 30], [128, 128, 128], [255, 255, 255]]], "u1")


def linear(level: float) -> float:
    """Return the light of an sRGB level 0 to 1 (IEC 61966-2-1)."""
    return level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4


@pytest.mark.parametrize("name", [SRGB, ADOBE_RGB, ROMM_RGB])
def test_profiles_are_valid_and_always_the_same(name: str) -> None:
    """Little CMS opens them, white is D50, and the bytes do not depend on when they were made (D-112)."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(named_profile(name))).profile
    assert profile.xcolor_space.strip() == "RGB" and profile.version > 4
    colorants = [profile.red_colorant[0], profile.green_colorant[0], profile.blue_colorant[0]]
    assert np.sum(colorants, axis=0) == pytest.approx((0.9642, 1.0, 0.8249), abs=0.001)
    named_profile.cache_clear()
    assert named_profile(name)[24:36] == bytes.fromhex("07D0 0001 0001 0000 0000 0000")


def test_srgb_is_srgb() -> None:
    """Our sRGB and that of Little CMS convert into each other without change (D-112)."""
    theirs = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture, _ = apply_profile(Image.fromarray(COLOURS), SRGB, theirs)
    assert np.abs(np.asarray(picture).astype(int) - COLOURS).max() <= 1


def test_conversion_to_adobe_rgb() -> None:
    """Levels are those of primaries and exponent of Adobe RGB (1998) 4.3.1 (D-112)."""
    picture, profile = apply_profile(Image.fromarray(COLOURS), ADOBE_RGB, None)
    assert profile == named_profile(ADOBE_RGB)
    red = round((0.71513 * linear(1.0)) ** (256 / 563) * 255)  # 0.71513: linear sRGB red in Adobe RGB
    grey = round(linear(128 / 255) ** (256 / 563) * 255)
    found = np.asarray(picture)[0].astype(int)
    assert found[0].tolist() == pytest.approx([red, 0, 0], abs=1)
    assert found[3].tolist() == pytest.approx([grey] * 3, abs=1)
    assert found[4].tolist() == [255] * 3


def test_choices() -> None:
    """`no`: none; absent: the source's; `yes`: the source's or sRGB; a name: that one (8.3.5.1.5; D-112)."""
    image = Image.fromarray(COLOURS)
    source = named_profile(ADOBE_RGB)
    assert apply_profile(image, NO, source)[1] is None
    assert apply_profile(image, None, source)[1] == source
    assert apply_profile(image, None, None)[1] is None
    assert apply_profile(image, YES, source)[1] == source
    assert apply_profile(image, YES, None)[1] == named_profile(SRGB)
    grey = image.convert("L")
    assert apply_profile(grey, None, None)[0].mode == "L"
    assert apply_profile(grey, YES, None)[0].mode == "RGB"


def test_profile_of_the_instance_or_its_optical_path() -> None:
    """The profile at the top goes before that of the optical path of the frame (C.11.15, C.8.12.5)."""
    top, path = named_profile(ADOBE_RGB), named_profile(ROMM_RGB)
    paths = [
        {"OpticalPathIdentifier": "1", "ICCProfile": b"broken"},
        {"OpticalPathIdentifier": "2", "ICCProfile": path},
    ]
    used = [{"OpticalPathIdentificationSequence": [{"OpticalPathIdentifier": "2"}]}]
    attributes = attributes_of(OpticalPathSequence=paths, PerFrameFunctionalGroupsSequence=used)
    assert source_profile(attributes, 1, {}) == path
    attributes[key_of("ICCProfile")] = {"vr": "OB", "BulkDataURI": "http://a/bulkdata/00282000"}
    assert source_profile(attributes, 1, {"00282000": top}) == top
    assert source_profile(attributes_of(ICCProfile=b"broken"), 1, {}) is None


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png"])
def test_profile_in_the_picture(media_type: str) -> None:
    """APP2 of JPEG, also in several segments, and iCCP of PNG (D-112)."""
    large = named_profile(SRGB) + bytes(100_000)
    for profile in (named_profile(SRGB), large):
        with Image.open(io.BytesIO(encode(Picture(COLOURS, profile), media_type))) as opened:
            assert opened.info["icc_profile"] == profile


def test_rendered_frame_carries_its_profile() -> None:
    """Rendering reads the profile of the instance; `iccprofile=no` leaves it out (D-112)."""
    profile = named_profile(ADOBE_RGB)
    frame = Frame(COLOURS, "RGB", attributes_of(BitsStored=8, ICCProfile=profile))
    assert render(frame).profile == profile
    assert render(frame, RenderingParameters(icc_profile=NO)).profile is None
    converted = render(frame, RenderingParameters(icc_profile=SRGB))
    assert converted.profile == named_profile(SRGB) and not np.array_equal(converted.pixels, COLOURS)
    assert render(grey_frame([0, 1])).profile is None


@pytest.mark.parametrize("choice", [SRGB, ADOBE_RGB])
def test_a_profile_without_curves_says_nothing(choice: str) -> None:
    """It can be read, and is for RGB; what it lacks makes it none, so that the colours are taken as sRGB."""
    broken = named_profile(ADOBE_RGB).replace(b"rTRC", b"xTRC")
    picture = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    found, _ = apply_profile(picture, choice, broken)
    expected, _ = apply_profile(picture, choice, None)
    assert np.array_equal(np.asarray(found), np.asarray(expected))
