"""How long a person waits in OHIF: from the click on a study to its first image, and to all of the first series and the
thumbnails of all others.

    python -m scripts.bench.viewer [--rounds 5] [--viewer-dir FOLDER]

The same page, served by one of our servers, shows the same made-up studies from each archive in turn: ours, and Orthanc
with its DICOMweb plugin (Debian: orthanc orthanc-dicomweb). Both are other origins for the page then, which neither
gains from. A click is on the workflow in the study list; the code of the viewer was loaded by a study before. Each
round takes studies that were not looked at yet, in turn from each archive.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

from dicomweb.http.viewer import installation
from scripts.bench.archives import program
from scripts.bench.load import Connection, table
from scripts.bench.server import bench_server
from tests.browser.chromium import DESKTOP, FLAGS, chromium_path
from tests.builders import dicom_file
from tests.live_server import free_port

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
WITHIN = 120_000  # milliseconds
ROOT = "1.2.826.0.1.3680043.10.1561.5"

CONFIGURATION = """
const chosen = new URLSearchParams(location.search).get('bench');
if (chosen) sessionStorage.setItem('bench', chosen);
const bench = JSON.parse(sessionStorage.getItem('bench') || '{}');
Object.assign(window.config.dataSources[0].configuration, bench);
window.config.investigationalUseDialog = { option: 'never' };
localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']));
"""
"""The archive and the kind of thumbnails come with the address, so that one server shows them all."""

WATCH = """
([images, thumbnails]) => {
  const loaded = new Set();
  const seen = { first: 0, all: 0, shown: () => [loaded.size, drawn()] };
  window.bench = seen;
  const begin = performance.now();
  const drawn = () => document.querySelectorAll('[data-cy="study-browser-thumbnail"] img[src]').length;
  document.addEventListener('CORNERSTONE_IMAGE_RENDERED', () => { seen.first ||= performance.now() - begin; }, true);
  cornerstone.eventTarget.addEventListener('CORNERSTONE_IMAGE_LOADED', event => loaded.add(event.detail.image.imageId));
  const look = setInterval(() => {
    if (!seen.first || loaded.size < images || drawn() < thumbnails) return;
    seen.all = performance.now() - begin;
    clearInterval(look);
  }, 10);
}
"""


FIRST_IMAGE = """
  document.addEventListener('CORNERSTONE_IMAGE_RENDERED', () => { window.firstImage ||= performance.now(); }, true);
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of study: how many series of how many images of rows x columns."""

    name: str
    modality: str
    series: int
    images: int
    rows: int

    def patient(self, number: int) -> str:
        """Return a name that no other study's contains."""
        return f"{self.modality}{number:03}"

    def study(self, number: int) -> str:
        """Return the UID of a study."""
        return f"{ROOT}.{1 if self.modality == 'CT' else 2}.{number}"

    def files(self, number: int) -> Iterator[bytes]:
        """Make the images of a study: noise over a shape, so that no two are alike."""
        study = self.study(number)
        for series in range(1, self.series + 1):
            for image in range(1, self.images + 1):
                yield self._image(number, study, f"{study}.{series}", image)

    def _image(self, number: int, study: str, series: str, image: int) -> bytes:
        chance = np.random.default_rng(image)
        across, down = np.meshgrid(*[np.linspace(-1, 1, self.rows)] * 2)
        shape = np.where(across**2 + down**2 < 0.3 + image / 200, 1000, 100)
        samples = (shape + chance.integers(0, 60, shape.shape)).astype("<u2")
        sop_class = "1.2.840.10008.5.1.4.1.1.2" if self.modality == "CT" else "1.2.840.10008.5.1.4.1.1.1.1"
        place: dict[str, Any] = {
            "ImagePositionPatient": [0, 0, 2.5 * image],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        }
        return dicom_file(
            pixels=samples.tobytes(),
            SOPClassUID=sop_class,
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            SOPInstanceUID=f"{series}.{image}",
            PatientName=f"Bench^{self.patient(number)}",
            PatientID=self.patient(number),
            Modality=self.modality,
            SeriesNumber=int(series.rpartition(".")[2]),
            InstanceNumber=image,
            Rows=self.rows,
            Columns=self.rows,
            SamplesPerPixel=1,
            PhotometricInterpretation="MONOCHROME2",
            BitsAllocated=16,
            BitsStored=12,
            HighBit=11,
            PixelRepresentation=0,
            PixelSpacing=[0.5, 0.5],
            WindowCenter=600,
            WindowWidth=1200,
            **(place if self.modality == "CT" else {}),
        )


KINDS = (Kind("CT, 60 slices of 512 x 512", "CT", 1, 60, 512), Kind("DX, 8 series of 2048 x 2048", "DX", 8, 1, 2048))


@dataclass
class Archive:
    """An archive as the page is told to use it, and what was measured.

    Attributes
    ----------
    settings : dict
        Of the page's data source.
    first, everything, megabytes : lists
        Of each round: milliseconds to the first image and to all, and what was received.
    """

    name: str
    settings: dict[str, str]
    first: list[float] = field(default_factory=list)
    everything: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)


@contextmanager
def orthanc(folder: Path, *, compressing: bool) -> Iterator[str]:
    """Run Orthanc with its DICOMweb plugin and its own settings otherwise; yields the URL of its HTTP server.

    Unless told otherwise it compresses all answers, frames too.
    """
    port = free_port()
    folder.mkdir()
    settings = {
        "StorageDirectory": str(folder / "files"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": port,
        "HttpCompressionEnabled": compressing,
        "DicomServerEnabled": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    command = [program("Orthanc"), str(folder / "orthanc.json")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(150):
            try:
                with urllib.request.urlopen(f"{url}/dicom-web/studies", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def open_list(page: Page, base: str, archive: Archive) -> None:
    """Open the study list of an archive, and one study of it to have the viewer's code loaded."""
    chosen = urllib.request.quote(json.dumps(archive.settings))  # type: ignore[attr-defined]
    page.goto(f"{base}/?bench={chosen}")


def requests_of(page: Page) -> list[Any]:
    """Return a list that fills with the requests of a page as they are answered."""
    received: list[Any] = []

    def finished(request: Any) -> None:
        received.append(request)

    page.on("requestfinished", finished)
    return received


def measure(page: Page, kind: Kind, number: int, archive: Archive | None) -> None:
    """Find a study in the list, click on it and wait for its images; without an archive nothing is written down."""
    patient = page.locator("tr[data-filter-row] > td").first.locator("input")
    patient.fill(kind.patient(number))
    row = page.locator("tbody tr:not([data-filter-row])").filter(has_text=f"Bench, {kind.patient(number)}")
    row.first.wait_for()
    page.wait_for_function("document.querySelectorAll('tbody tr:not([data-filter-row])').length === 1")
    row.first.click()
    button = page.get_by_text("Basic Viewer", exact=True).first
    button.wait_for()
    page.wait_for_load_state("networkidle")
    received = requests_of(page)
    if archive is not None:
        page.evaluate(WATCH, [kind.images, kind.series])
    button.click()
    if archive is None:
        page.wait_for_function("window.cornerstone && document.querySelector('canvas.cornerstone-canvas')")
        page.wait_for_timeout(3000)
    else:
        page.wait_for_function("window.bench.all")
        page.wait_for_load_state("networkidle")
        archive.first.append(page.evaluate("window.bench.first"))
        archive.everything.append(page.evaluate("window.bench.all"))
        archive.requests.append(len(received))
        sizes = [request.sizes() for request in received]
        archive.megabytes.append(sum(size["responseBodySize"] for size in sizes) / 1e6)
    page.locator('[data-cy="return-to-work-list"]').click(position={"x": 5, "y": 10})
    patient.wait_for()


def run(kind: Kind, archives: list[Archive], base: str, rounds: int) -> None:
    """Measure one kind of study in every archive and print the table."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path(), headless=True, args=[*FLAGS, "--disable-web-security"]
        )
        pages = []
        for archive in archives:
            page = browser.new_context(viewport=DESKTOP, bypass_csp=True).new_page()
            page.set_default_timeout(WITHIN)
            open_list(page, base, archive)
            measure(page, kind, 0, None)
            pages.append(page)
        for number in range(1, rounds + 1):
            for archive, page in zip(archives, pages, strict=True):
                page.bring_to_front()
                measure(page, kind, number, archive)
        browser.close()
    rows = [
        [
            archive.name,
            *spread(archive.first),
            *spread(archive.everything),
            middle(archive.requests),
            middle(archive.megabytes),
        ]
        for archive in archives
    ]
    print(f"\n{kind.name}, {rounds} rounds")
    heads = ["archive", "first image ms", "worst", "everything ms", "worst", "requests", "MB"]
    table(heads, rows)


def run_whole_pages(server: str, study: str, rounds: int) -> None:
    """Measure what it takes to open an address of a study, OHIF and all, from our own server."""
    cold, warm = Archive("nothing in the cache", {}), Archive("everything in the cache", {})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), headless=True, args=list(FLAGS))
        for _ in range(rounds):
            context = browser.new_context(viewport=DESKTOP)
            context.add_init_script(FIRST_IMAGE)
            for archive in (cold, warm):
                page = context.new_page()
                received = requests_of(page)
                page.goto(f"{server}/viewer?StudyInstanceUIDs={study}")
                page.wait_for_function("window.firstImage")
                archive.first.append(page.evaluate("window.firstImage"))
                files = [request for request in received if "/dicom-web/" not in request.url]
                archive.requests.append(len(files))
                archive.megabytes.append(sum(request.sizes()["responseBodySize"] for request in files) / 1e6)
                page.close()
            context.close()
        browser.close()
    print(f"\nfrom an address typed in to the first image, {rounds} rounds")
    rows = [[one.name, *spread(one.first), middle(one.requests), middle(one.megabytes)] for one in (cold, warm)]
    table(["OHIF", "first image ms", "worst", "files", "MB of files"], rows)


def spread(times: list[float]) -> list[float]:
    """Return the median and the worst."""
    return [float(statistics.median(times)), float(max(times))]


def middle(values: list[Any]) -> float:
    """Return the median."""
    return float(statistics.median(values))


def main() -> None:
    """Store the studies in both archives and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--viewer-dir", type=Path, help="folder with the viewer installed; without it npm is run")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dicomweb-bench-")))
        viewer = options.viewer_dir or folder / "viewer"
        installation.install(viewer, tell=print)
        (folder / "bench.js").write_text(CONFIGURATION)
        flags = ("--viewer-dir", str(viewer), "--viewer-config", str(folder / "bench.js"))
        base = stack.enter_context(bench_server(*flags, "--workers", "1", "--no-dimse")).live.url
        ours = stack.enter_context(bench_server("--viewer-dir", str(viewer), "--no-dimse"))
        theirs = {}
        if PLUGIN.exists():
            theirs["compressing"] = stack.enter_context(orthanc(folder / "orthanc", compressing=True))
            theirs["plain"] = stack.enter_context(orthanc(folder / "plain", compressing=False))
        for kind in KINDS:
            store(kind, ours.port, theirs.values(), options.rounds)
            run(kind, archives_of(ours.live.url, theirs), base, options.rounds)
        run_whole_pages(ours.live.url, KINDS[0].study(0), options.rounds)


def store(kind: Kind, port: int, theirs: Iterable[str], rounds: int) -> None:
    """Store the same files in all archives."""
    connection = Connection(port)
    for number in range(rounds + 1):
        for file in kind.files(number):
            connection.post("/dicom-web/studies", "application/dicom", [file], len(file))
            for url in theirs:
                urllib.request.urlopen(urllib.request.Request(f"{url}/instances", file)).close()


def archives_of(ours: str, theirs: Mapping[str, str]) -> list[Archive]:
    """Name what to measure: ours as it is configured and with whole frames for thumbnails; Orthanc as it comes, and at
    its best, without compression and with rendered pictures for thumbnails (this version has no thumbnails).
    """

    def settings(url: str, thumbnails: str) -> dict[str, str]:
        root = f"{url}/dicom-web"
        return {"qidoRoot": root, "wadoRoot": root, "wadoUriRoot": root, "thumbnailRendering": thumbnails}

    found = [
        Archive("dicomweb", settings(ours, "thumbnail")),
        Archive("dicomweb, frames as thumbnails", settings(ours, "wadors")),
    ]
    if theirs:
        found.append(Archive("Orthanc", settings(theirs["compressing"], "wadors")))
        found.append(Archive("Orthanc at its best", settings(theirs["plain"], "rendered")))
    return found


if __name__ == "__main__":
    main()
