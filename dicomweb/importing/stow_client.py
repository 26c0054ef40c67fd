"""One connection to a server, for store requests that are sent piece by piece (PS3.18 10.5, 8.6.1).

Facts this module keeps:

- Content-Length is always sent: not every server and proxy takes a request of unknown length. So a file that turns
  out shorter or longer than it was breaks the request off, and nothing of it is believed.
- A server may answer before it has read everything, and then stop reading: its answer is what counts.
"""

import http.client
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from socket import SHUT_RDWR
from urllib.parse import unquote, urlsplit

from dicomweb.http.message.multipart import PART_END, closing, new_boundary, part_head
from dicomweb.importing.found_file import Unreadable
from dicomweb.importing.part import Part
from dicomweb.importing.stow_answer import Answer, read_answer
from dicomweb.settings import SettingsError
from dicomweb.version import program_version
from storage.errors import ArchiveError
from storage.system.errors import in_words

CONNECT_WITHIN = 30.0
ANSWER_WITHIN = 900.0
"""Seconds without any sign of the server after which it is taken for gone; it may have to write a lot to disk."""

_LONGEST_ANSWER = 64 << 20
_GONE = (http.client.HTTPException, OSError)


class ServerGone(ArchiveError):
    """The server cannot be reached, or went away before it answered."""


class FileChanged(ArchiveError):
    """A file could not be read to the end it had when it was opened first; nothing was stored of the request.

    Attributes
    ----------
    number : int
        Which of the files, from 0.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


@dataclass(frozen=True, slots=True)
class Server:
    """Where to send.

    Attributes
    ----------
    secure : bool
        Whether by TLS.
    host : str
        Name or address.
    port : int or None
        Port, or that of the scheme.
    path : str
        Of the store transaction.
    headers : dict
        Of every request.
    """

    secure: bool
    host: str
    port: int | None
    path: str
    headers: Mapping[str, str]

    @classmethod
    def at(cls, url: str, headers: Sequence[str] = ()) -> "Server":
        """Describe the server at the URL of a DICOMweb root.

        Parameters
        ----------
        url : str
            Such as https://user:password@host/dicom-web.
        headers : sequence of str
            Further header lines, such as "Authorization: Bearer abc".

        Raises
        ------
        SettingsError
            It is no such URL, or a header is malformed.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            raise SettingsError(f"--to {url}: the port is not a number from 0 to 65535.") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise SettingsError(f"--to {url}: give the URL of a DICOMweb root, such as http://host:8080/dicom-web.")
        lines = {"User-Agent": f"dicomweb/{program_version()}", "Accept": "application/dicom+json"}
        if parts.username is not None:
            known = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            lines["Authorization"] = "Basic " + b64encode(known.encode()).decode()
        for header in headers:
            name, colon, value = header.partition(":")
            if not colon or not name.strip() or not header.isprintable() or not header.isascii():
                raise SettingsError('--header: write it as "Name: value".')
            lines[name.strip()] = value.strip()
        path = parts.path.rstrip("/").removesuffix("/studies") + "/studies"
        return cls(parts.scheme == "https", parts.hostname, port, path, lines)

    @property
    def shown(self) -> str:
        """Its URL without what is secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port is not None else ""
        return f"http{'s' * self.secure}://{host}{port}{self.path.removesuffix('/studies')}"


class StowClient:
    """A connection that is made when it is needed and kept between requests; for one thread at a time.

    Parameters
    ----------
    server : Server
        Where to send.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: http.client.HTTPConnection | None = None
        self._aborted = False

    def store(self, parts: Sequence[Part]) -> Answer:
        """Send files in one request.

        Raises
        ------
        ServerGone
            There is no answer.
        FileChanged
            A file could not be read to its end.
        """
        connection, fresh = self._connect()
        try:
            answer = self._request(connection, parts)
        except BaseException as error:
            self.close()
            if not isinstance(error, _GONE):
                raise
            if not fresh and not self._aborted:  # the server had closed it while it was not used
                return self.store(parts)
            raise ServerGone(in_words(error)) from error
        return answer

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def abort(self) -> None:
        """Break off the request that another thread is sending, and send no more."""
        self._aborted = True
        connection = self._connection
        if connection is not None and (socket := connection.sock) is not None:
            try:
                socket.shutdown(SHUT_RDWR)
            except OSError:
                pass

    def _connect(self) -> tuple[http.client.HTTPConnection, bool]:
        """Return the connection and whether it is a new one."""
        if self._connection is not None and self._connection.sock is not None:
            return self._connection, False
        kind = http.client.HTTPSConnection if self._server.secure else http.client.HTTPConnection
        connection = kind(self._server.host, self._server.port, timeout=CONNECT_WITHIN)
        try:
            connection.connect()
        except OSError as error:
            raise ServerGone(in_words(error)) from error
        connection.sock.settimeout(ANSWER_WITHIN)
        self._connection = connection
        return connection, True

    def _request(self, connection: http.client.HTTPConnection, parts: Sequence[Part]) -> Answer:
        boundary = new_boundary()
        end = closing(boundary)
        head = part_head(boundary, "application/dicom")
        length = sum(len(head) + part.size + len(PART_END) for part in parts) + len(end)
        connection.putrequest("POST", self._server.path, skip_accept_encoding=True)
        for name, value in self._server.headers.items():
            connection.putheader(name, value)
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        connection.putheader("Content-Type", kind)
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        complete = True
        try:
            for number, part in enumerate(parts):
                connection.send(head)
                try:
                    for piece in part.pieces():
                        connection.send(piece)
                except Unreadable as error:
                    raise FileChanged(number, str(error)) from error
                connection.send(PART_END)
            connection.send(end)
        except (BrokenPipeError, ConnectionResetError):
            complete = False  # the answer, if there is one, says why
        response = connection.getresponse()
        body = response.read(_LONGEST_ANSWER)
        answer = read_answer(response.status, response.headers.get("Content-Type", ""), body)
        if not complete or not response.isclosed():
            self.close()
        return answer
