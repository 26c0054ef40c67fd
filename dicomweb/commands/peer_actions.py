"""What `dicomweb peers` does, on the archive in a data folder: as a guest of the server that runs on it, or alone."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from dicomweb.commands.exit_status import ExitStatus
from dicomweb.commands.printing import say, write_either, write_json, write_table
from dicomweb.dimse.errors import AssociationError, AssociationRejected
from dicomweb.http.api.jobs import shown as shown_job
from dicomweb.http.api.peers import shown
from dicomweb.jobs.worker import JobWorker
from dicomweb.opening import open_archive, with_calling_facts
from dicomweb.progress import Progress
from dicomweb.scu import echo as verification
from dicomweb.scu import find as search
from dicomweb.scu.calling import Caller, OperationFailed
from dicomweb.scu.identifier import RETURNED, identifier, value_of
from dicomweb.settings import Settings, SettingsError, flag
from storage.archive import Archive
from storage.database.data_folder import DataFolder
from storage.errors import NotFound
from storage.index.record import UID
from storage.work.jobs import FINISHED, Job, Jobs
from storage.work.peers import Peer

LOOK_EVERY = 0.2


class _Place(NamedTuple):
    """The archive, whether a server runs on it, and the settings, completed by those of that server."""

    archive: Archive
    served: bool
    settings: Settings

    async def peer(self, ae_title: str) -> Peer:
        """Return a peer; raises NotFound when there is none of that title."""
        peer = await self.archive.peers.get(ae_title)
        if peer is None:
            raise NotFound(f"There is no peer {ae_title}; add it with: dicomweb peers add {ae_title} HOST PORT")
        return peer


async def add(
    settings: Settings,
    address: Peer,
    changes: Mapping[str, Any],
    passcode: str | None,
    our_passcode: str | None,
    *,
    as_json: bool,
) -> None:
    """Add a peer, or change one that is known, and say what it is now; makes the archive when there is none.

    Parameters
    ----------
    settings
        Of the command.
    address
        Its AE title, host and port; of a new one all else, too.
    changes
        Other attributes, by name; those that are not among them stay as they are.
    passcode, our_passcode
        As `Peers.put` takes them.
    as_json
        Whether to say it as JSON.

    Raises
    ------
    SettingsError
        A passcode would be lost with the username it belongs to.
    """
    async with _opened(settings, create=True) as place:
        peers = place.archive.peers
        known = await peers.get(address.ae_title)
        peer = replace(known or address, host=address.host, port=address.port, **changes)
        if known is not None:
            _keep_passcode("username", known.has_passcode, known.username, peer.username, passcode)
            ours = known.our_passcode is not None
            _keep_passcode("our_username", ours, known.our_username, peer.our_username, our_passcode)
        created = await peers.put(peer, passcode=passcode, our_passcode=our_passcode)
        written = await place.peer(peer.ae_title)
    line = f"{peer.ae_title} is {'added' if created else 'changed'}: {_summary(written)}"
    write_either(shown(written), line, as_json=as_json)


def _keep_passcode(name: str, has_passcode: bool, known: str, username: str, passcode: str | None) -> None:
    """Refuse to lose a passcode unsaid: it goes with its username."""
    if has_passcode and passcode is None and username not in ("", known):
        option = flag(name.replace("username", "passcode_file"))
        raise SettingsError(
            f"The passcode there is belongs to {name} {known}; give that of {username} with {option}, or an empty file "
            "for none."
        )


def _summary(peer: Peer) -> str:
    """Write what is not the default, on one line."""
    usual = shown(Peer("", "", 0))
    values = {name: value for name, value in shown(peer).items() if name != "ae_title" and value != usual[name]}
    texts = {name: ",".join(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return " ".join(name if value is True else f"{name}={value}" for name, value in texts.items())


async def show_all(settings: Settings, as_json: bool) -> None:
    """Write every peer: a table, or one line of JSON each."""
    async with _opened(settings) as place:
        peers = await place.archive.peers.all()
    if as_json:
        write_json(*map(shown, peers))
        return
    rows = [
        (
            *(peer.ae_title, f"{peer.host}:{peer.port}", "yes" if peer.tls else ""),
            *(",".join(peer.commitment_delivery), peer.description),
        )
        for peer in peers
    ]
    write_table(("AE title", "address", "TLS", "commitment", "description"), rows)


async def show(settings: Settings, ae_title: str, as_json: bool) -> None:
    """Write a peer as JSON: on one line, or so that a person can read it."""
    async with _opened(settings) as place:
        peer = await place.peer(ae_title)
    readable = orjson.dumps(shown(peer), option=orjson.OPT_INDENT_2).decode()
    write_either(shown(peer), readable, as_json=as_json)


async def remove(settings: Settings, ae_title: str, as_json: bool) -> None:
    """Forget a peer; raises NotFound when there is none."""
    async with _opened(settings) as place:
        peer = await place.peer(ae_title)
        await place.archive.peers.delete(peer.ae_title)
    write_either(shown(peer), f"{peer.ae_title} is removed.", as_json=as_json)


async def renew_key(settings: Settings) -> None:
    """Seal the passcodes that we give with a new key, and say so."""
    async with _opened(settings) as place:
        count = await place.archive.peers.renew_key()
    say(f"{count:,} passcodes are sealed with a new key; the old one opens nothing any more.")


async def echo(settings: Settings, ae_title: str, as_json: bool) -> int:
    """Say whether a peer is there; returns the exit status."""
    async with _opened(settings) as place:
        peer = await place.peer(ae_title)
    try:
        answer = await verification.echo(Caller(place.settings), peer)
    except (AssociationError, OperationFailed) as error:
        return _failed(peer, error)
    facts = {"ae_title": peer.ae_title, "status": f"{answer.status:04X}", "seconds": answer.seconds}
    line = f"{peer.ae_title} answered {answer.status:04X} after {answer.seconds * 1000:.0f} ms."
    write_either(facts, line, as_json=as_json)
    return ExitStatus.DONE


async def find(
    settings: Settings, ae_title: str, level: str, keys: Mapping[str, str], limit: int, as_json: bool
) -> int:
    """Write what a peer has, as a table or one line of DICOM JSON each; returns the exit status."""
    wanted = identifier(level, keys)
    async with _opened(settings) as place:
        peer = await place.peer(ae_title)
    try:
        found = [match async for match in search.find(Caller(place.settings), peer, wanted, limit=limit)]
    except (AssociationError, OperationFailed) as error:
        return _failed(peer, error)
    if as_json:
        write_json(*found)
    else:
        names = tuple(dict.fromkeys((*RETURNED[level], *keys)))
        write_table(names, [tuple(value_of(match, name) for name in names) for match in found])
    say(f"{len(found):,} matches{', and perhaps more' if len(found) == limit else ''}.")
    return ExitStatus.DONE


async def queue(
    settings: Settings,
    kind: str,
    ae_title: str,
    studies: Sequence[str],
    parameters: Mapping[str, Any],
    *,
    background: bool,
    as_json: bool,
) -> int:
    """Queue a job and show how it gets on; without a server it is done here. Returns the exit status."""
    if wrong := [uid for uid in studies if not UID.fullmatch(uid)]:
        raise SettingsError(f"{wrong[0]} is not a UID (1 to 64 digits and dots).")
    async with _opened(settings) as place:
        peer = await place.peer(ae_title)
        if not place.served and background:
            raise SettingsError("No server runs on the data folder that could do it; leave out --background.")
        if not place.served and parameters.get("method") == "move":
            raise SettingsError("No server runs on the data folder that the peer could send to; use --get.")
        jobs = Jobs(place.archive.pool)
        entities = [{"study_instance_uid": uid} for uid in studies]
        number = await jobs.add(kind, {"peer": peer.ae_title, "entities": entities, **parameters})
        if background:
            job = await jobs.get(number)
            line = f"Job {number} is queued; /api/jobs/{number} tells how it gets on."
            write_either(shown_job(job) if job else None, line, as_json=as_json)
            return ExitStatus.DONE
        if place.served:
            return _result(await _watch(jobs, number, place), as_json=as_json)
        working = asyncio.create_task(JobWorker(place.archive, place.settings).run())
        try:
            return _result(await _watch(jobs, number, place), as_json=as_json)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


async def _watch(jobs: Jobs, number: int, place: _Place) -> Job:
    """Show how a job gets on until it is over; without a server its first pause ends the patience, too."""
    done = expected = 0
    told = ""
    with Progress("Job " + str(number)) as progress:
        while True:
            job = await jobs.get(number)
            if job is None:
                raise NotFound(f"Job {number} was removed meanwhile.")
            if job.total is not None and job.total != expected:
                progress.expect(job.total - expected, settled=True)
                expected = job.total
            progress.advance(job.done + job.failed - done)
            done = job.done + job.failed
            if job.state in FINISHED:
                return job
            if job.state == "waiting":
                if not place.served:
                    return job
                if job.error != told:
                    told = job.error
                    progress.note(f"{told} It is tried again; Ctrl-C leaves that to the server.")
            await asyncio.sleep(LOOK_EVERY)


def _result(job: Job, *, as_json: bool) -> int:
    counts = f"{job.done:,} done, {job.failed:,} failed"
    write_either(shown_job(job), f"Job {job.id} is {job.state}: {counts}. {job.error}".rstrip(), as_json=as_json)
    say(*(f"{failure['item']}: {failure['error']}" for failure in job.failures))
    if job.state == "waiting":
        say("A server that is started on the data folder goes on with it.")
    return ExitStatus.DONE if job.state == "done" else ExitStatus.INCOMPLETE


@asynccontextmanager
async def _opened(settings: Settings, *, create: bool = False) -> AsyncIterator[_Place]:
    """Open the archive, and call peers as the server that runs on it does, but for what was given otherwise."""
    facts = DataFolder.running(settings.data_dir)
    settings = with_calling_facts(settings, facts)
    async with open_archive(settings, create=create) as archive:
        yield _Place(archive, facts is not None, settings)


def _failed(peer: Peer, error: Exception) -> int:
    say(f"{peer.ae_title}: {str(error).rstrip('.')}.")
    refused = isinstance(error, AssociationRejected | OperationFailed)
    return ExitStatus.REFUSED if refused else ExitStatus.UNAVAILABLE
