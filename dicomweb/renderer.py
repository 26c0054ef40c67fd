"""From stored instances to encoded pictures: what is read, what is done in threads, and what is remembered.

Facts this module keeps:

- A picture is remembered by what it is made of: blob and version of the instance, and of the presentation state if
  there is one, frame, parameters and media type.
- Parsed attributes are remembered too: those of an enhanced object are the same for all of its frames.
- A frame that would take more than `MOST_FRAME_BYTES` when decoded is refused before it is decoded.
- An animation is made one frame at a time, and not at all when it would have more than `MOST_ANIMATED_PIXELS`.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import orjson
from starlette.requests import Request

from dicomweb.byte_cache import ByteCache
from dicomweb.failures import RequestRefused
from dicomweb.render_pool import CLIENT_CLOSED_REQUEST, RenderPool, until_disconnected
from dicomweb.rendering.attribute_values import Attributes, text
from dicomweb.rendering.encoders import GIF, Picture, animated_gif, encode
from dicomweb.rendering.pipeline import Frame, frame_durations, needed_bulk_data, render, shared_range
from dicomweb.rendering.pixel_matrix import (
    MOST_PIXELS_OF_ALL,
    TOO_LARGE,
    WHOLE_SLIDE,
    PixelMatrix,
    assembled,
    level_rank,
    pixel_matrix,
)
from dicomweb.rendering.presentation_state import PresentationState, render_presentation
from dicomweb.rendering.rendering_parameters import RenderingParameters
from dicomweb.rendering.thumbnail import QUALITY, icon, thumbnail
from dicomweb.rendering.viewport import Viewport
from storage.archive import Archive
from storage.errors import ArchiveError, LimitExceeded, NotFound
from storage.frame_set import FrameSet
from storage.instance_file import InstanceFile
from storage.layout import PixelLayout
from storage.pixel_data import UndecodablePixelData, decode_frame

logger = logging.getLogger(__name__)

MOST_FRAME_BYTES: Final = 1 << 28
"""The most bytes one decoded frame may have."""

MOST_ANIMATED_PIXELS: Final = 1 << 27
"""The most pixels all frames of an animation may have together."""

_ATTRIBUTES_BYTES: Final = 8 << 20  # of JSON; parsed, it takes some ten times that
_MOST_BULK_BYTES: Final = 1 << 26
_PARSED_AT_ONCE: Final = 1 << 18
_READING_SECONDS: Final = 60

Key = tuple[Hashable, ...]
_Result = TypeVar("_Result")


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

    def pictured(self, frame: Frame, limits: tuple[float, float] | None = None) -> Picture:
        """Render a frame to look so."""
        if self.state is not None:
            return render_presentation(frame, self.state.state, self.parameters)
        return render(frame, self.parameters, limits)


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """A frame as stored, and what is needed to render it."""

    data: bytes
    pixel: PixelLayout
    transfer_syntax_uid: str
    attributes: Attributes
    number: int
    bulk: dict[str, bytes]

    def decoded(self) -> Frame:
        """Decode it; raises UndecodablePixelData, also for one that is too large."""
        try:
            found = decode_frame(self.data, self.pixel, self.transfer_syntax_uid, max_bytes=MOST_FRAME_BYTES)
        except LimitExceeded as error:
            raise UndecodablePixelData("The frame is too large to be made a picture of.") from error
        return Frame(found.pixels, found.photometric_interpretation, self.attributes, self.number, self.bulk)


class Renderer:
    """Makes the pictures of one worker process.

    Parameters
    ----------
    archive : Archive
        What is stored.
    threads, queue : int
        Pictures made at once, and requests that may wait for theirs.
    cache_bytes : int
        Of pictures that are remembered.
    """

    def __init__(self, archive: Archive, *, threads: int, queue: int, cache_bytes: int) -> None:
        self.pool = RenderPool(threads, queue)
        self._archive = archive
        self._pictures: ByteCache[bytes] = ByteCache(cache_bytes)
        self._attributes: ByteCache[Attributes] = ByteCache(_ATTRIBUTES_BYTES)

    async def attributes(self, instance: InstanceFile) -> Attributes:
        """Return the attributes of an instance; a BulkDataURI among them is the path of the value."""
        key = instance.blob, instance.version
        held = self._attributes.get(key)
        if held is not None:
            return held
        async for metadata in await self._archive.metadata(*uids_of(instance)):
            large = len(metadata.json) > _PARSED_AT_ONCE
            parsed: dict[str, Any] = (
                await asyncio.to_thread(orjson.loads, metadata.json) if large else orjson.loads(metadata.json)
            )
            self._attributes.put(key, parsed, len(metadata.json))
            return parsed
        raise NotFound("There is no such instance in the archive.")

    async def bulk(self, instance: InstanceFile, paths: Sequence[str]) -> dict[str, bytes]:
        """Return large values by path, as far as they are there and not too large."""
        found: dict[str, bytes] = {}
        room = _MOST_BULK_BYTES
        for path in paths:
            try:
                value = await self._archive.bulk_data(*uids_of(instance), path)
            except NotFound:
                continue
            if value.length <= room:
                room -= value.length
                found[path] = b"".join([chunk async for chunk in value.stream()])
        return found

    async def state(self, instance: InstanceFile) -> StoredState:
        """Read a presentation state."""
        attributes = await self.attributes(instance)
        bulk = await self.bulk(instance, needed_bulk_data(attributes, overlays=True))
        return StoredState(instance, PresentationState(attributes, bulk))

    async def frames(self, instance: InstanceFile, numbers: Sequence[int]) -> FrameSet:
        """Find frames of an instance; raises NotFound."""
        return await self._archive.frames(*uids_of(instance), numbers)

    async def picture(
        self, request: Request, instance: InstanceFile, number: int, look: Look, *, patient: bool = False
    ) -> bytes:
        """Return the encoded picture of a frame.

        Parameters
        ----------
        request : Request
            Whose client waits for it.
        instance : InstanceFile
            Has the frame.
        number : int
            Of the frame, from 1.
        look : Look
            What the picture is to look like.
        patient : bool
            Whether to wait even when many do.

        Raises
        ------
        NotFound
            There is no such frame.
        UndecodablePixelData
            The frame cannot be decoded.
        Busy
            Too many wait already.
        """

        async def make() -> bytes:
            frame = await self._encoded(instance, number, overlays=_has_overlays(look))
            return await self.pool.run(lambda: _encoded_picture(frame.decoded(), look))

        return await self._remembered(request, (*_of(instance), number, *look.key), make, patient=patient)

    async def animation(self, request: Request, instance: InstanceFile, numbers: Sequence[int], look: Look) -> bytes:
        """Return frames as an animated GIF.

        Raises
        ------
        RequestRefused
            406: it would be too large.
        """
        pixel = instance.layout.pixel_data
        assert pixel is not None
        _check_animation(pixel, len(numbers), look.parameters.viewport)

        async def make() -> bytes:
            attributes = await self.attributes(instance)
            return await self._one_by_one(
                request,
                instance,
                numbers,
                lambda decoded: _animated(decoded, attributes, numbers, look),
                overlays=_has_overlays(look),
            )

        return await self._remembered(request, (*_of(instance), tuple(numbers), "animated", *look.key), make)

    async def matrix(self, instance: InstanceFile) -> PixelMatrix | None:
        """Return the matrix that the frames of a whole slide are tiles of, None for what is no such thing."""
        pixel = instance.layout.pixel_data
        if instance.sop_class_uid != WHOLE_SLIDE or pixel is None or pixel.frames < 2:
            return None
        if _size(instance) > MOST_PIXELS_OF_ALL:
            return TOO_LARGE  # without a look at what it says of its many frames
        return pixel_matrix(await self.attributes(instance))

    async def level(self, instances: Sequence[InstanceFile]) -> InstanceFile:
        """Return the instance that stands for a slide: its thumbnail or smallest level, an overview or label at worst.

        Parameters
        ----------
        instances : sequence of InstanceFile
            Images of one slide, at least one.
        """
        ranked: list[tuple[int, InstanceFile]] = []
        # From the smallest: what large levels say of their many frames is hardly ever read.
        for instance in sorted(instances, key=_size):
            rank = level_rank(await self.attributes(instance))
            if not rank:
                return instance
            ranked.append((rank, instance))
        return min(ranked, key=lambda found: found[0])[1]

    async def whole(self, request: Request, instance: InstanceFile, matrix: PixelMatrix, look: Look) -> bytes:
        """Return the encoded picture of a whole slide.

        Raises
        ------
        RequestRefused
            406: it would be too large, or the places of its tiles are not known.
        """

        async def make() -> bytes:
            return await self._assembled(request, instance, matrix, lambda frame: _encoded_picture(frame, look))

        return await self._remembered(request, (*_of(instance), "whole", *look.key), make)

    async def thumbnail(
        self,
        request: Request,
        instance: InstanceFile,
        number: int,
        media_type: str,
        viewport: Viewport | None,
        *,
        whole: bool = False,
    ) -> bytes:
        """Return a small picture of a frame, or a sign for an instance that cannot be shown.

        Parameters
        ----------
        request : Request
            Whose client waits for it.
        instance : InstanceFile
            What it is of.
        number : int
            Of the frame, from 1; 0 for an instance that is no image.
        media_type : str
            Of the picture.
        viewport : Viewport or None
            Width and height at most.
        whole : bool
            Whether it is to be that of the whole slide, when the frame is a tile of one.
        """

        def small(frame: Frame) -> bytes:
            return encode(thumbnail(frame, viewport), media_type, QUALITY)

        async def make() -> bytes:
            if number:
                try:
                    matrix = await self.matrix(instance) if whole else None
                    if matrix is not None and matrix.trouble is None:
                        return await self._assembled(request, instance, matrix, small)
                    frame = await self._encoded(instance, number, overlays=False)
                    return await self.pool.run(lambda: small(frame.decoded()))
                except RequestRefused:
                    raise  # nobody waits for it
                except ArchiveError as error:
                    logger.info("an icon stands for a frame: %s", error)
                except Exception:  # whatever a sender wrote into the attributes, there is a thumbnail
                    logger.exception("an icon stands for a frame that could not be rendered")
            label = text(await self.attributes(instance), "Modality")
            return await self.pool.run(lambda: encode(icon(label, viewport), media_type, QUALITY))

        key = (*_of(instance), number, "thumbnail", media_type, viewport, whole)
        return await self._remembered(request, key, make)

    async def _assembled(
        self, request: Request, instance: InstanceFile, matrix: PixelMatrix, work: Callable[[Frame], bytes]
    ) -> bytes:
        """Return what is made of a whole slide as one frame."""
        if matrix.trouble is not None:
            raise RequestRefused(406, matrix.trouble)
        numbers = [tile.frame_number for tile in matrix.tiles]
        return await self._one_by_one(request, instance, numbers, lambda decoded: work(assembled(matrix, decoded())))

    async def _one_by_one(
        self,
        request: Request,
        instance: InstanceFile,
        numbers: Sequence[int],
        work: Callable[[Callable[[], Iterator[Frame]]], _Result],
        *,
        overlays: bool = False,
    ) -> _Result:
        """Return what is made, in a thread, of frames that are read and decoded one at a time."""
        attributes = await self.attributes(instance)
        frames = await self.frames(instance, numbers)
        bulk = await self._bulk_of(instance, attributes, numbers[0], overlays=overlays)
        loop = asyncio.get_running_loop()
        gone = asyncio.ensure_future(until_disconnected(request))

        def decoded() -> Iterator[Frame]:
            syntax, pixel = instance.transfer_syntax_uid, frames.pixel_data
            for number in numbers:
                if gone.done():
                    raise RequestRefused(CLIENT_CLOSED_REQUEST, "The client went away.")
                data = asyncio.run_coroutine_threadsafe(frames.read(number), loop).result(_READING_SECONDS)
                yield EncodedFrame(data, pixel, syntax, attributes, number, bulk).decoded()

        try:
            return await self.pool.run(lambda: work(decoded))
        finally:
            gone.cancel()

    async def _encoded(self, instance: InstanceFile, number: int, *, overlays: bool) -> EncodedFrame:
        attributes = await self.attributes(instance)
        frames = await self.frames(instance, [number])
        bulk = await self._bulk_of(instance, attributes, number, overlays=overlays)
        data = await frames.read(number)
        return EncodedFrame(data, frames.pixel_data, instance.transfer_syntax_uid, attributes, number, bulk)

    async def _bulk_of(
        self, instance: InstanceFile, attributes: Attributes, number: int, *, overlays: bool
    ) -> dict[str, bytes]:
        return await self.bulk(instance, needed_bulk_data(attributes, number, overlays=overlays))

    async def _remembered(self, request: Request, key: Key, make: Callable[[], Any], *, patient: bool = False) -> bytes:
        held = self._pictures.get(key)
        if held is None:
            async with self.pool.place(request, patient=patient):
                held = self._pictures.get(key)  # the same may have been waited for
                if held is None:
                    made: bytes = await make()
                    self._pictures.put(key, made, len(made))
                    return made
        return held


def uids_of(instance: InstanceFile) -> tuple[str, str, str]:
    """Return the study, series and SOP Instance UID."""
    return instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid


def _of(instance: InstanceFile) -> tuple[str, int]:
    return instance.blob, instance.version


def _size(instance: InstanceFile) -> int:
    pixel = instance.layout.pixel_data
    return pixel.frames * pixel.rows * pixel.columns if pixel else 0


def _has_overlays(look: Look) -> bool:
    return bool(look.parameters.annotation) or look.state is not None


def _encoded_picture(frame: Frame, look: Look) -> bytes:
    return encode(look.pictured(frame), look.media_type, look.parameters.quality)


def _animated(
    decoded: Callable[[], Iterator[Frame]], attributes: Attributes, numbers: Sequence[int], look: Look
) -> bytes:
    limits = None
    if look.parameters.window is None and look.state is None:
        limits = shared_range(decoded())
    return animated_gif((look.pictured(frame, limits) for frame in decoded()), frame_durations(attributes, numbers))


def _check_animation(pixel: PixelLayout, frames: int, viewport: Viewport | None) -> None:
    size = pixel.rows * pixel.columns
    if viewport is not None:
        size = (
            min(size, viewport.width * viewport.height)
            if viewport.region_width is None
            else (viewport.width * viewport.height)
        )
    if size * frames > MOST_ANIMATED_PIXELS:
        raise RequestRefused(
            406,
            f"An animation of {frames} frames of this size is too large; ask for fewer frames, a smaller viewport, "
            f"or for multipart/related instead of {GIF}.",
        )
