"""Look-up tables: Modality and VOI LUT, palettes as segments."""

import struct

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

from dicomweb.rendering.lookup_tables import expanded, palette_component, table_of_item
from dicomweb.rendering.pipeline import pixels_of
from tests.corpus import wheel_files
from tests.dicomweb.decoded import attributes_of, frame_in, grey_frame


def test_modality_then_voi_lut() -> None:
    """Both, one after the other; inputs outside take the first or last entry (C.11.1.1, C.11.2.1.1; D-108)."""
    modality = {"LUTDescriptor": [3, 10, 16], "LUTData": [100, 200, 300]}
    voi = {"LUTDescriptor": [201, 100, 8], "LUTData": [255 - entry for entry in range(201)]}
    frame = grey_frame([0, 10, 11, 12, 99], ModalityLUTSequence=[modality], VOILUTSequence=[voi])
    assert pixels_of(frame)[0].tolist() == [255, 255, 155, 55, 55]


def test_voi_lut_goes_before_windows() -> None:
    """Of LUT and window in one instance the LUT rules (D-107)."""
    voi = {"LUTDescriptor": [2, 0, 16], "LUTData": [0x8000, 0xFFFF]}
    frame = grey_frame([0, 1], VOILUTSequence=[voi], WindowCenter=1000, WindowWidth=2)
    assert pixels_of(frame)[0].tolist() == [128, 255]


def test_first_value_mapped_is_signed_with_the_input() -> None:
    """65526 is -10 for values that may be negative after rescale (C.11.2.1.1)."""
    voi = {"LUTDescriptor": [21, 65526, 8], "LUTData": list(range(0, 210, 10))}
    frame = grey_frame([0, 10, 20], RescaleIntercept=-10, RescaleSlope=1, VOILUTSequence=[voi])
    assert pixels_of(frame)[0].tolist() == [0, 100, 200]


def test_descriptor_zero_is_65536_entries() -> None:
    """Number of entries 0 stands for 65536 (C.11.1.1.1); the last one is reached."""
    data = np.arange(65535, -1, -1, dtype="<u2").tobytes()
    table = table_of_item(attributes_of(LUTDescriptor=[0, 0, 16], LUTData=data), {}, signed_input=False)
    assert table is not None and len(table.entries) == 65536
    assert table.outputs(np.array([0.0, 65535.0])).tolist() == [65535, 0]


def test_entries_of_8_bits_packed_in_words() -> None:
    """Two entries a word, the earlier in the low byte (C.7.6.3.1.6); and a word each."""
    packed = attributes_of(LUTDescriptor=[4, 0, 8], LUTData=bytes([1, 2, 3, 4]))
    apart = attributes_of(LUTDescriptor=[4, 0, 8], LUTData=[1, 2, 3, 4])
    for item in (packed, apart):
        table = table_of_item(item, {}, signed_input=False)
        assert table is not None and table.entries.tolist() == [1, 2, 3, 4]


def test_broken_tables_are_left_out() -> None:
    """No descriptor or no data is no table; a short one goes on with its last entry (D-164)."""
    assert table_of_item({}, {}, signed_input=False) is None
    assert table_of_item(attributes_of(LUTDescriptor=[4, 0, 8]), {}, signed_input=False) is None
    short = table_of_item(attributes_of(LUTDescriptor=[4, 0, 16], LUTData=[5]), {}, signed_input=False)
    assert short is not None and short.entries.tolist() == [5, 5, 5, 5]
    understated = table_of_item(attributes_of(LUTDescriptor=[2, 0, 8], LUTData=[0, 4095]), {}, signed_input=False)
    assert understated is not None and understated.bits == 16


def segments(unit: str, *words: int) -> bytes:
    """Return words of a segmented table."""
    return struct.pack(f"<{len(words)}{unit}", *words)


def entries(data: bytes, bits: int, count: int) -> list[int]:
    """Return the expanded table as numbers."""
    return list(np.frombuffer(expanded(data, bits, count), "<u2").tolist())


def test_discrete_and_linear_segments() -> None:
    """Opcode 0 copies, opcode 1 goes in a line from the entry before to its end (C.7.9.2.1, C.7.9.2.2)."""
    assert entries(segments("H", 0, 2, 0, 1000, 1, 4, 3000), 16, 6) == [0, 1000, 1500, 2000, 2500, 3000]
    assert entries(segments("B", 0, 1, 10, 1, 5, 0), 8, 6) == [10, 8, 6, 4, 2, 0]


def test_indirect_segments() -> None:
    """Opcode 2 repeats earlier segments by their offset in bytes, least significant part first (C.7.9.2.3)."""
    assert entries(segments("H", 0, 1, 7, 1, 2, 9, 2, 2, 0, 0), 16, 6) == [7, 8, 9, 7, 8, 9]
    assert entries(segments("B", 0, 1, 7, 1, 2, 9, 2, 1, 3, 0, 0, 0), 8, 5) == [7, 8, 9, 9, 9]


@pytest.mark.parametrize("words", [(2, 1, 0, 0), (1, 9), (0, 5, 1), (9, 9, 9), (2, 65535, 65535, 65535), (1, 0, 4)])
def test_hostile_segments_end(words: tuple[int, ...]) -> None:
    """Segments that refer to themselves, run out or mean nothing stop the expansion (C.7.9.2)."""
    assert len(entries(segments("H", *words), 16, 100)) <= 100


def test_segmented_palette_against_pydicom() -> None:
    """Palettes of the wheel that are stored as segments give what pydicom expands (D-109)."""
    path = next(path for path in wheel_files() if path.name == "gdcm-US-ALOKA-16.dcm")
    frame = frame_in(path)
    expected = apply_color_lut(frame.samples, dcmread(path)) >> 8
    assert np.array_equal(pixels_of(frame), expected)
    red = palette_component(frame.attributes, "Red", frame.bulk, signed_input=False)
    assert red is not None and len(red.entries) == 65536


@pytest.mark.parametrize("name", ["mlut_18.dcm", "vlut_04.dcm"])
def test_luts_of_real_files_against_pydicom(name: str) -> None:
    """Modality and VOI LUT of files whose author publishes them for this (D-107, D-108)."""
    path = next(path for path in wheel_files() if path.name == name)
    dataset, frame = dcmread(path), frame_in(path)
    unused = frame.samples.dtype.itemsize * 8 - dataset.BitsStored  # pydicom takes the cells for values
    stored = (frame.samples << unused) >> unused
    values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset, prefer_lut=True).astype(np.float64)
    if "VOILUTSequence" in dataset:
        expected = values / ((1 << int(dataset.VOILUTSequence[0].LUTDescriptor[2])) - 1)
    else:
        expected = (values - values.min()) / (values.max() - values.min())
    assert np.abs(pixels_of(frame) - expected * 255).max() <= 1


def test_entries_that_are_no_numbers_are_0() -> None:
    """A null or a word among the entries does not keep the others from being used (D-164)."""
    item = attributes_of(LUTDescriptor=[3, 0, 16], LUTData=[1, 2, 3])
    item["00283006"]["Value"] = [7, None, "x"]
    table = table_of_item(item, {}, signed_input=False)
    assert table is not None and table.entries.tolist() == [7, 0, 0]
