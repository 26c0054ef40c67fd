"""What a media type has room for: the sides of a picture, and how long a frame is shown."""

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from dicomweb.rendering.encoders import GIF, JP2, JPEG, PNG, Picture, animated_gif, encode
from dicomweb.rendering.pipeline import frame_durations
from storage.pixels.pixel_data import UnencodablePixelData


def row(columns: int) -> Picture:
    return Picture(np.zeros((1, columns), np.uint8))


@pytest.mark.parametrize(("media_type", "longest"), [(JPEG, 65_535), (GIF, 65_535), (PNG, 1_000_000)])
def test_a_side_too_long_is_refused(media_type: str, longest: int) -> None:
    """The longest side a media type has is written and read back, one more is refused with what works (T.81 B.2.2)."""
    assert Image.open(io.BytesIO(encode(row(longest), media_type))).size == (longest, 1)
    for picture in (row(longest + 1), Picture(row(longest + 1).pixels.T)):
        with pytest.raises(UnencodablePixelData, match=f"at most {longest} .*viewport"):
            encode(picture, media_type)
    assert Image.open(io.BytesIO(encode(row(longest + 1), JP2))).size == (longest + 1, 1)


def test_no_frame_is_shown_longer_than_can_be_said() -> None:
    """A GIF counts hundredths of a second in 16 bits (GIF89a 23); what is longer is shown as long as that."""
    durations = [0.0, 40.0, 655_350.0, 655_360.0, 1.7e308, float("inf")]
    opened = Image.open(io.BytesIO(animated_gif([row(2)] * len(durations), durations)))
    assert [frame.info["duration"] for frame in ImageSequence.Iterator(opened)] == [20, 40, *[655_350] * 4]


@pytest.mark.parametrize(("rate", "expected"), [("25", 40.0), ("1e-320", 100.0), ("-1", 100.0), ("1e9", 1e-6)])
def test_a_rate_of_nearly_nothing_is_none(rate: str, expected: float) -> None:
    """The time of a frame is finite, whatever the rate (PS3.3 C.7.6.5)."""
    assert frame_durations({"00180040": {"vr": "IS", "Value": [rate]}}, [1]) == [expected]
