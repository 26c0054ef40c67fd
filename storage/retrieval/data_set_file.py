"""The data set of a stored instance on its way into a C-STORE message: without preamble and file meta information.

Facts kept here:

- What the receiver accepts as it is stored goes out byte for byte, in whatever encoding it is (PS3.4 B.4.1).
- PS3.5 10.1: otherwise it is written in Explicit or Implicit VR Little Endian, decompressed if it must be.
- A file whose data set is not encoded as its transfer syntax says is written anew; so is one of odd length, which
  cannot be sent (PS3.8 9.3.5.1). A deflated one is padded instead (PS3.5 A.5).
- Nothing but a broken disk fails once the first byte was given: the file is checked, the first pieces are in memory,
  and what must be decoded frame by frame is decoded to a temporary file before. A message cannot be taken back.
- What is not what was stored ends the message in its middle, at worst, and the association with it; so a file that is
  known to be damaged is read once before, and costs itself alone when the receiver asks again.
- Memory is constant: up to `_WHOLE` bytes of a data set at once.
"""

import tempfile
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from errno import EDQUOT, ENOSPC
from typing import IO, Final

from storage.blobs.local import LocalBlobs
from storage.dicom.elements import Limits
from storage.dicom.part10 import encoding_of, read_header
from storage.dicom.transfer_syntax import EXPLICIT_LE, IMPLICIT_LE, encodable
from storage.errors import NotFound, OutOfSpace
from storage.pixels.deadly_blobs import DEADLY
from storage.pixels.pixel_data import UndecodablePixelData, UnencodablePixelData
from storage.pixels.threads import PixelThreads
from storage.retrieval.instance_file import InstanceFile, file_reader_of, in_thread, source_of
from storage.retrieval.transcoded_file import Check, while_wanted
from storage.writing.reencode import Rewritten
from storage.writing.transcode import transcode

_WHOLE: Final = 4 * 2**20
"""Of data sets so many bytes are read, or made, before any is sent."""
_PIECE: Final = 2**20

_Prepared = tuple[int, Iterator[bytes], Callable[[], None] | None]


class DataSetFile:
    """The data set of an instance in one transfer syntax; stream it once, or close it.

    Attributes
    ----------
    transfer_syntax_uid : str
        Of the bytes.
    length : int
        How many there are.
    """

    def __init__(
        self,
        transfer_syntax_uid: str,
        length: int,
        chunks: AsyncGenerator[bytes, None],
        release: Callable[[], None] | None = None,
    ) -> None:
        self.transfer_syntax_uid = transfer_syntax_uid
        self.length = length
        self._chunks = chunks
        self._release = release
        self._first: list[bytes] = []

    @classmethod
    async def open(
        cls,
        blobs: LocalBlobs,
        instance: InstanceFile,
        threads: PixelThreads,
        transfer_syntax_uids: Collection[str],
    ) -> "DataSetFile":
        """Open the data set in the first way that works; see `Archive.data_set`."""
        refusal: UndecodablePixelData | UnencodablePixelData | None = None
        for uid in _possible(instance, transfer_syntax_uids):
            try:
                return await _opened(blobs, instance, threads, uid)
            except (UndecodablePixelData, UnencodablePixelData) as error:
                refusal = refusal or error
        raise refusal or UnencodablePixelData("The receiver accepts no transfer syntax it could be sent in.")

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes in chunks of at most 4 MiB, once.

        Raises
        ------
        NotFound
            The stored file became shorter meanwhile.
        """
        sent = 0
        try:
            while self._first:
                sent += len(self._first[0])
                yield self._first.pop(0)
            async for chunk in self._chunks:
                sent += len(chunk)
                yield chunk
            if sent != self.length:
                raise NotFound(_GONE)
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of the file; `stream` does it at its end."""
        await self._chunks.aclose()
        if self._release is not None:
            self._release()

    async def fetch_first(self) -> "DataSetFile":
        """Have the first pieces in memory, all of a small data set: sending waits for no disk, damage shows."""
        held = 0
        try:
            async for chunk in self._chunks:
                self._first.append(chunk)
                held += len(chunk)
                if held >= _WHOLE:
                    break
        except BaseException:
            await self.close()
            raise
        return self


_GONE: Final = "The stored file is missing or not as long as it was; `dicomweb check` tells more."


def is_sent_as_stored(instance: InstanceFile) -> bool:
    """Whether the data set may be sent byte for byte to whoever accepts its transfer syntax."""
    layout, encoding = instance.layout, instance.layout.encoding
    is_even = (instance.size - layout.dataset_offset) % 2 == 0
    as_stated = layout.regular and encoding == encoding_of(instance.transfer_syntax_uid)
    return as_stated and (is_even or encoding.deflated)


def _possible(instance: InstanceFile, accepted: Collection[str]) -> list[str]:
    """Return the transfer syntaxes to try, the cheapest and truest first; none that loses anything anew."""
    first = [uid for uid in (instance.transfer_syntax_uid, EXPLICIT_LE, IMPLICIT_LE) if uid in accepted]
    return list(dict.fromkeys([*first, *(uid for uid in accepted if encodable(uid, lossy=False))]))


async def _opened(blobs: LocalBlobs, instance: InstanceFile, threads: PixelThreads, uid: str) -> DataSetFile:
    if blobs.lost({instance.blob: instance.size}):  # asks the file system only, as opening the file does
        blobs.damage.found(instance.blob, instance.sop_instance_uid, "it is gone, or has another length")
        raise NotFound(_GONE)
    if blobs.damage.knows(instance.blob):
        async for _ in file_reader_of(blobs, instance).stream(0, instance.size):
            pass
    if uid == instance.transfer_syntax_uid and is_sent_as_stored(instance):
        length = instance.size - instance.layout.dataset_offset
        return await DataSetFile(uid, length + length % 2, _stored(blobs, instance)).fetch_first()

    def prepare(check: Check) -> _Prepared:
        return _rewritten(blobs, instance, threads, uid, check)

    with DEADLY.heeded(instance.blob):
        length, chunks, release = await while_wanted(threads, prepare, patient=True)
    return await DataSetFile(uid, length, in_thread(blobs, chunks), release).fetch_first()


async def _stored(blobs: LocalBlobs, instance: InstanceFile) -> AsyncGenerator[bytes, None]:
    offset = instance.layout.dataset_offset
    length = instance.size - offset
    async for chunk in file_reader_of(blobs, instance).stream(offset, length):
        yield chunk
    if length % 2:
        yield b"\0"


def _rewritten(blobs: LocalBlobs, instance: InstanceFile, threads: PixelThreads, uid: str, check: Check) -> _Prepared:
    header, source = read_header(source_of(blobs, instance), Limits())
    wanted = EXPLICIT_LE if uid == IMPLICIT_LE else uid
    folder = blobs.root / ".staging"
    transcoded = transcode(source, header, wanted, executor=threads.frames, folder=folder, on_frame=check)
    try:
        result = transcoded.data_set(explicit_vr=uid != IMPLICIT_LE)
        if result.length <= _WHOLE:
            whole = b"".join(result.chunks())
            transcoded.close()
            return len(whole), iter((whole,)), None
        pixels = instance.layout.pixel_data
        if pixels is None or not pixels.encapsulated or pixels.frames < 2 or wanted != EXPLICIT_LE:
            return result.length, result.chunks(), transcoded.close
        file = _written(result, blobs, check)
        transcoded.close()
    except BaseException:
        transcoded.close()
        raise
    return result.length, iter(lambda: file.read(_PIECE), b""), file.close


def _written(result: Rewritten, blobs: LocalBlobs, check: Check) -> IO[bytes]:
    """Write it all to an unlinked temporary file, so that a damaged frame is noticed before anything is sent."""
    file = tempfile.TemporaryFile(prefix="dicomweb-decoded-", dir=blobs.root / ".staging")  # noqa: SIM115 - has close()
    try:
        for number, chunk in enumerate(result.chunks()):
            check(number)
            file.write(chunk)
        file.seek(0)
    except BaseException as error:
        file.close()
        if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
            raise OutOfSpace("There is no room to decompress an instance.") from error
        raise
    return file
