"""Look at every kind of sample file in OHIF: python -m scripts.viewer_table [NAME ...] [--write docs/viewer.md]

Of every kind of DICOM file with pixel data in the corpus (when there is one) and in pydicom's wheels one is stored in a
study of its own and opened at `/viewer?StudyInstanceUIDs=...` in headless Chromium; what the canvas shows is compared
with what `/rendered` gives. A row is a kind of pixels and what was seen; files that are not drawn so are named.

It takes a few seconds a file. With --results it stops after --minutes and goes on where it stopped when it is run again
(what the file names is not looked at again). NAME chooses the files whose path contains one of them. The viewer is
installed with npm unless --viewer-dir names a folder that has it.
"""

import argparse
import base64
import contextlib
import io
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx2
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import BrowserContext, Error, Page, sync_playwright
from pydicom.uid import ParametricMapStorage, VLWholeSlideMicroscopyImageStorage

from dicomweb.http.viewer import installation
from scripts.bench.server import bench_server
from scripts.conformance import table
from scripts.retrieval_table import PIXELS, completed, read, samples, syntax_of
from tests.browser.chromium import DESKTOP, FLAGS, chromium_path
from tests.live.exchange import path_of, store, stored_keys

BEGIN, END = "<!-- pictures -->\n", "<!-- end of pictures -->"
SEEN, WINDOW, GRAY = "as rendered", "as rendered, other window", "in gray, without its palette"
OTHER, BLACK, NOTHING = "OTHER PICTURE", "BLACK", "NOTHING"
FINE = (SEEN, WINDOW, GRAY)
NOT_RENDERED = "drawn, not rendered by the archive"
NEITHER = "cannot be decoded"
PALETTE = "PALETTE COLOR"
WITHIN = 120  # seconds until something is drawn
SETTLED = 1.5  # seconds without a change
SIDE = 64  # pictures are compared at this size
NEAR, ALIKE = 16.0, 0.93  # mean difference of 255, correlation
DETAIL = 110

WATCH = """
  sessionStorage.setItem('investigationalUseDialog', 'hidden');
  localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']));
  window.drawn = 0;
  document.addEventListener('CORNERSTONE_IMAGE_RENDERED', () => { window.drawn++; }, true);
"""
GO = """
  address => {
    window.drawn = 0;
    window.cornerstone.cache.purgeCache();
    history.pushState({}, '', address);
    dispatchEvent(new PopStateEvent('popstate', { state: {} }));
  }
"""
"""To another address of the viewer that is loaded: as fast again as loading it anew."""
CANVAS = """
  () => {
    const canvas = document.querySelector('[data-cy="viewport-pane"] canvas.cornerstone-canvas');
    const loaded = window.cornerstone?.cache.getCacheSize() > 0;
    return window.drawn && loaded && canvas?.width ? canvas.toDataURL('image/png') : null;
  }
"""
SLIDE = '[data-cy="viewport-pane"] .ol-viewport'
"""Where whole slides are drawn, by another library on canvases that cannot be read."""
ALONE = """
  [data-cy="viewport-pane"] * { visibility: hidden !important }
  .ol-layers, .ol-layers * { visibility: visible !important }
"""
EDGE = 4  # pixels, of a viewport
DARK = 2  # of 255, what is beside a slide


@dataclass(frozen=True)
class Look:
    """What became of one file.

    Attributes
    ----------
    name : str
        Its path below the collection.
    syntax, pixels : str
        Its transfer syntax, and what kind of pixels it has.
    verdict, detail : str
        What was seen, and what the console or the archive said to it.
    """

    name: str
    syntax: str
    pixels: str
    verdict: str
    detail: str = ""


def chosen(names: list[str], every_group: bool) -> Iterator[tuple[str, bytes]]:
    """Yield one file of each kind of pixels and objects, or of each in each group, with what is to be stored of it.

    Segmentations and parametric maps are no pictures of their own: they are shown over their images.
    """
    kinds = set()
    for sample in samples():
        name = f"{sample.group}/{sample.path.name}"
        if names and not any(wanted in name for wanted in names):
            continue
        data = sample.path.read_bytes()
        with contextlib.suppress(Exception):  # files that cannot be read are no studies with pictures
            dataset = read(data)
            is_overlay = dataset.get("Modality") == "SEG" or dataset.get("SOPClassUID") == ParametricMapStorage
            if is_overlay or not any(keyword in dataset for keyword in PIXELS):
                continue
            if not all(dataset.get(f"{level}InstanceUID") for level in ("Study", "Series", "SOP")):
                data = completed(data)
            kind = syntax_of(data), pixels_of(dataset), dataset.get("SOPClassUID"), *([sample.group] * every_group)
            if data and kind not in kinds:
                kinds.add(kind)
                yield name, data


def pixels_of(dataset: pydicom.Dataset) -> str:
    """Name the kind of pixels: photometric interpretation, samples, bits, planar configuration, frames."""
    word = next((keyword for keyword in PIXELS[1:] if keyword in dataset), "")
    bits = f"{dataset.get('BitsStored', '?')}/{dataset.get('BitsAllocated', '?')} bit"
    signed = ", signed" if dataset.get("PixelRepresentation") else ""
    planar = ", by plane" if dataset.get("PlanarConfiguration") else ""
    label = dataset.get("PhotometricInterpretation", "?")
    palette = " with a palette" if label != PALETTE and "RedPaletteColorLookupTableDescriptor" in dataset else ""
    return f"{label} {word or bits}{signed}{planar}{palette}"


def alone(data: bytes, number: int) -> bytes:
    """Return a file whose study, series and instance are its own: other UIDs of the same length, byte for byte."""
    dataset = read(data)
    uids = [str(dataset.get(f"{level}InstanceUID", "")) for level in ("Study", "Series", "SOP")]
    for level, uid in sorted(enumerate(uids), key=lambda pair: -len(pair[1])):
        made = f"2.25.{level + 1}{number:03}"
        if len(uid) >= len(made):  # and in a deflated file it is not found
            data = data.replace(uid.encode(), made.ljust(len(uid), "7").encode())
    return data


def looked_at(viewer: "Viewer", client: httpx2.Client, name: str, data: bytes, keep_in: Path | None) -> Look:
    """Store one file, look at it in OHIF and compare."""
    dataset = read(data)
    kind = name, syntax_of(data), pixels_of(dataset)
    keys = stored_keys(store(client, data)) or stored_keys(store(client, completed(data)))
    if not keys:
        return Look(*kind, "refused")
    of = "" if dataset.get("SOPClassUID") == VLWholeSlideMicroscopyImageStorage else "/frames/1"
    answer = client.get(f"{path_of(keys[0])}{of}/rendered", headers={"Accept": "image/png"})
    rendered = Image.open(io.BytesIO(answer.content)).convert("RGB") if answer.status_code == 200 else None
    address = f"/viewer?StudyInstanceUIDs={keys[0][0]}"
    shown, said = viewer.drawn(address)
    if verdict(shown, rendered, said)[0] not in FINE:  # what was seen before may have had a part in it
        shown, said = viewer.drawn(address, anew=True)
    if shown and rendered and not of:  # OHIF turns a slide as it lies on the stage (PS3.3 C.8.12.2.1.1)
        rendered = min(turned(rendered), key=lambda picture: unlike(shown, picture))
    if keep_in is not None:
        keep_in.mkdir(parents=True, exist_ok=True)
        for picture, side in ((shown, "ohif"), (rendered, "rendered")):
            if picture is not None:
                picture.save(keep_in / f"{name.replace('/', '-')}.{side}.png")
    return Look(*kind, *verdict(shown, rendered and proportioned(rendered, dataset), said))


class Viewer:
    """OHIF in a page that stays, since loading it takes longer than looking.

    Parameters
    ----------
    context : BrowserContext
        Where pages are opened.
    url : str
        Of the server.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self._context = context
        self._url = url
        self._page: Page | None = None
        self._said: list[str] = []

    def drawn(self, address: str, *, anew: bool = False) -> tuple[Image.Image | None, str]:
        """Return what the first viewport shows when it does not change any more, and what the console said."""
        last, since, until = None, time.monotonic(), time.monotonic() + WITHIN
        with contextlib.suppress(Error):
            page = self._opened(address, anew=anew)
            while time.monotonic() < until:
                page.wait_for_timeout(200)
                now = page.evaluate(CANVAS) or self._slide(page)
                if now != last:
                    last, since = now, time.monotonic()
                settled = time.monotonic() - since
                if (last and settled > SETTLED * (3 if self._said else 1)) or (self._said and settled > 5 * SETTLED):
                    break
        detail = " ".join(" ".join(self._said).split())[:DETAIL]
        if last is None:
            return None, detail
        picture = Image.open(io.BytesIO(base64.b64decode(last.partition(",")[2]))).convert("RGB")
        slide = picture.convert("L").point(lambda level: 255 * (level > DARK)).getbbox()
        return (picture.crop(slide) if slide and page.locator(SLIDE).count() else picture), detail

    def _slide(self, page: Page) -> str | None:
        """Return what is shown of a whole slide as a data URL, without what lies over it; None when there is none."""
        if not page.locator(SLIDE).count():
            return None
        page.add_style_tag(content=ALONE)
        box = page.locator(SLIDE).first.bounding_box()
        if box is None:
            return None
        inner = {"x": box["x"] + EDGE, "y": box["y"] + EDGE}
        inner |= {side: box[side] - 2 * EDGE for side in ("width", "height")}
        shown = page.screenshot(clip=inner)
        return "," + base64.b64encode(shown).decode()

    def _opened(self, address: str, *, anew: bool) -> Page:
        self._said = []
        if self._page is not None and not anew:
            self._page.evaluate(GO, "/")
            self._page.wait_for_function("!document.querySelector('canvas.cornerstone-canvas')")
            self._page.evaluate(GO, address)
            return self._page
        if self._page is not None:
            self._page.close()
        page = self._page = self._context.new_page()
        page.on("console", lambda message: self._said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self._said.append(str(error)))
        page.goto(self._url + address)
        return page


def verdict(shown: Image.Image | None, rendered: Image.Image | None, said: str) -> tuple[str, str]:
    """Compare what OHIF shows with what the archive renders."""
    if shown is None:
        return (NOTHING if rendered else NEITHER), said
    if rendered is None:
        return (NOT_RENDERED, said) if np.ptp(np.asarray(shown)) > 2 else (NEITHER, said)
    part = part_of(shown, rendered.size)
    theirs, ours = small(part), small(rendered.resize(part.size, Image.Resampling.BILINEAR))  # OHIF smooths, too
    if np.ptp(theirs) <= 2 and np.ptp(ours) > 2:
        return BLACK, said
    difference = float(np.abs(theirs - ours).mean())
    if difference <= NEAR:
        return SEEN, ""
    alike = float(np.corrcoef(theirs.ravel(), ours.ravel())[0, 1])
    hues = float(np.abs(np.ptp(theirs, axis=2) - np.ptp(ours, axis=2)).mean())
    if alike >= ALIKE and hues <= NEAR:
        return WINDOW, ""
    if np.ptp(theirs, axis=2).max() <= 1 < hues:
        return GRAY, f"correlation {alike:.2f}"
    return OTHER, f"{said} mean difference {difference:.0f}, correlation {alike:.2f}, of hues {hues:.0f}".strip()


def unlike(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of two pictures, of 255."""
    return float(np.abs(small(one) - small(other)).mean())


def turned(picture: Image.Image) -> Iterator[Image.Image]:
    """Yield a picture in all ways to lay it on a table, mirrored ones too."""
    yield picture
    yield from map(picture.transpose, Image.Transpose)


def proportioned(picture: Image.Image, dataset: pydicom.Dataset) -> Image.Image:
    """Return a picture in the proportions that Pixel Spacing gives it: OHIF shows it so, `/rendered` pixel by pixel."""
    spacing = [float(value) for value in dataset.get("PixelSpacing") or (1, 1)]
    if len(spacing) != 2 or min(spacing) <= 0 or spacing[0] == spacing[1]:
        return picture
    return picture.resize((picture.width, max(1, round(picture.height * spacing[0] / spacing[1]))))


def part_of(canvas: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the middle of a canvas, where a picture of a size is shown as large as it fits."""
    scale = min(canvas.width / size[0], canvas.height / size[1])
    across, down = size[0] * scale / 2, size[1] * scale / 2
    middle = canvas.width / 2, canvas.height / 2
    return canvas.crop((middle[0] - across, middle[1] - down, middle[0] + across, middle[1] + down))


def small(picture: Image.Image) -> NDArray[np.float64]:
    """Return a picture as SIDE x SIDE x 3."""
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=float)


def rows(looks: Iterable[Look]) -> Iterator[list[str]]:
    """Yield a line for all files of a kind that were seen alike; name those that were not seen as they are."""
    alike: dict[tuple[str, str, str], list[Look]] = {}
    for look in looks:
        alike.setdefault((look.syntax, look.pixels, look.verdict), []).append(look)
    for (syntax, pixels, seen), members in sorted(alike.items()):
        fine = seen in FINE
        named = "" if fine else ": " + "; ".join(f"{one.name} {one.detail}".strip() for one in members)
        yield [syntax, pixels, str(len(members)), seen + named]


def measured(options: argparse.Namespace) -> list[Look]:
    """Look at everything that was not looked at before, until the time is over."""
    known = []
    if options.results and options.results.exists():
        known = [Look(**json.loads(line)) for line in options.results.read_text(encoding="utf-8").splitlines()]
    seen = {look.name for look in known}
    until = time.monotonic() + 60 * options.minutes
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dicomweb-viewer-")))
        installed = options.viewer_dir or folder / "viewer"
        installation.install(installed, tell=print)
        flags = ("--viewer-dir", str(installed), "--workers", "1", "--no-dimse")
        live = stack.enter_context(bench_server(*flags)).live
        client = stack.enter_context(httpx2.Client(base_url=f"{live.root}/", timeout=120))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium_path(), headless=True, args=list(FLAGS))
        stack.callback(browser.close)
        context = browser.new_context(viewport=DESKTOP)
        context.add_init_script(WATCH)
        viewer = Viewer(context, live.url)
        for number, (name, data) in enumerate(chosen(options.names, options.every_group)):
            if name in seen or time.monotonic() > until:
                continue
            look = looked_at(viewer, client, name, alone(data, number), options.pictures)
            known.append(look)
            print(look.verdict, name, look.detail, sep="\t", file=sys.stderr, flush=True)
            if options.results:
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(look)) + "\n")
    return known


def main() -> int:
    """Print the table, and with --write put it into a Markdown file between its marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--every-group", action="store_true", help="one of each kind in each group of the collection")
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--viewer-dir", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder that what was seen and rendered is kept in")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    text = table(["transfer syntax", "pixels", "files", "OHIF"], rows(measured(options)))
    print(text)
    if options.write:
        page = options.write.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        options.write.write_text(before + BEGIN + text + END + rest.partition(END)[2], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
