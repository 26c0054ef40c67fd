"""A strict reader of multipart answers, for the tests: CRLF only, no preamble, closing boundary required."""

import re
from typing import Any, NamedTuple


class Part(NamedTuple):
    headers: dict[str, str]
    body: bytes


def parts_of(answer: Any) -> list[Part]:
    """Return the parts of a multipart/related answer; header names keep their spelling (PS3.18 8.6.1.2)."""
    assert answer.status_code == 200, (answer.status_code, answer.text)
    kind = re.fullmatch(
        r'multipart/related; type="([^"]+)"; boundary=([0-9A-Za-z-]{1,70})', answer.headers["content-type"]
    )
    assert kind is not None, answer.headers["content-type"]
    delimiter = b"--" + kind[2].encode()
    content: bytes = answer.content
    assert content.startswith(delimiter + b"\r\n") and content.endswith(b"\r\n" + delimiter + b"--\r\n")
    parts = []
    for piece in content[len(delimiter) + 2 : -len(delimiter) - 6].split(b"\r\n" + delimiter + b"\r\n"):
        head, empty, body = piece.partition(b"\r\n\r\n")
        assert empty
        lines = head.decode("ascii").split("\r\n")
        assert lines[0].startswith("Content-Type: ")
        parts.append(Part(dict(line.split(": ", 1) for line in lines), body))  # type: ignore[misc]
    return parts
