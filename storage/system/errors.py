"""What the operating system says is wrong, in words for people: no numbers, no names of calls.

The words go on a sentence that has said what failed, such as "CT1 at 10.0.0.5:104 cannot be reached: ".
"""

import errno
import os
import re
import socket
import ssl
from typing import Final

_WORDS: Final = {
    errno.ECONNREFUSED: "it refuses the connection; is it running, and is the port right",
    errno.EHOSTUNREACH: "there is no way to this host; is it on, and is the address right",
    errno.ENETUNREACH: "there is no way to its network from here",
    errno.ENETDOWN: "the network is down",
    errno.EHOSTDOWN: "the host is down",
    errno.ETIMEDOUT: "it was silent for too long",
    errno.ECONNRESET: "it broke the connection off",
    errno.ECONNABORTED: "the connection was broken off",
    errno.EPIPE: "it closed the connection",
    errno.ENOTCONN: "it closed the connection",
    errno.EADDRINUSE: "another program uses this port",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.ENOENT: "there is no such file or folder",
    errno.ENOTDIR: "part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder",
    errno.EROFS: "the disk can only be read",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EIO: "the disk fails",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
    errno.ENOMEM: "there is no memory left",
}
_NUMBER: Final = re.compile(r"\[Errno (-?[0-9]+)\] ?")
_OF_NAMES: Final = {socket.EAI_AGAIN: "the name cannot be looked up now"}


def in_words(error: BaseException) -> str:
    """Return why something failed, without a full stop, to be said after a colon.

    Parameters
    ----------
    error : BaseException
        An OSError, or anything else: of that its own text, which may be "it is not known why".
    """
    if isinstance(error, socket.gaierror):
        return _OF_NAMES.get(error.errno or 0, "there is no host of this name")
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message.rstrip('.')})"
    if isinstance(error, ssl.SSLError):
        return "the two do not agree on TLS; does it speak TLS on this port"
    if isinstance(error, OSError) and (number := _number(error)):
        return _WORDS.get(number) or _small(os.strerror(number))
    if isinstance(error, TimeoutError):
        return _WORDS[errno.ETIMEDOUT]
    return _NUMBER.sub("", str(error)).rstrip(".") or "it is not known why"


def _number(error: OSError) -> int:
    """Return its number; of several that were made one, such as for all addresses of a host, the first."""
    if error.errno:
        return error.errno
    found = _NUMBER.search(str(error))
    return int(found[1]) if found else 0


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]
