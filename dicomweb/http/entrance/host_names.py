"""The names by which the archive may be called: what `Host` may say.

A web page can have its own name point to any address once it is loaded (DNS rebinding); to the browser the archive
behind that address is then the page's own server, and its scripts read and store there as they like. They cannot
change `Host`, which still says their name. Facts this module keeps:

- Names that are nobody else's to point elsewhere are ours: `localhost` and what ends in `.localhost` (RFC 6761 6.3),
  the host names of this machine, the name given to `host`, that of `public_base_url`.
- An address is looked up nowhere, so it cannot be made to point to something else.
- Every other name must be among `allowed_hosts`: a name, `*.hospital.example` for all below it, `*` for any.
- A reverse proxy passes on names that it is configured to serve. It is believed when its address was given to
  `trusted_proxies`; an address of this machine is not enough, for browsers of this machine come from there, too.
"""

import ipaddress
import socket
from collections.abc import Collection, Iterable
from threading import Thread
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from dicomweb.http.urls import split_host
from dicomweb.proxies import is_trusted

if TYPE_CHECKING:
    from dicomweb.settings import Settings

EVERY: Final = "*"
_MOST_REMEMBERED = 1024


class HostNames:
    """Tell the archive's own names from others.

    Parameters
    ----------
    allowed : collection of str
        Names and patterns, such as `pacs.hospital.example`, `*.hospital.example` or `*`.
    trusted_proxies : iterable of str
        Addresses and networks from where any name is believed.
    """

    def __init__(self, allowed: Collection[str], trusted_proxies: Iterable[str] = ()) -> None:
        self.names = {"localhost", *(name.lower().rstrip(".") for name in allowed if not name.startswith(EVERY))}
        self.ends = (".localhost", *(name[1:].lower() for name in allowed if name.startswith("*.")))
        self.every = EVERY in allowed
        self.proxies = tuple(entry for entry in trusted_proxies if entry != EVERY)
        self._known: set[str] = set()

    @classmethod
    def of(cls, settings: "Settings") -> "HostNames":
        """Put together what the settings and this machine say; what the resolver says of it may come a little later."""
        public = urlsplit(settings.public_base_url or "").hostname
        found = cls([*settings.allowed_hosts, settings.host, *([public] if public else [])], settings.trusted_proxies)
        found.names |= _spellings(socket.gethostname())
        Thread(target=found._ask_resolver, name="own name", daemon=True).start()
        return found

    def __contains__(self, authority: str) -> bool:
        """Whether the value of `Host` is ours."""
        if authority in self._known:
            return True
        name = name_in(authority)
        if not (name and (self.every or name in self.names or name.endswith(self.ends) or _is_address(name))):
            return False
        if len(self._known) < _MOST_REMEMBERED:
            self._known.add(authority)
        return True

    def trusts(self, peer: str) -> bool:
        """Whether a request comes from a proxy that was named, and not from this machine."""
        return is_trusted(peer, self.proxies) and not ipaddress.ip_address(peer).is_loopback

    def _ask_resolver(self) -> None:
        """Learn the full name of this machine; a resolver that is away may take a minute to say so."""
        self.names |= _spellings(socket.getfqdn())


def name_in(authority: str) -> str:
    """Return the host of an authority in lower case, without brackets, port and last dot; empty when it is none."""
    found = split_host(authority)
    return found[0].strip("[]").rstrip(".").lower() if found else ""


def _spellings(name: str) -> set[str]:
    """What a machine of this name is called: in full, by its first label, and so in its own network (RFC 6762)."""
    first = name.lower().partition(".")[0]
    return {name.lower(), first, f"{first}.local"} - {"", ".local"}


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
