"""Changes to bytes and values as attackers and failing disks make them; the same for the same source of chance."""

import random
import struct
from collections.abc import Sequence
from typing import Any

BYTES = (0x00, 0x01, 0x02, 0x20, 0x5C, 0x7F, 0x80, 0xFE, 0xFF)
NUMBERS = (0, 1, 2, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFF0000, 0xFFFFFFFE, 0xFFFFFFFF)
"""On which lengths, counts and sizes break."""
TEXTS = (
    "", " ", "\0", "\x1b$B", "\\", "*", "^=^=^", "-1", "0", "1e999", "NaN", "9" * 70, "..", "../../etc/passwd", "%00",
    "1.2.3", "\ud7ff\ue000", "\U0001f480", "ä" * 3000, "20240101-", "<x>&", "a\r\nX-Evil: 1", "A" * 70_000,
)  # fmt: skip
"""On which names, numbers, dates and paths break."""
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    2**63,
    [],
    {},
    [[]],
    [None],
    [{}],
    {"Value": 1},
    [""] * 300,
    *TEXTS,
)
"""Of every type of JSON."""
MOST_PLACES = 100_000
"""Of a document: repeats of repeats would fill the memory of who makes them."""
HEAD = 160
"""Bytes at the start of a codestream, data set or message, of which most of what follows depends."""


def mutated(chance: random.Random, data: bytes, *, head: int = HEAD) -> bytes:
    """Return bytes with a few changes, most of them near the start."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 9))):
        near = chance.random() < 0.7
        at = chance.randrange(max(1, min(len(changed), head) if near else len(changed)))
        chance.choice(_CHANGES)(chance, changed, at)
    return bytes(changed)


def changed_value(chance: random.Random, value: Any) -> Any:
    """Return a JSON value with one place in it changed; the deeper ones as likely as the others."""
    places = list(_places(value))
    if not places:
        return _copied(chance.choice(VALUES))
    container, key = chance.choice(places)
    kind = chance.random()
    if kind < 0.6:
        container[key] = _copied(chance.choice(VALUES))
    elif kind < 0.75:
        del container[key]
    elif kind < 0.9:
        other, name = chance.choice(places)
        container[key] = _copied(other[name])
    elif isinstance(container, dict):
        container[chance.choice(TEXTS)] = _copied(container[key])
    else:
        copies = min(chance.choice((1, 2, 300)), MOST_PLACES // len(places))
        container[key:key] = [_copied(container[key]) for _ in range(copies)]
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [value] if isinstance(value, dict | list) else []
    while waiting:
        each = waiting.pop()
        keys: Sequence[Any] = list(each) if isinstance(each, dict) else range(len(each))
        found += [(each, key) for key in keys]
        waiting += [each[key] for key in keys if isinstance(each[key], dict | list)]
    return found


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def _byte(chance: random.Random, data: bytearray, at: int) -> None:
    data[at : at + 1] = bytes([chance.choice(BYTES)])


def _bit(chance: random.Random, data: bytearray, at: int) -> None:
    if data:
        data[at] ^= 1 << chance.randrange(8)


def _number(chance: random.Random, data: bytearray, at: int) -> None:
    size, order = chance.choice("HL"), chance.choice("<>")
    number = chance.choice((*NUMBERS, len(data), chance.getrandbits(32)))
    written = struct.pack(order + size, number & ((1 << 8 * struct.calcsize(size)) - 1))
    data[at : at + len(written)] = written


def _cut(chance: random.Random, data: bytearray, at: int) -> None:
    del data[at : at + chance.choice((1, 2, 4, 8, 100))]


def _end(chance: random.Random, data: bytearray, at: int) -> None:
    if chance.random() < 0.3:
        del data[at:]


def _insert(chance: random.Random, data: bytearray, at: int) -> None:
    data[at:at] = bytes([chance.choice(BYTES)]) * chance.choice((1, 2, 4, 300))


def _twice(chance: random.Random, data: bytearray, at: int) -> None:
    piece = bytes(data[at : at + chance.choice((2, 8, 40, 400))])
    data[at:at] = piece * chance.choice((1, 1, 2, 50))


def _moved(chance: random.Random, data: bytearray, at: int) -> None:
    size = chance.choice((2, 4, 8, 40))
    piece = bytes(data[at : at + size])
    del data[at : at + size]
    to = chance.randrange(len(data) + 1)
    data[to:to] = piece


_CHANGES = (_byte, _byte, _byte, _bit, _bit, _number, _number, _number, _cut, _end, _insert, _twice, _moved)
