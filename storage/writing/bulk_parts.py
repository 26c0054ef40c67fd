"""Parts of a message that metadata refers to: files on disk, and pieces of a byte stream made of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from storage.errors import InvalidDicom

CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class BulkPart:
    """One bulk data part of a request (PS3.18 8.6.1.2).

    Attributes
    ----------
    media_type : str
        Of its Content-Type, with or without parameters.
    transfer_syntax : str or None
        The `transfer-syntax` parameter.
    path : Path
        The file that holds the body.
    length : int
        Bytes of the body.
    charset : str or None
        The `charset` parameter.
    """

    media_type: str
    transfer_syntax: str | None
    path: Path
    length: int
    charset: str | None = None

    @property
    def essence(self) -> str:
        """The media type in lower case without its parameters."""
        return self.media_type.partition(";")[0].strip().lower()


class Span(NamedTuple):
    """Bytes of a file that is read when the stream gets there."""

    source: Path | BinaryIO
    offset: int
    length: int


Piece = bytes | Span
"""A stretch of the stream to be."""


def length_of(pieces: Iterable[Piece]) -> int:
    """Return how many bytes the pieces have together."""
    return sum(piece.length if isinstance(piece, Span) else len(piece) for piece in pieces)


def start_of(pieces: Iterable[Piece], length: int) -> bytes:
    """Return the first bytes of the pieces together, at most `length`; raises as `stream` does."""
    cut: list[Piece] = []
    for piece in pieces:
        cut.append(piece._replace(length=min(piece.length, length)) if isinstance(piece, Span) else piece[:length])
        length -= length_of(cut[-1:])
    return b"".join(stream(cut))


def stream(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """Yield the bytes of all pieces in chunks of at most 1 MiB.

    Raises
    ------
    InvalidDicom
        When a file has become shorter than its part was.
    """
    pending = bytearray()
    for piece in pieces:
        for chunk in _read(piece) if isinstance(piece, Span) else (piece,):
            pending += chunk
            while len(pending) >= CHUNK_BYTES:
                yield bytes(pending[:CHUNK_BYTES])
                del pending[:CHUNK_BYTES]
    if pending:
        yield bytes(pending)


def _read(span: Span) -> Iterator[bytes]:
    if isinstance(span.source, Path):
        with span.source.open("rb") as file:
            yield from _read_file(file, span.offset, span.length)
    else:
        yield from _read_file(span.source, span.offset, span.length)


def _read_file(file: BinaryIO, offset: int, length: int) -> Iterator[bytes]:
    file.seek(offset)
    while length:
        chunk = file.read(min(length, CHUNK_BYTES))
        if not chunk:
            raise InvalidDicom("a bulk data part ends before the length it was received with")
        length -= len(chunk)
        yield chunk
