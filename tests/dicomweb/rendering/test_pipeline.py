"""From frames to pictures: order of the steps, what they need, text, encoders, thumbnails."""

import io
import time
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from dicomweb.rendering.annotation import patient_lines, technique_lines
from dicomweb.rendering.encoders import GIF, JP2, JPEG, JPH, MEDIA_TYPES, PNG, Picture, animated_gif, encode
from dicomweb.rendering.grayscale import Window
from dicomweb.rendering.pipeline import Frame, frame_durations, needed_bulk_data, pixels_of, render
from dicomweb.rendering.rendering_parameters import RenderingParameters
from dicomweb.rendering.thumbnail import icon, middle, thumbnail
from dicomweb.rendering.viewport import Viewport
from storage.pixels.pixel_data import UndecodablePixelData
from tests.corpus import corpus_files
from tests.dicomweb.decoded import attributes_in, attributes_of, frame_in, grey_frame

GREY = Picture(np.arange(64 * 80, dtype="u2").reshape(64, 80).astype("u1"))
COLOUR = Picture(np.stack([GREY.pixels, GREY.pixels.max() - GREY.pixels, GREY.pixels // 2], axis=-1))


def opened(data: bytes) -> Image.Image:
    """Return the picture in a file."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("picture", [GREY, COLOUR])
@pytest.mark.parametrize(("media_type", "form"), [(JPEG, "JPEG"), (PNG, "PNG"), (GIF, "GIF")])
def test_media_types_that_are_required(picture: Picture, media_type: str, form: str) -> None:
    """JPEG, GIF and PNG of grey and coloured pictures (D-091; Table 8.7.4-1)."""
    image = opened(encode(picture, media_type))
    assert image.format == form and (image.height, image.width) == picture.pixels.shape[:2]
    error = np.abs(np.asarray(image.convert("RGB" if picture.pixels.ndim == 3 else "L")).astype(int) - picture.pixels)
    assert error.max() <= {JPEG: 60, PNG: 0, GIF: 0 if picture is GREY else 40}[media_type] and error.mean() < 6


def test_jpeg_is_baseline_huffman() -> None:
    """SOF0 with 8 bits, no other frame header, colour without subsampling (D-091)."""
    data = encode(COLOUR, JPEG)
    start = data.index(b"\xff\xc0")
    assert data[start + 4] == 8 and data[start + 9] == 3 and data[start + 11] == 0x11
    assert not any(data.count(bytes([0xFF, marker, 0, 17])) for marker in (0xC1, 0xC2, 0xC9))


@pytest.mark.parametrize("picture", [GREY, COLOUR])
@pytest.mark.parametrize(("media_type", "brand"), [(JP2, b"jp2 "), (JPH, b"jph ")])
def test_jpeg_2000_without_loss(picture: Picture, media_type: str, brand: bytes) -> None:
    """JP2 and JPH are boxes around a codestream that loses nothing (Table 8.7.4-1)."""
    data = encode(picture, media_type)
    assert data[4:8] == b"jP  " and data[20:24] == brand
    codestream = data[data.index(b"jp2c") + 4 :]
    decode = imagecodecs.jpeg2k_decode if media_type == JP2 else imagecodecs.htj2k_decode
    assert np.array_equal(decode(codestream), picture.pixels)
    if media_type == JP2:
        assert np.array_equal(np.asarray(opened(data)), picture.pixels)


def test_quality_rules_lossy_types() -> None:
    """A higher quality is larger and nearer; PNG, GIF and JPH do not change (D-099)."""
    picture = render(frame_in(corpus_files("series/ct-janct-3slice-with-seg")[0]))
    for media_type in (JPEG, JP2):
        sizes = [len(encode(picture, media_type, quality)) for quality in (1, 25, 50, 75, 90, 100)]
        assert sizes == sorted(sizes) and sizes[0] < sizes[-1] / 3
    for media_type in set(MEDIA_TYPES) - {JPEG, JP2}:
        assert encode(GREY, media_type, 1) == encode(GREY, media_type, 100)


@pytest.mark.parametrize("picture", [GREY, COLOUR])
def test_animation(picture: Picture) -> None:
    """One picture a frame, its time in hundredths of a second, repeating (D-092)."""
    pictures = [Picture(np.roll(picture.pixels, step * 7, axis=1)) for step in range(3)]
    image = Image.open(io.BytesIO(animated_gif(iter(pictures), [40, 1, 125.0])))
    assert image.n_frames == 3 and image.info["loop"] == 0  # type: ignore[attr-defined]
    durations = []
    for index, expected in enumerate(pictures):
        image.seek(index)
        durations.append(image.info["duration"])
        error = np.abs(
            np.asarray(image.convert("RGB"))[..., 0].astype(int) - expected.pixels.reshape(64, 80, -1)[..., 0]
        )
        assert error.mean() < 12
    assert durations == [40, 20, 120]
    assert opened(animated_gif([picture], [100])).format == "GIF"


@pytest.mark.parametrize("picture", [GREY, COLOUR])
def test_frames_that_look_alike_are_all_in_an_animation(picture: Picture) -> None:
    """A heart that stands still keeps its frames and their times (D-092; GIF89a 20 and 23)."""
    other = Picture(picture.pixels[::-1].copy())
    animated = animated_gif([picture, picture, other, other, other, picture], [40, 50, 60, 70, 80, 90])
    image = Image.open(io.BytesIO(animated))
    assert image.n_frames == 6  # type: ignore[attr-defined]
    shown, durations = [], []
    for index in range(6):
        image.seek(index)
        durations.append(image.info["duration"])
        shown.append(np.asarray(image.convert("RGB")))
    assert durations == [40, 50, 60, 70, 80, 90]
    alone = [opened(encode(each, GIF)).convert("RGB") for each in (picture, other)]
    assert [0 if np.array_equal(each, alone[0]) else 1 for each in shown] == [0, 0, 1, 1, 1, 0]
    assert np.array_equal(shown[2], alone[1])
    still = Image.open(io.BytesIO(animated_gif([picture] * 3, [100] * 3)))
    assert still.n_frames == 3  # type: ignore[attr-defined]


def test_durations_of_frames() -> None:
    """Frame Time Vector tells the time since the frame before; then Frame Time and rates (C.7.6.5)."""
    assert frame_durations(attributes_of(FrameTimeVector=[0, 10, 30]), [1, 2, 3]) == [10, 30, 100]
    assert frame_durations(attributes_of(FrameTime=33.3), [1, 5]) == [33.3, 33.3]
    assert frame_durations(attributes_of(RecommendedDisplayFrameRate=25), [1]) == [40]
    assert frame_durations(attributes_of(CineRate=50, FrameTime=0), [1]) == [20]
    assert frame_durations({}, [1]) == [100]


def test_values_that_rendering_needs() -> None:
    """Tables, profiles and, for annotation, overlays that are not in the attributes, of the frame only (D-026)."""
    away = {"vr": "OW", "BulkDataURI": "https://a/instances/1/bulkdata/"}

    def at(path: str) -> dict[str, Any]:
        return away | {"BulkDataURI": away["BulkDataURI"] + path}

    attributes = {
        "00282000": at("00282000"),
        "00283010": {"vr": "SQ", "Value": [{"00283006": at("00283010/1/00283006")}]},
        "52009230": {
            "vr": "SQ",
            "Value": [
                {"00289132": {"vr": "SQ", "Value": [{"00283006": at(f"52009230/{frame}/00283006")}]}}
                for frame in (1, 2)
            ],
        },
        "60023000": at("60023000"),
        "7FE00010": at("7FE00010"),
    }
    assert needed_bulk_data(attributes, 2) == ["00282000", "00283010/1/00283006", "52009230/2/00283006"]
    assert "60023000" in needed_bulk_data(attributes, overlays=True)


def test_order_of_the_steps() -> None:
    """Text is burned in last, at the size of the picture, not of the source (D-098)."""
    frame = grey_frame(np.zeros((16, 16)), "u1", PatientName="Doe^Jane", PatientID="P1")
    parameters = RenderingParameters(annotation=("patient",), viewport=Viewport(300, 300))
    picture = render(frame, parameters).pixels
    assert picture.shape == (300, 300) and picture[:60, :120].max() > 200 and not picture[150:].any()
    assert not render(frame, RenderingParameters(viewport=Viewport(300, 300))).pixels.any()


def test_text_on_colours_and_everywhere() -> None:
    """Annotation is readable on white too, in colour, and on pictures smaller than itself (D-098)."""
    both = RenderingParameters(annotation=("patient", "technique"))
    said = attributes_of(PatientName="Ünal^Ö<script>", PatientID="1", Modality="CT", BitsStored=8)
    for shape in ((1, 1, 3), (64, 64, 3), (700, 20, 3)):
        frame = Frame(np.full(shape, 255, "u1"), "RGB", said)
        picture = render(frame, both).pixels
        assert picture.shape == shape and (shape[0] < 9 or picture.min() == 0)


@pytest.mark.parametrize("samples", [2, 5])
@pytest.mark.parametrize("asked", [{"annotation": ("patient",)}, {"viewport": Viewport(4, 4)}, {}])
def test_pixels_that_are_no_colors_are_refused(samples: int, asked: Any) -> None:
    """Pixels of other than 1, 3 or 4 samples have no picture, with and without text (D-059, D-109)."""
    frame = Frame(np.zeros((8, 8, samples), "u1"), "MONOCHROME2", attributes_of(BitsStored=8, PatientID="1"))
    with pytest.raises(UndecodablePixelData, match=f"{samples} samples"):
        render(frame, RenderingParameters(**asked))


def test_lines_of_text() -> None:
    """What is said of patient and technique (8.3.5.1.1.1)."""
    attributes = attributes_of(
        PatientName="Doe^Jane^M",
        PatientID="P1",
        PatientBirthDate="19700203",
        PatientSex="F",
        Modality="CT",
        StudyDate="20240115",
        StudyTime="101530",
        SeriesNumber=2,
        InstanceNumber=7,
        NumberOfFrames=9,
        KVP=120,
    )
    assert patient_lines(attributes) == ["Doe, Jane M", "P1", "1970-02-03 F"]
    assert technique_lines(attributes, 3, Window(40, 400)) == [
        "CT 2024-01-15 10:15",
        "Series 2  Image 7  Frame 3/9",
        "120 kV",
        "W 400 C 40",
    ]
    assert patient_lines({}) == [] and technique_lines({}, 1) == []


def test_thumbnails() -> None:
    """Small, of the source's aspect, at most 512 pixels, without text and profile (D-120 to D-123)."""
    frame = grey_frame(np.ones((100, 200)), "u1", PatientName="Doe^Jane")
    assert thumbnail(frame).pixels.shape == (64, 128) and thumbnail(frame).profile is None
    assert thumbnail(frame, Viewport(5000, 5000)).pixels.shape == (256, 512)
    assert np.array_equal(thumbnail(frame).pixels, thumbnail(grey_frame(np.ones((100, 200)), "u1")).pixels)
    assert [middle(count) for count in (0, 1, 2, 3, 10)] == [1, 1, 1, 2, 5]


@pytest.mark.parametrize("label", ["SR", "", "RTSTRUCT", "<b>", "心"])
def test_icons(label: str) -> None:
    """What is no image has a sign, whatever its modality says (D-124)."""
    for viewport in (None, Viewport(10, 30), Viewport(1, 1), Viewport(9999, 9999)):
        pixels = icon(label, viewport).pixels
        assert pixels.shape[0] == pixels.shape[1] <= 512
    assert not np.array_equal(icon("SR").pixels, icon("PR").pixels)


def test_every_native_file_of_the_corpus_is_rendered() -> None:
    """No file whose pixels can be read is without a picture (D-109)."""
    rendered = 0
    for path in [*corpus_files("objects"), *corpus_files("photometric"), *corpus_files("multiframe")]:
        attributes, _ = attributes_in(path)
        if "00280010" not in attributes or any(part in path.name for part in ("JPEG-L", "jpeg-ls", "sample-op")):
            continue
        picture = render(frame_in(path), RenderingParameters(viewport=Viewport(64, 64), annotation=("technique",)))
        assert max(picture.pixels.shape[:2]) == 64 and picture.pixels.dtype == np.uint8
        rendered += 1
    assert rendered > 40


def test_ybr_file_against_pydicom() -> None:
    """Colours of a native YBR_FULL_422 ultrasound are those pydicom converts, within a level (D-109)."""
    from pydicom import dcmread
    from pydicom.pixels import pixel_array

    (path,) = [path for path in corpus_files("photometric/weasis") if path.name == "ybr422-raw.dcm"]
    expected = pixel_array(dcmread(path)).astype(int)
    assert np.abs(pixels_of(frame_in(path)).astype(int) - expected).max() <= 2


def test_a_grey_frame_is_fast(capsys: pytest.CaptureFixture[str]) -> None:
    """A 512 x 512 frame of 16 bits to JPEG takes far less than the 6.6 ms of 150 a second, with any window."""
    frame = frame_in(corpus_files("series/ct-janct-3slice-with-seg")[0])
    best = min(_seconds(frame, center) for center in range(40))
    with capsys.disabled():
        print(f"\nCT 512 x 512 to JPEG, a new window each time: {best * 1000:.2f} ms, {1 / best:.0f}/s")
    assert best < 1 / 150


def _seconds(frame: Frame, center: float) -> float:
    start = time.perf_counter()
    encode(render(frame, RenderingParameters(window=Window(center, 400))), JPEG)
    return time.perf_counter() - start
