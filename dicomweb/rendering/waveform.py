"""Waveforms: multiplex groups and their channels, read from the attributes (PS3.3 C.10.9).

Facts and clauses this module keeps:
- C.10.9.1: the channels of a group are sampled together; its samples lie one after the other, channel by channel.
- C.10.9.1.4.2: a value is sample x sensitivity x correction factor + baseline, in the units of the sensitivity; a
  channel without sensitivity has numbers without unit.
- Leads are known by their number in SCP-ECG and MDC codes ("5.6.3-9-61", "2:61"), else by the meaning of their code.
- What was said wrongly makes a group that says why it cannot be drawn, never an error.
- Pure: no I/O.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from dicomweb.rendering.attribute_values import Attributes, integer, item, items, key_of, number, text
from dicomweb.rendering.report_values import code_meaning

MILLIVOLTS: Final = {"V": 1000.0, "mV": 1.0, "uV": 1e-3, "µV": 1e-3, "nV": 1e-6}
"""How many millivolts electrical units are."""

INTERPRETATIONS: Final = {
    **{name: (8, name[0]) for name in ("SB", "UB", "MB", "AB")},
    **{name: (16, name[0]) for name in ("SS", "US")},
    **{name: (32, name[0]) for name in ("SL", "UL")},
    **{name: (64, name[0]) for name in ("SV", "UV")},
}
"""Waveform Sample Interpretation: bits, and S signed, U unsigned, M mu-law, A A-law."""

_LEAD_NUMBERS = {1: "I", 2: "II", **{n + 2: f"V{n}" for n in range(1, 7)}, 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"}
_LEADS = {name.upper(): name for name in _LEAD_NUMBERS.values()}
_LEAD_CODE = re.compile(r"(?:5\.6\.3-9-|2:)([0-9]{1,3})")
_LEAD_MEANING = re.compile(r"(?:ECG |EKG )?(?:LEAD )?(I{1,3}|AV[RLF]|V[1-6])(?:\W|$)")
_LONGEST_DELAY = 1e6  # seconds
_MOST_GROUPS, _MOST_CHANNELS = 64, 1024  # a few bytes may state many
_WAVEFORM_DATA = key_of("WaveformData")
_PADDING = key_of("WaveformPaddingValue")


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of a multiplex group.

    Attributes
    ----------
    label : str
        What it is called.
    lead : str
        Its name among the twelve leads of an electrocardiogram, "" when it is none of them.
    unit : str
        UCUM code of its values, "" without one.
    factor, baseline : float
        A value is sample x factor + baseline.
    bits_stored : int
        Low bits of a sample that count; 0 for all.
    delay : float
        Seconds by which its samples come later than those of the group.
    """

    label: str
    lead: str
    unit: str
    factor: float
    baseline: float
    bits_stored: int
    delay: float


@dataclass(frozen=True, slots=True)
class MultiplexGroup:
    """Channels that are sampled together.

    Attributes
    ----------
    label : str
        What it is called.
    frequency : float
        Samples a second of each channel.
    samples : int
        Of each channel.
    interpretation : str
        A key of `INTERPRETATIONS`.
    channels : tuple of Channel
        In the order of their samples.
    data, padding : object
        The attributes of the samples and of what stands for missing ones.
    trouble : str
        Why it cannot be drawn, "" when it can.
    """

    label: str
    frequency: float
    samples: int
    interpretation: str
    channels: tuple[Channel, ...]
    data: Any
    padding: Any
    trouble: str

    @property
    def seconds(self) -> float:
        """How long it was recorded."""
        return self.samples / self.frequency

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return len(self.channels) * INTERPRETATIONS[self.interpretation][0] // 8


def is_waveform(attributes: Attributes) -> bool:
    """Return whether an instance has waveforms."""
    return bool(items(attributes, "WaveformSequence"))


def multiplex_groups(attributes: Attributes) -> tuple[MultiplexGroup, ...]:
    """Return the first multiplex groups of an instance, 64 at most, those that cannot be drawn too."""
    return tuple(_group(group) for group in items(attributes, "WaveformSequence")[:_MOST_GROUPS])


def _group(group: Attributes) -> MultiplexGroup:
    interpretation = text(group, "WaveformSampleInterpretation")
    frequency, samples = number(group, "SamplingFrequency") or 0.0, integer(group, "NumberOfWaveformSamples")
    count = integer(group, "NumberOfWaveformChannels")
    trouble = ""
    if interpretation not in INTERPRETATIONS:
        trouble = f"the sample interpretation {interpretation[:16]!r} is not known"
    elif integer(group, "WaveformBitsAllocated") != INTERPRETATIONS[interpretation][0]:
        trouble = f"{interpretation} does not go with {integer(group, 'WaveformBitsAllocated')} bits allocated"
    elif not (1e-6 < frequency < 1e9 and samples > 0 and 0 < count <= 0xFFFF):
        trouble = "its channels, samples or sampling frequency are not stated"
    elif count > _MOST_CHANNELS:
        trouble = f"{_MOST_CHANNELS} channels at most are read"
    elif _WAVEFORM_DATA not in group:
        trouble = "it has no samples"
    defined = items(group, "ChannelDefinitionSequence")
    channels = (
        () if trouble else tuple(_channel(defined[n] if n < len(defined) else {}, n, frequency) for n in range(count))
    )
    label = text(group, "MultiplexGroupLabel")
    data, padding = group.get(_WAVEFORM_DATA), group.get(_PADDING)
    return MultiplexGroup(label, frequency, samples, interpretation, channels, data, padding, trouble)


def _channel(channel: Attributes, index: int, frequency: float) -> Channel:
    meaning = code_meaning(channel, "ChannelSourceSequence")
    lead = _lead(item(channel, "ChannelSourceSequence") or {}, meaning)
    label = lead or text(channel, "ChannelLabel") or meaning or f"Channel {index + 1}"
    sensitivity = number(channel, "ChannelSensitivity")
    correction = number(channel, "ChannelSensitivityCorrectionFactor")
    delay = (number(channel, "ChannelTimeSkew") or 0.0) + (number(channel, "ChannelSampleSkew") or 0.0) / frequency
    return Channel(
        label,
        lead,
        "" if sensitivity is None else unit_of(channel, "ChannelSensitivityUnitsSequence"),
        (1.0 if sensitivity is None else sensitivity) * (1.0 if correction is None else correction),
        number(channel, "ChannelBaseline") or 0.0,
        integer(channel, "WaveformBitsStored"),
        delay if abs(delay) < _LONGEST_DELAY else 0.0,
    )


def unit_of(attributes: Attributes, keyword: str) -> str:
    """Return a unit as people write it: of UCUM its code, else its meaning; "" for none."""
    unit = item(attributes, keyword) or {}
    code = text(unit, "CodeValue")
    if text(unit, "CodingSchemeDesignator") != "UCUM" or "{" in code:
        code = text(unit, "CodeMeaning") or code
    return {"1": "", "uV": "µV", "mm[Hg]": "mmHg", "deg": "°"}.get(code, code)


def _lead(source: Attributes, meaning: str) -> str:
    code = _LEAD_CODE.fullmatch(text(source, "CodeValue"))
    if code:
        return _LEAD_NUMBERS.get(int(code[1]), "")
    named = _LEAD_MEANING.match(meaning.upper())
    return _LEADS[named[1]] if named else ""
