"""The listening sockets: made once by the supervisor, inherited by its children.

Facts this module keeps:

- A child that is started again inherits the socket of the one before: who connects meanwhile waits.
- Nothing listens where other machines can reach it unless somebody said that this is meant. An AE title is a name, not
  a proof: a list of peers does not change that, for DIMSE as little as for HTTP.
"""

import errno
import ipaddress
import socket
from contextlib import ExitStack
from dataclasses import dataclass

from dicomweb.settings import Settings, SettingsError, flag
from storage.system.errors import in_words

BACKLOG = 2048
HTTP = "http"
DIMSE = "dimse"
DIMSE_TLS = "dimse_tls"


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen, and the settings that say so."""

    host: str
    port: int
    host_setting: str = "host"
    port_setting: str = "port"


def places(settings: Settings) -> dict[str, Place]:
    """Return where to listen, by the name of the listener."""
    found = {HTTP: Place(settings.host, settings.port)}
    if settings.dimse:
        host, host_setting = settings.dimse_host or settings.host, "dimse_host" if settings.dimse_host else "host"
        found[DIMSE] = Place(host, settings.dimse_port, host_setting, "dimse_port")
        if settings.dimse_tls_port is not None:
            found[DIMSE_TLS] = Place(host, settings.dimse_tls_port, host_setting, "dimse_tls_port")
    return found


def listen_everywhere(settings: Settings) -> dict[str, socket.socket]:
    """Listen wherever the settings say; the caller closes the sockets.

    Raises
    ------
    SettingsError
        As `listen`; nothing listens then.
    """
    with ExitStack() as opened:
        listeners = {
            name: opened.enter_context(listen(place, insecure=settings.insecure_no_auth))
            for name, place in places(settings).items()
        }
        opened.pop_all()
    return listeners


def listen(place: Place, *, insecure: bool = False) -> socket.socket:
    """Listen at one place; connections wait until a child takes them.

    Parameters
    ----------
    place
        Host and port.
    insecure
        Whether others may reach it.

    Raises
    ------
    SettingsError
        The port is taken, the host is none of ours, or others could reach it and nobody said that they may.
    """
    family, address = _resolve(place)
    if not (insecure or is_loopback(address[0])):
        raise SettingsError(
            f"{flag(place.host_setting)} {place.host} can be reached by other machines, and this version has no "
            "authentication: everybody there could read and store patient data. Listen on 127.0.0.1 behind a reverse "
            "proxy that asks who it is, or say --insecure-no-auth if the network is trusted."
        )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and hasattr(socket, "IPPROTO_IPV6"):
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(_why(error, place)) from None
    return listener


def plain_address(host: str) -> str:
    """Return the address of a peer as IPv4 where that is what it is: a socket for both says ::ffff:192.0.2.7."""
    return host.removeprefix("::ffff:") if host.startswith("::ffff:") and "." in host else host


def is_loopback(host: str) -> bool:
    """Whether an address is one that only this machine can reach."""
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def reachable(host: str) -> str:
    """The address by which this machine reaches a socket that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def address_of(listener: socket.socket) -> str:
    """Host and port by which this machine reaches the listener, such as 127.0.0.1:11112 or [::1]:11112."""
    host, port = listener.getsockname()[:2]
    host = reachable(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def url_of(listener: socket.socket) -> str:
    """The URL by which this machine reaches the listener, such as http://127.0.0.1:8080."""
    return f"http://{address_of(listener)}"


def _resolve(place: Place) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise SettingsError(
            f"{flag(place.host_setting)} {place.host} is neither an address nor a known name."
        ) from None
    # "localhost" may be both 127.0.0.1 and ::1; most clients try the first.
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, (str(address[0]), int(address[1]))


def _why(error: OSError, place: Place) -> str:
    chosen = flag(place.port_setting)
    if error.errno == errno.EADDRINUSE:
        without = ", or do without DIMSE by --no-dimse" if place.port_setting == "dimse_port" else ""
        return (
            f"Port {place.port} of {place.host} is taken by another program, perhaps another dicomweb; "
            f"stop that one or choose another port with {chosen}{without}."
        )
    if error.errno == errno.EACCES:
        return f"Port {place.port} may be used by root only; choose one above 1023 with {chosen}."
    return f"Cannot listen on {flag(place.host_setting)} {place.host} {chosen} {place.port}: {in_words(error)}."
