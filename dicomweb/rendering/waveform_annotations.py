"""What is written about a waveform as a whole: findings and measurements (PS3.3 C.10.10).

Facts and clauses this module keeps:
- An annotation is a text, a code, or a measured value with its units, beside what it is called.
- Those of a point or stretch of time (Temporal Range Type) mark the samples, there may be thousands: they are left out.
- Pure: no I/O.
"""

from collections.abc import Sequence

from dicomweb.rendering.attribute_values import Attributes, items, numbers, text
from dicomweb.rendering.report_values import code_meaning
from dicomweb.rendering.waveform import MultiplexGroup, unit_of


def annotation_lines(attributes: Attributes, groups: Sequence[MultiplexGroup]) -> list[str]:
    """Return what is said about waveforms, one line each, without doubles.

    Parameters
    ----------
    attributes : Attributes
        Of the instance.
    groups : sequence of MultiplexGroup
        Its groups, to name the channel of what is said about one.
    """
    found = dict.fromkeys(
        _line(annotation, groups)
        for annotation in items(attributes, "WaveformAnnotationSequence")
        if not text(annotation, "TemporalRangeType")
    )
    return [line for line in found if line]


def _line(annotation: Attributes, groups: Sequence[MultiplexGroup]) -> str:
    name = code_meaning(annotation, "ConceptNameCodeSequence")
    value = text(annotation, "NumericValue")
    unit = unit_of(annotation, "MeasurementUnitsCodeSequence")
    said = text(annotation, "UnformattedTextValue") or code_meaning(annotation, "ConceptCodeSequence")
    measured = f"{value} {unit}".strip() if value else said
    words = f"{name}: {measured}" if name and measured else name or measured
    channel = _channel(annotation, groups)
    return f"{channel}: {words}" if channel and words else " ".join(words.split())


def _channel(annotation: Attributes, groups: Sequence[MultiplexGroup]) -> str:
    """Return the label of the one channel an annotation is about, "" for several."""
    pair = [int(entry) for entry in numbers(annotation, "ReferencedWaveformChannels")]
    if len(pair) != 2 or not 0 < pair[0] <= len(groups):
        return ""
    channels = groups[pair[0] - 1].channels
    return channels[pair[1] - 1].label if 0 < pair[1] <= len(channels) else ""
