"""C-STORE by hand over a bare socket: the bytes of a data set as they are, one association after the other."""

import socket
import struct

from dicomweb.dimse.command_set import Operation
from dicomweb.dimse.negotiation import ProposedContext
from dicomweb.dimse.pdu import RELEASE_REQUEST
from tests.builders import dataset_only
from tests.dicomweb.dimse.peers import CT_IMAGE_STORAGE, EXPLICIT, request_pdu
from tests.fuzz.pdus import message
from tests.kills.ledger import Sent

ANSWER_WITHIN = 30.0
ACCEPTED, DATA = 2, 4
STATUS = struct.pack("<HHL", 0x0000, 0x0900, 2)


class Association:
    """An association for CT images; used as a context.

    Raises
    ------
    ConnectionError
        There is none, or it has ended.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_WITHIN)
        self._number = 0
        try:
            self._open()
        except BaseException:
            self._socket.close()
            raise

    def _open(self) -> None:
        context = ProposedContext(1, CT_IMAGE_STORAGE, (EXPLICIT,))
        self._socket.sendall(request_pdu(called_ae_title="DICOMWEB", contexts=(context,)))
        if self._pdu()[0] != ACCEPTED:
            raise ConnectionError("the association was not accepted")

    def __enter__(self) -> "Association":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._socket.sendall(RELEASE_REQUEST)
        except OSError:
            pass
        self._socket.close()

    def store(self, sent: Sent) -> int:
        """Send an instance and return the status of the answer (PS3.4 B.2.3)."""
        self._number += 1
        command = {
            "CommandField": Operation.C_STORE,
            "MessageID": self._number,
            "AffectedSOPClassUID": CT_IMAGE_STORAGE,
            "AffectedSOPInstanceUID": sent.key[2],
            "Priority": 0,
        }
        self._socket.sendall(message(1, command, dataset_only(sent.data), 16384))
        kind, body = self._pdu()
        at = body.find(STATUS)
        if kind != DATA or at < 0:
            raise ConnectionError("the association ended")
        return int(struct.unpack_from("<H", body, at + len(STATUS))[0])

    def _pdu(self) -> tuple[int, bytes]:
        head = self._exactly(6)
        return head[0], self._exactly(int.from_bytes(head[2:], "big"))

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            chunk = self._socket.recv(count - len(received))
            if not chunk:
                raise ConnectionError("the connection ended")
            received += chunk
        return received
