"""HTTP/1.1 whose heads have an end, in bytes and in time.

The parser has no limits of its own. A client that sends header fields without end, or one without its line break,
would fill the memory of a worker; one that never finishes a head would hold a connection for ever (checklist A-106,
A-109). How fast a body must come is in `watched_connection.py`.

An idle connection costs little and is closed as the server's keep-alive says; the one that never sent anything, too.
"""

from asyncio import Transport
from asyncio.events import TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD = 64 * 1024
"""Most bytes of the request line and the header fields together; common servers take 8 to 64 KiB."""
HEAD_WITHIN = 30.0
"""Seconds from the first byte of a head to its last; it fits into a few packets, whatever the line."""

_TOO_LONG = "The request line and the header fields are too long."
LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
"""For a client that takes too long to ask (RFC 9110 15.5.9)."""


class BoundedHeadProtocol(HttpToolsProtocol):
    """Refuse a head longer than `LONGEST_HEAD` or slower than `HEAD_WITHIN`."""

    _in_head = _just_begun = _in_body = False
    _parsed = _head_received = 0
    _head_watch: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Watch no more."""
        self._in_head = self._in_body = False
        for watch in (self._head_watch, self.timeout_keep_alive_task):
            if watch is not None:
                watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the head has been coming for too long."""
        self._just_begun = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            # What the head began in may hold the body of the request before it.
            if not self._just_begun:
                self._head_received += len(data)
                if self._head_received > LONGEST_HEAD:
                    self._in_head = False
                    self.send_400_response(_TOO_LONG)
                    return
            if self._head_watch is None:
                self._head_watch = self.loop.call_later(HEAD_WITHIN, self._head_is_late)
        elif not self._in_body:
            self._wait_for_request()

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._in_head = self._just_begun = True
        self._parsed = self._head_received = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header field."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole; a body may follow."""
        self._in_head = False
        if self._head_watch is not None:
            self._head_watch.cancel()
            self._head_watch = None
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole."""
        self._in_body = False
        super().on_message_complete()

    def _count(self, length: int) -> None:
        self._parsed += length
        if self._parsed > LONGEST_HEAD:
            self._in_head = False
            raise ValueError(_TOO_LONG)  # the parser makes it a 400

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_request(self) -> None:
        """Let the connection go when no request comes; the server itself does so only after a response."""
        if self.timeout_keep_alive_task is None and not self._answering():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _head_is_late(self) -> None:
        self._head_watch = None
        if self.transport.is_closing():
            return
        if self._answering():  # to the request before; its response is not to be broken off
            self._head_watch = self.loop.call_later(HEAD_WITHIN, self._head_is_late)
            return
        self.transport.write(LATE)
        self.transport.close()
