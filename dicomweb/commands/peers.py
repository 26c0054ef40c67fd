"""`dicomweb peers`: the application entities the archive knows, and what can be asked of them."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from dicomweb.commands.location import DEFAULT, Location
from dicomweb.commands.printing import Json
from dicomweb.settings import SettingsError

peers = App(
    name="peers",
    help="""Manage peers (modalities, workstations, other archives); ask them, pull from them, send to them.

    Works beside a running server, and without one.

    Example: dicomweb peers add PACS 192.0.2.7 104""",
)
Switch = Annotated[bool, Parameter(negative=())]
Change = bool | None
"""On, off (--no-...), or as it is."""
Words = Annotated[list[str] | None, Parameter(negative_iterable=())]


@peers.command
def add(
    ae_title: str,
    host: str,
    port: int,
    *,
    tls: Change = None,
    commitment_delivery: str | None = None,
    transfer_syntax: Words = None,
    character_set: str | None = None,
    username: str | None = None,
    passcode_file: Path | None = None,
    our_username: str | None = None,
    our_passcode_file: Path | None = None,
    availability: Change = None,
    forward_performed_steps: Change = None,
    description: str | None = None,
    json: Json = False,
    at: Location = DEFAULT,
) -> None:
    """Add a peer, or change one: what is not named stays as it is. Effective at once.

    An empty value takes away what there was, such as --username "" for no user identity.

    Example: dicomweb peers add CT1 192.0.2.20 104 --commitment-delivery new,next

    Parameters
    ----------
    ae_title
        Its AE title; case matters.
    host
        Host name or address.
    port
        TCP port.
    tls
        It speaks TLS on that port.
    commitment_delivery
        Ways it takes storage commitment reports in, the first one tried first; at first same,new,next.
    transfer_syntax
        Transfer Syntax UID preferred when it is sent something; may be repeated.
    character_set
        Specific Character Set of worklist answers to it, such as "ISO_IR 100".
    username
        User identity it must give when it calls; "" for none: its passcode goes, too.
    passcode_file
        File whose first line is the passcode it must give with it; - for standard input. Without it the
        passcode stays; when the file is empty, it goes.
    our_username
        User identity we give when we call it; "" for none: our passcode goes, too.
    our_passcode_file
        File whose first line is the passcode we give with it, as above. It is kept in the database as it is.
    availability
        Tell it of studies that have become complete.
    forward_performed_steps
        Send it the performed procedure steps that the archive is told of.
    description
        For people.
    json
        Write what is now known of it as JSON.
    """
    from dicomweb.commands import peer_actions
    from storage.work.peers import Peer

    options = {
        "tls": tls,
        "commitment_delivery": None if commitment_delivery is None else _words(commitment_delivery.split(",")),
        "transfer_syntaxes": None if transfer_syntax is None else _words(transfer_syntax),
        "character_set": character_set,
        "username": username,
        "our_username": our_username,
        "availability": availability,
        "forward_performed_steps": forward_performed_steps,
        "description": description,
    }
    changes = {name: value for name, value in options.items() if value is not None}
    settings = at.settings()
    passcodes = _passcode("--passcode-file", passcode_file), _passcode("--our-passcode-file", our_passcode_file)
    asyncio.run(peer_actions.add(settings, Peer(ae_title.strip(" "), host, port), changes, *passcodes, as_json=json))


@peers.command(name="list")
def list_(*, json: Json = False, at: Location = DEFAULT) -> None:
    """List the peers.

    Example: dicomweb peers list

    Parameters
    ----------
    json
        Write each as one line of JSON.
    """
    from dicomweb.commands import peer_actions

    asyncio.run(peer_actions.show_all(at.settings(), json))


@peers.command
def show(ae_title: str, *, json: Json = False, at: Location = DEFAULT) -> None:
    """Show all that is known of a peer, as JSON; a passcode is never shown.

    Example: dicomweb peers show PACS

    Parameters
    ----------
    ae_title
        Its AE title; case matters.
    json
        Write it on one line.
    """
    from dicomweb.commands import peer_actions

    asyncio.run(peer_actions.show(at.settings(), ae_title, json))


@peers.command
def remove(ae_title: str, *, json: Json = False, at: Location = DEFAULT) -> None:
    """Forget a peer. Effective at once.

    Example: dicomweb peers remove PACS

    Parameters
    ----------
    ae_title
        Its AE title; case matters.
    json
        Write what was known of it as JSON.
    """
    from dicomweb.commands import peer_actions

    asyncio.run(peer_actions.remove(at.settings(), ae_title, json))


@peers.command(name="renew-key")
def renew_key(*, at: Location = DEFAULT) -> None:
    """Make a new key for the passcodes that we show peers, seal them with it and forget the old one.

    Example: dicomweb peers renew-key
    """
    from dicomweb.commands import peer_actions

    asyncio.run(peer_actions.renew_key(at.settings()))


@peers.command
def echo(ae_title: str, *, aet: str | None = None, json: Json = False, at: Location = DEFAULT) -> None:
    """Ask a peer by C-ECHO whether it is there and talks to us.

    Exit status 5 when it does not answer, 4 when it refuses.

    Beside a running server it is called with the certificates and timeouts of that server, unless others are set.

    Example: dicomweb peers echo PACS

    Parameters
    ----------
    ae_title
        Its AE title; case matters.
    aet
        AE title to call it with; that of the running server by default.
    json
        Write its status and how long it took, in seconds, as JSON.
    """
    from dicomweb.commands import peer_actions

    sys.exit(asyncio.run(peer_actions.echo(at.settings(aet=aet), ae_title, json)))


@peers.command
def find(
    ae_title: str,
    *,
    level: Literal["PATIENT", "STUDY", "SERIES", "IMAGE"] = "STUDY",
    key: Annotated[list[str] | None, Parameter(name=("--key", "-k"), negative_iterable=())] = None,
    limit: int = 500,
    json: Json = False,
    aet: str | None = None,
    at: Location = DEFAULT,
) -> None:
    """Search a peer's archive by C-FIND; exit status 5 when it does not answer, 4 when it refuses.

    Example: dicomweb peers find PACS --level STUDY -k PatientID=4711 -k StudyDate=20260101-

    Parameters
    ----------
    ae_title
        Its AE title; case matters.
    level
        What to search for.
    key
        Attribute to match and to show, NAME=VALUE with wildcards and ranges as DICOM writes them, or NAME alone to
        show it; may be repeated.
    limit
        Most matches.
    json
        Write each match as one line of DICOM JSON.
    aet
        AE title to call it with; that of the running server by default.
    """
    from dicomweb.commands import peer_actions

    settings = at.settings(aet=aet)
    keys = dict(each.partition("=")[::2] for each in key or ())
    sys.exit(asyncio.run(peer_actions.find(settings, ae_title, level, keys, limit, json)))


@peers.command
def pull(
    ae_title: str,
    studies: Annotated[list[str], Parameter(negative_iterable=())],
    /,
    *,
    get: Switch = False,
    background: Switch = False,
    json: Json = False,
    at: Location = DEFAULT,
) -> None:
    """Bring studies here that a peer has, but for what is here already; exit status 1 when something did not come.

    By C-MOVE the peer sends to the running server, whose AE title and address it must know; by C-GET it need not.
    Interrupted, the running server goes on with it: see /api/jobs.

    Example: dicomweb peers pull PACS 1.2.840.113619.2.55.3 --get

    Parameters
    ----------
    ae_title
        Its AE title; case matters.
    studies
        Study Instance UIDs.
    get
        Use C-GET instead of C-MOVE.
    background
        Leave it to the running server and do not wait.
    json
        Write the job as JSON, as /api/jobs does.
    """
    from dicomweb.commands import peer_actions

    settings = at.settings()
    parameters = {"method": "get" if get else "move"}
    sys.exit(
        asyncio.run(
            peer_actions.queue(settings, "pull", ae_title, studies, parameters, background=background, as_json=json)
        )
    )


@peers.command
def send(
    ae_title: str,
    studies: Annotated[list[str], Parameter(negative_iterable=())],
    /,
    *,
    background: Switch = False,
    json: Json = False,
    at: Location = DEFAULT,
) -> None:
    """Send studies to a peer by C-STORE; exit status 1 when something did not arrive.

    Interrupted, the running server goes on with it: see /api/jobs.

    Example: dicomweb peers send PACS 1.2.840.113619.2.55.3

    Parameters
    ----------
    ae_title
        Its AE title; case matters.
    studies
        Study Instance UIDs.
    background
        Leave it to the running server and do not wait.
    json
        Write the job as JSON, as /api/jobs does.
    """
    from dicomweb.commands import peer_actions

    queue = peer_actions.queue(at.settings(), "send", ae_title, studies, {}, background=background, as_json=json)
    sys.exit(asyncio.run(queue))


def _words(given: list[str]) -> tuple[str, ...]:
    return tuple(word.strip() for word in given if word.strip())


def _passcode(flag: str, path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{flag} {path} cannot be read.") from None
    return text.partition("\n")[0].rstrip("\r")
