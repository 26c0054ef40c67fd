"""Reading and writing multipart/related bodies as streams.

Facts and clauses this module keeps:

* PS3.18 8.6.1.2.1, RFC 2046 5.1: delimiter = line break, `--`, boundary; the line break before a delimiter
  belongs to the delimiter, not to the body; `--boundary--` closes; what stands before the first and after
  the last is ignored.
* Read leniently: bare LF as line break, blanks after a delimiter, a line break before the first delimiter
  (OHIF), none after the last (OHIF), parts without headers, folded header lines, header names in any case.
* Never lenient about the end: a body without its closing delimiter was cut off, and says so by an exception.
* Written strictly: CRLF only, no preamble, `Content-Type` first and spelt exactly so (OHIF compares
  case-sensitively).
* Body bytes are handed on in the chunks they came in; only a chunk that holds the edge of a part is cut.
* Pure: no I/O of its own.
"""

import re
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

PART_END = b"\r\n"
"""Follows the body of every part; `part_head` and `closing` begin after it."""

MAX_PARTS = 100_000
MAX_HEADER_BYTES = 16 * 1024

_LONGEST_PREAMBLE = 64 * 1024
_LONGEST_PADDING = 128
_BLANK_LINE = re.compile(rb"\n\r?\n")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? <>@!#$%&*;\[\]^`{|}~\"\\]{1,200}\Z")


class MultipartError(Exception):
    """The body is not the multipart message its Content-Type promises; the message says what is wrong with it."""


class TooManyPartsError(MultipartError):
    """The body has more parts than are allowed in one request."""


@dataclass(slots=True, eq=False)
class Part:
    """One part: its headers, and its body as an asynchronous iterator that can be run through once.

    Attributes
    ----------
    headers : mapping of str to str
        Names in lower case; folded lines joined by one space.
    body : AsyncIterator of bytes
        What of the body was not read when the next part is asked for is skipped.
    """

    headers: Mapping[str, str]
    body: AsyncIterator[bytes]

    @property
    def content_type(self) -> str | None:
        """The value of Content-Type; None when there is none."""
        return self.headers.get("content-type") or None

    @property
    def content_location(self) -> str | None:
        """The value of Content-Location, else Content-ID in the form `cid:...`; None when there is neither."""
        if location := self.headers.get("content-location", "").strip("<> "):
            return location
        identifier = self.headers.get("content-id", "").strip("<> ")
        return f"cid:{identifier}" if identifier else None


async def parts(
    stream: AsyncIterable[bytes],
    boundary: str,
    *,
    max_parts: int = MAX_PARTS,
    max_header_bytes: int = MAX_HEADER_BYTES,
) -> AsyncIterator[Part]:
    """Read a multipart body part by part, in constant memory.

    Parameters
    ----------
    stream : asynchronous iterable of bytes
        The body, in chunks of any size.
    boundary : str
        From the Content-Type, unquoted.
    max_parts, max_header_bytes : int
        Most parts in the body; most bytes in the headers of one part.

    Yields
    ------
    Part
        To be read before the next one is asked for.

    Raises
    ------
    MultipartError
        The boundary is unusable or does not occur, a header line cannot be read, or the body ends too
        early. Parts that were complete have been given by then; the iterator of an incomplete one raises.
    TooManyPartsError
        There are more than `max_parts`.

    Standard
    --------
    PS3.18 8.6.1.2; RFC 2046 5.1.1.
    """
    if not _BOUNDARY.match(boundary):
        raise MultipartError("The boundary in Content-Type is missing or not a legal one.")
    reader = _Reader(stream, boundary.encode("ascii"))
    count = skipped = 0
    async for chunk in reader.body():
        skipped += len(chunk)
        if skipped > _LONGEST_PREAMBLE:
            raise MultipartError("The body does not begin with the boundary given in Content-Type.")
    while not reader.closed:
        count += 1
        if count > max_parts:
            raise TooManyPartsError(f"The body has more than {max_parts} parts.")
        part = Part(await reader.headers(max_header_bytes), reader.body())
        yield part
        async for _ in part.body:
            pass
    await reader.skip_epilogue()


def new_boundary() -> str:
    """Make a boundary that needs no quotes and does not occur in any body (PS3.18 8.6.1.2.1)."""
    return secrets.token_hex(20)


def part_head(
    boundary: str,
    content_type: str,
    content_location: str | None = None,
    content_length: int | None = None,
) -> bytes:
    """Write what stands before the body of a part; the body must be followed by `PART_END`.

    Parameters
    ----------
    boundary : str
        From `new_boundary`.
    content_type : str
        Of the part, with its `transfer-syntax` parameter when it has one.
    content_location : str, optional
        URL of what the part holds.
    content_length : int, optional
        Length of the body in bytes.

    Returns
    -------
    bytes
        Delimiter line, headers, empty line.

    Standard
    --------
    PS3.18 8.6.1.2, Table 8.6.1-1.
    """
    location = f"Content-Location: {content_location}\r\n" if content_location else ""
    length = f"Content-Length: {content_length}\r\n" if content_length is not None else ""
    return f"--{boundary}\r\nContent-Type: {content_type}\r\n{length}{location}\r\n".encode("latin-1")


def closing(boundary: str) -> bytes:
    """Write the end of a multipart body, after the last `PART_END` (PS3.18 8.6.1.2.1)."""
    return f"--{boundary}--\r\n".encode("ascii")


class _Next(Enum):
    """What the bytes after `--boundary` make of it."""

    PART = auto()
    END = auto()
    NO_DELIMITER = auto()
    UNDECIDED = auto()


class _Reader:
    """Position in the stream: `_buffer[_at:]` was not looked at yet.

    Between two steps `_at` stands on the line feed that may open a delimiter, so that a part whose body is
    empty ends where its headers do.
    """

    def __init__(self, stream: AsyncIterable[bytes], boundary: bytes) -> None:
        self._stream = aiter(stream)
        self._delimiter = b"\n--" + boundary
        self._buffer = b"\n"  # the first delimiter needs no line break before it
        self._at = 0
        self.closed = False

    async def headers(self, max_bytes: int) -> dict[str, str]:
        """Read the header lines of a part, up to its empty line."""
        while True:
            for line_break in (b"\n", b"\r\n"):
                if self._buffer.startswith(line_break, self._at):
                    self._at += len(line_break) - 1
                    return {}
            end = _BLANK_LINE.search(self._buffer, self._at)
            if (end.start() if end else len(self._buffer)) - self._at > max_bytes:
                raise MultipartError(f"The headers of a part are longer than {max_bytes} bytes.")
            if end:
                block = self._buffer[self._at : end.start()]
                self._at = end.end() - 1
                return _parse_headers(block)
            await self._read(self._at)

    async def skip_epilogue(self) -> None:
        """Read to the end of the request, so that the connection can be used again."""
        self._buffer = b""
        async for _ in self._stream:
            pass

    async def body(self) -> AsyncIterator[bytes]:
        """Give what comes before the next delimiter as it arrives; `closed` is set when that was the last one."""
        delimiter = self._delimiter
        search, start = self._at, self._at + 1
        while True:
            buffer = self._buffer
            found = buffer.find(delimiter, search)
            if found < 0:
                hold = _partial_delimiter(buffer, start, delimiter)
            else:
                verdict, after = _classify(buffer, found + len(delimiter))
                if verdict is _Next.NO_DELIMITER:
                    search = found + 1
                    continue
                hold = found - 1 if found > start and buffer[found - 1] == 13 else found
                if verdict is not _Next.UNDECIDED:
                    self._at = after
                    self.closed = verdict is _Next.END
                    if hold > start:
                        yield buffer[start:hold]
                    return
            # What is held back may turn out to be a delimiter when the next chunk is here.
            if hold > start:
                yield buffer[start:hold]
                start = hold
            await self._read(hold)
            search, start = 0, start - hold

    async def _read(self, keep_from: int) -> None:
        """Add the next chunk to what is kept of the buffer."""
        held = self._buffer[keep_from:]
        self._at = 0
        async for chunk in self._stream:
            if chunk:
                self._buffer = held + chunk if held else chunk
                return
        raise MultipartError("The body ends before its closing boundary, or has another boundary.")


def _classify(buffer: bytes, position: int) -> tuple[_Next, int]:
    """Say what a delimiter is, and where the part or the epilogue after it begins."""
    following = buffer[position : position + _LONGEST_PADDING]
    if following.startswith(b"--"):
        return _Next.END, position + 2
    rest = following.lstrip(b" \t")
    begin = position + len(following) - len(rest)
    if rest.startswith(b"\n"):
        return _Next.PART, begin + 1
    if rest.startswith(b"\r\n"):
        return _Next.PART, begin + 2
    if following in (b"", b"-") or (rest in (b"", b"\r") and len(following) < _LONGEST_PADDING):
        return _Next.UNDECIDED, position
    return _Next.NO_DELIMITER, position


def _partial_delimiter(buffer: bytes, start: int, delimiter: bytes) -> int:
    """Say from where on the end of the buffer might be the beginning of a delimiter."""
    size = len(buffer)
    feed = buffer.rfind(b"\n", max(0, size - len(delimiter) + 1))
    if feed >= 0 and delimiter.startswith(buffer[feed:]):
        return feed - 1 if feed > start and buffer[feed - 1] == 13 else feed
    return size - 1 if size > start and buffer[size - 1] == 13 else size


def _parse_headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    name = ""
    for line in block.decode("latin-1").split("\n"):
        line = line.removesuffix("\r")
        if line[:1] in (" ", "\t") and name:
            headers[name] = f"{headers[name]} {line.strip()}".strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or not name or not name.isascii() or not name.isprintable():
            raise MultipartError("A part has a header line without a name, or no empty line after them.")
        headers.setdefault(name, value.strip())
    return headers
