"""A sheet as SVG, in its true size on paper.

Facts and clauses this module keeps:
- D-116: every text is escaped and has only characters XML 1.0 knows; there is no script, and nothing is loaded.
- Lines are written as steps from point to point, which are short numbers.
- Pure: no I/O.
"""

import re
from html import escape
from typing import Final

import numpy as np

from dicomweb.rendering.sheet import UNITS, Grid, Label, Sheet, Trace

SVG: Final = "image/svg+xml"

_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STYLE = (
    ".m{stroke:#f6c9c6;stroke-width:8}.c{stroke:#e38e88;stroke-width:14}.t{fill:none;stroke:#101418;stroke-width:24;"
    "stroke-linejoin:round;stroke-linecap:round}text{font-family:sans-serif;fill:#101418;white-space:pre}.b{font-weight:bold}"
)
_STEPS = ((UNITS, "m"), (5 * UNITS, "c"))


def sheet_svg(sheet: Sheet) -> bytes:
    """Return a sheet as an SVG document in UTF-8."""
    size = f'width="{sheet.width / UNITS:g}mm" height="{sheet.height / UNITS:g}mm"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {sheet.width} {sheet.height}" role="img">',
        f"<title>{_text(sheet.title)}</title><style>{_STYLE}</style>",
        f'<rect width="{sheet.width}" height="{sheet.height}" fill="#fff"/>',
        *map(_grid, sheet.grids),
        *map(_trace, sheet.traces),
        *map(_label, sheet.labels),
        "</svg>\n",
    ]
    return "\n".join(parts).encode()


def _grid(grid: Grid) -> str:
    return "".join(
        f'<path class="{name}" d="'
        + "".join(f"M{x} {grid.y}v{grid.height}" for x in range(grid.x, grid.x + grid.width + 1, step))
        + "".join(f"M{grid.x} {y}h{grid.width}" for y in range(grid.y, grid.y + grid.height + 1, step))
        + '"/>'
        for step, name in _STEPS
    )


def _trace(trace: Trace) -> str:
    runs = []
    for run in trace.runs:
        steps = np.diff(run, axis=0, prepend=np.zeros((1, 2), np.int64))
        numbers = list(map(str, steps.ravel().tolist()))
        rest = "l" + " ".join(numbers[2:]) if len(numbers) > 2 else "h0"  # a single sample is a dot
        runs.append(f"M{numbers[0]} {numbers[1]}{rest}")
    named = f"<title>{_text(trace.name)}</title>" if trace.name else ""
    return f'<path class="t" d="{"".join(runs)}">{named}</path>'


def _label(label: Label) -> str:
    weight = ' class="b"' if label.strong else ""
    return f'<text x="{label.x}" y="{label.y}" font-size="{label.size}"{weight}>{_text(label.words)}</text>'


def _text(words: str) -> str:
    return escape(_NO_XML.sub("\ufffd", words))
