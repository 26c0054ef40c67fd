"""The query parameters of rendered resources (PS3.18 8.3.5) and of WADO-URI (PS3.18 9.4, 9.5), read into values.

Facts and clauses this module keeps:
- 8.3.5.1.4: `window` has center, width and function, all three; with `window_function_optional` the two numbers many
  clients send are a linear window (D-105). The least width is that of PS3.3 C.11.2.1.2 and C.11.2.1.3.
- 8.3.5.1.3: `viewport` has two numbers or six, of which inner ones may be left out; for presentation states and
  thumbnails only two.
- 8.3.5.1.1: what `annotation` names and is not supported is ignored with a warning.
- 9.5.2.5: `rows` and `columns` of WADO-URI are maxima; one of them alone is taken (E-011).
- Numbers are decimals as XML Schema writes them; NaN and infinities are none.
- Pure: no I/O.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dicomweb.rendering.annotation import KEYWORDS
from dicomweb.rendering.grayscale import LINEAR, LINEAR_EXACT, SIGMOID, Window
from dicomweb.rendering.icc_profile import CHOICES
from dicomweb.rendering.viewport import MOST_PIXELS, Viewport
from storage.errors import InvalidQuery

PARAMETERS: Final[dict[str, str]] = {
    "annotation": "patient, technique or both: text burned into the picture",
    "quality": "1 to 100, for lossy media types",
    "viewport": "width,height[,x,y,width,height]: size, and the region of the source",
    "window": "center,width,function with linear, linear-exact or sigmoid",
    "iccprofile": "no, yes, srgb, adobergb or rommrgb",
    "charset": "character sets of text, by IANA name or Defined Term; others are ignored",
}
"""The parameters of rendered resources, and what they mean; for the conformance statement (A-012)."""

UNLIMITED: Final = 65535
"""Stands for a side of a viewport that the client did not limit."""

_FUNCTIONS = {"linear": LINEAR, "linear-exact": LINEAR_EXACT, "sigmoid": SIGMOID}
_DECIMAL = re.compile(r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?")
_UNSIGNED = re.compile(r"[0-9]{1,9}")
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class RenderingParameters:
    """What a client asks of a rendered picture or text.

    Attributes
    ----------
    window : Window or None
        Goes before what the instance says.
    viewport : Viewport or None
        None for the size of the source.
    quality : int or None
        1 to 100.
    annotation : tuple of str
        `patient`, `technique`; those supported.
    icc_profile : str or None
        As given, one of `no`, `yes`, `srgb`, `adobergb`, `rommrgb`.
    warnings : tuple of str
        What was ignored, in ASCII.
    """

    window: Window | None = None
    viewport: Viewport | None = None
    quality: int | None = None
    annotation: tuple[str, ...] = ()
    icc_profile: str | None = None
    warnings: tuple[str, ...] = field(default=())


def parse_rendering_parameters(
    given: Mapping[str, str],
    *,
    presentation_state: bool = False,
    thumbnail: bool = False,
    window_function_optional: bool = False,
) -> RenderingParameters:
    """Read the parameters of a rendered resource or of a thumbnail.

    Parameters
    ----------
    given : mapping of str to str
        Percent-decoded values by name; other names are not looked at.
    presentation_state : bool
        Whether the target is one: it has its own window and region.
    thumbnail : bool
        Whether a thumbnail is asked for: only `viewport` counts, and nothing identifies the patient.
    window_function_optional : bool
        Whether `window=center,width` is taken as linear.

    Raises
    ------
    InvalidQuery
        A value is wrong; the message names the parameter.

    Standard
    --------
    PS3.18 8.3.5.1, 8.3.5.2; D-098 to D-106, D-113, D-123.
    """
    viewport = _viewport(given, size_only=presentation_state or thumbnail)
    if thumbnail:
        return RenderingParameters(viewport=viewport)
    if presentation_state and "window" in given:
        raise InvalidQuery("window cannot be given for a presentation state, which has its own")
    annotation, warnings = _annotation(given, "annotation")
    return RenderingParameters(
        window=_window(given, function_optional=window_function_optional),
        viewport=viewport,
        quality=_quality(given, "quality"),
        annotation=annotation,
        icc_profile=_icc_profile(given),
        warnings=warnings,
    )


def _window(given: Mapping[str, str], *, function_optional: bool) -> Window | None:
    if "window" not in given:
        return None
    parts = given["window"].split(",")
    if len(parts) != 3 and not (len(parts) == 2 and function_optional):
        raise InvalidQuery("window must be center,width,function")
    name = parts[2] if len(parts) == 3 else "linear"
    if name.lower() not in _FUNCTIONS:
        raise InvalidQuery("window: the function must be linear, linear-exact or sigmoid")
    center, width = (_decimal("window", part) for part in parts[:2])
    return valid_window("window", Window(center, width, _FUNCTIONS[name.lower()]))


def valid_window(name: str, window: Window) -> Window:
    """Return a window, or raise `InvalidQuery` naming the parameter when its width is too small for its function."""
    if not window.valid:
        least = "at least 1" if window.function == LINEAR else "above 0"
        raise InvalidQuery(f"{name}: the width must be {least}")
    return window


def _viewport(given: Mapping[str, str], *, size_only: bool) -> Viewport | None:
    if "viewport" not in given:
        return None
    parts = given["viewport"].split(",")
    if not 2 <= len(parts) <= 6:
        raise InvalidQuery("viewport must be width,height or width,height,x,y,width,height")
    if size_only and len(parts) > 2:
        raise InvalidQuery("viewport may have a width and a height only for a presentation state or a thumbnail")
    width, height = (_decimal("viewport", part) for part in parts[:2])
    if not (width >= 1 and height >= 1) or width % 1 or height % 1:
        raise InvalidQuery("viewport: width and height must be whole numbers from 1")
    if max(width, height) > UNLIMITED or width * height > MOST_PIXELS:
        raise InvalidQuery(f"viewport may have at most {MOST_PIXELS} pixels, {UNLIMITED} on a side")
    region = [None if not part.strip() else _decimal("viewport", part) for part in parts[2:]]
    region += [None] * (4 - len(region))
    x, y, region_width, region_height = region
    if region_width == 0 or region_height == 0:
        raise InvalidQuery("viewport: the region must have a width and a height")
    return Viewport(
        int(width),
        int(height),
        abs(x or 0.0),  # 8.3.5.1.3: absolute values, whose sign has no meaning here
        abs(y or 0.0),
        None if region_width is None else abs(region_width),
        None if region_height is None else abs(region_height),
        flip_horizontally=region_width is not None and region_width < 0,
        flip_vertically=region_height is not None and region_height < 0,
    )


def _quality(given: Mapping[str, str], name: str) -> int | None:
    if name not in given:
        return None
    if not _UNSIGNED.fullmatch(given[name]) or not 1 <= int(given[name]) <= 100:
        raise InvalidQuery(f"{name} must be a whole number from 1 to 100")
    return int(given[name])


def _annotation(given: Mapping[str, str], name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keywords that are supported, and warnings about the others."""
    if name not in given:
        return (), ()
    keywords = given[name].split(",")
    for keyword in keywords:
        if not _KEYWORD.fullmatch(keyword):
            raise InvalidQuery(f"{name} must be patient, technique or both, with a comma between")
    known = tuple(dict.fromkeys(keyword for keyword in keywords if keyword in KEYWORDS))
    others = dict.fromkeys(word for word in keywords if word not in KEYWORDS)
    ignored = tuple(f"The {name} {word} is not supported and was ignored" for word in others)
    return known, ignored


def _icc_profile(given: Mapping[str, str]) -> str | None:
    choice = given.get("iccprofile")
    if choice is not None and choice not in CHOICES:
        raise InvalidQuery(f"iccprofile must be one of {', '.join(CHOICES)}")
    return choice


def _decimal(name: str, text: str) -> float:
    if not _DECIMAL.fullmatch(text.strip()):
        raise InvalidQuery(f"{name}: {text[:20]!r} is not a number")
    number = float(text)
    if not math.isfinite(number):
        raise InvalidQuery(f"{name}: {text[:20]!r} is too large")
    return number


@dataclass(frozen=True, slots=True)
class UriParameters:
    """What a client asks of WADO-URI beside the object, see `parse_uri_parameters`.

    Attributes
    ----------
    rendering : RenderingParameters
        Those that rendered resources have too.
    frame_number : int or None
        Counted from 1.
    region : tuple of float or None
        Left, top, right, bottom as fractions of the picture; see `with_region`.
    presentation : tuple of str or None
        Series and SOP Instance UID of a presentation state.
    """

    rendering: RenderingParameters
    frame_number: int | None = None
    region: tuple[float, float, float, float] | None = None
    presentation: tuple[str, str] | None = None

    def viewport_for(self, columns: int, rows: int) -> Viewport | None:
        """Return the viewport with the region, for a source of that size; None for the size of the source."""
        viewport = self.rendering.viewport
        if self.region is None:
            return viewport
        left, top, right, bottom = self.region
        x, y, width, height = left * columns, top * rows, (right - left) * columns, (bottom - top) * rows
        size = (viewport.width, viewport.height) if viewport else (max(round(width), 1), max(round(height), 1))
        return Viewport(*size, x, y, width, height)


def parse_uri_parameters(given: Mapping[str, str]) -> UriParameters:
    """Read the parameters of WADO-URI that rule a rendered picture.

    Parameters
    ----------
    given : mapping of str to str
        Percent-decoded values by name; those that name the object and its media type are not looked at.

    Raises
    ------
    InvalidQuery
        A value is wrong or misses its partner; the message names the parameter.

    Standard
    --------
    PS3.18 9.4.1.2, 9.5.1.2, 9.5.2; E-010 to E-015.
    """
    presentation = _pair(given, "presentationSeriesUID", "presentationUID")
    windows = _pair(given, "windowCenter", "windowWidth")
    if presentation and windows:
        raise InvalidQuery("windowCenter and windowWidth cannot be given together with presentationUID")
    window = None
    if windows:
        center, width = _decimal("windowCenter", windows[0]), _decimal("windowWidth", windows[1])
        window = valid_window("windowWidth", Window(center, width))
    annotation, warnings = _annotation(given, "imageAnnotation" if "imageAnnotation" in given else "annotation")
    return UriParameters(
        RenderingParameters(
            window=window,
            viewport=_rows_and_columns(given),
            quality=_quality(given, "imageQuality"),
            annotation=annotation,
            icc_profile=_icc_profile(given),
            warnings=warnings,
        ),
        _positive(given, "frameNumber"),
        _region(given),
        presentation,
    )


def _pair(given: Mapping[str, str], first: str, second: str) -> tuple[str, str] | None:
    if (first in given) != (second in given):
        raise InvalidQuery(f"{first} and {second} must be given together")
    return (given[first], given[second]) if first in given else None


def _rows_and_columns(given: Mapping[str, str]) -> Viewport | None:
    rows, columns = _positive(given, "rows"), _positive(given, "columns")
    if rows is None and columns is None:
        return None
    return Viewport(min(columns or UNLIMITED, UNLIMITED), min(rows or UNLIMITED, UNLIMITED))


def _positive(given: Mapping[str, str], name: str) -> int | None:
    if name not in given:
        return None
    if not _UNSIGNED.fullmatch(given[name]) or not int(given[name]):
        raise InvalidQuery(f"{name} must be a whole number from 1")
    return int(given[name])


def _region(given: Mapping[str, str]) -> tuple[float, float, float, float] | None:
    if "region" not in given:
        return None
    parts = given["region"].split(",")
    if len(parts) != 4:
        raise InvalidQuery("region must be xmin,ymin,xmax,ymax")
    left, top, right, bottom = (_decimal("region", part) for part in parts)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise InvalidQuery("region must have 0 <= xmin < xmax <= 1 and 0 <= ymin < ymax <= 1")
    return left, top, right, bottom
