"""Reverse proxies: which are believed, and what shows that a request came through one."""

import ipaddress
from functools import lru_cache

_PROXY_SIGNS = frozenset((b"forwarded", b"via", b"x-real-ip"))


def is_sign_of_proxy(header: bytes) -> bool:
    """Whether a header of this name, in lower case, is what a proxy adds."""
    return header in _PROXY_SIGNS or header.startswith(b"x-forwarded-")


@lru_cache(maxsize=1024)
def is_trusted(peer: str, trusted: tuple[str, ...]) -> bool:
    """Whether `peer` is named by `trusted`: addresses, networks ("10.0.0.0/8") or "*"."""
    if "*" in trusted or peer in trusted:
        return True
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    for entry in trusted:
        try:
            if address in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False
