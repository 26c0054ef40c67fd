"""`/api/peers`: the application entities we know, and what can be asked of them.

Facts this module keeps:

- A PUT is the whole peer: what is left out gets its default. Passcodes alone are kept when they are left out, since
  nobody can read them to send them again.
- Members that are not known are refused: a misspelt one would silently be the default.
- That a peer does not answer is no fault of ours: 502 when it cannot be reached or refuses, 504 when it is silent.
- Whoever may put a peer could look through our network with these answers, port by port. So only who asks on this
  machine is told more than that there was no answer; the log tells the rest.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal

import orjson
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.dimse.errors import AssociationError, PeerTimeout
from dicomweb.http.api.body import Members, answer, api_url, read_members
from dicomweb.http.api.guard import is_from_here
from dicomweb.http.api.openapi import operation, path_parameter, reference, schema_of
from dicomweb.http.problems import RequestRefused
from dicomweb.scu import echo, find
from dicomweb.scu.calling import Caller, OperationFailed
from dicomweb.scu.identifier import identifier
from dicomweb.settings import SettingsError
from storage.work.peers import DELIVERIES, InvalidPeer, Peer, Peers

logger = logging.getLogger(__name__)

MOST_MATCHES = 5000


class PeerMembers(Members):
    """A peer, as it is put."""

    host: str = Field(description="Host name or address.")
    port: int = Field(ge=1, le=65535)
    tls: bool = Field(False, description="Whether it speaks TLS on that port.")
    commitment_delivery: list[Literal["same", "new", "next"]] = Field(
        list(DELIVERIES),
        description="Ways it takes storage commitment reports in, tried in this order: on the association of the "
        "request, on a new one, on the next one it opens.",
    )
    transfer_syntaxes: list[str] = Field([], description="Transfer Syntax UIDs preferred when we send to it.")
    character_set: str = Field("", description="Specific Character Set (0008,0005) of worklist answers to it.")
    username: str = Field("", description="User identity it must give; empty: none.")
    passcode: str | None = Field(
        None,
        description="Passcode it must give with its username. Never shown; left out it stays, empty it goes.",
        json_schema_extra={"writeOnly": True},
    )
    our_username: str = Field("", description="User identity we give when we call it; empty: none.")
    our_passcode: str | None = Field(
        None,
        description="Passcode we give with it, kept sealed. Never shown; left out it stays, empty it goes.",
        json_schema_extra={"writeOnly": True},
    )
    availability: bool = Field(False, description="Whether it is told of studies that have become complete.")
    forward_performed_steps: bool = Field(False, description="Whether it is sent performed procedure steps.")
    description: str = Field("", description="For people.")
    ae_title: str | None = Field(None, description="That of the URL.")
    has_passcode: bool | None = Field(None, description="Whether there is a passcode; only shown.")
    has_our_passcode: bool | None = Field(None, description="Whether there is an our_passcode; only shown.")


class FindMembers(Members):
    """A search of a peer's archive."""

    level: Literal["PATIENT", "STUDY", "SERIES", "IMAGE"] = "STUDY"
    keys: dict[str, Any] = Field(
        {},
        description="Keyword or tag to what it must match, as DICOM writes it; empty text returns the attribute.",
    )
    limit: int = Field(500, ge=1, le=MOST_MATCHES, description="Most matches.")


async def list_peers(request: Request) -> Response:
    """Answer with every peer."""
    return answer([shown(peer) for peer in await _peers(request).all()])


async def show_peer(request: Request) -> Response:
    """Answer with one peer."""
    return answer(shown(await _peer(request)))


async def put_peer(request: Request) -> Response:
    """Write a peer: 201 for a new one, 200 for another version of it."""
    ae_title = _ae_title(request)
    members = await read_members(request, PeerMembers)
    if members.ae_title not in (None, ae_title):
        raise RequestRefused(400, "ae_title: is not that of the URL; put the peer under its own, and delete this one.")
    try:
        created = await _peers(request).put(
            peer_of(ae_title, members), passcode=members.passcode, our_passcode=members.our_passcode
        )
    except InvalidPeer as error:
        raise RequestRefused(400, str(error)) from None
    written = await _peer(request)
    if not created:
        return answer(shown(written))
    return answer(shown(written), 201, location=api_url(request, f"/peers/{request.path_params['ae_title']}"))


async def delete_peer(request: Request) -> Response:
    """Forget a peer."""
    if not await _peers(request).delete(_ae_title(request)):
        raise _unknown()
    return Response(status_code=204)


async def echo_peer(request: Request) -> Response:
    """Ask a peer by C-ECHO whether it is there (G-031)."""
    peer = await _peer(request)
    with answering(request):
        found = await echo.echo(Caller(request.app.state.settings), peer)
    return answer({"status": f"{found.status:04X}", "seconds": round(found.seconds, 6)})


async def find_on_peer(request: Request) -> Response:
    """Search a peer's archive by C-FIND; answers with an array of DICOM JSON objects."""
    peer = await _peer(request)
    members = await read_members(request, FindMembers)
    keys = identifier(members.level, members.keys)
    with answering(request):
        matches = find.find(Caller(request.app.state.settings), peer, keys, limit=members.limit)
        found = [match async for match in matches]
    return Response(orjson.dumps(found), 200, {"Cache-Control": "no-store"}, "application/dicom+json")


def shown(peer: Peer) -> dict[str, Any]:
    """Return a peer as it is shown: of passcodes, that there are any."""
    values = asdict(peer)
    values["has_our_passcode"] = values.pop("our_passcode") is not None
    return values


def peer_of(ae_title: str, members: PeerMembers) -> Peer:
    """Make a peer of what was put."""
    values = members.model_dump(exclude={"passcode", "has_passcode", "our_passcode", "has_our_passcode", "ae_title"})
    lists = {name: tuple(values[name]) for name in ("commitment_delivery", "transfer_syntaxes")}
    return Peer(ae_title, **values | lists)


@contextmanager
def answering(request: Request) -> Iterator[None]:
    """Make of what a peer does not do a 502 or 504 that says so, as far as who asks may know."""
    try:
        yield
    except (AssociationError, OperationFailed) as error:
        told = _told(error)
        if is_from_here(request):
            raise told from None
        logger.warning("a peer was asked by another machine: %s", told.detail)
        raise RequestRefused(502, "The peer gave no answer that can be used; the archive's log says why.") from None
    except SettingsError as error:
        raise RequestRefused(500, str(error)) from None


def _told(error: AssociationError | OperationFailed) -> RequestRefused:
    if isinstance(error, OperationFailed):
        return RequestRefused(502, f"The peer refused: {error}.", dimse_status=f"{error.status:04X}")
    if isinstance(error, PeerTimeout):
        return RequestRefused(504, f"The peer did not answer in time: {error}.")
    return RequestRefused(502, f"No answer from the peer: {str(error).rstrip('.')}.")


def _peers(request: Request) -> Peers:
    peers: Peers = request.app.state.archive.peers
    return peers


def _ae_title(request: Request) -> str:
    return str(request.path_params["ae_title"]).strip(" ")


async def _peer(request: Request) -> Peer:
    peer = await _peers(request).get(_ae_title(request))
    if peer is None:
        raise _unknown()
    return peer


def _unknown() -> RequestRefused:
    return RequestRefused(404, "There is no peer of this AE title; case matters. GET /api/peers lists those there are.")


ROUTES: list[Route] = [
    Route("/peers", list_peers),
    # An AE title may hold slashes, so it takes whatever is not one of the two words below it.
    Route("/peers/{ae_title:path}/echo", echo_peer, methods=["POST"]),
    Route("/peers/{ae_title:path}/find", find_on_peer, methods=["POST"]),
    Route("/peers/{ae_title:path}", show_peer, methods=["GET"]),
    Route("/peers/{ae_title:path}", put_peer, methods=["PUT"]),
    Route("/peers/{ae_title:path}", delete_peer, methods=["DELETE"]),
]
"""Relative to `/api`."""

SCHEMAS = {"Peer": schema_of(PeerMembers), "Find": schema_of(FindMembers)}

_AE_TITLE = path_parameter("ae_title", "AE title; case matters.", minLength=1, maxLength=16)
_UNKNOWN = {404: "There is no such peer."}
_SILENT = {
    502: "The peer cannot be reached or refused; other machines are not told more.",
    504: "The peer did not answer in time.",
}

PATHS: dict[str, Any] = {
    "/peers": {
        "get": operation("Every peer", {200: ("The peers.", {"type": "array", "items": reference("Peer")})}),
    },
    "/peers/{ae_title}": {
        "parameters": [_AE_TITLE],
        "get": operation("A peer", {200: ("The peer.", reference("Peer"))}, refusals=_UNKNOWN),
        "put": operation(
            "Write a peer; effective at once",
            {200: ("It was known.", reference("Peer")), 201: ("It is new.", reference("Peer"))},
            body=reference("Peer"),
            refusals={400: "A member is wrong; the detail names it."},
        ),
        "delete": operation("Forget a peer", {204: "It is gone."}, refusals=_UNKNOWN),
    },
    "/peers/{ae_title}/echo": {
        "parameters": [_AE_TITLE],
        "post": operation(
            "Ask by C-ECHO whether it is there",
            {
                200: (
                    "It is.",
                    {
                        "type": "object",
                        "properties": {
                            "status": {"type": "string", "description": "DIMSE status, four hexadecimal digits."},
                            "seconds": {"type": "number", "description": "Until the response."},
                        },
                    },
                )
            },
            refusals=_UNKNOWN | _SILENT,
        ),
    },
    "/peers/{ae_title}/find": {
        "parameters": [_AE_TITLE],
        "post": operation(
            "Search its archive by C-FIND",
            {200: ("The matches.", {"type": "array", "items": reference("DicomJson")})},
            body=reference("Find"),
            refusals=_UNKNOWN | _SILENT | {400: "A key is wrong; the detail names it."},
        ),
    },
}
