"""The body of a store request, freed of its Content-Encoding."""

import zlib
from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.types import Message

from dicomweb.http.stow import body as stow_body
from dicomweb.http.stow.body import BodyError, read_body

FORMATS = [pytest.param("gzip", 31, id="gzip"), pytest.param("deflate", 15, id="zlib"), pytest.param("deflate", -15)]


async def inflated(body: bytes, coding: str, pieces: int = 1) -> bytes:
    """What the body of a request is, received in pieces of equal length."""
    length = max(1, -(-len(body) // pieces))
    messages: Iterator[Message] = iter(
        [
            *(
                {"type": "http.request", "body": body[at : at + length], "more_body": True}
                for at in range(0, len(body), length)
            ),
            {"type": "http.request", "body": b"", "more_body": False},
        ]
    )

    async def receive() -> Message:
        return next(messages)

    scope = {"type": "http", "method": "POST", "headers": [(b"content-encoding", coding.encode())]}
    return b"".join([piece async for piece in read_body(Request(scope, receive), 1 << 30)])


def compressed(body: bytes, window: int) -> bytes:
    """The body in a format of zlib (`wbits` of zlib.compressobj)."""
    compressor = zlib.compressobj(9, wbits=window)
    return compressor.compress(body) + compressor.flush()


@pytest.mark.parametrize(("coding", "window"), FORMATS)
async def test_what_zlib_still_holds_when_the_input_ends_is_not_lost(
    coding: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body of any length comes out whole, however little of it one step may yield (A-125)."""
    monkeypatch.setattr(stow_body, "_STEP", 100)
    for size in [*range(1, 1300, 7), *range(95, 106), *range(195, 206)]:
        for pieces in (1, 3, 1000):
            assert await inflated(compressed(bytes(size), window), coding, pieces) == bytes(size)


@pytest.mark.parametrize(("coding", "window"), FORMATS)
async def test_a_cut_off_body_is_an_error_wherever_it_was_cut(
    coding: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is missing at its end, a compressed body is a 400 and never taken for a shorter one (A-125)."""
    monkeypatch.setattr(stow_body, "_STEP", 100)
    whole = compressed(bytes(1000) + b"end" * 40, window)
    for length in range(len(whole)):
        with pytest.raises(BodyError) as refused:
            await inflated(whole[:length], coding)
        assert refused.value.status == 400
