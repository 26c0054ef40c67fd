"""Clients that store by STOW-RS and C-STORE and that read what was acknowledged, all at once, whatever dies."""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import httpx2

from tests.builders import dataset_only, new_uid
from tests.dicomweb.parts import parts_of
from tests.kills.images import made
from tests.kills.ledger import Ledger, Sent, digest
from tests.kills.storing import Association
from tests.live.exchange import DICOM, path_of, store, stored_keys
from tests.live_server import LiveServer

STOWING, STORING, READING = 3, 2, 2
NATIVE = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'
PICTURES = ("rendered", "thumbnail")
AWAY = 503
"""What may be said for a moment when something has died: nothing is claimed of the instance."""
ALL_FAILED = 409
"""What is answered when no instance of a request could be stored (PS3.18 10.5.3.1)."""


class Traffic:
    """Threads that work until they are told to end.

    Parameters
    ----------
    server
        Whom they talk to.
    ledger
        Where they write what they are told.
    chance
        What they choose by.
    shared
        A study that all of them store into now and then.
    """

    def __init__(self, server: LiveServer, ledger: Ledger, chance: random.Random, shared: str) -> None:
        self._server = server
        self._ledger = ledger
        self._shared = shared
        self._over = threading.Event()
        self._began = threading.Event()
        kinds = [self._stow] * STOWING + [self._store] * STORING + [self._read] * READING
        self._threads = [
            threading.Thread(target=self._until_over, args=(work, random.Random(chance.random()))) for work in kinds
        ]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_the_first_answer(self) -> None:
        """Return when something was acknowledged."""
        assert self._began.wait(60), "nothing was acknowledged in a minute"

    def _until_over(self, work: Callable[[random.Random], None], chance: random.Random) -> None:
        while not self._over.is_set():
            with suppress(OSError, httpx2.TransportError):
                work(chance)
            time.sleep(0.01)

    def _place(self, chance: random.Random) -> tuple[str, str]:
        return (self._shared if chance.random() < 0.5 else new_uid()), new_uid()

    def _stow(self, chance: random.Random) -> None:
        study, series = self._place(chance)
        with httpx2.Client(base_url=self._server.root, timeout=60) as client:
            for turn in range(8):
                if self._over.is_set():
                    return
                files = [made(chance, study, series, 10 * turn + place) for place in range(chance.choice((1, 1, 3)))]
                stow(client, self._ledger, files)
                self._began.set()

    def _store(self, chance: random.Random) -> None:
        study, series = self._place(chance)
        with Association(self._server.dimse_port) as association:
            for turn in range(20):
                if self._over.is_set():
                    return
                sent = made(chance, study, series, turn, by_store=True)
                stored = False
                try:
                    stored = association.store(sent) == 0
                finally:
                    self._ledger.told(sent, stored=stored)

    def _read(self, chance: random.Random) -> None:
        known = self._ledger.known()
        if not known:
            return
        with httpx2.Client(base_url=self._server.root, timeout=60) as client:
            for _ in range(10):
                if self._over.is_set():
                    return
                read(client, self._ledger, chance.choice(known), chance.choice(("file", "frames", *PICTURES)))


def stow(client: httpx2.Client, ledger: Ledger, files: list[Sent]) -> None:
    """Store files in one request, and write down what was said of each."""
    keys = set()
    try:
        answer = store(client, *(sent.data for sent in files))
        if answer.status_code in (200, 202):
            keys = set(stored_keys(answer))
        elif answer.status_code not in (AWAY, ALL_FAILED):
            ledger.saw(f"storing: {answer.status_code}", as_sent=False)
    finally:
        for sent in files:
            ledger.told(sent, stored=sent.key in keys)


def read(client: httpx2.Client, ledger: Ledger, sent: Sent, form: str) -> None:
    """Read an acknowledged instance in a form and write down whether it is what was sent.

    Raises
    ------
    httpx2.TransportError
        There was no whole answer.
    """
    path, accept = path_of(sent.key), {"file": DICOM, "frames": NATIVE}.get(form, "image/png, image/jpeg")
    answer = client.get(path + {"file": "", "frames": "/frames/1"}.get(form, f"/{form}"), headers={"Accept": accept})
    if answer.status_code == AWAY:
        return
    what = f"{form} of {sent.key[2]}"
    if answer.status_code != 200:
        ledger.saw(f"{what}: {answer.status_code}", as_sent=False)
    elif form in PICTURES:
        ledger.saw_picture(sent.key, form, answer.content)
    else:
        parts = [part.body for part in parts_of(answer)]
        ledger.saw(f"{what} is not what was sent", as_sent=is_what_was_sent(sent, form, parts))


def is_what_was_sent(sent: Sent, form: str, parts: list[bytes]) -> bool:
    """Whether the parts of an answer are one file, or one frame, with the bytes that were sent."""
    if len(parts) != 1:
        return False
    if form == "frames":
        return digest(parts[0]) == sent.pixels
    return digest(dataset_only(parts[0]) if sent.by_store else parts[0]) == sent.file
