"""Which addresses speak for others: the proxies of the setting `trusted_proxies`."""

import ipaddress
from functools import lru_cache


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
