"""The TLS port of a gateway: handshakes that fail, that are never done, and those of known peers."""

import asyncio
import contextlib
import logging
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from dicomweb.dimse.connection import abort
from dicomweb.dimse.errors import PeerUnreachable
from storage.archive import Archive
from tests.builders import ct_slice
from tests.dicomweb.gateway.serving import Serving, echo, serving, store
from tests.waiting import until

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")


@pytest.fixture
def ours(certificate: Path) -> ssl.SSLContext:
    """What the gateway shows; it asks for the certificate of a client, and believes its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate.with_suffix(".crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def theirs(certificate: Path) -> ssl.SSLContext:
    """What a known peer shows and trusts."""
    context = ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))
    context.load_cert_chain(certificate)
    return context


def count(served: Serving) -> int:
    """How many connections the gateway knows of."""
    return len(served.server._visitors)


async def test_an_association_over_tls_is_like_any_other(
    archive: Archive, ours: ssl.SSLContext, theirs: ssl.SSLContext
) -> None:
    """A peer whose certificate was asked for and is believed stores, and is gone when it is gone (G-017, G-019)."""
    async with serving(archive, tls=ours) as served:
        async with await served.open(tls=theirs) as association:
            assert await echo(association) == 0
            assert (await store(association, ct_slice("1.2", "1.3", "1.4", rows=1024, columns=1024))).status == 0
            (live,) = served.gateway.associations
            assert live.peer_host == "127.0.0.1"
        await until(lambda: count(served) == 0)


async def test_a_peer_without_a_certificate_is_not_let_in(
    archive: Archive, ours: ssl.SSLContext, certificate: Path
) -> None:
    """Where certificates of clients are asked for, the gateway is never told of a proposal without one (G-019)."""
    without = ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))
    async with serving(archive, tls=ours) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=without)
        with contextlib.suppress(OSError):  # with TLS 1.3 a client is done before it is judged
            assert await reader.read() == b""
        abort(writer)
        await until(lambda: count(served) == 0)
        assert served.gateway.metrics.value("dicomweb_dimse_associations_total", outcome="accepted", reason="") == 0


async def test_connections_that_never_shake_hands_are_limited(
    archive: Archive, ours: ssl.SSLContext, theirs: ssl.SSLContext
) -> None:
    """G-010: the silent count from their first moment, the oldest give way, and a peer is served beside them."""
    async with serving(archive, tls=ours, dimse_acse_timeout=60, dimse_max_connections=16) as served:
        silent = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(20)]
        for reader, _ in silent[:4]:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert count(served) == 16
        async with await served.open(tls=theirs) as association:
            assert await echo(association) == 0
        for _, writer in silent:
            writer.close()
        await until(lambda: count(served) == 0)


async def test_a_connection_that_never_shakes_hands_is_closed(archive: Archive, ours: ssl.SSLContext) -> None:
    """G-010, ARTIM: after `dimse_acse_timeout` a silent connection is let go."""
    async with serving(archive, tls=ours, dimse_acse_timeout=0.5) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        await until(lambda: count(served) == 0)


def say_nothing(port: int) -> None:
    """Connect and close, as port probes do."""
    socket.create_connection(("127.0.0.1", port)).close()


def speak_plainly(port: int) -> None:
    """Speak HTTP to the TLS port, and wait for the end."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(1024):
                pass


@pytest.mark.parametrize("probe", [say_nothing, speak_plainly])
async def test_a_handshake_that_fails_is_no_news(
    archive: Archive,
    ours: ssl.SSLContext,
    theirs: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
    probe: Callable[[int], None],
) -> None:
    """Probes of the TLS port leave neither connections nor a word in the log above DEBUG (G-018)."""
    async with serving(archive, tls=ours) as served:
        with caplog.at_level(logging.INFO):
            await asyncio.to_thread(probe, served.port)
            async with await served.open(tls=theirs) as association:  # it came after the probe
                assert await echo(association) == 0
            await until(lambda: count(served) == 0)
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_gateway_that_stops_waits_for_no_handshake(
    archive: Archive, ours: ssl.SSLContext, theirs: ssl.SSLContext
) -> None:
    """Design 2: those who have not shaken hands are let go at once, and nobody new is let in."""
    async with serving(archive, tls=ours, dimse_acse_timeout=3600) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        await until(lambda: count(served) == 1)
        await served.server.stop(3600, asyncio.Event())
        assert count(served) == 0
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(PeerUnreachable):
            await served.open(tls=theirs)
