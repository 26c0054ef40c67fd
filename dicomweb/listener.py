"""The listening socket: made once by the supervisor, inherited by every worker."""

import errno
import ipaddress
import socket

from dicomweb.settings import Settings, SettingsError

BACKLOG = 2048


def listen(settings: Settings) -> socket.socket:
    """Listen on `host` and `port`; connections wait until a worker takes them.

    Raises
    ------
    SettingsError
        The port is taken, the host is none of ours, or others could reach it and nobody said that they may.
    """
    family, address = _resolve(settings.host, settings.port)
    if not (settings.insecure_no_auth or ipaddress.ip_address(address[0].partition("%")[0]).is_loopback):
        raise SettingsError(
            f"--host {settings.host} can be reached by other machines, and this version has no authentication: "
            "everybody there could read and store patient data. Listen on 127.0.0.1 behind a reverse proxy that "
            "asks who it is, or say --insecure-no-auth if the network is trusted."
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
        raise SettingsError(_why(error, settings)) from None
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL by which this machine reaches the listener, such as http://127.0.0.1:8080."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise SettingsError(f"--host {host} is neither an address nor a known name.") from None
    # "localhost" may be both 127.0.0.1 and ::1; most clients try the first.
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, (str(address[0]), int(address[1]))


def _why(error: OSError, settings: Settings) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {settings.port} of {settings.host} is taken by another program, perhaps another dicomweb; "
            "stop that one or choose another port with --port."
        )
    if error.errno == errno.EACCES:
        return f"Port {settings.port} may be used by root only; choose one above 1023 with --port."
    return f"Cannot listen on --host {settings.host} --port {settings.port}: {error.strerror}."
