"""OHIF, served by the archive, in a real browser: it lists, draws, measures, segments, uploads and stores.

Every test fails, too, when the console shows an error, a request is answered 400 or more, or another host is asked.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pydicom
import pytest

from storage.dicom.transfer_syntax import HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, JPEG_2000_LOSSLESS
from tests.browser.files import encapsulated_pdf, pdf_text, transcoded_copies
from tests.browser.ohif import Ohif
from tests.browser.watched import Watched
from tests.builders import dicom_file
from tests.corpus import corpus_files
from tests.live.exchange import path_of, store, stored_keys
from tests.live_server import LiveServer, running_server
from tests.pixels import corpus_file

HEAD = "1.3.46.670589.33.1.27492712521914879309.27169771283235650014"
LIVER = "1.2.392.200103.20080913.113635.0.2009.6.22.21.43.10.22941.1"
PHANTOM = "1.2.840.113619.2.405.3.84541899.902.1605198123.910"
ECHO = "999.999.3859744"
STRESS = "1.2.840.113857.1907.192833.1115.220048"
SYNTAXES = {"J2K": JPEG_2000_LOSSLESS, "HTJ2K": HTJ2K_LOSSLESS, "RPCL": HTJ2K_LOSSLESS_RPCL}
LONG = 200_000
"""Bytes of padding in a PDF: beyond what metadata carry inline."""


class Archive(NamedTuple):
    """A server with what there is to look at, and the studies made for it by patient name."""

    server: LiveServer
    made: dict[str, str]


@pytest.fixture(scope="module")
def archive(viewer_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """A server with the viewer and a few studies of the corpus."""
    liver = corpus_files("series/ct-janct-3slice-with-seg")
    paths = [
        *corpus_files("series/ct-philips-phantom-28"),
        *liver,
        *(
            path
            for path in corpus_files("objects/rt-utils-ct-rtstruct")
            if path.name != "non_existent_reference_rt.dcm"
        ),
        corpus_file("photometric/weasis/palette-multiframe-jpeg-ls.dcm"),
        corpus_file("multiframe/go-dicom-xa-us/I_000007.dcm"),
    ]
    files = [path.read_bytes() for path in paths]
    files += [encapsulated_pdf(liver[0], pdf_text("A report", padding=long), 900 + bool(long)) for long in (0, LONG)]
    files.append(dicom_file(Modality=None, PatientName="Odd^One"))  # against the standard, and not to break the list
    folder = tmp_path_factory.mktemp("ohif") / "data"
    with (
        running_server(folder, "--viewer-dir", str(viewer_dir)) as server,
        httpx2.Client(base_url=f"{server.root}/", timeout=60) as client,
    ):
        answer = store(client, *files)
        assert answer.status_code in (200, 202), answer.text
        images = [path_of(key) for key in stored_keys(answer) if key[0] == LIVER][:3]
        made = {}
        for name, syntax in SYNTAXES.items():
            made[name], copies = transcoded_copies(client, images, syntax, name)
            assert store(client, *copies).status_code in (200, 202)
        yield Archive(server, made)


@pytest.fixture
def ohif(archive: Archive, watched: Watched) -> Ohif:
    """The viewer in a page of its own."""
    return Ohif(watched, archive.server.url)


def found_by_others(archive: Archive, modality: str) -> pydicom.Dataset:
    """What other programs find of what OHIF made for the head: a whole data set of the same patient."""
    study = f"{archive.server.root}/studies/{HEAD}"
    series = httpx2.get(f"{study}/series", params={"Modality": modality}).json()[-1]["0020000E"]["Value"][0]
    (instance,) = httpx2.get(f"{study}/series/{series}/metadata").json()
    found = pydicom.Dataset.from_json(instance, bulk_data_uri_handler=lambda address: httpx2.get(address).content)
    assert found.PatientID == "PLASTIC"
    return found


def series_of(archive: Archive, study: str, modality: str) -> list[str]:
    """The descriptions of a study's series of a modality, as the archive finds them."""
    answer = httpx2.get(f"{archive.server.root}/studies/{study}/series?Modality={modality}")
    return [series["0008103E"]["Value"][0] for series in answer.json()]


def test_the_list_shows_who_when_what_and_how_much(ohif: Ohif) -> None:
    """Patient, date, modalities, description, accession number and count of instances of each study."""
    ohif.open_list()
    assert ["HEAD", "06-Feb-2015 09:28 AM", "CT", "1A TRAUMA/PLAIN HEAD DM", "", "28"] in ohif.rows()
    assert any(row[0] == "Odd, One" for row in ohif.rows())
    liver = next(row for row in ohif.rows() if row[0] == "JANCT000")
    assert set(liver[2].split("\\")) == {"CT", "SEG", "DOC"} and liver[4:] == ["03086212", "6"]


@pytest.mark.parametrize(
    ("column", "text", "patients"),
    [
        ("patient", "head", ["HEAD"]),
        ("patient", "stressecho, ex", ["Stressecho, Example"]),
        ("description", "TRAUMA", ["HEAD"]),
        ("accession", "0862", ["JANCT000", "J2K", "HTJ2K", "RPCL"]),
        ("modality", "RTSTRUCT", ["PHANTOM_EXAMPLE"]),
        ("date", "2015-01-01/2020-12-31", ["PHANTOM_EXAMPLE", "HEAD"]),
    ],
)
def test_filters_find_what_they_say(ohif: Ohif, column: str, text: str, patients: list[str]) -> None:
    """A filter asks the archive and shows what it found."""
    ohif.open_list()
    everybody = len(ohif.rows())
    ohif.filter(column, text)
    ohif.wait_for_rows(len(patients))
    assert sorted(row[0] for row in ohif.rows()) == sorted(patients)
    ohif.reset_filters()
    ohif.wait_for_rows(everybody)


def test_a_series_draws_and_scrolls(ohif: Ohif) -> None:
    """A CT of 28 slices: the picture is not blank, each slice has its own, and the way back shows the same again."""
    ohif.open_study(HEAD)
    first = ohif.wait_for_picture()
    ohif.scroll(12)
    ohif.page.get_by_text("I: 16").or_(ohif.page.get_by_text("(13/28)")).first.wait_for()
    middle = ohif.wait_for_picture(until=lambda picture: picture["hash"] != first["hash"])
    assert middle["levels"] > 20 and middle["lit"] > 0.05
    ohif.scroll(-12)
    ohif.wait_for_picture(until=lambda picture: picture["hash"] == first["hash"])


def test_a_series_opens_in_three_planes(ohif: Ohif) -> None:
    """MPR: three viewports of the volume, each with another picture."""
    ohif.open_study(HEAD, hangingProtocolId="mpr")
    assert ohif.viewports() == 3
    pictures = [ohif.wait_for_picture(viewport, lambda picture: picture["lit"] > 0.02) for viewport in range(3)]
    assert len({picture["hash"] for picture in pictures}) == 3


def test_a_segmentation_lies_over_its_images(ohif: Ohif) -> None:
    """A binary SEG with overlapping segments is loaded and coloured in (needs its whole file)."""
    ohif.open_study(LIVER)
    assert ohif.picture()["coloured"] < 0.001
    ohif.show_object("SEG")
    label, segments, kinds = ohif.wait_for_segmentation()
    assert (label, kinds) == ("Segmentation", ["Labelmap"]) and len(segments) >= 5
    ohif.wait_for_picture(until=lambda picture: picture["coloured"] > 0.01)


def test_a_structure_set_draws_its_contours(ohif: Ohif) -> None:
    """An RTSTRUCT is loaded from metadata alone; its contours lie on the images."""
    ohif.open_study(PHANTOM)
    ohif.show_object("PHANTOM_EXAMPLE")
    _, segments, kinds = ohif.wait_for_segmentation()
    assert segments == ["ROI-1"] and kinds == ["Contour"]
    ohif.wait_for_contour()


@pytest.mark.parametrize(("series", "address"), [(900, "blob:"), (901, "/dicom-web/studies/")], ids=["short", "long"])
def test_a_pdf_is_shown(ohif: Ohif, series: int, address: str) -> None:
    """An Encapsulated PDF opens in the browser's own reader: a short one from metadata, a long one from /rendered."""
    ohif.open_study(LIVER)
    ohif.show_object(f"S:{series}")
    ohif.page.locator(f"object[type='application/pdf'][data^='{address}']").wait_for()
    ohif.wait_for_paper()


@pytest.mark.parametrize(("study", "frames"), [(ECHO, 10), (STRESS, 10)], ids=["palette", "jpeg"])
def test_a_multi_frame_ultrasound_shows_colours_and_plays(ohif: Ohif, study: str, frames: int) -> None:
    """Frames by the dozen in colour: palettes from metadata, JPEG baseline as YCbCr."""
    ohif.open_study(study)
    first = ohif.wait_for_picture(until=lambda picture: picture["coloured"] > 0.001)
    ohif.scroll(1)
    ohif.wait_for_picture(until=lambda picture: picture["hash"] != first["hash"])
    asked = {request for request in ohif.watched.requests if "/frames/" in request}
    assert len(asked) == frames


@pytest.mark.parametrize("name", list(SYNTAXES))
def test_compressed_series_draw_as_the_original(ohif: Ohif, archive: Archive, name: str) -> None:
    """JPEG 2000 and HTJ2K are sent as stored, decoded by the browser, and look as the uncompressed series does."""
    ohif.open_study(archive.made[name])
    shown = ohif.wait_for_picture()
    ohif.open_study(LIVER)
    ohif.wait_for_picture(until=lambda picture: picture["hash"] == shown["hash"])


def test_files_are_uploaded_from_the_dialog(ohif: Ohif) -> None:
    """The dialog of the study list stores files, and the list shows their study."""
    ohif.open_list()
    assert not [row for row in ohif.rows() if row[0] == "Test, Pattern"]
    ohif.page.get_by_text("Upload", exact=True).first.click()
    chosen = [corpus_file(f"photometric/pm5644/PM5644-960x540_{kind}.dcm") for kind in ("RGB", "JPEG2000-Lossless")]
    ohif.page.locator("input[type=file]").first.set_input_files(chosen)
    ohif.page.get_by_text("2 files completed.", exact=True).wait_for()  # not "0 of 2 files completed."
    ohif.page.get_by_role("button", name="Close").first.click()
    ohif.page.get_by_text("Test, Pattern").wait_for()
    assert next(row for row in ohif.rows() if row[0] == "Test, Pattern")[5] == "2"


def test_a_measurement_report_is_stored_and_found_again(ohif: Ohif, archive: Archive) -> None:
    """A length is measured, saved as a structured report, and tracked again when the study is opened anew."""
    ohif.open_study(HEAD)
    ohif.page.locator('[data-cy="MeasurementTools-split-button-primary"]').click()
    ohif.drag()
    ohif.page.get_by_role("button", name="Yes", exact=True).click()  # track it
    (measured,) = ohif.measurements()
    ohif.page.locator('[data-cy="trackedMeasurements-btn"]').click()
    ohif.page.get_by_text("Create SR", exact=True).click()
    assert ohif.save_as("Length of something") == 200
    assert series_of(archive, HEAD, "SR") == ["Length of something"]
    assert found_by_others(archive, "SR").ContentSequence[-1].ContentSequence
    ohif.open_study(HEAD)
    ohif.show_object("Length of something")
    ohif.page.get_by_role("button", name="Yes", exact=True).click()  # go on with it
    ohif.page.wait_for_function("window.services.measurementService.getMeasurements().length === 1")
    assert re.findall(r"[\d.]+ mm", ohif.measurements()[0]) == re.findall(r"[\d.]+ mm", measured)


@pytest.mark.parametrize(
    ("kind", "modality", "representation"), [("DICOM SEG", "SEG", "Labelmap"), ("DICOM RTSS", "RTSTRUCT", "Contour")]
)
def test_a_segmentation_is_stored_and_found_again(
    ohif: Ohif, archive: Archive, kind: str, modality: str, representation: str
) -> None:
    """A brush stroke is saved as SEG or as structure set, and loaded again when the study is opened anew."""
    ohif.open_study(HEAD, mode="segmentation")
    ohif.page.locator('[data-cy="addSegmentation"]').first.click()
    ohif.page.locator('[data-cy="Brush-btn"]').click()
    ohif.drag()
    ohif.wait_for_picture(until=lambda picture: picture["coloured"] > 0.01)
    ohif.choose('[data-cy^="segmentation-collapsed-more-btn"]', "Export", kind)
    assert ohif.save_as(f"Painted {modality}") == 200
    assert f"Painted {modality}" in series_of(archive, HEAD, modality)
    found = found_by_others(archive, modality)
    if modality == "SEG":
        assert found.NumberOfFrames >= 1 and found.SegmentSequence[0].SegmentLabel == "Segment 1"
    else:
        assert found.ROIContourSequence[0].ContourSequence
    ohif.open_study(HEAD)
    ohif.show_object(f"Painted {modality}")
    assert ohif.wait_for_segmentation()[2] == [representation]
    if representation == "Labelmap":
        ohif.wait_for_picture(until=lambda picture: picture["coloured"] > 0.01)
    else:
        ohif.wait_for_contour()


def test_an_isolated_page_works_as_well(viewer_dir: Path, tmp_path: Path, watched: Watched) -> None:
    """With `--isolate-viewer` the page is isolated from other origins, and still draws and embeds a PDF."""
    liver = corpus_files("series/ct-janct-3slice-with-seg")
    report = encapsulated_pdf(liver[0], pdf_text("A report", padding=LONG), 901)
    flags = ("--viewer-dir", str(viewer_dir), "--isolate-viewer", "--workers", "1", "--no-dimse")
    with (
        running_server(tmp_path / "isolated", *flags) as server,
        httpx2.Client(base_url=f"{server.root}/", timeout=60) as client,
    ):
        assert store(client, report, *(path.read_bytes() for path in liver)).status_code in (200, 202)
        ohif = Ohif(watched, server.url)
        ohif.open_study(LIVER)
        assert ohif.page.evaluate("crossOriginIsolated") is True
        ohif.show_object("S:901")
        ohif.wait_for_paper()
