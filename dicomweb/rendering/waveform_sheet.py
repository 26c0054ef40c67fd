"""A waveform drawn on millimetre paper: headings, grids, calibration pulses, labels and curves.

Facts this module keeps:
- x is the time of a sample at the speed that is written above, y its value at the gain that is written there too.
- Of many samples in a tenth of a millimetre the lowest and the highest are drawn, where they are: no peak is lost.
- Whatever is left out is said: channels, groups, what follows, samples that are missing.
- Pure: no I/O.
"""

import math
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Final

import numpy as np

from dicomweb.rendering.annotation import PATIENT, TECHNIQUE, patient_lines, technique_lines
from dicomweb.rendering.attribute_values import Attributes, items, text
from dicomweb.rendering.report_values import kind_of, moment
from dicomweb.rendering.sheet import Grid, Label, Points, Sheet, Trace, units
from dicomweb.rendering.waveform import MILLIVOLTS, multiplex_groups
from dicomweb.rendering.waveform_annotations import annotation_lines
from dicomweb.rendering.waveform_plan import LINE, Cell, GroupPlan, Row
from dicomweb.rendering.waveform_samples import Values
from dicomweb.rendering.waveform_scale import Scale, scales_of

MARGIN: Final = 8.0
"""Millimetres around everything."""

GUTTER: Final = 10.0
"""Millimetres of paper before a line begins, with the calibration pulse."""

GLIMPSE: Final = 50.0
"""Millimetres of the side of a thumbnail."""

_TITLE, _TEXT, _LABEL = 4.2, 3.0, 3.0  # mm of letters
_LEADING = 1.4
_DETAIL = 0.1  # mm
_COLUMNS, _LETTERS, _WIDE_LETTERS, _MOST_LINES = 3, 52, 26, 45
_PULSE = 1.0  # millivolt
_LABEL_SPACE, _LEAST = 4.0, 5.0
_FIVE = 5.0


def waveform_sheet(
    attributes: Attributes, plans: Sequence[GroupPlan], values: Sequence[Values], annotation: Sequence[str] = ()
) -> Sheet:
    """Return the drawing of an instance with waveforms.

    Parameters
    ----------
    attributes : Attributes
        Of the instance.
    plans : sequence of GroupPlan
        What is drawn of it.
    values : sequence of ndarray of float64 of shape (samples, channels)
        For each plan.
    annotation : sequence of str
        Whether the patient and the technique are named, see `annotation.KEYWORDS`.
    """
    kind = kind_of(text(attributes, "SOPClassUID"))
    sheet = Sheet(kind, units(2 * MARGIN + GUTTER + LINE))
    y = _head(sheet, attributes, kind, annotation)
    is_cardiac = _is_electrocardiogram(attributes)
    for plan, found in zip(plans, values, strict=True):
        y = _draw_group(sheet, plan, found, y, is_cardiac=is_cardiac)
    groups = multiplex_groups(attributes)
    for number, group in enumerate(groups, 1):
        if group.trouble:
            y = _write(sheet, [f"Group {number} cannot be drawn: {group.trouble}."], y)
    left_out = len(items(attributes, "WaveformSequence")) - sum(bool(group.trouble) for group in groups) - len(plans)
    if left_out > 0:
        y = _write(sheet, [f"{left_out} more groups are not drawn."], y)
    sheet.height = units(y + MARGIN - _LEADING)
    return sheet


def glimpse_sheet(attributes: Attributes, plan: GroupPlan, values: Values) -> Sheet:
    """Return a square with the beginning of one channel, and nothing else: for a thumbnail."""
    side = units(GLIMPSE)
    sheet = Sheet("", side, side, [Grid(0, 0, side, side)])
    cell = plan.rows[0][0]
    shown = [_shown(plan, cell, values)]
    (scale,) = scales_of(
        [plan.group.channels[cell.channel].unit], shown, electrocardiogram=_is_electrocardiogram(attributes)
    )
    middle = (GLIMPSE + scale.above - scale.below) / 2
    sheet.traces.append(Trace("", _curve(plan, cell, values, scale, 0.0, middle)))
    return sheet


def _is_electrocardiogram(attributes: Attributes) -> bool:
    named = text(attributes, "Modality") == "ECG" or "ECG" in kind_of(text(attributes, "SOPClassUID"))
    return named or any(
        channel.lead and channel.unit in MILLIVOLTS
        for group in multiplex_groups(attributes)
        for channel in group.channels
    )


def _head(sheet: Sheet, attributes: Attributes, kind: str, annotation: Sequence[str]) -> float:
    """Write what stands above everything; returns where the next thing begins, in mm."""
    made = text(attributes, "AcquisitionDateTime") or text(attributes, "ContentDate") or text(attributes, "StudyDate")
    y = MARGIN + _TITLE
    sheet.labels.append(Label(units(MARGIN), units(y), units(_TITLE), f"{kind}  {moment(made)}".strip(), strong=True))
    lines = patient_lines(attributes) if PATIENT in annotation else []
    lines += technique_lines(attributes, 1) if TECHNIQUE in annotation else []
    lines += annotation_lines(attributes, multiplex_groups(attributes))
    wrapped = [piece for line in lines for piece in _wrapped(line)]
    if len(wrapped) > _MOST_LINES:
        wrapped = [*wrapped[: _MOST_LINES - 1], f"and {len(wrapped) - _MOST_LINES + 1} lines more"]
    y += 2.0
    columns = min(_COLUMNS, math.ceil(len(wrapped) / 4))  # a few stand below each other
    if not wrapped:
        return y
    rows = math.ceil(len(wrapped) / columns)
    for place, line in enumerate(wrapped):
        x = MARGIN + (place // rows) * (GUTTER + LINE) / _COLUMNS
        sheet.labels.append(Label(units(x), units(y + (place % rows + 1) * _TEXT * _LEADING), units(_TEXT), line))
    return y + rows * _TEXT * _LEADING + 2.0


def _wrapped(line: str) -> list[str]:
    is_wide = any(unicodedata.east_asian_width(letter) in "WF" for letter in line)
    # What follows is not written, and splitting it would take time with the square of its length.
    line = line[: 2 * _MOST_LINES * _LETTERS]
    return textwrap.wrap(line, _WIDE_LETTERS if is_wide else _LETTERS, subsequent_indent="  ")


def _write(sheet: Sheet, lines: Sequence[str], y: float) -> float:
    for line in lines:
        y += _TEXT * _LEADING
        sheet.labels.append(Label(units(MARGIN), units(y), units(_TEXT), line))
    return y + 1.0


def _draw_group(sheet: Sheet, plan: GroupPlan, values: Values, y: float, *, is_cardiac: bool) -> float:
    """Draw a group from `y` on; returns where the next thing begins, in mm."""
    cells = [cell for row in plan.rows for cell in row]
    channels = dict.fromkeys(cell.channel for cell in cells)
    shown = [
        np.concatenate([_shown(plan, cell, values) for cell in cells if cell.channel == channel])
        for channel in channels
    ]
    named = [plan.group.channels[channel].unit for channel in channels]
    scales = dict(zip(channels, scales_of(named, shown, electrocardiogram=is_cardiac), strict=True))
    common = {scale.words for scale in scales.values()}
    y = _write(sheet, [_heading(plan, len(values), common.pop() if len(common) == 1 else ""), *_left_out(plan)], y)
    top = y
    for row in plan.rows:
        y = _draw_row(sheet, plan, row, values, scales, y, says_scale=bool(common), is_cardiac=is_cardiac)
    height = math.ceil((y - top) / _FIVE) * _FIVE
    sheet.grids.append(Grid(units(MARGIN), units(top), units(GUTTER + LINE), units(height)))
    return top + height + 2.0


def _heading(plan: GroupPlan, there: int, gain: str) -> str:
    group = plan.group
    last = max(cell.start + cell.seconds for row in plan.rows for cell in row)
    drawn = min(last, there / group.frequency)
    length = f"{group.seconds:.4g} s"
    if drawn < group.seconds * 0.999:
        length = f"the first {drawn:.4g} s of {group.seconds:.6g} s are drawn"
    parts = [group.label, length, f"{group.frequency:g} Hz", f"{plan.speed:g} mm/s", gain]
    return "   ".join(part for part in parts if part)


def _left_out(plan: GroupPlan) -> list[str]:
    channels = len(plan.group.channels)
    drawn = len({cell.channel for row in plan.rows for cell in row})
    return [f"{drawn} of {channels} channels are drawn."] if drawn < channels else []


def _draw_row(
    sheet: Sheet,
    plan: GroupPlan,
    row: Row,
    values: Values,
    scales: dict[int, Scale],
    y: float,
    *,
    says_scale: bool,
    is_cardiac: bool,
) -> float:
    above = max(_LEAST, *(scales[cell.channel].above for cell in row))
    below = max(_LEAST, *(scales[cell.channel].below for cell in row))
    unit = plan.group.channels[row[0].channel].unit
    pulse = scales[row[0].channel].gain * _PULSE / MILLIVOLTS[unit] if is_cardiac and unit in MILLIVOLTS else 0.0
    base = y + _LABEL_SPACE + math.ceil(max(above, pulse))
    if pulse:
        sheet.traces.append(_mark([(1, 0), (2, 0), (2, pulse), (7, pulse), (7, 0), (8, 0)], MARGIN, base))
    for cell in row:
        left = MARGIN + GUTTER + cell.left
        scale = scales[cell.channel]
        if cell.left:
            sheet.traces.append(_mark([(0, 0), (0, _LABEL)], left, y + _LABEL_SPACE))  # above the curves
        words = _label(plan, cell, scale, says_scale=says_scale)
        sheet.labels.append(Label(units(left + 0.5), units(y + _LABEL), units(_LABEL), words, strong=True))
        name = plan.group.channels[cell.channel].label
        sheet.traces.append(Trace(name, _curve(plan, cell, values, scale, left, base)))
    return base + math.ceil(below)


def _label(plan: GroupPlan, cell: Cell, scale: Scale, *, says_scale: bool) -> str:
    channel = plan.group.channels[cell.channel]
    parts = [channel.label[:_LETTERS]]
    if cell.start and not cell.left:
        parts.append(f"from {cell.start:g} s")
    if says_scale:
        parts.append(scale.words)
    if scale.centre:
        parts.append(f"base line at {scale.centre:.6g} {channel.unit}".strip())
    return "   ".join(part for part in parts if part)


def _mark(points: Sequence[tuple[float, float]], left: float, base: float) -> Trace:
    return Trace("", (np.array([(units(left + x), units(base - y)) for x, y in points]),))


def _span(plan: GroupPlan, cell: Cell, samples: int) -> tuple[int, int]:
    """Return the first sample of a cell and the one behind its last."""
    group = plan.group
    delay = group.channels[cell.channel].delay
    first = math.ceil((cell.start - delay) * group.frequency - 1e-6)
    last = math.floor((cell.start + cell.seconds - delay) * group.frequency + 1e-6)
    return min(max(first, 0), samples), min(max(last + 1, 0), samples)


def _shown(plan: GroupPlan, cell: Cell, values: Values) -> Values:
    first, end = _span(plan, cell, len(values))
    return values[first:end, cell.channel]


def _curve(plan: GroupPlan, cell: Cell, values: Values, scale: Scale, left: float, base: float) -> tuple[Points, ...]:
    """Return the runs of a curve between its gaps."""
    first, end = _span(plan, cell, len(values))
    shown = values[first:end, cell.channel]
    seconds = np.arange(first, end) / plan.group.frequency + plan.group.channels[cell.channel].delay - cell.start
    places = np.flatnonzero(~np.isnan(shown))
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if places.size else []
    each = int(_DETAIL / plan.speed * plan.group.frequency)
    points = np.stack((left + seconds * plan.speed, base - (shown - scale.centre) * scale.gain), axis=1)
    return tuple(np.rint(points[run[_extremes(shown[run], each)]] * units(1)).astype(np.int64) for run in runs)


def _extremes(values: Values, each: int) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """Return the places of the lowest and the highest of every `each` values, in order; all when that are no fewer."""
    if each <= 2:
        return np.arange(len(values))
    whole = len(values) // each * each
    columns = values[:whole].reshape(-1, each)
    starts = np.arange(len(columns)) * each
    found = [starts + columns.argmin(axis=1), starts + columns.argmax(axis=1)]
    return np.unique(np.concatenate([[0], *found, np.arange(whole, len(values)), [len(values) - 1]]).astype(np.intp))
