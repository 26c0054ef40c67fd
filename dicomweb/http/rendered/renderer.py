"""From stored instances to encoded pictures: what is read, what is done in threads, and what is remembered.

Facts this module keeps:

- A picture is remembered by what it is made of: blob and version of the instance, and of the presentation state if
  there is one, frame, parameters and media type.
- Parsed attributes are remembered too: those of an enhanced object are the same for all of its frames.
- Long texts and numbers are in them (`Archive.whole_metadata`), long binary values are got by path (`Renderer.bulk`);
  both are bounded, and what is done without is said on the picture or the page.
- A frame that would take more than `MOST_FRAME_BYTES` when decoded is refused before it is decoded.
- Of a waveform only the samples that are drawn are read.
- An animation or a slide is made one frame at a time, and given up after `_MOST_SECONDS`, so that it keeps no thread
  from others for longer; an animation not at all when it would have too many frames or pixels (`check_animation`).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson
from starlette.requests import Request

from dicomweb.http.message.waiting import ClientGone, until_disconnected
from dicomweb.http.problems import RequestRefused
from dicomweb.http.rendered.byte_cache import ByteCache
from dicomweb.http.rendered.look import Key, Look, Made, StoredState, animated, check_animation, encoded_picture
from dicomweb.http.rendered.pool import RenderPool
from dicomweb.http.rendered.video_frame import first_key_frame
from dicomweb.http.wado.request import VIDEO
from dicomweb.http.wado.video import VideoStream
from dicomweb.rendering.attribute_values import Attributes, absent_values, binary, bulk_data_path, name_of, text
from dicomweb.rendering.encoders import Picture, encode
from dicomweb.rendering.pipeline import Frame, needed_bulk_data, video_seconds
from dicomweb.rendering.pixel_matrix import (
    MOST_PIXELS_OF_ALL,
    TOO_LARGE,
    WHOLE_SLIDE,
    PixelMatrix,
    assembled,
    level_rank,
    pixel_matrix,
)
from dicomweb.rendering.presentation_state import PresentationState
from dicomweb.rendering.sheet_picture import sheet_picture
from dicomweb.rendering.sheet_svg import SVG, sheet_svg
from dicomweb.rendering.thumbnail import QUALITY, film, icon, limited, thumbnail
from dicomweb.rendering.viewport import Viewport
from dicomweb.rendering.waveform import is_waveform, multiplex_groups
from dicomweb.rendering.waveform_plan import GroupPlan, glimpse_of, plans_of
from dicomweb.rendering.waveform_samples import values_of
from dicomweb.rendering.waveform_sheet import GLIMPSE, glimpse_sheet, waveform_sheet
from storage.archive import Archive
from storage.database.pool import connection_lost
from storage.errors import ArchiveError, Damaged, InvalidDicom, LimitExceeded, NotFound, Unavailable
from storage.pixels.deadly_blobs import DEADLY
from storage.pixels.layout import PixelLayout
from storage.pixels.pixel_data import UndecodablePixelData, decode_frame
from storage.retrieval.frame_set import FrameSet
from storage.retrieval.instance_file import InstanceFile
from storage.retrieval.whole_metadata import has_long_values

logger = logging.getLogger(__name__)

MOST_FRAME_BYTES: Final = 1 << 28
"""The most bytes one decoded frame may have."""

_ATTRIBUTES_BYTES: Final = 8 << 20  # of JSON; parsed, it takes some ten times that
_MOST_LONG_BYTES: Final = 1 << 23  # of texts and numbers together; made to lists, they take some twenty times that
_MOST_BULK_BYTES: Final = 1 << 26
_PARSED_AT_ONCE: Final = 1 << 18
_READING_SECONDS: Final = 60
_MOST_SECONDS: Final = 120
_TOO_LATE = (
    f"A picture of these frames takes more than the {_MOST_SECONDS} seconds it may; ask for fewer frames by their "
    "numbers, or for multipart/related, which has a part a frame."
)

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """A frame as stored, and what is needed to render it."""

    data: bytes
    pixel: PixelLayout
    transfer_syntax_uid: str
    attributes: Attributes
    number: int
    bulk: dict[str, bytes]
    absent: tuple[str, ...]

    def decoded(self) -> Frame:
        """Decode it; raises UndecodablePixelData, also for one that is too large."""
        try:
            found = decode_frame(self.data, self.pixel, self.transfer_syntax_uid, max_bytes=MOST_FRAME_BYTES)
        except LimitExceeded as error:
            raise UndecodablePixelData("The frame is too large to be made a picture of.") from error
        return Frame(
            found.pixels,
            found.photometric_interpretation,
            self.attributes,
            self.number,
            self.bulk,
            found.warning,
            self.absent,
        )


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
        self._pictures: ByteCache[Made] = ByteCache(cache_bytes)
        self._attributes: ByteCache[Attributes] = ByteCache(_ATTRIBUTES_BYTES)

    async def attributes(self, instance: InstanceFile) -> Attributes:
        """Return the attributes of an instance, with its long texts and numbers in place.

        A BulkDataURI that is left is the path of a binary value, or of one that is too long or cannot be read.
        """
        key = instance.blob, instance.version
        if (held := self._attributes.get(key)) is not None:
            return held
        async for metadata in await self._archive.metadata(*uids_of(instance)):
            json = metadata.json
            if has_long_values(json):
                json = await self._whole(instance, json)
            large = len(json) > _PARSED_AT_ONCE
            parsed: dict[str, Any] = await asyncio.to_thread(orjson.loads, json) if large else orjson.loads(json)
            self._attributes.put(key, parsed, len(json))
            return parsed
        raise NotFound("There is no such instance in the archive.")

    async def _whole(self, instance: InstanceFile, metadata: bytes) -> bytes:
        try:
            return await self._archive.whole_metadata(instance, _MOST_LONG_BYTES)
        except Damaged:
            raise
        except ArchiveError as error:
            logger.warning("long values of an instance cannot be read: %s", error)
            return metadata

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
        bulk, absent = await self._bulk_of(instance, attributes, 1, overlays=True)
        return StoredState(instance, PresentationState(attributes, bulk, (*absent_values(attributes), *absent)))

    async def frames(self, instance: InstanceFile, numbers: Sequence[int]) -> FrameSet:
        """Find frames of an instance; raises NotFound."""
        return await self._archive.frames(*uids_of(instance), numbers)

    async def picture(
        self, request: Request, instance: InstanceFile, number: int, look: Look, *, patient: bool = False
    ) -> Made:
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

        async def make() -> Made:
            with DEADLY.heeded(instance.blob):
                frame = await self._encoded(instance, number, overlays=look.has_overlays)
                return await self.pool.run(lambda: encoded_picture(frame.decoded(), look))

        return await self._remembered(request, (*_of(instance), number, *look.key), make, patient=patient)

    async def animation(self, request: Request, instance: InstanceFile, numbers: Sequence[int], look: Look) -> Made:
        """Return frames as an animated GIF.

        Raises
        ------
        RequestRefused
            406: it would be too large.
        """
        pixel = instance.layout.pixel_data
        assert pixel is not None
        check_animation(pixel, len(numbers), look.parameters.viewport)

        async def make() -> Made:
            attributes = await self.attributes(instance)
            return await self._one_by_one(
                request,
                instance,
                numbers,
                lambda decoded: animated(decoded, attributes, numbers, look),
                overlays=look.has_overlays,
            )

        return await self._remembered(request, (*_of(instance), tuple(numbers), "animated", *look.key), make)

    async def matrix(self, instance: InstanceFile) -> PixelMatrix | None:
        """Return the matrix that the frames of a whole slide are tiles of, None for what is no such thing."""
        pixel = instance.layout.pixel_data
        if instance.sop_class_uid != WHOLE_SLIDE or pixel is None or pixel.frames < 2:
            return None
        if _size(instance) > MOST_PIXELS_OF_ALL:
            return TOO_LARGE  # without a look at what it says of its many frames
        attributes = await self.attributes(instance)
        return await asyncio.to_thread(pixel_matrix, attributes)

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

    async def whole(self, request: Request, instance: InstanceFile, matrix: PixelMatrix, look: Look) -> Made:
        """Return the encoded picture of a whole slide.

        Raises
        ------
        RequestRefused
            406: it would be too large, or the places of its tiles are not known.
        """

        async def make() -> Made:
            return await self._assembled(request, instance, matrix, lambda frame: encoded_picture(frame, look))

        return await self._remembered(request, (*_of(instance), "whole", *look.key), make)

    async def waveform(self, request: Request, instance: InstanceFile, look: Look) -> Made:
        """Return the drawing of an instance with waveforms.

        Parameters
        ----------
        request : Request
            Whose client waits for it.
        instance : InstanceFile
            What it is of.
        look : Look
            Its media type may be SVG too; of its parameters viewport, quality and annotation count.

        Raises
        ------
        RequestRefused
            406: nothing in it can be drawn; the message says why.

        Standard
        --------
        PS3.3 C.10.9.
        """

        async def make() -> Made:
            attributes = await self.attributes(instance)
            groups = await self.pool.run(lambda: multiplex_groups(attributes))
            plans = plans_of(groups)
            if not plans:
                reasons = "; ".join(dict.fromkeys(group.trouble for group in groups))
                raise RequestRefused(406, f"None of the waveforms in this instance can be drawn: {reasons}.")
            samples = [await self._samples(instance, plan) for plan in plans]

            def drawn() -> Made:
                values = [values_of(plan.group, data) for plan, data in zip(plans, samples, strict=True)]
                sheet = waveform_sheet(attributes, plans, values, look.parameters.annotation)
                if look.media_type == SVG:
                    return Made(sheet_svg(sheet))
                picture = sheet_picture(sheet, look.parameters.viewport)
                return Made(encode(picture, look.media_type, look.parameters.quality))

            return await self.pool.run(drawn)

        return await self._remembered(request, (*_of(instance), "waveform", *look.key), make)

    async def _samples(self, instance: InstanceFile, plan: GroupPlan) -> bytes:
        """Read the samples of a multiplex group that are drawn."""
        path = bulk_data_path(plan.group.data)
        if path is None:
            return binary(plan.group.data, {})[: plan.length]
        value = await self._archive.bulk_data(*uids_of(instance), path)
        return b"".join([chunk async for chunk in value.stream(0, min(plan.length, value.length))])

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

        async def make() -> Made:
            try:
                picture = await self._small(request, instance, number, viewport, whole=whole)
            except (RequestRefused, Unavailable, Damaged):
                raise  # nobody waits for it, or it can be had in a moment, or once mended: an icon would be remembered
            except ArchiveError as error:
                logger.info("an icon stands for an instance: %s", error)
                picture = None
            except Exception as error:  # whatever a sender wrote into the attributes, there is a thumbnail
                if connection_lost(error):
                    raise
                logger.exception("an icon stands for an instance that could not be rendered")
                picture = None
            if picture is None:
                picture = icon(text(await self.attributes(instance), "Modality"), viewport)
            return await self.pool.run(lambda: Made(encode(picture, media_type, QUALITY)))

        key = (*_of(instance), number, "thumbnail", media_type, viewport, whole)
        return (await self._remembered(request, key, make)).body

    async def _small(
        self, request: Request, instance: InstanceFile, number: int, viewport: Viewport | None, *, whole: bool
    ) -> Picture | None:
        """Return a small picture of a frame, a slide, a video, or the beginning of a waveform; None for all else."""
        if number:
            matrix = await self.matrix(instance) if whole else None
            if matrix is not None and matrix.trouble is None:
                return await self._assembled(request, instance, matrix, lambda frame: thumbnail(frame, viewport))
            with DEADLY.heeded(instance.blob):
                frame = await self._encoded(instance, number, overlays=False)
                return await self.pool.run(lambda: thumbnail(frame.decoded(), viewport))
        attributes = await self.attributes(instance)
        if instance.transfer_syntax_uid in VIDEO and instance.layout.pixel_data is not None:
            return await self._film(instance, instance.layout.pixel_data, attributes, viewport)
        if not is_waveform(attributes):
            return None
        plan = await self.pool.run(lambda: glimpse_of(multiplex_groups(attributes), GLIMPSE))
        if plan is None:
            return None
        samples = await self._samples(instance, plan)

        def drawn() -> Picture:
            return sheet_picture(glimpse_sheet(attributes, plan, values_of(plan.group, samples)), limited(viewport))

        return await self.pool.run(drawn)

    async def _film(
        self, instance: InstanceFile, pixel: PixelLayout, attributes: Attributes, viewport: Viewport | None
    ) -> Picture:
        """Return the sign of a video, with its first key frame where something decodes it."""
        value = await self._archive.bulk_data(*uids_of(instance), f"{pixel.tag:08X}")
        try:
            frame = await first_key_frame(await VideoStream.open(self._archive, value))
        except InvalidDicom:  # there is no stream
            frame = None
        seconds = video_seconds(attributes)
        return await self.pool.run(lambda: film((pixel.rows, pixel.columns), seconds, frame, viewport))

    async def _assembled(
        self, request: Request, instance: InstanceFile, matrix: PixelMatrix, work: Callable[[Frame], _Result]
    ) -> _Result:
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
        bulk, absent = await self._bulk_of(instance, attributes, numbers[0], overlays=overlays)
        loop = asyncio.get_running_loop()
        gone = asyncio.ensure_future(until_disconnected(request))

        def decoded() -> Iterator[Frame]:
            syntax, pixel = instance.transfer_syntax_uid, frames.pixel_data
            for number in numbers:
                if gone.done():
                    raise ClientGone
                if time.monotonic() > latest:
                    raise RequestRefused(406, _TOO_LATE)
                data = asyncio.run_coroutine_threadsafe(frames.read(number), loop).result(_READING_SECONDS)
                yield EncodedFrame(data, pixel, syntax, attributes, number, bulk, absent).decoded()

        latest = time.monotonic() + _MOST_SECONDS
        try:
            with DEADLY.heeded(instance.blob):
                return await self.pool.run(lambda: work(decoded))
        finally:
            gone.cancel()

    async def _encoded(self, instance: InstanceFile, number: int, *, overlays: bool) -> EncodedFrame:
        attributes = await self.attributes(instance)
        frames = await self.frames(instance, [number])
        bulk, absent = await self._bulk_of(instance, attributes, number, overlays=overlays)
        data = await frames.read(number)
        return EncodedFrame(data, frames.pixel_data, instance.transfer_syntax_uid, attributes, number, bulk, absent)

    async def _bulk_of(
        self, instance: InstanceFile, attributes: Attributes, number: int, *, overlays: bool
    ) -> tuple[dict[str, bytes], tuple[str, ...]]:
        """Return the large values a frame needs by path, and the names of those that could not be had."""
        needed = needed_bulk_data(attributes, number, overlays=overlays)
        found = await self.bulk(instance, needed)
        return found, tuple(name_of(path) for path in needed if path not in found)

    async def _remembered(self, request: Request, key: Key, make: Callable[[], Any], *, patient: bool = False) -> Made:
        held = self._pictures.get(key)
        if held is None:
            async with self.pool.place(request, patient=patient):
                held = self._pictures.get(key)  # the same may have been waited for
                if held is None:
                    made: Made = await make()
                    self._pictures.put(key, made, len(made.body))
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
