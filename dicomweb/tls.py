"""TLS for associations, in both directions.

Facts this module keeps:

- PS3.15 B.12 follows BCP 195 (RFC 8996, RFC 9325): TLS 1.2 at least, 1.3 wherever both can, only ciphers with forward
  secrecy that authenticate what they encrypt (G-017). Older profiles are retired.
- A certificate proves a machine, never an AE title: titles are checked as ever (G-019).
- Whoever asks peers for certificates says whose are believed: the authorities of the system would let everybody in.
"""

import ssl
from pathlib import Path

from dicomweb.settings import Settings, SettingsError, flag

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"
"""Of TLS 1.2; those of TLS 1.3 are all sound."""

_ASKED = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def server_context(settings: Settings) -> ssl.SSLContext:
    """Return what the TLS port is served with.

    Raises
    ------
    SettingsError
        A file is missing or cannot be used.

    Standard
    --------
    PS3.15 B.12; checklist G-017 to G-019.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if settings.dimse_tls_certificate is None:
        raise SettingsError("--dimse-tls-port needs a certificate: name its PEM file with --dimse-tls-certificate.")
    _restrict(context)
    _show_certificate(context, settings)
    context.verify_mode = _ASKED[settings.dimse_tls_client_certificates]
    if context.verify_mode != ssl.CERT_NONE:
        if settings.dimse_tls_ca is None:
            raise SettingsError(
                f"--dimse-tls-client-certificates {settings.dimse_tls_client_certificates} needs the authorities whose "
                "certificates are believed: name their PEM file with --dimse-tls-ca."
            )
        _believe(context, settings.dimse_tls_ca)
    return context


def client_context(settings: Settings) -> ssl.SSLContext:
    """Return what associations with peers that speak TLS are opened with; raises SettingsError.

    With authorities of one's own (`dimse_tls_ca`) the name in a peer's certificate is not compared: devices are
    addressed by number, and who holds a certificate of these authorities was chosen by hand.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    _restrict(context)
    if settings.dimse_tls_ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _restrict(context)
        context.check_hostname = False
        _believe(context, settings.dimse_tls_ca)
    if settings.dimse_tls_certificate is not None:
        _show_certificate(context, settings)
    return context


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _show_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    assert settings.dimse_tls_certificate is not None
    key = settings.dimse_tls_key
    try:
        # An empty password: a key that is encrypted is an error, not a question to a terminal that may not be there.
        context.load_cert_chain(settings.dimse_tls_certificate, key, password="")
    except (OSError, ssl.SSLError) as error:
        named = flag("dimse_tls_certificate") + (f" and {flag('dimse_tls_key')}" if key else "")
        raise SettingsError(f"The PEM files of {named} cannot be used: {_reason(error)}.") from None


def _believe(context: ssl.SSLContext, authorities: Path) -> None:
    try:
        context.load_verify_locations(authorities)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"The PEM file of {flag('dimse_tls_ca')} cannot be used: {_reason(error)}.") from None


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "no certificate and key that belong together, unencrypted, are in them"
    return error.strerror or "it cannot be read"
