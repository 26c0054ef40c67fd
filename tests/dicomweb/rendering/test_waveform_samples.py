"""Samples of waveforms as values (PS3.3 C.10.9.1.4, C.10.9.1.5)."""

import warnings
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicomweb.rendering.attribute_values import binary
from dicomweb.rendering.waveform import multiplex_groups
from dicomweb.rendering.waveform_samples import values_of
from tests.dicomweb.drawings import stored_values
from tests.waveforms import channel, multiplex_group, waveform_file


def values_in(data: bytes, group: int = 0) -> Any:
    """Return the values of a group of a file."""
    attributes, bulk = stored_values(data)
    found = multiplex_groups(attributes)[group]
    assert not found.trouble, found.trouble
    return values_of(found, binary(found.data, bulk))


def test_a_real_electrocardiogram_has_the_values_pydicom_finds() -> None:
    """Both groups, twelve channels each, in microvolts."""
    path = get_testdata_file("waveform_ecg.dcm", download=False)
    with open(path, "rb") as file:  # noqa: PTH123 - the name is pydicom's
        data = file.read()
    dataset = dcmread(path)
    for group, shape in ((0, (10000, 12)), (1, (1200, 12))):
        expected = dataset.waveform_array(group)
        assert expected.shape == shape and np.ptp(expected) > 1000
        np.testing.assert_allclose(values_in(data, group), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_samples_of_every_width_and_sign(kind: str) -> None:
    """The lowest and the highest number there is come out as they are (Table C.10-10)."""
    limits = np.iinfo(kind)
    samples = np.array([[limits.min, 1], [limits.max, 2], [3, 4]], kind)
    found = values_in(waveform_file(multiplex_group(samples, [channel(), channel()])))
    assert (found == samples.astype(np.float64)).all()


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        ("i2", [0x0FFF, 0x07FF, 0x0800, 0x0001], [-1, 2047, -2048, 1]),
        ("i2", [-1, 2047, -2048, 1], [-1, 2047, -2048, 1]),
        ("u2", [0xFFFF, 0x0800, 0x1000, 5], [4095, 2048, 0, 5]),
    ],
)
def test_only_the_bits_stored_count(kind: str, raw: list[int], expected: list[int]) -> None:
    """Of 12 bits stored in 16 the highest is the sign, whether it was extended or not."""
    samples = np.array(raw, np.int64).astype(kind).reshape(-1, 1)
    found = values_in(waveform_file(multiplex_group(samples, [channel(WaveformBitsStored=12)])))
    assert found[:, 0].tolist() == expected


def test_sensitivity_correction_and_baseline() -> None:
    """A value is sample x sensitivity x correction + baseline, each channel with its own (C.10.9.1.4.2)."""
    channels = [
        channel(sensitivity=2.5, ChannelSensitivityCorrectionFactor=1.02, ChannelBaseline=-7),
        channel(sensitivity=-1),
        channel(sensitivity=None),
    ]
    found = values_in(waveform_file(multiplex_group(np.array([[100, 100, 100]], "i2"), channels)))
    assert found[0].tolist() == pytest.approx([100 * 2.5 * 1.02 - 7, -100, 100])


@pytest.mark.parametrize(
    ("kind", "padding"), [("i1", b"\x80"), ("i2", b"\x00\x80"), ("u2", b"\xff\xff"), ("i4", b"\0\0\0\x80")]
)
def test_padding_is_no_value(kind: str, padding: bytes) -> None:
    """What equals Waveform Padding Value, in all bits, is missing; its neighbours are not."""
    gap = np.frombuffer(padding, f"<{kind}")[0]
    samples = np.array([[1, gap], [gap, 2], [3, 4]], kind)
    group = multiplex_group(samples, [channel(), channel()], WaveformPaddingValue=padding + b"\0" * (len(padding) % 2))
    found = values_in(waveform_file(group))
    assert np.isnan(found).tolist() == [[False, True], [True, False], [False, False]]
    assert found[2].tolist() == [3, 4]


def test_padding_goes_by_all_bits_allocated() -> None:
    """-32768 is a gap in 12 bits stored too, and 0, which has the same low bits, is a value."""
    samples = np.array([[-32768], [0]], "i2")
    group = multiplex_group(samples, [channel(WaveformBitsStored=12)], WaveformPaddingValue=b"\x00\x80")
    found = values_in(waveform_file(group))[:, 0]
    assert np.isnan(found[0]) and found[1] == 0


@pytest.mark.parametrize(
    ("law", "codes", "expected"),
    [
        # ITU-T G.711, Tables 2a and 2b: the ends, the steps around zero, and one of a middle segment
        ("MB", [0x00, 0x80, 0x7F, 0xFF, 0xFE, 0x7E, 0xD0], [-32124, 32124, 0, 0, 8, -8, 876]),
        ("AB", [0x2A, 0xAA, 0x55, 0xD5, 0xD4, 0x54, 0x85], [-32256, 32256, -8, 8, 24, -24, 4224]),
    ],
)
def test_sound_in_mu_law_and_a_law(law: str, codes: list[int], expected: list[int]) -> None:
    """8 bits are 16 linear ones."""
    samples = np.array(codes, "u1").reshape(-1, 1)
    group = multiplex_group(samples, [channel(sensitivity=None)], WaveformSampleInterpretation=law)
    assert values_in(waveform_file(group))[:, 0].tolist() == expected


@pytest.mark.parametrize(("law", "expanded"), [("MB", "ulaw2lin"), ("AB", "alaw2lin")])
def test_sound_as_another_program_expands_it(law: str, expanded: str) -> None:
    """All 256 codes, by Python's own module, which newer versions have not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop")
    samples = np.arange(256, dtype="u1").reshape(-1, 1)
    expected = np.frombuffer(getattr(audioop, expanded)(samples.tobytes(), 2), "<i2")
    group = multiplex_group(samples, [channel(sensitivity=None)], WaveformSampleInterpretation=law)
    assert (values_in(waveform_file(group))[:, 0] == expected).all()


def test_what_is_cut_off_leaves_whole_samples() -> None:
    """Half a sample of all channels at the end is none."""
    samples = np.arange(12, dtype="i2").reshape(-1, 3)
    attributes, bulk = stored_values(waveform_file(multiplex_group(samples, [channel()] * 3)))
    (group,) = multiplex_groups(attributes)
    assert values_of(group, binary(group.data, bulk)[:-4]).tolist() == samples[:3].tolist()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"WaveformSampleInterpretation": "XX"}, "'XX' is not known"),
        ({"WaveformSampleInterpretation": "SB"}, "SB does not go with 16 bits allocated"),
        ({"SamplingFrequency": 0}, "not stated"),
        ({"NumberOfWaveformChannels": 0}, "not stated"),
        ({"NumberOfWaveformSamples": None}, "not stated"),
        ({"WaveformData": None}, ""),
    ],
)
def test_what_cannot_be_drawn_says_why(changed: dict[str, Any], said: str) -> None:
    """Wrong attributes make no error."""
    group = multiplex_group(np.zeros((4, 1), "i2"), [channel()]) | changed
    attributes, _ = stored_values(waveform_file(group))
    assert said in multiplex_groups(attributes)[0].trouble


@pytest.mark.parametrize(
    ("source", "lead"),
    [
        (("5.6.3-9-61", "SCPECG", "anything"), "III"),
        (("2:8", "MDC", "anything"), "V6"),
        (("2:62", "MDC", ""), "aVR"),
        (("X", "99X", "Lead I (Einthoven)"), "I"),
        (("X", "99X", "aVF, augmented voltage, foot"), "aVF"),
        (("X", "99X", "ECG Lead V3"), "V3"),
        (("X", "99X", "V10"), ""),
        (("X", "99X", "Left ventricle"), ""),
        (("2:99", "MDC", "Lead I"), ""),
    ],
)
def test_leads_are_known_by_code_and_by_name(source: tuple[str, str, str], lead: str) -> None:
    """SCP-ECG and MDC number them alike; others write them."""
    code = dict(zip(("CodeValue", "CodingSchemeDesignator", "CodeMeaning"), source, strict=True))
    group = multiplex_group(np.zeros((4, 1), "i2"), [channel(ChannelSourceSequence=[code])])
    attributes, _ = stored_values(waveform_file(group))
    assert multiplex_groups(attributes)[0].channels[0].lead == lead
