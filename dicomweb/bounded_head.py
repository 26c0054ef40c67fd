"""HTTP/1.1 whose request heads have an end.

The parser has no limit of its own: a client that sends header fields without end, or one without its line break,
would fill the memory of a worker.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD = 64 * 1024
"""Most bytes of the request line and the header fields together; common servers take 8 to 64 KiB."""

_TOO_LONG = "The request line and the header fields are too long."


class BoundedHeadProtocol(HttpToolsProtocol):
    """Refuse a request whose head is longer than `LONGEST_HEAD`, however it comes."""

    _in_head = _just_begun = False
    _parsed = _received = 0

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the head has been coming for too long."""
        self._just_begun = False
        super().data_received(data)
        # What the head began in may hold the body of the request before it.
        if self._in_head and not self._just_begun and not self.transport.is_closing():
            self._received += len(data)
            if self._received > LONGEST_HEAD:
                self._in_head = False
                self.send_400_response(_TOO_LONG)

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._in_head = self._just_begun = True
        self._parsed = self._received = 0
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
        """The head is whole."""
        self._in_head = False
        super().on_headers_complete()

    def _count(self, length: int) -> None:
        self._parsed += length
        if self._parsed > LONGEST_HEAD:
            self._in_head = False
            raise ValueError(_TOO_LONG)  # the parser makes it a 400
