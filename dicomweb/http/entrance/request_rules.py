"""What every request must be before anything looks at it: addressed to us, and in a form we read.

Facts this module keeps:

- `Host` is there once and is a host (RFC 9112 3.2), else 400: two of them are read differently by different programs.
  Only HTTP/1.0 knows requests without; no browser speaks it.
- A name that is not ours is a 421 (RFC 9110 15.5.20), at every door; see `dicomweb/http/entrance/host_names.py` for
  why.
- Of transfer codings chunked alone is read; another one around the body is a 501 (RFC 9112 6.1).
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from dicomweb.http.entrance.host_names import HostNames, name_in
from dicomweb.http.problems import problem


class Entrance:
    """Refuse requests that are not for us.

    Parameters
    ----------
    app : ASGIApp
        The application inside.
    host_names : HostNames
        What we are called.

    Standard
    --------
    RFC 9110 15.5.20; RFC 9112 3.2, 6.1.
    """

    def __init__(self, app: ASGIApp, *, host_names: HostNames) -> None:
        self.app = app
        self.host_names = host_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            status, detail = refusal
            await problem(status, "", detail, headers={"Connection": "close"})(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        hosts = 0
        host = b""
        for name, value in scope["headers"]:
            if name == b"host":
                hosts += 1
                host = value
            elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                return 501, "Of transfer codings only chunked is read; compress the body by Content-Encoding instead."
        if hosts == 1:
            return self._refusal_of(host.decode("latin-1"), scope)
        if hosts == 0 and scope["http_version"] == "1.0":
            return None
        return 400, f"The request has {'no Host header' if hosts == 0 else 'more than one Host header'}; it needs one."

    def _refusal_of(self, host: str, scope: Scope) -> tuple[int, str] | None:
        if host in self.host_names:
            return None
        name = name_in(host)
        if not name:
            return 400, "Host is not the name or the address of a server, with a port or without."
        if self.host_names.trusts((scope.get("client") or ("",))[0]):
            return None
        return 421, (
            f"The archive is not called {name}: it answers to localhost, to addresses, and to the names of its "
            f"machine. To have it answer to this one, start it with --allowed-hosts {name}, or set allowed_hosts "
            "(DICOMWEB_ALLOWED_HOSTS)."
        )
