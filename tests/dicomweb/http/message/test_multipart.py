"""Multipart bodies: read however clients write them, never taken for complete when cut off."""

from collections.abc import AsyncIterator, Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dicomweb.http.message.multipart import (
    PART_END,
    MultipartError,
    TooManyPartsError,
    closing,
    new_boundary,
    part_head,
    parts,
)

Parts = list[tuple[dict[str, str], bytes]]


async def stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def read(body: bytes | list[bytes], boundary: str = "b", **limits: int) -> Parts:
    chunks = [body] if isinstance(body, bytes) else body
    return [
        (dict(part.headers), b"".join([chunk async for chunk in part.body]))
        async for part in parts(stream(chunks), boundary, **limits)
    ]


async def collect(complete: list[bytes], chunks: list[bytes], boundary: str) -> None:
    """Add the bodies of complete parts, up to the one where reading fails."""
    async for part in parts(stream(chunks), boundary):
        body = b"".join([chunk async for chunk in part.body])
        complete.append(body)


TYPE = b"Content-Type: application/dicom"
ONE: Parts = [({"content-type": "application/dicom"}, b"DATA")]
THREE_EMPTY: Parts = [({"a": "1"}, b""), ({"a": "2"}, b""), ({}, b"")]

READ: dict[str, tuple[bytes, Parts]] = {
    "as the Standard writes it": (b"--b\r\n" + TYPE + b"\r\n\r\nDATA\r\n--b--\r\n", ONE),
    "OHIF: line break first, none last": (b"\r\n--b\r\n" + TYPE + b"\r\n\r\nDATA\r\n--b--", ONE),
    "bare line feeds": (b"--b\n" + TYPE + b"\n\nDATA\n--b--\n", ONE),
    "preamble and epilogue": (b"hello\r\n--b\r\n" + TYPE + b"\r\n\r\nDATA\r\n--b--\r\nbye --b", ONE),
    "blanks after delimiters": (b"--b \t\r\n" + TYPE + b"\r\n\r\nDATA\r\n--b--  \r\n", ONE),
    "header names and blanks": (b"--b\r\ncontent-TYPE:application/dicom \r\n\r\nDATA\r\n--b--", ONE),
    "folded header": (b"--b\r\nX: x/y;\r\n  a=b\r\n\r\nDATA\r\n--b--", [({"x": "x/y; a=b"}, b"DATA")]),
    "no headers": (b"--b\r\n\r\nDATA\r\n--b--", [({}, b"DATA")]),
    "no headers, bare line feeds": (b"--b\n\nDATA\n--b--", [({}, b"DATA")]),
    "empty bodies": (b"--b\r\nA: 1\r\n\r\n\r\n--b\r\nA: 2\r\n\r\n--b\r\n\r\n--b--", THREE_EMPTY),
    "line breaks stay": (b"--b\r\n\r\n\r\n\nDA\r\nTA\r\n\r\n--b--", [({}, b"\r\n\nDA\r\nTA\r\n")]),
    "a longer boundary is data": (b"--b\r\n\r\nDA\r\n--bc\r\nTA\r\n--b--", [({}, b"DA\r\n--bc\r\nTA")]),
    "an almost delimiter is data": (
        b"--b\r\n\r\n\r\n--\r\n-b\r\n--a\r\n--b--",
        [({}, b"\r\n--\r\n-b\r\n--a")],
    ),
    "no part": (b"--b--", []),
}


@pytest.mark.parametrize(("body", "expected"), READ.values(), ids=READ)
async def test_bodies_are_read_however_they_are_written(body: bytes, expected: Parts) -> None:
    """Tolerated spellings give the same parts, whole and byte by byte (A-088, B-005)."""
    assert await read(body) == expected
    assert await read([body[i : i + 1] for i in range(len(body))]) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"anything but multipart",
        b"--c\r\n\r\nDATA\r\n--c--",
        b"--b",
        b"--b\r\nContent-Type: application/dicom\r\n",
        b"--b\r\n\r\nDATA",
        b"--b\r\n\r\nDATA\r\n--b",
        b"--b\r\n\r\nDATA\r\n--b-",
        b"--b\r\n\r\nDATA\r\n--b\r\n",
        b"--b\r\nno colon here\r\n\r\nDATA\r\n--b--",
        b"--b\r\nContent-Type: application/dicom\r\n--b--",
        b"--b\r\n: x\r\n\r\nDATA\r\n--b--",
        b"--b\r\nX: " + b"x" * 20000 + b"\r\n\r\nDATA\r\n--b--",
        b"x" * 70000 + b"\r\n--b\r\n\r\nDATA\r\n--b--",
    ],
)
async def test_what_is_no_complete_body_is_refused(body: bytes) -> None:
    """Cut off bodies, wrong boundaries, unreadable or endless headers are errors (B-018)."""
    with pytest.raises(MultipartError):
        await read(body)
    with pytest.raises(MultipartError):
        await read([body[i : i + 1000] for i in range(0, len(body), 1000)])


@pytest.mark.parametrize("boundary", ["", "a\nb", "a\x00b", "ü", "x" * 300])
async def test_unusable_boundaries_are_refused(boundary: str) -> None:
    """A missing or impossible boundary is an error, not a search for nothing (B-018)."""
    with pytest.raises(MultipartError):
        await read(b"--b--", boundary)


async def test_the_number_of_parts_is_limited() -> None:
    """A body of endless parts is refused as such."""
    with pytest.raises(TooManyPartsError):
        await read(b"--b\r\n\r\n\r\n" * 4 + b"--b--", max_parts=3)
    assert len(await read(b"--b\r\n\r\n\r\n" * 3 + b"--b--", max_parts=3)) == 3


async def test_an_unread_part_is_skipped() -> None:
    """Asking for the next part skips what was not read of this one."""
    body = b"--b\r\nA: 1\r\n\r\n" + b"x" * 5000 + b"\r\n--b\r\nA: 2\r\n\r\nyy\r\n--b--"
    chunks = [body[i : i + 100] for i in range(0, len(body), 100)]
    seen = []
    async for part in parts(stream(chunks), "b"):
        first = await anext(part.body)
        seen.append((part.headers["a"], len(first) > 0))
    assert seen == [("1", True), ("2", True)]


async def test_parts_before_a_cut_are_complete() -> None:
    """Of a body that was cut off, the parts that had ended are given before the error."""
    body = b"--b\r\n\r\nfirst\r\n--b\r\n\r\nsecond, which never en"
    complete: list[bytes] = []
    with pytest.raises(MultipartError):
        await collect(complete, [body], "b")
    assert complete == [b"first"]


async def test_large_chunks_are_handed_on_uncopied() -> None:
    """A chunk inside a part is given on as the very same object (A-091)."""
    chunks = [b"\x00" * 100_000, b"\x01" * 100_000]
    async for part in parts(stream([b"--b\r\n\r\n", *chunks, b"\r\n--b--"]), "b"):
        given_out = [piece async for piece in part.body]
        assert given_out[1] is chunks[1]


async def test_content_location() -> None:
    """A part is located by Content-Location or Content-ID (B-010)."""
    heads = (b"Content-Location: http://x/1\r\n", b"Content-ID: <p1@x>\r\n", b"")
    body = b"".join(b"--b\r\n" + head + b"\r\n\r\n" for head in heads) + b"--b--"
    located = [part.content_location async for part in parts(stream([body]), "b")]
    assert located == ["http://x/1", "cid:p1@x", None]


def test_written_bytes() -> None:
    """What is written follows the grammar to the letter: CRLF, Content-Type first (A-081, A-083)."""
    head = part_head("b", "image/jls; transfer-syntax=1.2", "http://x/frames/1", 4)
    assert head + b"DATA" + PART_END + closing("b") == (
        b"--b\r\nContent-Type: image/jls; transfer-syntax=1.2\r\nContent-Length: 4\r\n"
        b"Content-Location: http://x/frames/1\r\n\r\nDATA\r\n--b--\r\n"
    )
    assert part_head("b", "application/dicom") == b"--b\r\nContent-Type: application/dicom\r\n\r\n"


def test_boundaries_are_tokens() -> None:
    """A boundary needs no quotes, is short and never the same (A-082)."""
    boundaries = {new_boundary() for _ in range(50)}
    assert len(boundaries) == 50
    assert all(boundary.isalnum() and len(boundary) <= 70 for boundary in boundaries)


payloads = st.lists(
    st.one_of(st.binary(max_size=60), st.text(alphabet="\r\n-bB: ", max_size=60).map(str.encode)),
    min_size=1,
    max_size=4,
)
BOUNDARY = "bbbbx"  # no payload of the letters above holds it


def written(bodies: list[bytes]) -> bytes:
    return b"".join(part_head(BOUNDARY, "a/b") + body + PART_END for body in bodies) + closing(BOUNDARY)


@given(payloads, st.lists(st.integers(min_value=0, max_value=400), max_size=12))
@example([b"\r\n--bbbb", b"\r", b"\n"], [1, 2, 3, 40, 41, 42])
async def test_chunking_does_not_matter(bodies: list[bytes], cuts: list[int]) -> None:
    """However a body is cut into chunks, the parts are those that were written (A-081, A-088)."""
    body = written(bodies)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunks = [body[start:end] for start, end in pairwise(edges)]
    assert [data for _, data in await read(chunks, BOUNDARY)] == bodies


@given(payloads, st.data())
async def test_a_cut_body_is_never_complete(bodies: list[bytes], data: st.DataObject) -> None:
    """A body that lacks its end raises, and gives no part that differs from what was written (B-018)."""
    body = written(bodies)
    cut = data.draw(st.integers(min_value=0, max_value=len(body) - len("-\r\n")))
    size = data.draw(st.integers(min_value=1, max_value=80))
    chunks = [body[i : min(i + size, cut)] for i in range(0, cut, size)]
    complete: list[bytes] = []
    with pytest.raises(MultipartError):
        await collect(complete, chunks, BOUNDARY)
    assert complete == bodies[: len(complete)]


@given(st.text(alphabet="\r\n-b: x", max_size=80), st.integers(min_value=1, max_value=9))
async def test_arbitrary_bytes_are_read_the_same_in_any_chunks(text: str, size: int) -> None:
    """Any bytes at all give the same parts, or an error, whole and in small chunks."""
    body = text.encode()

    async def outcome(chunks: list[bytes]) -> Parts | None:
        try:
            return await read(chunks)
        except MultipartError:
            return None

    assert await outcome([body]) == await outcome([body[i : i + size] for i in range(0, len(body), size)])
