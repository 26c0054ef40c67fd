"""What the operating system says is wrong, in words."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.system.errors import in_words
from tests.live_server import free_port

CALL = "Connect call failed"


def _open(path: str) -> Any:
    return os.open(path, os.O_RDONLY)


async def _connect() -> Any:
    return await asyncio.open_connection("127.0.0.1", free_port())


@pytest.mark.parametrize(
    ("fail", "words"),
    [
        (lambda: socket.create_connection(("127.0.0.1", free_port())), "it refuses the connection"),
        (lambda: asyncio.run(_connect()), "it refuses the connection"),
        (lambda: socket.getaddrinfo("nowhere.invalid", 104), ""),
        (lambda: _open("/nowhere/at all"), "there is no such file or folder"),
        (lambda: _open(f"{__file__}/x"), "part of the path is a file"),
        (lambda: os.write(os.open("/dev/full", os.O_WRONLY), b"x"), "the disk is full"),
        (lambda: Path("/").write_bytes(b""), "it is a folder"),
        (lambda: ssl.create_default_context().load_verify_locations("/dev/null"), ""),
    ],
)
def test_real_errors_have_words_and_no_numbers(fail: Callable[[], Any], words: str) -> None:
    """As the system raises them here; the words do not need to be known by heart to be understood."""
    with pytest.raises(OSError) as raised:
        fail()
    said = in_words(raised.value)
    assert said.startswith(words) and said[:1].islower()
    assert not [mark for mark in ("Errno", "[", CALL, "_ssl.c") if mark in said]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(f"Multiple exceptions: [Errno 111] {CALL} ('::1', 1), [Errno 113] {CALL}"),
            "it refuses the connection",
        ),
        (ConnectionRefusedError(errno.ECONNREFUSED, f"{CALL} ('127.0.0.1', 104)"), "it refuses the connection"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "there is no way to this host"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "there is no host of this name"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "the name cannot be looked up now"),
        (TimeoutError(), "it was silent for too long"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "it was silent for too long"),
        (OSError(errno.EXDEV, "Invalid cross-device link"), "invalid cross-device link"),
        (
            ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)"),
            "the two do not agree",
        ),
        (OSError(), "it is not known why"),
        (ValueError("the value is wrong."), "the value is wrong"),
    ],
)
def test_every_error_has_words(error: BaseException, words: str) -> None:
    """Of several addresses the first counts; what is not in the table is what the system calls it."""
    assert in_words(error).startswith(words)
