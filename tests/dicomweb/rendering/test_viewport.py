"""Viewports: region, size, mirror images, pixels that are not square."""

import numpy as np
import pytest

from dicomweb.rendering.pipeline import pixels_of, render
from dicomweb.rendering.rendering_parameters import RenderingParameters, parse_rendering_parameters
from dicomweb.rendering.viewport import MOST_PIXELS, Viewport, fitted_size, pixel_aspect, shown
from storage.errors import InvalidQuery
from tests.corpus import corpus_files
from tests.dicomweb.decoded import attributes_of, frame_in, grey_frame

PICTURE = np.arange(48, dtype="u1").reshape(6, 8) * 5


def at(text: str) -> Viewport:
    """Return the viewport of a query parameter."""
    viewport = parse_rendering_parameters({"viewport": text}).viewport
    assert viewport is not None
    return viewport


def test_region_at_its_own_size_is_cut_out() -> None:
    """Whole pixels come through unchanged (D-100)."""
    assert np.array_equal(shown(PICTURE, at("4,3,2,1,4,3")), PICTURE[1:4, 2:6])


def test_elided_values_are_the_whole_source() -> None:
    """x and y default to 0, width and height to all of the source (D-101)."""
    assert np.array_equal(shown(PICTURE, at("8,6")), PICTURE)
    assert np.array_equal(shown(PICTURE, at("8,6,,,,")), PICTURE)
    assert np.array_equal(shown(PICTURE, at("4,6,4")), PICTURE[:, 4:])
    assert np.array_equal(shown(PICTURE, at("8,2,,,,2")), PICTURE[:2])


@pytest.mark.parametrize(
    ("text", "rows", "columns"), [("8,6,,,-8,6", 1, -1), ("8,6,,,8,-6", -1, 1), ("8,6,0,0,-8,-6", -1, -1)]
)
def test_negative_sizes_mirror(text: str, rows: int, columns: int) -> None:
    """A negative width flips left and right, a negative height top and bottom (D-101)."""
    assert np.array_equal(shown(PICTURE, at(text)), PICTURE[::rows, ::columns])


@pytest.mark.parametrize(
    ("text", "shape"),
    [("80,80", (60, 80)), ("16,6", (6, 8)), ("4,100", (3, 4)), ("1,1", (1, 1)), ("100,100,0,0,1,6", (100, 17))],
)
def test_aspect_is_kept(text: str, shape: tuple[int, int]) -> None:
    """The picture fits into the viewport as large as it can, larger than the source too (D-100)."""
    assert shown(PICTURE, at(text)).shape == shape


def test_region_is_cut_to_the_source() -> None:
    """What lies outside is not shown; a region all outside is a 400 (D-101)."""
    assert shown(PICTURE, at("10,10,4,0,100,6")).shape == (10, 7)
    with pytest.raises(InvalidQuery, match="viewport"):
        shown(PICTURE, at("10,10,8,0"))


def test_no_viewport_keeps_the_matrix() -> None:
    """Without viewport the picture has the size of the source, whatever its spacing (D-103)."""
    frame = grey_frame([[0, 1]] * 5, PixelSpacing=[2, 1])
    assert render(frame).pixels.shape == (5, 2)


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"])
def test_pixels_that_are_not_square(keyword: str) -> None:
    """The vertical value comes first; with a viewport the picture is true (D-111)."""
    frame = grey_frame([[0, 1]] * 5, **{keyword: [2, 1]})
    assert render(frame, RenderingParameters(viewport=Viewport(100, 100))).pixels.shape == (100, 20)
    assert pixel_aspect(attributes_of(**{keyword: [0, 1]})) == 1
    assert pixel_aspect(attributes_of(**{keyword: [1000, 1]})) == 1


def test_pixel_measures_of_a_functional_group() -> None:
    """Spacing of enhanced images comes from Pixel Measures (D-110, D-111)."""
    frame = grey_frame(
        [[0, 1]] * 5, SharedFunctionalGroupsSequence=[{"PixelMeasuresSequence": [{"PixelSpacing": [2, 1]}]}]
    )
    assert render(frame, RenderingParameters(viewport=Viewport(100, 100))).pixels.shape == (100, 20)


def test_scaling_down_is_a_mean() -> None:
    """Half the size is near to the mean of each four pixels, so that nothing thin vanishes (D-100)."""
    picture = pixels_of(frame_in(corpus_files("series/ct-janct-3slice-with-seg")[0]))
    half = shown(picture, Viewport(256, 256)).astype(float)
    mean = picture.reshape(256, 2, 256, 2).mean(axis=(1, 3))
    assert np.abs(half - mean).mean() < 8 and abs(half.mean() - mean.mean()) < 0.5


def test_no_picture_is_too_large() -> None:
    """One free side does not make a small region a huge picture."""
    with pytest.raises(InvalidQuery, match="pixels"):
        fitted_size(512, 512, 65535, 65535)
    width, height = fitted_size(1, 60000, 65535, 1000)
    assert (width, height) == (1, 1000) and width * height < MOST_PIXELS
