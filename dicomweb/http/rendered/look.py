"""What a picture is to look like, and frames made to look so."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from dicomweb.http.problems import RequestRefused
from dicomweb.rendering.attribute_values import Attributes
from dicomweb.rendering.encoders import GIF, Picture, animated_gif, encode
from dicomweb.rendering.pipeline import Frame, frame_durations, render, shared_range
from dicomweb.rendering.presentation_state import PresentationState, render_presentation
from dicomweb.rendering.rendering_parameters import RenderingParameters
from dicomweb.rendering.viewport import Viewport
from storage.pixels.layout import PixelLayout
from storage.retrieval.instance_file import InstanceFile

MOST_ANIMATED_PIXELS: Final = 1 << 27
"""The most pixels all frames of an animation may have together."""

MOST_ANIMATED_FRAMES: Final = 4096
"""The most frames of an animation: each takes some half a millisecond, however small it is."""

Key = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class StoredState:
    """A presentation state and the instance it was read from."""

    instance: InstanceFile
    state: PresentationState


@dataclass(frozen=True, slots=True)
class Look:
    """What a picture is to look like.

    Attributes
    ----------
    media_type : str
        One of `encoders.MEDIA_TYPES`.
    parameters : RenderingParameters
        What the client asks for.
    state : StoredState or None
        The presentation state to apply.
    """

    media_type: str
    parameters: RenderingParameters = field(default_factory=RenderingParameters)
    state: StoredState | None = None

    @property
    def key(self) -> Key:
        """What tells it from others; equal looks have equal keys in all worker processes."""
        parameters = replace(self.parameters, warnings=())
        state = (self.state.instance.blob, self.state.instance.version) if self.state else None
        return self.media_type, parameters, state

    @property
    def has_overlays(self) -> bool:
        """Whether something is drawn over the pixels."""
        return bool(self.parameters.annotation) or self.state is not None

    def pictured(self, frame: Frame, limits: tuple[float, float] | None = None) -> Picture:
        """Render a frame to look so."""
        if self.state is not None:
            return render_presentation(frame, self.state.state, self.parameters)
        return render(frame, self.parameters, limits)


class Made(NamedTuple):
    """An encoded picture, and what a client must know of it."""

    body: bytes
    warnings: tuple[str, ...] = ()


def encoded_picture(frame: Frame, look: Look) -> Made:
    """Return the encoded picture of a frame."""
    body = encode(look.pictured(frame), look.media_type, look.parameters.quality)
    return Made(body, (frame.warning,) if frame.warning else ())


def animated(
    decoded: Callable[[], Iterator[Frame]], attributes: Attributes, numbers: Sequence[int], look: Look
) -> Made:
    """Return frames, which are decoded once or twice, as an animated GIF."""
    limits = None
    if look.parameters.window is None and look.state is None:
        limits = shared_range(decoded())
    warnings: dict[str, None] = {}

    def pictures() -> Iterator[Picture]:
        for frame in decoded():
            warnings.update(dict.fromkeys([frame.warning] if frame.warning else ()))
            yield look.pictured(frame, limits)

    body = animated_gif(pictures(), frame_durations(attributes, numbers))
    return Made(body, tuple(warnings))


def check_animation(pixel: PixelLayout, frames: int, viewport: Viewport | None) -> None:
    """Refuse an animation of too many frames or pixels; raises RequestRefused."""
    size = pixel.rows * pixel.columns
    if viewport is not None:
        size = (
            min(size, viewport.width * viewport.height)
            if viewport.region_width is None
            else (viewport.width * viewport.height)
        )
    if frames > MOST_ANIMATED_FRAMES:
        raise RequestRefused(
            406,
            f"An animation has at most {MOST_ANIMATED_FRAMES} frames, and these are {frames}; ask for fewer frames by "
            f"their numbers, or for multipart/related instead of {GIF}.",
        )
    if size * frames > MOST_ANIMATED_PIXELS:
        raise RequestRefused(
            406,
            f"An animation has at most {MOST_ANIMATED_PIXELS} pixels, and {frames} frames of this size have more; ask "
            f"for fewer frames by their numbers, a smaller viewport, or for multipart/related instead of {GIF}.",
        )
