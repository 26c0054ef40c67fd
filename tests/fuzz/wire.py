"""HTTP by hand: requests as bytes, so that they can be anything, and what came back."""

import http.client
import select
import socket
from dataclasses import dataclass

from dicomweb.http.message.multipart import PART_END, closing, part_head
from tests.fuzz.target import Fault, Target

ANSWER_WITHIN = 120.0
"""Seconds of silence after which a request counts as not answered."""
QUIET = 1.0
"""Seconds after which one who has sent less than it announced says that there is no more."""
MESSAGE = 'multipart/related; type="{}"; boundary=b'
UNFORESEEN = (500, 502, 504)
"""What no request may be answered; 503 is said when there is too much to do, 501 of codings nobody asked for."""


@dataclass
class Answer:
    """An answer; status 0 when the connection was closed without one."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def outcome(self) -> str:
        """What it is counted under."""
        return str(self.status) if self.status else "closed"


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"", *, port: int) -> bytes:
    """Write a request that the server answers with one response and the end of the connection."""
    lines = {"Host": f"127.0.0.1:{port}", "Connection": "close"} | headers
    if body or method in ("POST", "PUT"):
        lines.setdefault("Content-Length", str(len(body)))
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return head.encode("utf-8", "replace") + b"\r\n" + body


def message(parts: list[tuple[str, str, bytes]]) -> bytes:
    """Write a multipart body of parts: type, location (or nothing), content."""
    heads = (
        (part_head("b", kind, location) if location else part_head("b", kind), data) for kind, location, data in parts
    )
    return b"".join(head + data + PART_END for head, data in heads) + closing("b")


def exchange(target: Target, data: bytes, *, must_answer: bool = True) -> Answer:
    """Send the bytes of a request and take what comes back; they may be less than a request unless it `must_answer`.

    Raises
    ------
    Fault
        There was no answer, it was broken off, or it was a status of `UNFORESEEN`.
    """
    method = data.partition(b" ")[0].decode("latin-1")
    try:
        answer = _exchange(target.port, data, method, is_whole=must_answer)
    except TimeoutError:
        raise Fault(f"no answer in {ANSWER_WITHIN:.0f} s") from None
    except (ConnectionError, http.client.HTTPException) as error:
        if must_answer or isinstance(error, http.client.IncompleteRead | http.client.LineTooLong):
            raise Fault(f"the answer broke off: {type(error).__name__}") from None
        return Answer(0, http.client.HTTPMessage(), b"")
    if answer.status in UNFORESEEN:
        raise Fault(f"status {answer.status}: {answer.body[:300]!r}")
    return answer


def _exchange(port: int, data: bytes, method: str, *, is_whole: bool) -> Answer:
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_WITHIN) as connection:
        try:
            connection.sendall(data)
        except ConnectionError:
            pass  # it may have answered before it had read everything
        if not is_whole and not select.select([connection], [], [], QUIET)[0]:
            connection.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        return Answer(response.status, response.headers, response.read())
