"""Whose request it is, as far as shares go: an address, or nobody's in particular.

Facts this module keeps:

- A proxy that is trusted (`trusted_proxies`) speaks for many: the address is the last one of `Forwarded` or
  `X-Forwarded-For` that is not a trusted proxy itself. What stands before that came from the client, which may write
  there what it likes.
- A trusted proxy that does not say for whom it asks has no share: it would lock out everybody behind it.
"""

from functools import lru_cache

from starlette.types import Scope

from dicomweb.proxies import is_trusted


def client_of(scope: Scope, trusted: tuple[str, ...]) -> str | None:
    """Return the address of the client of a request, None when it is not known.

    Standard
    --------
    RFC 7239 5.2, 6.
    """
    peer = (scope.get("client") or ("",))[0]
    if not is_trusted(peer, trusted):
        return peer or None
    forwarded = forwarded_for = ""
    for name, value in scope["headers"]:
        if name == b"forwarded":
            forwarded += "," + value.decode("latin-1")
        elif name == b"x-forwarded-for":
            forwarded_for += "," + value.decode("latin-1")
    if not (forwarded or forwarded_for):
        return None
    return _last_untrusted(forwarded, forwarded_for, trusted)


@lru_cache(maxsize=1024)
def _last_untrusted(forwarded: str, forwarded_for: str, trusted: tuple[str, ...]) -> str | None:
    named = forwarded_for.split(",") if forwarded_for else list(map(_for, forwarded.split(",")))
    for entry in reversed(named):
        address = _without_port(entry.strip().strip('"'))
        if address and not is_trusted(address, trusted):
            return address
    return None


def _for(element: str) -> str:
    """Return the node that an element of `Forwarded` names (RFC 7239 4)."""
    for pair in element.split(";"):
        name, _, value = pair.partition("=")
        if name.strip().lower() == "for":
            return value.strip()
    return ""


def _without_port(node: str) -> str:
    if node.startswith("["):
        return node[1:].partition("]")[0]
    host, colon, port = node.partition(":")
    return host if colon and ":" not in port else node
