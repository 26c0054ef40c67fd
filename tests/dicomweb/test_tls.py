"""DIMSE over TLS: certificates of both sides, protocol versions, and files that cannot be used."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dicomweb.dimse.errors import AssociationError
from dicomweb.settings import Settings, SettingsError
from dicomweb.tls import client_context, server_context
from storage.archive import Archive
from tests.dicomweb.gateway.serving import echo, serving

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make certificates")


def make(folder: Path, *arguments: str) -> None:
    """Run openssl."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority (ca.pem), two machines of it (archive, ct: .pem and .key), and a stranger."""
    folder = tmp_path_factory.mktemp("certificates")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    for name in ("ca", "stranger"):
        make(folder, "req", "-x509", *curve, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
    for name in ("archive", "ct"):
        make(folder, "req", "-new", *curve[:5], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        issue = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out", f"{name}.pem")
        make(folder, "x509", "-req", "-in", f"{name}.csr", *issue)
    make(folder, "ec", "-in", "ct.key", "-aes128", "-passout", "pass:x", "-out", "locked.key")
    return folder


def settings(folder: Path, name: str = "archive", **more: Any) -> Settings:
    """Those of a machine of the folder."""
    files = {"dimse_tls_certificate": folder / f"{name}.pem", "dimse_tls_key": folder / f"{name}.key"}
    return Settings(**files | {"dimse_tls_ca": folder / "ca.pem"} | more)


async def is_heard(archive: Archive, server: Settings, client: ssl.SSLContext | None) -> bool:
    """Whether a peer with this context gets an answer to C-ECHO."""
    async with serving(archive, tls=server_context(server), dimse_acse_timeout=60) as served:
        try:
            async with await served.open(tls=client) as association:
                return await echo(association) == 0
        except AssociationError:
            return False


@pytest.mark.parametrize(
    ("asked", "shown", "heard"),
    [
        ("none", None, True),
        ("none", "ct", True),
        ("optional", None, True),
        ("optional", "ct", True),
        ("optional", "stranger", False),
        ("required", None, False),
        ("required", "ct", True),
        ("required", "stranger", False),
    ],
)
async def test_client_certificates_are_asked_for_as_configured(
    archive: Archive, certificates: Path, asked: str, shown: str | None, heard: bool
) -> None:
    """G-019: none, optional, required; one that is shown must be of an authority that is believed."""
    server = settings(certificates, dimse_tls_client_certificates=asked)
    files = {} if shown else {"dimse_tls_certificate": None, "dimse_tls_key": None}
    client = client_context(settings(certificates, shown or "ct", **files))
    assert await is_heard(archive, server, client) is heard


async def test_both_sides_of_a_connection_are_judged(archive: Archive, certificates: Path) -> None:
    """G-017, G-018: a server of another authority is not believed; plain DIMSE is not spoken on the TLS port."""
    server = settings(certificates)
    believing_others = client_context(settings(certificates, "ct", dimse_tls_ca=certificates / "stranger.pem"))
    assert not await is_heard(archive, server, believing_others)
    assert not await is_heard(archive, server, None)


@pytest.mark.parametrize(
    ("lowest", "highest", "heard"),
    [
        (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3, True),
        (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, True),
    ],
)
async def test_tls_1_2_and_1_3_are_spoken(
    archive: Archive, certificates: Path, lowest: ssl.TLSVersion, highest: ssl.TLSVersion, heard: bool
) -> None:
    """G-017, PS3.15 B.12: TLS 1.2 must, 1.3 wherever both can, and nothing below."""
    client = client_context(settings(certificates, "ct"))
    client.minimum_version, client.maximum_version = lowest, highest
    assert await is_heard(archive, settings(certificates), client) is heard
    assert server_context(settings(certificates)).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dimse_tls_certificate": None}, "--dimse-tls-port needs a certificate"),
        ({"dimse_tls_certificate": "nowhere.pem"}, "No such file"),
        ({"dimse_tls_key": "ct.key"}, "belong together"),
        ({"dimse_tls_key": "locked.key", "dimse_tls_certificate": "ct.pem"}, "unencrypted"),
        ({"dimse_tls_ca": None, "dimse_tls_client_certificates": "required"}, "--dimse-tls-ca"),
        ({"dimse_tls_ca": "ca.key", "dimse_tls_client_certificates": "optional"}, "--dimse-tls-ca"),
    ],
)
def test_what_cannot_be_used_is_named(certificates: Path, changed: dict[str, str | None], message: str) -> None:
    """User-pains 18: a wrong file is one clear sentence at start, never a question to a terminal."""
    paths = {
        name: certificates / value if value and value.endswith((".pem", ".key")) else value
        for name, value in changed.items()
    }
    with pytest.raises(SettingsError, match=message):
        server_context(settings(certificates, **paths))


async def test_a_handshake_that_never_ends_holds_nothing(archive: Archive, certificates: Path) -> None:
    """G-010: whoever connects to the TLS port and says nothing is let go."""
    async with serving(archive, tls=server_context(settings(certificates)), dimse_acse_timeout=0.3) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()
