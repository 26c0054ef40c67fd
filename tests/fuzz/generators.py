"""The table of generators: what makes an input, how it is sent, and the inputs that were once too much."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.fuzz import attributes, bodies, codecs, metadata, part10, pdus, requests
from tests.fuzz.target import Target


@dataclass(frozen=True)
class Generator:
    """Attacks of one kind.

    Attributes
    ----------
    name : str
        Given to `--only`, and the first word of the name of a kept input.
    make : callable
        Makes an input; the same from the same source of chance.
    send : callable
        Sends an input and returns what it is counted under; raises `Fault`.
    pinned : mapping
        Inputs by name that are sent every time, first.
    """

    name: str
    make: Callable[[random.Random], bytes]
    send: Callable[[Target, bytes], str]
    pinned: Mapping[str, Callable[[random.Random], bytes]] = field(default_factory=dict)

    def input(self, seed: int, number: int) -> bytes:
        """Make the input of a number."""
        return self.make(random.Random(f"{self.name} {seed} {number}"))

    def pinned_input(self, name: str) -> bytes:
        """Make a pinned input."""
        return self.pinned[name](random.Random(f"{self.name} {name}"))


GENERATORS: Mapping[str, Generator] = {
    each.name: each
    for each in (
        Generator("codecs", codecs.make, codecs.send, codecs.PINNED),
        Generator(
            "attributes", attributes.make, attributes.send, {"the image of the others": lambda _: attributes.image()}
        ),
        Generator("part10", part10.make, part10.send, part10.PINNED),
        Generator("json", metadata.make_json, metadata.send_json, metadata.PINNED_JSON),
        Generator("xml", metadata.make_xml, metadata.send_xml, metadata.PINNED_XML),
        Generator("multipart", bodies.make, bodies.send, bodies.PINNED),
        Generator("pdus", pdus.make, pdus.send, pdus.PINNED),
        Generator("requests", requests.make, requests.send, requests.PINNED),
    )
}
"""A new kind of attack is one more line."""
