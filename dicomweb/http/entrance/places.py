"""The places of one worker: how many requests are worked on at once, and for whom.

Facts this module keeps:

- A request has a place while we work on it, not while it waits for its client to send or to read: who is slow costs a
  connection (`connections.py`) and no place.
- Short requests (searches, single frames, pictures), downloads and uploads have places of their own: studies that come
  and go, however many, do not keep a viewer waiting.
- Of long requests a few are worked on in turns. More at once would make none of them faster, and everybody else slower:
  the event loop, the threads and the connections of the database serve in order of arrival.
- One address has at most half of the places of a kind, so that one script does not keep the others out. A trusted proxy
  that does not say for whom it asks has no such share.
- Who comes when there is no place is told to come again at once. Who has begun waits for its turn.
"""

import asyncio
from collections import Counter
from enum import Enum
from typing import Final

IN_TURNS: Final = 16
"""Long requests of a kind that are worked on at the same time."""


class Kind(Enum):
    """What a request is, as far as places go."""

    SHORT = "short"
    DOWNLOAD = "download"
    UPLOAD = "upload"


class Places:
    """The places for one kind of requests.

    Parameters
    ----------
    most : int
        Requests that are worked on or wait for that.
    at_once : int
        Requests that are worked on.

    Attributes
    ----------
    unread : int
        How many answers wait for their clients to read: each keeps up to two megabytes.
    """

    def __init__(self, most: int, at_once: int) -> None:
        self.most = most
        self.turns = asyncio.Semaphore(at_once)
        self.begun = 0
        self.unread = 0
        self.holders: Counter[str] = Counter()

    @property
    def is_full(self) -> bool:
        """Whether everybody is told to come again."""
        return max(self.begun, self.unread) >= self.most

    def has_room(self, address: str | None) -> bool:
        """Whether a request may begin; an address of None is nobody's in particular."""
        return not self.is_full and (address is None or self.holders[address] < -(-self.most // 2))


class Place:
    """The place of one request, given back while its client is waited for."""

    __slots__ = ("_address", "_has_turn", "_is_held", "_places")

    def __init__(self, places: Places, address: str | None) -> None:
        self._places = places
        self._address = address
        self._is_held = self._has_turn = False

    async def take(self) -> None:
        """Take it, perhaps again, and wait for the turn."""
        self._is_held = True
        self._places.begun += 1
        if self._address is not None:
            self._places.holders[self._address] += 1
        await self._places.turns.acquire()
        self._has_turn = True

    def give_back(self) -> None:
        """Give it back; nothing happens when that is done."""
        if self._has_turn:
            self._has_turn = False
            self._places.turns.release()
        if self._is_held:
            self._is_held = False
            self._places.begun -= 1
            if self._address is not None:
                self._places.holders[self._address] -= 1
                if not self._places.holders[self._address]:
                    del self._places.holders[self._address]


def places_for(most: int) -> dict[Kind, Places]:
    """Return the places of a worker: so many of each kind."""
    return {kind: Places(most, most if kind is Kind.SHORT else min(most, IN_TURNS)) for kind in Kind}
