"""Drawings of waveforms, measured: where curves, pulses and texts are, in SVG and in pixels (PS3.3 C.10.9)."""

import base64
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicomweb.rendering.attribute_values import key_of
from dicomweb.rendering.encoders import encode
from dicomweb.rendering.sheet import UNITS
from dicomweb.rendering.sheet_picture import MOST_PIXELS, sheet_picture
from dicomweb.rendering.sheet_svg import sheet_svg
from dicomweb.rendering.viewport import Viewport
from dicomweb.rendering.waveform import INTERPRETATIONS, multiplex_groups
from dicomweb.rendering.waveform_plan import MOST_VALUES, glimpse_of, plans_of
from dicomweb.rendering.waveform_samples import values_of
from dicomweb.rendering.waveform_sheet import glimpse_sheet, waveform_sheet
from storage.errors import InvalidQuery
from tests.builders import dataset_of
from tests.dicomweb.drawings import Drawing, drawing_in, drawing_of, sheet_in, stored_values
from tests.waveforms import HEMODYNAMIC, LEADS, TWELVE_LEAD_ECG, VOICE, channel, multiplex_group, waveform_file

LEFT = 18.0  # mm before the first sample: a margin of 8 and 10 for the pulse
COLUMN = 62.5  # mm: 2.5 s at 25 mm/s
FINEST = 0.0051  # mm: half a unit, rounded
DARK = 100


def real_ecg() -> tuple[bytes, Any]:
    """Return the bytes and pydicom's view of a real 12-lead ECG, and its rhythm in mV as pydicom has it."""
    path = Path(str(get_testdata_file("waveform_ecg.dcm", download=False)))
    return path.read_bytes(), dcmread(path).waveform_array(0) / 1000


def base_of(drawing: Drawing, place: int) -> float:
    """Return the height of the base line of a row, in mm: the foot of its calibration pulse."""
    return float(pulses_of(drawing)[place][0, 1])


def pulses_of(drawing: Drawing) -> list[Any]:
    """Return the calibration pulses."""
    return [mark for mark in drawing.marks if len(mark) == 6]


def test_every_point_of_a_real_electrocardiogram_is_a_sample_at_its_place() -> None:
    """25 mm/s and 10 mm/mV: x and y of each point by formula from what pydicom reads, in 12 leads and the rhythm."""
    data, millivolts = real_ecg()
    drawing = drawing_in(data)
    names = [name for row in (LEADS[0::3], LEADS[1::3], LEADS[2::3]) for name in row]
    assert names[:4] == ["I", "aVR", "V1", "V4"]
    assert [curve.name for curve in drawing.curves[:13]] == [*names, "II"]
    for place, (name, runs) in enumerate(drawing.curves[:13]):
        (run,) = runs
        row, column = divmod(place, 4) if place < 12 else (3, 0)
        seconds = (run[:, 0] - LEFT - column * COLUMN) / 25 + column * 2.5
        samples = np.rint(seconds * 1000).astype(int)
        assert np.abs(seconds * 1000 - samples).max() < FINEST * 40 + 1e-6
        expected = base_of(drawing, row) - 10 * millivolts[samples, LEADS.index(name)]
        assert np.abs(run[:, 1] - expected).max() < FINEST, name
        shown = slice(int(column * 2500), int(column * 2500) + 2501) if place < 12 else slice(None)
        lead = millivolts[shown, LEADS.index(name)]
        assert samples[0] == shown.start or place == 12
        assert abs(run[:, 1].min() - (base_of(drawing, row) - 10 * lead.max())) < FINEST, "no peak is lost"
        assert abs(run[:, 1].max() - (base_of(drawing, row) - 10 * lead.min())) < FINEST


def test_what_is_written_on_a_real_electrocardiogram() -> None:
    """Kind, moment, findings, measurements, speed and gain; the patient only where asked for."""
    data, _ = real_ecg()
    written = drawing_in(data).texts
    assert "12-lead ECG Waveform  2013-01-25 10:59:19" in written
    for line in ("RITMO SINUSALE", "ECG NORMALE", "RR Interval: 982 ms", "QRS Axis: 52 °"):
        assert line in written
    assert "RHYTHM   10 s   1000 Hz   25 mm/s   10 mm/mV" in written
    assert "MEDIAN BEAT   1.2 s   1000 Hz   25 mm/s   10 mm/mV" in written
    assert not any("Onset" in line or "642341" in line or "Anonymous" in line for line in written)
    assert {"Anonymous", "642341", "1971-01-23 F"} <= drawing_in(data, ("patient",)).texts.keys()


def test_calibration_pulses_have_one_millivolt() -> None:
    """10 mm high and 5 mm wide, before every row."""
    drawing = drawing_in(real_ecg()[0])
    pulses = pulses_of(drawing)
    assert len(pulses) == 7  # 3 rows and the rhythm, and 3 rows of the median beat
    for pulse in pulses:
        assert np.ptp(pulse[:, 1]) == pytest.approx(10)
        assert pulse[3, 0] - pulse[2, 0] == pytest.approx(5)
        assert pulse[:, 0].max() < LEFT


def test_the_paper_has_a_line_each_millimetre() -> None:
    """Fine ones each mm and stronger ones every 5, over all of the curves."""
    svg = sheet_svg(sheet_in(real_ecg()[0])).decode()
    fine = svg.split('class="m" d="')[1].split('"')[0]
    places = [int(piece.split()[0]) for piece in fine.split("M")[1:] if "v" in piece]
    assert places == list(range(800, 800 + 26000 + 1, 100))
    strong = svg.split('class="c" d="')[1].split('"')[0]
    assert [int(piece.split()[0]) for piece in strong.split("M")[1:] if "v" in piece] == places[::5]


def steps(seconds: float = 10.0, frequency: float = 500, height: int = 1000) -> Any:
    """Return twelve leads in uV: lead n is 0, and n x `height` / 10 in the second half of its 2.5 seconds."""
    times = np.arange(round(seconds * frequency)) / frequency
    second_half = (times % 2.5) >= 1.25
    return np.stack([np.where(second_half, number * height / 10, 0) for number in range(1, 13)], 1).astype("i2")


def twelve(samples: Any, frequency: float = 500, **attributes: Any) -> bytes:
    """Return a 12-lead ECG in uV."""
    named = [channel(f"Lead {name}") for name in LEADS]
    return waveform_file(multiplex_group(samples, named, frequency, **attributes), sop_class=TWELVE_LEAD_ECG)


def test_dark_pixels_are_where_the_formula_says() -> None:
    """8 pixels a mm: the level of each lead before and after its step, and where that is."""
    sheet = sheet_in(twelve(steps()))
    drawing = drawing_of(sheet_svg(sheet))
    pixels = sheet_picture(sheet).pixels
    assert pixels.shape == (round(drawing.size[1] * 8), round(drawing.size[0] * 8), 3)
    dark = pixels.max(axis=2) < DARK
    for place, (name, _) in enumerate(drawing.curves[:12]):
        row, column = divmod(place, 4)
        for seconds, millivolts in ((0.6, 0), (1.9, (LEADS.index(name) + 1) / 10)):
            x = (LEFT + column * COLUMN + seconds * 25) * 8
            y = (base_of(drawing, row) - 10 * millivolts) * 8
            near = dark[round(y) - 8 : round(y) + 9, round(x)]
            assert np.flatnonzero(near).mean() + round(y) - 8 == pytest.approx(y, abs=1.0), (name, seconds)
        step = (LEFT + column * COLUMN + 1.25 * 25) * 8
        height = round((base_of(drawing, row) - 5 * (LEADS.index(name) + 1) / 10) * 8)
        found = np.flatnonzero(dark[height, round(step) - 12 : round(step) + 12]) + round(step) - 12
        assert found.mean() == pytest.approx(step, abs=1.5), name


@pytest.mark.parametrize(
    ("millivolts", "gain"), [(2.0, "10 mm/mV"), (10.0, "5 mm/mV"), (20.0, "2.5 mm/mV"), (30, "1 mm/mV")]
)
def test_what_is_too_high_has_a_smaller_gain_and_says_so(millivolts: float, gain: str) -> None:
    """Curves, pulses and the words of a row agree; lines grow, nothing overlaps."""
    samples = np.zeros((5000, 12), "i2")
    samples[100:200, :] = round(millivolts * 1000)
    drawing = drawing_in(twelve(samples))
    factor = float(gain.split()[0])
    assert any(text.endswith(gain) for text in drawing.texts)
    assert np.ptp(pulses_of(drawing)[0][:, 1]) == pytest.approx(factor)
    first = drawing.curves[0].runs[0]
    assert np.ptp(first[:, 1]) == pytest.approx(factor * millivolts)
    rows = [[curve.runs[0] for curve in drawing.curves[row * 4 : row * 4 + 4]] for row in range(3)]
    for upper, lower in pairwise(rows):
        assert max(run[:, 1].max() for run in upper) < min(run[:, 1].min() for run in lower)


@pytest.mark.parametrize(
    ("seconds", "columns", "starts"),
    [(8.0, 2.0, [0, 2, 4, 6]), (4.0, 2.5, [0, 0, 0, 0]), (1.0, 1.0, [0, 0, 0, 0]), (60.0, 2.5, [0, 2.5, 5, 7.5])],
)
def test_columns_of_recordings_that_are_not_ten_seconds(seconds: float, columns: float, starts: list[float]) -> None:
    """Each goes on where the one before ends; what is too short for that begins in each."""
    samples = np.tile((np.arange(round(seconds * 500)) % 16000 // 8)[:, None], (1, 12)).astype("i2")
    drawing = drawing_in(twelve(samples))
    for column, start in enumerate(starts):
        run = drawing.curves[column].runs[0]
        assert run[0, 0] == pytest.approx(LEFT + column * COLUMN)
        assert np.ptp(run[:, 0]) == pytest.approx(25 * columns, abs=0.06)
        assert base_of(drawing, 0) - run[0, 1] == pytest.approx(start * 500 // 8 / 1000 * 10, abs=FINEST)


def test_a_long_recording_says_what_is_drawn_of_it() -> None:
    """Of five minutes lead II has the first minute, in lines of ten seconds."""
    drawing = drawing_in(twelve(np.zeros((15000, 12), "i2"), 50))
    assert any("the first 60 s of 300 s are drawn" in text for text in drawing.texts)
    assert [text for text in drawing.texts if "from" in text] == [
        f"II   from {second} s" for second in range(10, 60, 10)
    ]


def test_a_day_is_read_no_further_than_it_is_drawn() -> None:
    """Three channels of a day at 250 Hz are 130 MB, of which 80 seconds are wanted; 192 kHz of sound end after 22 s."""
    day = multiplex_group(np.zeros((1, 3), "i2"), [channel("A"), channel("B"), channel("C")], 250)
    attributes, _ = stored_values(waveform_file(day | {"NumberOfWaveformSamples": 250 * 86400}))
    (plan,) = plans_of(multiplex_groups(attributes))
    assert (plan.samples, plan.length) == (80 * 250 + 1, (80 * 250 + 1) * 6)
    sound = multiplex_group(np.zeros((1, 2), "i2"), [channel("L", "", None), channel("R", "", None)], 192_000)
    attributes, _ = stored_values(waveform_file(sound | {"NumberOfWaveformSamples": 192_000 * 3600}))
    (plan,) = plans_of(multiplex_groups(attributes))
    assert plan.samples * 2 == MOST_VALUES
    hostile = multiplex_group(np.zeros((1, 1), "i2"), [channel()], 1e-3)
    hostile |= {"NumberOfWaveformSamples": 0xFFFFFFFF, "NumberOfWaveformChannels": 1024}
    attributes, _ = stored_values(waveform_file(hostile))
    (plan,) = plans_of(multiplex_groups(attributes))
    assert plan.samples * 1024 <= MOST_VALUES and len(plan.rows) <= 64


def test_many_samples_in_a_tenth_of_a_millimetre_keep_their_peaks() -> None:
    """Of a minute of sound each lowest and highest value is drawn, with few points."""
    samples = np.zeros((480_000, 1), "i2")
    samples[[7, 123_456, 333_333, 479_990], 0] = [100, -90, 70, -60]
    sound = multiplex_group(samples, [channel("Voice", "", None)], 8000)
    drawing = drawing_in(waveform_file(sound, sop_class=VOICE, Modality="AU"))
    (run,) = drawing.curves[0].runs
    assert len(run) < 12_000
    heights = run[:, 1] - run[0, 1]
    gain = -heights.min() / 100
    for sample, value in ((7, 100), (123_456, -90), (333_333, 70), (479_990, -60)):
        place = LEFT + sample / 8000 * 2.5  # mm a second: the whole minute is 150 mm
        near = run[np.abs(run[:, 0] - place) < FINEST]
        assert np.abs(run[0, 1] - near[:, 1] - value * gain).min() < 2 * FINEST, sample


def test_gaps_stay_gaps() -> None:
    """Padding in the middle of a curve ends one run and begins another; a single sample is a dot."""
    samples = np.full((5000, 1), 100, "i2")
    samples[1000:2000] = samples[2001:3000] = -32768
    group = multiplex_group(samples, [channel("A")], 500, WaveformPaddingValue=b"\x00\x80")
    runs = drawing_in(waveform_file(group)).curves[0].runs
    ends = [(LEFT, LEFT + 999 / 20), (LEFT + 2000 / 20,) * 2, (LEFT + 3000 / 20, LEFT + 4999 / 20)]
    assert [(run[0, 0], run[-1, 0]) for run in runs] == [pytest.approx(end, abs=FINEST) for end in ends]
    nothing = multiplex_group(np.full((10, 1), -32768, "i2"), [channel("A")], 500, WaveformPaddingValue=b"\x00\x80")
    assert drawing_in(waveform_file(nothing)).curves[0].runs == []


def test_pressures_have_scales_of_their_own_in_round_numbers() -> None:
    """Each channel says its own; an ECG beside them keeps 10 mm/mV, and speed is 25 mm/s."""
    times = np.arange(2400) / 240
    ventricle, atrium = 60 + 60 * np.sin(times * 7), 5 + 3 * np.sin(times * 7)
    samples = np.stack([ventricle, atrium, 500 * np.sin(times * 7)], 1).round().astype("i2")
    channels = [channel("LV", "mm[Hg]"), channel("RA", "mm[Hg]"), channel("Lead II")]
    group = multiplex_group(samples, channels, 240)
    drawing = drawing_in(waveform_file(group, sop_class=HEMODYNAMIC, Modality="HD"))
    assert {"LV   10 mmHg/mm", "RA   0.5 mmHg/mm", "II   10 mm/mV"} <= drawing.texts.keys()
    for place, per_mm in ((0, 10), (1, 0.5), (2, 100)):
        run = drawing.curves[place].runs[0]
        assert np.ptp(run[:, 1]) == pytest.approx(np.ptp(samples[:, place]) / per_mm, abs=2 * FINEST)


def test_values_far_from_zero_are_drawn_around_a_base_line_that_is_named() -> None:
    """An electrode's offset of 300 mV takes no room, and is not hidden."""
    samples = 300_000 + np.round(500 * np.sin(np.arange(5000) / 50)).astype("i4")[:, None]
    drawing = drawing_in(waveform_file(multiplex_group(samples, [channel("Lead II")], 500)))
    assert any(text.startswith("II   base line at 300000 µV") for text in drawing.texts)
    assert np.ptp(drawing.curves[0].runs[0][:, 1]) == pytest.approx(10, abs=0.02)
    assert drawing.size[1] < 60


def test_skewed_channels_are_later() -> None:
    """Channel Sample Skew and Channel Time Skew move a curve to the right (C.10.9.1.4.3)."""
    samples = np.zeros((5000, 3), "i2")
    samples[0] = 1000
    channels = [channel("A"), channel("B", ChannelSampleSkew=0.5), channel("C", ChannelTimeSkew=0.2)]
    curves = drawing_in(waveform_file(multiplex_group(samples, channels, 500))).curves
    starts = [curve.runs[0][0, 0] - LEFT for curve in curves]
    assert starts == pytest.approx([0, 0.5 / 500 * 25, 0.2 * 25], abs=FINEST)


def test_what_is_left_out_is_said() -> None:
    """Channels beyond 64, groups beyond 8, groups that cannot be drawn."""
    wide = multiplex_group(np.zeros((10, 70), "i2"), [channel(f"C{n}") for n in range(70)])
    small = multiplex_group(np.zeros((10, 1), "i2"), [channel("A")])
    broken = small | {"WaveformSampleInterpretation": "XX"}
    drawing = drawing_in(waveform_file(wide, broken, *[small] * 9))
    assert "64 of 70 channels are drawn." in drawing.texts
    assert "Group 2 cannot be drawn: the sample interpretation 'XX' is not known." in drawing.texts
    assert "2 more groups are not drawn." in drawing.texts


def test_what_a_few_bytes_state_is_not_looked_for() -> None:
    """A group of 65535 channels and no samples is refused before they are named; groups beyond 64 are counted only."""
    few = multiplex_group(np.zeros((1, 1), "i2"), [channel("A")])
    many = few | {"NumberOfWaveformChannels": 0xFFFF}
    attributes, _ = stored_values(waveform_file(many, *[few] * 99))
    groups = multiplex_groups(attributes)
    assert len(groups) == 64 and not groups[0].channels and "1024" in groups[0].trouble
    assert "91 more groups are not drawn." in drawing_in(waveform_file(many, *[few] * 99)).texts


@pytest.mark.parametrize("text", ["x" * 300_000, "x " * 150_000])
def test_a_text_of_any_length_is_drawn_as_far_as_there_is_room(text: str) -> None:
    """Labels and findings that are no such thing take no more time than others, and change nothing beside them."""

    def drawn(length: int) -> Any:
        notes = [{"UnformattedTextValue": text[:length]}]
        group = multiplex_group(np.zeros((10, 1), "i2"), [channel("A")], MultiplexGroupLabel=text[:length])
        attributes = dataset_of({"WaveformSequence": [group], "WaveformAnnotationSequence": notes}).to_json_dict()
        groups = multiplex_groups(attributes)
        plans = plans_of(groups)
        return waveform_sheet(attributes, plans, [values_of(plan.group, bytes(20)) for plan in plans])

    long, shorter = drawn(len(text)), drawn(len(text) // 10)
    assert max(len(label.words) for label in long.labels[:46]) < 100
    assert np.array_equal(sheet_picture(long).pixels, sheet_picture(shorter).pixels)


def test_samples_that_are_not_there_are_not_drawn() -> None:
    """Ten seconds are stated, four are there."""
    group = multiplex_group(np.zeros((2000, 1), "i2"), [channel("A")]) | {"NumberOfWaveformSamples": 5000}
    drawing = drawing_in(waveform_file(group))
    assert any("the first 4 s of 10 s are drawn" in text for text in drawing.texts)
    assert drawing.curves[0].runs[0][-1, 0] == pytest.approx(LEFT + 1999 / 20, abs=FINEST)


def test_hostile_texts_stay_texts() -> None:
    """Markup and control characters make neither elements nor broken XML (D-116)."""
    hostile = '"><script>alert(1)</script>&\x01\x1b'
    notes = [{"UnformattedTextValue": hostile, "AnnotationGroupNumber": 0, "ReferencedWaveformChannels": [1, 0]}]
    group = multiplex_group(np.zeros((10, 1), "i2"), [channel(hostile)], MultiplexGroupLabel="<b>bold")
    data = waveform_file(group, WaveformAnnotationSequence=notes, PatientName="<i>^")
    svg = sheet_svg(sheet_in(data, ("patient", "technique")))
    assert b"<script" not in svg and b"<b>" not in svg and b"<i>" not in svg
    drawing = drawing_of(svg)
    assert any("<script>alert(1)</script>" in text for text in drawing.texts)


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/gif"])
def test_a_picture_fits_its_viewport(media_type: str) -> None:
    """Width and height at most; paper too fine to be seen is left out; it can be encoded."""
    sheet = sheet_in(twelve(steps()))
    picture = sheet_picture(sheet, Viewport(400, 4000))
    assert picture.pixels.shape[1] == 400
    assert picture.pixels.shape[0] == pytest.approx(400 * sheet.height / sheet.width, abs=1)
    assert encode(picture, media_type)
    assert sheet_picture(sheet, Viewport(9000, 9000)).pixels[..., 0].size <= MOST_PIXELS * 1.01


def test_a_region_is_of_the_picture_at_its_own_size() -> None:
    """The region is cut out; one outside is refused."""
    sheet = sheet_in(twelve(steps()))
    whole = sheet_picture(sheet).pixels
    part = sheet_picture(sheet, Viewport(300, 200, 100, 150, 300, 200)).pixels
    assert (part == whole[150:350, 100:400]).all()
    with pytest.raises(InvalidQuery):
        sheet_picture(sheet, Viewport(300, 200, 99999, 0, 10, 10))


def test_a_thumbnail_is_the_beginning_of_lead_two() -> None:
    """50 mm square without a word: two seconds of lead II around the middle."""
    data, millivolts = real_ecg()
    attributes, bulk = stored_values(data)
    plan = glimpse_of(multiplex_groups(attributes), 50.0)
    assert plan is not None and plan.samples == 2001
    values = values_of(plan.group, bulk["54000100/1/54001010"][: plan.length])
    sheet = glimpse_sheet(attributes, plan, values)
    assert not sheet.labels and (sheet.width, sheet.height) == (50 * UNITS, 50 * UNITS)
    (run,) = sheet.traces[0].runs
    lead = millivolts[:2001, 1]
    assert (run[:, 1].max() - run[:, 1].min()) / UNITS == pytest.approx(10 * np.ptp(lead), abs=2 * FINEST)
    assert (run[:, 1].max() + run[:, 1].min()) / 2 / UNITS == pytest.approx(25, abs=0.05)
    assert sheet_picture(sheet, Viewport(64, 64)).pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("frequency", [0.5, 1, 25, 49, 1e6])
def test_speeds_are_round(frequency: float) -> None:
    """Positions sampled once a second are not drawn at 25 mm a second."""
    group = multiplex_group(np.zeros((600, 1), "i2"), [channel("A", "deg")], frequency)
    attributes, _ = stored_values(waveform_file(group, Modality="POS"))
    (plan,) = plans_of(multiplex_groups(attributes))
    mantissa = plan.speed / 10 ** math.floor(math.log10(plan.speed) + 1e-9)
    assert round(mantissa, 6) in (1, 2.5, 5)
    assert plan.speed <= max(25, 250 / (600 / frequency)) + 1e-9


ANY_NUMBER = st.one_of(
    st.none(),
    st.floats(),
    st.integers(-(2**33), 2**33),
    st.sampled_from([0, 1, -1, 1e-300, 1e300, "x", "", "1e5", [], {"Alphabetic": "x"}]),
)

COUNTED = ("NumberOfWaveformChannels", "NumberOfWaveformSamples", "SamplingFrequency")


def stated(keyword: str, value: Any) -> dict[str, Any]:
    """Return an attribute in the DICOM JSON Model, whatever its value."""
    return {key_of(keyword): {"vr": "UN", "Value": [value]}}


@given(
    shape=st.tuples(st.integers(1, 14), st.integers(1, 9000), st.sampled_from([0.1, 30, 250, 1000, 44100])),
    interpretation=st.sampled_from(["SS", "US", "SL", "SB", "MB", "AB", "UV"]),
    wrong=st.dictionaries(st.sampled_from([*COUNTED, "WaveformBitsAllocated"]), ANY_NUMBER, max_size=1),
    channels=st.lists(
        st.fixed_dictionaries(
            {
                "ChannelSensitivity": ANY_NUMBER,
                "ChannelSensitivityCorrectionFactor": ANY_NUMBER,
                "ChannelBaseline": ANY_NUMBER,
                "ChannelTimeSkew": ANY_NUMBER,
                "ChannelSampleSkew": ANY_NUMBER,
                "WaveformBitsStored": ANY_NUMBER,
            }
        ),
        max_size=14,
    ),
    leads=st.booleans(),
    data=st.binary(max_size=3000),
)
def test_whatever_attributes_say_there_is_a_drawing_or_a_reason(
    shape: tuple[int, int, float],
    interpretation: str,
    wrong: dict[str, Any],
    channels: list[dict[str, Any]],
    leads: bool,
    data: bytes,
) -> None:
    """Numbers of any kind make neither an error nor a drawing without bounds."""
    defined = []
    for place, each in enumerate(channels):
        item = {key: value for name in each for key, value in stated(name, each[name]).items()}
        if leads and place < 12:
            item |= stated("ChannelSourceSequence", stated("CodeMeaning", LEADS[place]))
        defined.append(item)
    bits, _ = INTERPRETATIONS[interpretation]
    group = dict(zip(COUNTED, shape, strict=True)) | {"WaveformBitsAllocated": bits} | wrong
    group["WaveformSampleInterpretation"] = interpretation
    item = {key: value for name in group for key, value in stated(name, group[name]).items()}
    item[key_of("ChannelDefinitionSequence")] = {"vr": "SQ", "Value": defined}
    item[key_of("WaveformData")] = {"vr": "OW", "InlineBinary": base64.b64encode(data).decode()}
    attributes = {key_of("WaveformSequence"): {"vr": "SQ", "Value": [item]}, **stated("Modality", "ECG")}
    groups = multiplex_groups(attributes)
    plans = plans_of(groups)
    assert plans or groups[0].trouble
    for plan in plans:
        assert plan.samples * len(plan.group.channels) <= MOST_VALUES and len(plan.rows) < 80
    sheet = waveform_sheet(attributes, plans, [values_of(plan.group, data[: plan.length]) for plan in plans])
    drawing_of(sheet_svg(sheet))
    assert sheet.height < 10_000 * UNITS
    sheet_picture(sheet, Viewport(200, 200))
    glimpse = glimpse_of(groups, 50.0)
    if glimpse is not None:
        small = glimpse_sheet(attributes, glimpse, values_of(glimpse.group, data[: glimpse.length]))
        sheet_picture(small, Viewport(64, 64))
