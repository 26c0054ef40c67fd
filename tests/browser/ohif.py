"""OHIF as a person uses it: what is clicked, typed and seen."""

import io
import json
from collections.abc import Callable
from typing import Any

from PIL import Image

from tests.browser.watched import Watched

PATIENCE = 60_000
"""Milliseconds; a slow machine decodes and draws in software."""
ROWS = "tbody tr:not([data-filter-row]):has(td:nth-child(6))"
"""Studies in the list; a row that says that there are none, or that they are coming, has one cell."""
COLUMNS = {"patient": 0, "date": 1, "modality": 2, "description": 3, "accession": 4}

_SEEN_BEFORE = """
  if (window === window.top) {
    sessionStorage.setItem('investigationalUseDialog', 'hidden');
    localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']));
  }
"""
_PICTURE = """
  index => {
    const canvas = document.querySelectorAll('[data-cy="viewport-pane"] canvas.cornerstone-canvas')[index];
    if (!canvas || !canvas.width) return null;
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const levels = new Set();
    let coloured = 0, lit = 0, hash = 0;
    for (let at = 0; at < data.length; at += 4) {
      const [red, green, blue] = [data[at], data[at + 1], data[at + 2]];
      levels.add(red);
      if (red + green + blue > 30) lit++;
      if (Math.max(red, green, blue) - Math.min(red, green, blue) > 40) coloured++;
      hash = (hash * 31 + red + 7 * green + 13 * blue) | 0;
    }
    const pixels = data.length / 4;
    return { levels: levels.size, lit: lit / pixels, coloured: coloured / pixels, hash };
  }
"""
_COLOURS = """
  ([columns, rows, places]) => {
    const canvas = document.querySelector('[data-cy="viewport-pane"] canvas.cornerstone-canvas');
    const scale = Math.min(canvas.width / columns, canvas.height / rows);
    const across = column => canvas.width / 2 + (column + 0.5 - columns / 2) * scale;
    const down = row => canvas.height / 2 + (row + 0.5 - rows / 2) * scale;
    const context = canvas.getContext('2d');
    return places.map(([row, column]) => [...context.getImageData(across(column), down(row), 1, 1).data.slice(0, 3)]);
  }
"""


class Ohif:
    """The viewer in a page.

    Parameters
    ----------
    watched : Watched
        The page.
    server : str
        URL of the server.
    """

    def __init__(self, watched: Watched, server: str) -> None:
        self.watched = watched
        self.page = watched.page
        self.server = server
        self.page.set_default_timeout(PATIENCE)
        self.page.add_init_script(_SEEN_BEFORE)

    # The study list

    def open_list(self) -> None:
        """Open the study list and wait for its first rows."""
        self.watched.open(f"{self.server}/")
        self.page.locator(ROWS).first.wait_for()

    def wait_for_rows(self, count: int) -> None:
        """Wait until so many studies are listed."""
        self.page.wait_for_function(
            "([rows, count]) => document.querySelectorAll(rows).length === count", arg=[ROWS, count]
        )

    def rows(self) -> list[list[str]]:
        """The studies listed: patient, date, modalities, description, accession number, count of instances."""
        found = self.page.locator(ROWS)
        return [[cell.strip() for cell in row.locator("td").all_inner_texts()[:6]] for row in found.all()]

    def filter(self, column: str, text: str) -> None:
        """Type into the filter of a column and wait until the archive was asked."""
        fields = self.page.locator("tr[data-filter-row] > td").nth(COLUMNS[column]).locator("input")
        with self.page.expect_response(lambda response: "/dicom-web/studies?" in response.url):
            if column == "date":
                start, end = text.split("/")
                fields.nth(0).fill(start)
                self.page.keyboard.press("Escape")
                fields.nth(1).fill(end)
                self.page.keyboard.press("Escape")
            elif column == "modality":
                fields.first.click()
                self.page.keyboard.type(text)
                self.page.keyboard.press("Enter")
                self.page.keyboard.press("Escape")
            else:
                fields.first.fill(text)

    def reset_filters(self) -> None:
        """Show all studies again."""
        with self.page.expect_response(lambda response: "/dicom-web/studies?" in response.url):
            self.page.get_by_label("Reset filters").click()

    # A study

    def open_study(self, study: str, *, mode: str = "viewer", images: bool = True, **parameters: str) -> None:
        """Open a study and wait until its first viewport shows a picture."""
        query = "".join(f"&{name}={value}" for name, value in parameters.items())
        self.watched.open(f"{self.server}/{mode}?StudyInstanceUIDs={study}{query}")
        self.page.locator('[data-cy="studyBrowser-panel"]').wait_for()
        if images:
            self.wait_for_picture()

    def picture(self, viewport: int = 0) -> dict[str, Any]:
        """What a viewport shows: `levels` of red, the share of `lit` and `coloured` pixels, a `hash` of all."""
        found = self.page.evaluate(_PICTURE, viewport)
        return found or {"levels": 0, "lit": 0.0, "coloured": 0.0, "hash": 0}

    def wait_for_picture(
        self, viewport: int = 0, until: Callable[[dict[str, Any]], bool] = lambda picture: picture["levels"] > 20
    ) -> dict[str, Any]:
        """Wait until a viewport shows what is wanted, by default a picture with some levels of gray."""
        shown = self.picture(viewport)
        for _ in range(PATIENCE // 100):
            if until(shown):
                return shown
            self.page.wait_for_timeout(100)
            shown = self.picture(viewport)
        raise AssertionError(f"viewport {viewport} shows {shown}")

    def colours(self, columns: int, rows: int, places: list[tuple[int, int]]) -> list[list[int]]:
        """What the first viewport shows of an image with square pixels: red, green and blue at (row, column)."""
        return [list(colour) for colour in self.page.evaluate(_COLOURS, [columns, rows, places])]

    def wait_for_paper(self) -> None:
        """Wait until a good part of the middle of the window is white, as a page of a document is."""
        middle = {"x": 300, "y": 60, "width": 1050, "height": 800}
        share = 0.0
        for _ in range(PATIENCE // 300):
            picture = Image.open(io.BytesIO(self.page.screenshot(clip=middle))).convert("L")
            share = sum(picture.histogram()[250:]) / (picture.width * picture.height)
            if share > 0.05:
                return
            self.page.wait_for_timeout(300)
        raise AssertionError(f"{share:.1%} of the window are white")

    def viewports(self) -> int:
        """How many viewports there are."""
        return int(self.page.locator('[data-cy="viewport-pane"]').count())

    def scroll(self, images: int) -> None:
        """Turn the wheel over the first viewport."""
        self.page.locator('[data-cy="viewport-pane"]').first.hover()
        for _ in range(abs(images)):
            self.page.mouse.wheel(0, 100 if images > 0 else -100)
            self.page.wait_for_timeout(50)

    def drag(self) -> None:
        """Draw a stroke from left to right over the middle of the first viewport."""
        box = self.page.locator('[data-cy="viewport-pane"]').first.bounding_box()
        across, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(across - 80, down)
        self.page.mouse.down()
        self.page.mouse.move(across, down + 20, steps=5)
        self.page.mouse.move(across + 60, down + 40, steps=5)
        self.page.mouse.up()

    def choose(self, menu: str, *entries: str) -> None:
        """Choose from a menu and the menus in it, without moving the mouse: on its way it closes them at times."""
        self.page.locator(menu).first.click()
        for entry in entries:
            self.page.get_by_role("menuitem", name=entry).dispatch_event("click")

    def show_object(self, text: str) -> None:
        """Show the series without pictures (report, segmentation, document) whose entry has the text."""
        self.page.locator('[data-cy="study-browser-thumbnail-no-image"]').filter(has_text=text).first.dblclick()

    def segmentations(self) -> list[list[Any]]:
        """Each segmentation that is loaded: its label, the labels of its segments, how it is represented."""
        found = self.page.evaluate(
            "window.services.segmentationService.getSegmentations().map(one => [one.label, "
            "Object.values(one.segments).map(segment => segment.label), Object.keys(one.representationData)])"
        )
        return list(found)

    def wait_for_segmentation(self) -> list[Any]:
        """Wait until a segmentation is loaded, and return the first."""
        self.page.wait_for_function("window.services.segmentationService.getSegmentations().length > 0")
        return self.segmentations()[0]

    def wait_for_contour(self) -> None:
        """Wait until a contour is drawn over the first viewport."""
        self.page.locator("svg.svg-layer > path").first.wait_for(state="attached")

    def measurements(self) -> list[str]:
        """The measurements that are tracked, as they are labelled in the picture."""
        found = self.page.evaluate("window.services.measurementService.getMeasurements().map(one => one.displayText)")
        return [json.dumps(text) for text in found]

    def save_as(self, name: str) -> int:
        """Give the dialog that stores something a name, store it, and return the status of the answer."""
        dialog = self.page.get_by_role("dialog")
        dialog.locator("input").first.fill(name)
        with self.page.expect_response(lambda response: response.request.method == "POST") as stored:
            dialog.get_by_role("button", name="Save").click()
        return int(stored.value.status)
