"""A stored file rewritten in little endian: as a whole for files that may not be given out as they are, or its bare
data set, in Explicit or Implicit VR, for a peer that accepts nothing else.

Facts kept here:
- PS3.18 8.6.2.1, 8.7.3: Implicit VR and Big Endian are never given out; deflated files are inflated (A-045, A-046).
- Encapsulated pixel data keeps its transfer syntax, whose header is Explicit VR Little Endian anyway (PS3.5 A.4).
- A value above 65534 bytes of a VR with a 16-bit length becomes UN (A-051); its bytes are the same in Little Endian.
- Implicit VR says no VR and has 32-bit lengths only; encapsulated pixel data cannot be in it (PS3.5 A.1, A.4). A value
  of VR UN is in Implicit VR Little Endian already (PS3.5 6.2.2).
- Sequences and items are written with undefined length, so no length depends on what is inside.
- Group lengths (gggg,0000) are dropped: they were retired, and are no longer true (PS3.5 7.2).
- Values of odd length are padded (PS3.5 7.1).
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from storage.dicom.elements import Dataset, Element, Encoding, Header
from storage.dicom.fragments import UNDEFINED, fragments
from storage.dicom.part10 import EXPLICIT_LE, file_meta_bytes
from storage.dicom.source import CHUNK_BYTES, Source, chunks
from storage.dicom.vr import big_endian_bytes, explicit_head, first_word, implicit_head, padding, swapped_words, tag_of
from storage.pixels.layout import PIXEL_DATA_TAGS

_SOP_CLASS_UID, _SOP_INSTANCE_UID = tag_of("SOPClassUID"), tag_of("SOPInstanceUID")
_MEDIA_SOP_CLASS_UID, _MEDIA_SOP_INSTANCE_UID = tag_of("MediaStorageSOPClassUID"), tag_of("MediaStorageSOPInstanceUID")
_BITS_ALLOCATED = tag_of("BitsAllocated")

_FIRST_TAG = 0x00040000
"""Groups below belong to messages and file meta information; in a data set they would be mistaken for these."""

_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED)
_ITEM_DELIMITER = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
_SEQUENCE_DELIMITER = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


_Head = Callable[[int, str, int], bytes]
"""Makes tag, VR and length of an element."""


class _Run(NamedTuple):
    """Bytes to be taken from the source, in words to be reversed."""

    offset: int
    length: int
    word_bytes: int


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A file or data set in another encoding, of which only the small values are in memory.

    Attributes
    ----------
    length : int
        Bytes in all, exactly.
    """

    length: int
    _source: Source
    _pieces: list[bytes | _Run]

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes, at most 1 MiB at a time; large values are read from the source meanwhile.

        Raises
        ------
        OSError
            The source became shorter.
        """
        buffer = bytearray()
        for piece in self._pieces:
            if isinstance(piece, bytes):
                buffer += piece
            else:
                if buffer:
                    yield bytes(buffer)
                    buffer.clear()
                yield from _run(self._source, piece)
            if len(buffer) >= CHUNK_BYTES // 2:
                yield bytes(buffer)
                buffer.clear()
        if buffer:
            yield bytes(buffer)


def rewritten_file(source: Source, header: Header) -> Rewritten:
    """Rewrite a whole file in Explicit VR Little Endian, with file meta information of our own.

    Parameters
    ----------
    source : Source
        The (inflated) file.
    header : Header
        As `read_header` gave it.

    Standard
    --------
    PS3.10 7.1; PS3.5 7.1.2, A.2.
    """
    return _rewritten(source, [_file_meta(header), *_data_set(source, header, explicit_head)])


def rewritten_data_set(source: Source, header: Header, *, explicit_vr: bool) -> Rewritten:
    """Rewrite the data set alone in little endian, as messages carry it (PS3.7 6.3).

    Parameters
    ----------
    source, header : Source, Header
        As for `rewritten_file`.
    explicit_vr : bool
        Whether in Explicit VR; Implicit VR cannot hold encapsulated pixel data.

    Standard
    --------
    PS3.5 7.1, A.1, A.2.
    """
    return _rewritten(source, _data_set(source, header, explicit_head if explicit_vr else implicit_head))


def explicit_little_endian(source: Source, header: Header) -> Iterator[bytes]:
    """Yield the chunks of `rewritten_file`."""
    return rewritten_file(source, header).chunks()


def explicit_little_endian_length(source: Source, header: Header) -> int:
    """Return how many bytes `explicit_little_endian` yields in all, without reading the large values."""
    return rewritten_file(source, header).length


def _rewritten(source: Source, pieces: list[bytes | _Run]) -> Rewritten:
    length = sum(len(piece) if isinstance(piece, bytes) else piece.length for piece in pieces)
    return Rewritten(length, source, pieces)


def _run(source: Source, run: _Run) -> Iterator[bytes]:
    sent = 0
    for chunk in chunks(source, run.offset, run.length):
        sent += len(chunk)
        yield swapped_words(run.word_bytes, chunk)
    if sent != run.length:  # the length was promised; a file that shrank must not shift what follows
        raise OSError("The stored file is shorter than it was.")


def _file_meta(header: Header) -> bytes:
    dataset, meta = header.dataset, header.file_meta
    pixels_encapsulated = any(dataset[tag].encapsulated for tag in PIXEL_DATA_TAGS if tag in dataset)
    return file_meta_bytes(
        sop_class_uid=_uid(dataset.get(_SOP_CLASS_UID)) or _uid(meta.get(_MEDIA_SOP_CLASS_UID)),
        sop_instance_uid=_uid(dataset.get(_SOP_INSTANCE_UID)) or _uid(meta.get(_MEDIA_SOP_INSTANCE_UID)),
        transfer_syntax_uid=header.transfer_syntax_uid if pixels_encapsulated else EXPLICIT_LE,
        extra=meta,
    )


def _data_set(source: Source, header: Header, head: _Head) -> list[bytes | _Run]:
    pieces: list[bytes | _Run] = []
    _write(header.dataset, pieces, source, head, header.encoding)
    return pieces


def _uid(element: Element | None) -> str:
    value = element.value if element else None
    return value.decode("latin-1").split("\\")[0].strip(" \0") if isinstance(value, bytes) else ""


def _write(dataset: Dataset, pieces: list[bytes | _Run], source: Source, head: _Head, encoding: Encoding) -> None:
    """Append the elements of a data set, depth first; depth was limited when it was read."""
    for tag, element in dataset.items():
        if tag < _FIRST_TAG or not tag & 0xFFFF:
            continue
        value = element.value
        if isinstance(value, list):
            pieces.append(head(tag, "SQ", UNDEFINED))
            for item in value:
                pieces.append(_ITEM)
                _write(item, pieces, source, head, encoding)
                pieces.append(_ITEM_DELIMITER)
            pieces.append(_SEQUENCE_DELIMITER)
            continue
        if element.encapsulated:
            pieces.append(head(tag, element.vr, UNDEFINED))
            pieces.extend(_fragments(source, element))
            pieces.append(_SEQUENCE_DELIMITER)
            continue
        word_bytes = _word_bytes(dataset, element, encoding) if encoding.has_big_endian else 1
        odd = element.length & 1
        pieces.append(head(tag, element.vr, element.length + odd))
        if value is None:
            pieces.append(_Run(element.offset, element.length, word_bytes))
        else:
            pieces.append(swapped_words(word_bytes, value))
        if odd:
            pieces.append(padding(element.vr))


def _fragments(source: Source, element: Element) -> list[bytes | _Run]:
    """Return the items of encapsulated pixel data, the last one made whole when the file was truncated in it."""
    offset, end = element.offset, element.offset + element.length
    last = None
    for last in fragments(source, offset, end):  # noqa: B007 - the last one is wanted
        pass
    if last is None:
        return [_Run(offset, element.length, 1)]
    start, length = last
    stated = int.from_bytes(source.read(start - 4, 4), "little")
    if stated == length:  # bytes after the last item that are no item are dropped
        return [_Run(offset, start + length - offset, 1)]
    head = struct.pack("<HHL", 0xFFFE, 0xE000, length + (length & 1))
    return [_Run(offset, start - 8 - offset, 1), head, _Run(start, length, 1), bytes(length & 1)]


def _word_bytes(dataset: Dataset, element: Element, encoding: Encoding) -> int:
    """Return the size of the words of a big endian value; samples of 32 and 64 bits are words whatever the VR says."""
    if element.tag in PIXEL_DATA_TAGS and element.vr == "OW" and not encoding.little_endian:
        bits = first_word(dataset, _BITS_ALLOCATED, "big")
        if bits in (32, 64):
            return bits // 8
    return big_endian_bytes(encoding, element.vr)
