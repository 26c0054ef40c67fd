"""Drawings as tests read them: attributes and bulk data out of files, curves and texts out of SVG."""

from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from dicomweb.rendering.attribute_values import binary
from dicomweb.rendering.sheet import Sheet
from dicomweb.rendering.sheet_svg import sheet_svg
from dicomweb.rendering.waveform import multiplex_groups
from dicomweb.rendering.waveform_plan import plans_of
from dicomweb.rendering.waveform_samples import values_of
from dicomweb.rendering.waveform_sheet import waveform_sheet
from storage.dicom import dicomjson
from storage.dicom.part10 import read_header
from storage.dicom.source import BytesSource

NAMESPACE = "{http://www.w3.org/2000/svg}"
UNITS = 100  # a millimetre


class Curve(NamedTuple):
    """A curve of a drawing: its name, and its runs in mm, each of shape (points, 2)."""

    name: str
    runs: list[Any]


class Drawing(NamedTuple):
    """What an SVG says: its size in mm, its curves (marks have no name) and its texts with their places in mm."""

    size: tuple[float, float]
    curves: list[Curve]
    marks: list[Any]
    texts: dict[str, tuple[float, float]]


def stored_values(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the attributes of a file as the archive keeps them, and all its bulk data."""
    header, source = read_header(BytesSource(data))
    encoded = dicomjson.encode(header)
    bulk = {path: source.read(offset, length) for path, (offset, length, _) in encoded.bulk.items()}
    return encoded.dataset, bulk


def sheet_in(data: bytes, annotation: tuple[str, ...] = ()) -> Sheet:
    """Draw the waveforms of a file."""
    attributes, bulk = stored_values(data)
    plans = plans_of(multiplex_groups(attributes))
    values = [values_of(plan.group, binary(plan.group.data, bulk)[: plan.length]) for plan in plans]
    return waveform_sheet(attributes, plans, values, annotation)


def drawing_in(data: bytes, annotation: tuple[str, ...] = ()) -> Drawing:
    """Draw the waveforms of a file as SVG and read that."""
    return drawing_of(sheet_svg(sheet_in(data, annotation)))


def drawing_of(svg: bytes) -> Drawing:
    """Read an SVG; the steps of its lines are added up."""
    root = ElementTree.fromstring(svg)
    curves, marks, texts = [], [], {}
    for path in root.iter(f"{NAMESPACE}path"):
        if path.get("class") != "t":
            continue
        title = path.find(f"{NAMESPACE}title")
        runs = [_run(run) for run in (path.get("d") or "").split("M") if run]
        if title is None:
            marks.append(runs[0])
        else:
            curves.append(Curve(title.text or "", runs))
    for text in root.iter(f"{NAMESPACE}text"):
        texts[text.text or ""] = float(text.get("x") or 0) / UNITS, float(text.get("y") or 0) / UNITS
    size = tuple(float((root.get(side) or "").removesuffix("mm")) for side in ("width", "height"))
    assert root.get("viewBox") == f"0 0 {size[0] * UNITS:g} {size[1] * UNITS:g}"
    return Drawing((size[0], size[1]), curves, marks, texts)


def _run(commands: str) -> Any:
    numbers = [int(number) for number in commands.replace("h0", "").replace("l", " ").split()]
    return np.cumsum(np.array(numbers).reshape(-1, 2), axis=0) / UNITS
