"""The upper layer over TLS, with pynetdicom on the other side."""

import asyncio
import shutil
import ssl
from pathlib import Path

import pytest
from pynetdicom import AE, evt

from dicomweb.dimse.association import Association, Timeouts
from dicomweb.dimse.errors import PeerUnreachable
from dicomweb.dimse.requestor import Address, connect
from tests.dicomweb.dimse.peers import (
    CONTEXTS,
    CT_IMAGE_STORAGE,
    EXPLICIT,
    PATIENT,
    STORE,
    VERIFICATION,
    acceptor,
    pynetdicom_acceptor,
)

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")


@pytest.fixture
def server_side(certificate: Path) -> ssl.SSLContext:
    """What a server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def client_side(certificate: Path) -> ssl.SSLContext:
    """What a client trusts."""
    return ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))


async def test_an_association_over_tls_is_like_any_other(
    server_side: ssl.SSLContext, client_side: ssl.SSLContext
) -> None:
    """Large data sets, their end and release work over TLS; the acceptor knows that it is TLS (G-017)."""
    sizes = []

    async def count(association: Association) -> None:
        async for message in association.messages():
            assert message.data is not None
            sizes.append(len(await message.data.read(1 << 26)))
            await association.respond(message, 0)

    async with acceptor(count, tls=server_side) as seen:
        address = Address("127.0.0.1", seen.port, "ACCEPTOR", client_side)
        association = await connect(address, calling_ae_title="SCU", contexts=CONTEXTS, timeouts=PATIENT)
        storage = association.context_for(CT_IMAGE_STORAGE)
        assert storage is not None
        for _ in range(3):
            assert (await association.request(storage, STORE, bytes(5_000_000))).status == 0
        await association.release()
        await seen.done()
    assert sizes == [5_000_000] * 3
    assert seen.errors == []
    assert seen.addresses[0].is_tls


async def test_pynetdicom_as_requestor_over_tls(server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> None:
    """pynetdicom opens an association over TLS with our acceptor (G-017)."""

    def work() -> int:
        ae = AE("PYNETDICOM")
        ae.add_requested_context(VERIFICATION)
        association = ae.associate("127.0.0.1", seen.port, tls_args=(client_side, "127.0.0.1"))
        status = int(association.send_c_echo().Status)
        association.release()
        return status

    async with acceptor(tls=server_side) as seen:
        assert await asyncio.to_thread(work) == 0
        await seen.done()
    assert seen.errors == []


async def test_pynetdicom_as_acceptor_over_tls(server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> None:
    """Our requestor stores at pynetdicom over TLS (G-017)."""
    sizes: list[int] = []

    def store(event: evt.Event) -> int:
        sizes.append(len(event.request.DataSet.getvalue()))
        return 0

    ae = AE("PYNETDICOM")
    ae.add_supported_context(CT_IMAGE_STORAGE, EXPLICIT)
    with pynetdicom_acceptor(ae, [(evt.EVT_C_STORE, store)], ssl_context=server_side) as plain:
        address = Address(plain.host, plain.port, plain.ae_title, client_side)
        async with await connect(address, calling_ae_title="SCU", contexts=CONTEXTS, timeouts=PATIENT) as association:
            storage = association.context_for(CT_IMAGE_STORAGE)
            assert storage is not None
            assert (await association.request(storage, STORE, bytes(1_000_000))).status == 0
    assert sizes == [1_000_000]


async def test_a_plain_peer_and_a_tls_peer_do_not_understand_each_other(
    server_side: ssl.SSLContext, client_side: ssl.SSLContext
) -> None:
    """TLS has a port of its own; at the other one both sides end, in time and with an error (G-018)."""
    quick = Timeouts(connect=2, acse=1)
    async with acceptor(timeouts=quick) as plain:
        address = Address("127.0.0.1", plain.port, "PLAIN", client_side)
        with pytest.raises(PeerUnreachable):
            await connect(address, calling_ae_title="SCU", contexts=CONTEXTS, timeouts=quick)
    untrusting = ssl.create_default_context()
    async with acceptor(tls=server_side) as seen:
        address = Address("127.0.0.1", seen.port, "TLS", untrusting)
        with pytest.raises(PeerUnreachable, match="certificate"):
            await connect(address, calling_ae_title="SCU", contexts=CONTEXTS, timeouts=PATIENT)
