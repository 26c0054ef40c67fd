"""The absolute URLs a client sees, made for each request and never stored.

Facts this module keeps:

- RetrieveURL, BulkDataURI, Location and Content-Location are absolute and resolve from the client (PS3.18 8.2, F.2.2).
- Order of trust: the `public_base_url` setting; `Forwarded` (RFC 7239); `X-Forwarded-*`; the `Host` header. Forwarding
  headers count only when the peer of the socket is one of `trusted_proxies`.
- A host is copied into a URL only if it is spelt with the characters of a host (RFC 3986 3.2.2).
- python's dicomweb-client sends `Host` without its port. The socket's port is added only where that cannot be wrong:
  no proxy spoke, and the host names the very address of the socket (or is localhost on a loopback socket).
"""

import re
from functools import lru_cache

from starlette.requests import Request

from dicomweb.proxies import is_sign_of_proxy, is_trusted

MOUNT = "/dicom-web"
"""Where the DICOMweb resources hang below the public root."""

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~-]{1,253})(?::(?P<port>[0-9]{1,5}))?\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?\Z")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def base_url(request: Request) -> str:
    """Return the DICOMweb root as this client sees it.

    Parameters
    ----------
    request : Request
        Its application carries `state.settings` (`public_base_url`, `trusted_proxies`).

    Returns
    -------
    str
        For example "https://pacs.example.org/dicom-web", without a slash at the end.

    Standard
    --------
    PS3.18 8.2; checklist A-127.
    """
    settings = request.app.state.settings
    if settings.public_base_url:
        return _configured(settings.public_base_url)
    scope = request.scope
    host = forwarded = forwarded_host = forwarded_proto = forwarded_port = forwarded_prefix = ""
    proxied = False
    for name, value in scope["headers"]:
        if name == b"host":
            host = value.decode("latin-1")
        elif is_sign_of_proxy(name):
            proxied = True
            text = value.decode("latin-1")
            if name == b"forwarded" and not forwarded:
                forwarded = text
            elif name == b"x-forwarded-host":
                forwarded_host = text
            elif name == b"x-forwarded-proto":
                forwarded_proto = text
            elif name == b"x-forwarded-port":
                forwarded_port = text
            elif name == b"x-forwarded-prefix":
                forwarded_prefix = text
    scheme = "https" if scope["scheme"] == "https" else "http"
    server = scope.get("server") or ("localhost", None)
    if proxied and is_trusted((scope.get("client") or ("",))[0], tuple(settings.trusted_proxies)):
        return _from_proxy(
            scheme, host, forwarded, forwarded_host, forwarded_proto, forwarded_port, forwarded_prefix, server
        )
    return _direct(scheme, host, server[0], server[1], proxied)


def study_url(base: str, study_instance_uid: str) -> str:
    """Return the URL of a study below `base` (PS3.18 Table 10.1-1)."""
    return f"{base}/studies/{study_instance_uid}"


def series_url(base: str, study_instance_uid: str, series_instance_uid: str) -> str:
    """Return the URL of a series below `base` (PS3.18 Table 10.1-1)."""
    return f"{base}/studies/{study_instance_uid}/series/{series_instance_uid}"


def instance_url(base: str, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> str:
    """Return the URL of an instance below `base` (PS3.18 Table 10.1-1)."""
    return f"{base}/studies/{study_instance_uid}/series/{series_instance_uid}/instances/{sop_instance_uid}"


@lru_cache(maxsize=64)
def _configured(public_base_url: str) -> str:
    """A URL without a path names the server: the mount is added; with a path it is the root as proxies map it."""
    url = public_base_url.rstrip("/")
    return url if "/" in url.partition("://")[2] else url + MOUNT


def split_host(authority: str) -> tuple[str, str | None] | None:
    """Return name and port of an authority, None when it is not spelt as one (RFC 3986 3.2.2)."""
    match = _HOST.match(authority)
    return (match["name"], match["port"]) if match else None


@lru_cache(maxsize=1024)
def _direct(scheme: str, host: str, address: str, port: int | None, proxied: bool) -> str:
    match = _HOST.match(host)
    if match is None:
        return f"{scheme}://{_authority(address, port, scheme)}{MOUNT}"
    if match["port"] is None and not proxied and port and _names_socket(match["name"], address):
        return f"{scheme}://{_authority(match['name'], port, scheme)}{MOUNT}"
    return f"{scheme}://{host}{MOUNT}"


def _names_socket(name: str, address: str) -> bool:
    name = name.strip("[]").lower()
    return name == address or (name == "localhost" and address in ("127.0.0.1", "::1", "localhost"))


def _authority(address: str, port: int | None, scheme: str) -> str:
    if ":" in address and not address.startswith("["):
        address = f"[{address}]"
    return address if port in (None, _DEFAULT_PORTS[scheme]) else f"{address}:{port}"


@lru_cache(maxsize=1024)
def _from_proxy(
    scheme: str,
    host: str,
    forwarded: str,
    forwarded_host: str,
    forwarded_proto: str,
    forwarded_port: str,
    forwarded_prefix: str,
    server: tuple[str, int | None],
) -> str:
    """Use the first element of each list: the one the proxy nearest to the client wrote."""
    element = _forwarded_element(forwarded)
    proto = (element.get("proto") or _first(forwarded_proto)).lower()
    scheme = proto if proto in _DEFAULT_PORTS else scheme
    seen = element.get("host") or _first(forwarded_host)
    match = _HOST.match(seen)
    if match is None:
        # Most proxies pass Host on; only the port of the inner connection must not leak into the answer.
        match = _HOST.match(host)
        seen = host
    if match is None:
        return f"{scheme}://{_authority(server[0], server[1], scheme)}{MOUNT}"
    port = _first(forwarded_port)
    if match["port"] is None and "host" not in element and _PORT.match(port) and int(port) <= 65535:
        seen = _authority(match["name"], int(port), scheme)
    prefix = _first(forwarded_prefix)
    if not _PREFIX.match(prefix):
        prefix = ""
    return f"{scheme}://{seen}{prefix.rstrip('/')}{MOUNT}"


def _first(values: str) -> str:
    return values.split(",", 1)[0].strip()


def _forwarded_element(forwarded: str) -> dict[str, str]:
    """Return the pairs of the first element of a `Forwarded` header, names in lower case (RFC 7239 4)."""
    pairs: dict[str, str] = {}
    for pair in _first(forwarded).split(";"):
        name, separator, value = pair.partition("=")
        if separator:
            pairs[name.strip().lower()] = value.strip().strip('"')
    return pairs
