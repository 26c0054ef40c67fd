"""Small DICOM waveforms for the tests: samples given as arrays, everything else filled in (PS3.3 C.10.9)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from tests.builders import dicom_file

TWELVE_LEAD_ECG: Final = "1.2.840.10008.5.1.4.1.1.9.1.1"
GENERAL_ECG: Final = "1.2.840.10008.5.1.4.1.1.9.1.2"
HEMODYNAMIC: Final = "1.2.840.10008.5.1.4.1.1.9.2.1"
VOICE: Final = "1.2.840.10008.5.1.4.1.1.9.4.1"
LEADS: Final = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

_INTERPRETATIONS = {"i1": "SB", "u1": "UB", "i2": "SS", "u2": "US", "i4": "SL", "u4": "UL", "i8": "SV", "u8": "UV"}


def channel(label: str = "", unit: str = "uV", sensitivity: float | None = 1.0, **attributes: Any) -> dict[str, Any]:
    """Return the definition of a channel; without sensitivity it has no unit."""
    source = {"CodeValue": "X", "CodingSchemeDesignator": "99TEST", "CodeMeaning": label or "Unnamed"}
    units = {"CodeValue": unit, "CodingSchemeDesignator": "UCUM", "CodeMeaning": unit}
    stated: dict[str, Any] = {"ChannelSourceSequence": [source]}
    if sensitivity is not None:
        stated |= {
            "ChannelSensitivity": sensitivity,
            "ChannelSensitivityUnitsSequence": [units],
            "ChannelSensitivityCorrectionFactor": 1,
            "ChannelBaseline": 0,
        }
    return stated | attributes


def multiplex_group(
    samples: Any, channels: Sequence[Mapping[str, Any]], frequency: float = 500, **attributes: Any
) -> dict[str, Any]:
    """Return a multiplex group of samples of shape (samples, channels), whose type says how they are interpreted."""
    array = np.asarray(samples)
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return {
        "NumberOfWaveformChannels": array.shape[1],
        "NumberOfWaveformSamples": array.shape[0],
        "SamplingFrequency": frequency,
        "ChannelDefinitionSequence": [
            {"WaveformBitsStored": 8 * array.itemsize} | dict(definition) for definition in channels
        ],
        "WaveformBitsAllocated": 8 * array.itemsize,
        "WaveformSampleInterpretation": _INTERPRETATIONS[array.dtype.newbyteorder("=").str[1:]],
        "WaveformData": data + b"\0" * (len(data) % 2),
    } | attributes


def waveform_file(*groups: Mapping[str, Any], sop_class: str = GENERAL_ECG, **attributes: Any) -> bytes:
    """Return a file with multiplex groups."""
    stated: dict[str, Any] = {"SOPClassUID": sop_class, "Modality": "ECG", "AcquisitionDateTime": "20260102030405"}
    return dicom_file(**stated | {"WaveformSequence": [dict(group) for group in groups]} | attributes)
