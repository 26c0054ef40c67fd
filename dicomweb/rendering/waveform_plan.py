"""What is drawn of a waveform and where, before its samples are read.

Facts this module keeps:
- Twelve leads are four columns of three (I II III, aVR aVL aVF, V1 V2 V3, V4 V5 V6), each going on where the one before
  ends, above lead II in full; a recording too short for that shows all leads from its beginning, side by side.
- Everything else is a line a channel, ten seconds at 25 mm a second; slower where samples are few, sound as a whole.
- A long recording is drawn from its beginning, as far as lines and memory allow: what is left out is said by who draws.
- Pure: no I/O.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dicomweb.rendering.waveform import MILLIVOLTS, MultiplexGroup

SPEED: Final = 25.0
"""Millimetres a second, as electrocardiograms are read."""

LINE: Final = 250.0
"""Millimetres of a line."""

MOST_VALUES: Final = 8 << 20
"""Samples of all channels together that are read of an instance; while it is drawn, each takes some 60 bytes."""

MOST_LINES: Final = 24
"""Lines a group is continued on; one with more channels than that has one each."""

MOST_CHANNELS: Final = 64
MOST_GROUPS: Final = 8

_SHORTEST_COLUMNS = 5.0  # seconds
_LONGEST_COLUMN = 2.5
_LONGEST_RHYTHM = 6  # lines
_SLOWEST_SAMPLING, _SOUND = 50.0, 4000.0  # samples a second
_COLUMNS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
_RHYTHM = "II"


@dataclass(frozen=True, slots=True)
class Cell:
    """A stretch of one channel.

    Attributes
    ----------
    channel : int
        Its place in the group, from 0.
    start, seconds : float
        Of the recording.
    left : float
        Where it begins, in mm from the beginning of the line.
    """

    channel: int
    start: float
    seconds: float
    left: float = 0.0


Row = tuple[Cell, ...]
"""Cells on one base line."""


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """What is drawn of a multiplex group.

    Attributes
    ----------
    group : MultiplexGroup
        Which.
    speed : float
        Millimetres a second.
    rows : tuple of Row
        From top to bottom.
    samples : int
        Samples of each channel that are to be read, from the first.
    """

    group: MultiplexGroup
    speed: float
    rows: tuple[Row, ...]
    samples: int

    @property
    def length(self) -> int:
        """Bytes that are to be read."""
        return self.samples * self.group.sample_bytes


def plans_of(groups: Sequence[MultiplexGroup]) -> list[GroupPlan]:
    """Return what is drawn of each group that can be drawn, of the first few."""
    drawn = [group for group in groups if not group.trouble][:MOST_GROUPS]
    return [_plan(group, MOST_VALUES // len(drawn)) for group in drawn]


def glimpse_of(groups: Sequence[MultiplexGroup], side: float) -> GroupPlan | None:
    """Return a plan for the beginning of one channel, `side` millimetres of it: lead II where there is one."""
    group = next((group for group in groups if not group.trouble), None)
    if group is None:
        return None
    place = _leads(group).get(_RHYTHM, 0)
    speed = _speed(group)
    return _read(group, speed, ((Cell(place, 0.0, min(side / speed, group.seconds)),),), MOST_VALUES)


def _plan(group: MultiplexGroup, most_values: int) -> GroupPlan:
    leads = _leads(group)
    if all(name in leads for row in _COLUMNS for name in row):
        return _read(group, SPEED, _twelve_leads(group, leads), most_values)
    speed = _speed(group)
    return _read(group, speed, _lines(group, range(len(group.channels)), LINE / speed, MOST_LINES), most_values)


def _read(group: MultiplexGroup, speed: float, rows: tuple[Row, ...], most_values: int) -> GroupPlan:
    end = max(cell.start + cell.seconds - min(group.channels[cell.channel].delay, 0.0) for row in rows for cell in row)
    wanted = math.ceil(min(end * group.frequency, float(group.samples))) + 1
    return GroupPlan(group, speed, rows, min(wanted, group.samples, max(1, most_values // len(group.channels))))


def _leads(group: MultiplexGroup) -> dict[str, int]:
    """Return the places of the leads by name, of two that are called alike the first."""
    found: dict[str, int] = {}
    for place, channel in enumerate(group.channels):
        if channel.lead:
            found.setdefault(channel.lead, place)
    return found


def _twelve_leads(group: MultiplexGroup, leads: dict[str, int]) -> tuple[Row, ...]:
    side_by_side = group.seconds < _SHORTEST_COLUMNS
    seconds = min(_LONGEST_COLUMN, group.seconds if side_by_side else group.seconds / 4)
    width = LINE / 4
    rows = tuple(
        tuple(
            Cell(leads[name], 0.0 if side_by_side else column * seconds, seconds, column * width)
            for column, name in enumerate(names)
        )
        for names in _COLUMNS
    )
    others = [place for place in range(len(group.channels)) if place not in leads.values()]
    if side_by_side and group.seconds <= _LONGEST_COLUMN:
        return rows + _lines(group, others, LINE / SPEED, 1)
    rhythm = _lines(group, [leads[_RHYTHM]], LINE / SPEED, _LONGEST_RHYTHM)
    return rows + rhythm + _lines(group, others, LINE / SPEED, 1)


def _lines(group: MultiplexGroup, channels: Sequence[int], seconds: float, most: int) -> tuple[Row, ...]:
    """Return a line for each channel, again and again for what follows, `most` at most but one each."""
    shown = channels[:MOST_CHANNELS]
    times = max(1, min(math.ceil(group.seconds / seconds), most // max(1, len(shown))))
    return tuple(
        (Cell(place, turn * seconds, min(seconds, group.seconds - turn * seconds)),)
        for turn in range(times)
        for place in shown
    )


def _speed(group: MultiplexGroup) -> float:
    """Return the millimetres a second: a round number, at most 25."""
    if group.frequency >= _SOUND and not any(channel.unit in MILLIVOLTS for channel in group.channels):
        return round_below(LINE / group.seconds)
    return SPEED if group.frequency >= _SLOWEST_SAMPLING else round_below(group.frequency / 2)


def round_below(value: float) -> float:
    """Return the largest of 1, 2.5 and 5 times a power of ten that is not above a value."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (0.5, 1.0, 2.5, 5.0) if step * power <= value * (1 + 1e-9))
