"""Query parameters of rendered resources and of WADO-URI."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.rendering.grayscale import LINEAR, LINEAR_EXACT, SIGMOID, Window
from dicomweb.rendering.rendering_parameters import parse_rendering_parameters, parse_uri_parameters
from dicomweb.rendering.viewport import Viewport
from storage.errors import InvalidQuery


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("40,400,linear", Window(40, 400, LINEAR)),
        ("-600.5,1.5e3,linear-exact", Window(-600.5, 1500, LINEAR_EXACT)),
        ("0,0.5,sigmoid", Window(0, 0.5, SIGMOID)),
        ("0,1,linear", Window(0, 1, LINEAR)),
        ("+1,+2,LINEAR", Window(1, 2, LINEAR)),
    ],
)
def test_window(text: str, window: Window) -> None:
    """Center, width and function (D-104)."""
    assert parse_rendering_parameters({"window": text}).window == window


@pytest.mark.parametrize(
    "text",
    [
        *("", "40", "40,400", "40,400,", "40,400,cubic", "a,400,linear", "40,nan,linear", "inf,1,linear"),
        *("1,1e999,linear", "40,0.9,linear", "40,0,linear-exact", "40,-1,sigmoid", "1,2,linear,3", "1_0,2,linear"),
    ],
)
def test_window_that_is_wrong(text: str) -> None:
    """All three are needed, and a width the function is defined for; the message names the parameter (D-104, D-106)."""
    with pytest.raises(InvalidQuery, match="window"):
        parse_rendering_parameters({"window": text})


def test_window_without_function_behind_a_switch() -> None:
    """`window=c,w` is linear when that is allowed (D-105)."""
    found = parse_rendering_parameters({"window": "40,400"}, window_function_optional=True)
    assert found.window == Window(40, 400, LINEAR)


def test_viewport() -> None:
    """Two to six values; signs of x and y have no meaning (D-100, D-101; 8.3.5.1.3)."""
    viewport = parse_rendering_parameters({"viewport": "100,50,-1.5,2,-30,40"}).viewport
    assert viewport == Viewport(100, 50, 1.5, 2, 30, 40, flip_horizontally=True)


@pytest.mark.parametrize(
    "text",
    ["", "100", "0,1", "-5,5", "1.5,5", "a,b", ",", "1,2,3,4,5,6,7", "1,2,x", "1,2,0,0,0,5", "99999,1", "65535,65535"],
)
def test_viewport_that_is_wrong(text: str) -> None:
    """Ill-formed or far too large is a 400 (D-101)."""
    with pytest.raises(InvalidQuery, match="viewport"):
        parse_rendering_parameters({"viewport": text})


def test_presentation_states_and_thumbnails_have_a_size_only() -> None:
    """More than width and height is a 400; a window on a presentation state too (D-102, D-113, D-123)."""
    for target in ({"presentation_state": True}, {"thumbnail": True}):
        assert parse_rendering_parameters({"viewport": "10,20"}, **target).viewport == Viewport(10, 20)
        with pytest.raises(InvalidQuery, match="viewport"):
            parse_rendering_parameters({"viewport": "10,20,0,0,5,5"}, **target)
    with pytest.raises(InvalidQuery, match="window"):
        parse_rendering_parameters({"window": "1,2,linear"}, presentation_state=True)
    assert parse_rendering_parameters({"annotation": "patient"}, thumbnail=True).annotation == ()


@pytest.mark.parametrize(("text", "quality"), [("1", 1), ("100", 100), ("007", 7)])
def test_quality(text: str, quality: int) -> None:
    """1 to 100 (D-099)."""
    assert parse_rendering_parameters({"quality": text}).quality == quality


@pytest.mark.parametrize("text", ["0", "101", "-1", "5.5", "", "x", "٣"])
def test_quality_that_is_wrong(text: str) -> None:
    """Anything else is a 400 (D-099)."""
    with pytest.raises(InvalidQuery, match="quality"):
        parse_rendering_parameters({"quality": text})


def test_annotation() -> None:
    """Unsupported keywords are ignored with a warning, what is no keyword is a 400 (D-098)."""
    found = parse_rendering_parameters({"annotation": "technique,patient,dose"})
    assert found.annotation == ("technique", "patient") and found.warnings == (
        "The annotation dose is not supported and was ignored",
    )
    for wrong in ("", "patient,", "a b", "<b>"):
        with pytest.raises(InvalidQuery, match="annotation"):
            parse_rendering_parameters({"annotation": wrong})


def test_iccprofile() -> None:
    """One of five names (D-112)."""
    assert parse_rendering_parameters({"iccprofile": "rommrgb"}).icc_profile == "rommrgb"
    with pytest.raises(InvalidQuery, match="iccprofile"):
        parse_rendering_parameters({"iccprofile": "cmyk"})


def test_nothing_given() -> None:
    """Without parameters nothing is asked for."""
    found = parse_rendering_parameters({"other": "1"})
    assert (found.window, found.viewport, found.quality, found.annotation) == (None, None, None, ())


@given(st.dictionaries(st.sampled_from(["window", "viewport", "quality", "annotation", "iccprofile"]), st.text()))
def test_any_text_is_understood_or_refused(parameters: dict[str, str]) -> None:
    """No value of a parameter raises anything but InvalidQuery (D-101)."""
    try:
        parse_rendering_parameters(parameters)
    except InvalidQuery:
        pass


def test_uri_parameters() -> None:
    """Names of WADO-URI lead to the same values (E-010 to E-014)."""
    found = parse_uri_parameters(
        {
            "windowCenter": "40",
            "windowWidth": "400",
            "imageQuality": "80",
            "imageAnnotation": "patient",
            "rows": "100",
            "columns": "200",
            "region": "0.25,0.5,0.75,1",
            "frameNumber": "3",
        }
    )
    assert found.rendering.window == Window(40, 400) and found.rendering.quality == 80
    assert found.rendering.annotation == ("patient",) and found.frame_number == 3
    assert found.viewport_for(400, 300) == Viewport(200, 100, 100, 150, 200, 150)
    alone = parse_uri_parameters({"rows": "100"})
    assert alone.viewport_for(10, 10) == Viewport(65535, 100)
    assert parse_uri_parameters({"region": "0,0,0.5,0.5"}).viewport_for(64, 32) == Viewport(32, 16, 0, 0, 32, 16)
    assert parse_uri_parameters({}).viewport_for(64, 32) is None


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"windowCenter": "40"}, "windowWidth"),
        ({"windowWidth": "40"}, "windowCenter"),
        ({"windowCenter": "40", "windowWidth": "0"}, "windowWidth"),
        ({"rows": "0"}, "rows"),
        ({"columns": "x"}, "columns"),
        ({"frameNumber": "0"}, "frameNumber"),
        ({"imageQuality": "0"}, "imageQuality"),
        ({"region": "0,0,1"}, "region"),
        ({"region": "0.5,0,0.5,1"}, "region"),
        ({"region": "0,0,1.5,1"}, "region"),
        ({"presentationUID": "1.2"}, "presentationSeriesUID"),
        (
            {"presentationUID": "1", "presentationSeriesUID": "2", "windowCenter": "1", "windowWidth": "2"},
            "presentationUID",
        ),
    ],
)
def test_uri_parameters_that_are_wrong(parameters: dict[str, str], name: str) -> None:
    """Pairs must be complete, values in their range (E-010 to E-015)."""
    with pytest.raises(InvalidQuery, match=name):
        parse_uri_parameters(parameters)


def test_presentation_of_uri() -> None:
    """Series and instance of a presentation state go together (E-015)."""
    found: Any = parse_uri_parameters({"presentationUID": "1.3", "presentationSeriesUID": "1.2"})
    assert found.presentation == ("1.2", "1.3")
