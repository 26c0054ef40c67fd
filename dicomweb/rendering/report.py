"""Structured reports and key object selections: the content tree, made ready to be read by people.

Facts and clauses this module keeps:
- PS3.3 C.17.3: a content item has a relationship to its parent, a concept name and a value of a value type; the items
  below a container are what it contains. One that stands for another names its position in the tree ("1.2.3").
- PS3.3 C.17.2.3: the evidence sequences tell study and series of the instances referred to.
- UCUM units are read as their code ("mm"), those without dimension ("1", "{ratio}") as their meaning.
- Everything here is plain text as it was written by whoever made the report: who shows it must escape it (D-116).
- What could not be read of it is named among the facts, and where it belongs (`NOT_SHOWN`).
- Pure: no I/O.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dicomweb.rendering.attribute_values import (
    NOT_SHOWN,
    Attributes,
    absent_values,
    as_text,
    is_elsewhere,
    item,
    items,
    numbers,
    text,
    values,
)
from dicomweb.rendering.report_values import code_meaning, moment, person

CONTAINER = "CONTAINER"
_DEEPEST = 64
_SHOWN_POINTS = 4
_EVIDENCE = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")


@dataclass(frozen=True, slots=True)
class ReportReference:
    """An instance a report refers to.

    Attributes
    ----------
    study_instance_uid, series_instance_uid : str
        As the evidence sequences tell; "" when they do not.
    sop_class_uid, sop_instance_uid : str
        Of the instance.
    frame_numbers : tuple of int
        Counted from 1; empty for all.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    frame_numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ContentItem:
    """A node of the content tree.

    Attributes
    ----------
    value_type : str
        CONTAINER, TEXT, NUM and so on; "" for one that stands for another.
    relationship : str
        To the parent, such as CONTAINS; "" for the root.
    name : str
        Meaning of the concept name; "" when it has none.
    value : str
        To be read; may have several lines.
    reference : ReportReference or None
        Of value types that refer to an instance.
    children : tuple of ContentItem
        In order.
    """

    value_type: str
    relationship: str
    name: str
    value: str
    reference: ReportReference | None
    children: "tuple[ContentItem, ...]"


@dataclass(frozen=True, slots=True)
class Report:
    """A report.

    Attributes
    ----------
    title : str
        Of the document.
    facts : tuple of (str, str)
        What is said about it beside its content: label and value.
    content : tuple of ContentItem
        Below the root.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    content: tuple[ContentItem, ...]


def is_report(attributes: Attributes) -> bool:
    """Return whether an instance has a content tree."""
    return text(attributes, "ValueType") == CONTAINER or bool(items(attributes, "ContentSequence"))


def report_of(attributes: Attributes) -> Report:
    """Return the report in an instance.

    Parameters
    ----------
    attributes : Attributes
        Of the instance, in the DICOM JSON Model.
    """
    evidence = dict(_evidence(attributes))
    title = code_meaning(attributes, "ConceptNameCodeSequence") or text(attributes, "SeriesDescription") or "Report"
    return Report(title, tuple(_facts(attributes)), _children(attributes, evidence, 0))


def _evidence(attributes: Attributes) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield SOP Instance UIDs with the study and the series they are in."""
    for keyword in _EVIDENCE:
        for study in items(attributes, keyword):
            for series in items(study, "ReferencedSeriesSequence"):
                place = text(study, "StudyInstanceUID"), text(series, "SeriesInstanceUID")
                for instance in items(series, "ReferencedSOPSequence"):
                    yield text(instance, "ReferencedSOPInstanceUID"), place


def _facts(attributes: Attributes) -> Iterator[tuple[str, str]]:
    stated = (
        ("Patient", person(text(attributes, "PatientName"))),
        ("Patient ID", text(attributes, "PatientID")),
        ("Birth date", moment(text(attributes, "PatientBirthDate"))),
        ("Sex", text(attributes, "PatientSex")),
        ("Accession number", text(attributes, "AccessionNumber")),
        ("Study", text(attributes, "StudyDescription")),
        ("Study date", moment(text(attributes, "StudyDate"), text(attributes, "StudyTime"))),
        ("Report date", moment(text(attributes, "ContentDate"), text(attributes, "ContentTime"))),
        ("Institution", text(attributes, "InstitutionName")),
        ("Completion", _flag(attributes, "CompletionFlag")),
        ("Verification", _flag(attributes, "VerificationFlag")),
    )
    yield from ((label, value) for label, value in stated if value)
    for observer in items(attributes, "VerifyingObserverSequence"):
        parts = (
            person(text(observer, "VerifyingObserverName")),
            text(observer, "VerifyingOrganization"),
            moment(text(observer, "VerificationDateTime")),
        )
        yield "Verified by", ", ".join(part for part in parts if part)
    if absent := absent_values(attributes):
        yield "Not shown", ", ".join(absent)


def _flag(attributes: Attributes, keyword: str) -> str:
    return text(attributes, keyword).replace("_", " ").lower()


def _children(node: Attributes, evidence: dict[str, tuple[str, str]], depth: int) -> tuple[ContentItem, ...]:
    if depth > _DEEPEST:
        return ()
    return tuple(
        ContentItem(
            text(child, "ValueType"),
            text(child, "RelationshipType"),
            code_meaning(child, "ConceptNameCodeSequence"),
            _value(child),
            _reference(child, evidence),
            _children(child, evidence, depth + 1),
        )
        for child in items(node, "ContentSequence")
    )


def _value(node: Attributes) -> str:
    match text(node, "ValueType"):
        case "TEXT":
            return text(node, "TextValue")
        case "CODE":
            return code_meaning(node, "ConceptCodeSequence")
        case "NUM":
            return _measured(node)
        case "DATE":
            return moment(text(node, "Date"))
        case "TIME":
            return moment("", text(node, "Time"))
        case "DATETIME":
            return moment(text(node, "DateTime"))
        case "PNAME":
            return person(text(node, "PersonName"))
        case "UIDREF":
            return text(node, "UID")
        case "SCOORD" | "SCOORD3D":
            return _coordinates(node, 3 if text(node, "ValueType") == "SCOORD3D" else 2)
        case "TCOORD":
            return _temporal(node)
        case "":
            position = ".".join(as_text(part) for part in values(node, "ReferencedContentItemIdentifier"))
            return f"see item {position}" if position else ""
    return ""


def _measured(node: Attributes) -> str:
    measured = item(node, "MeasuredValueSequence")
    if measured is None:
        return code_meaning(node, "NumericValueQualifierCodeSequence") or "no value"
    unit = item(measured, "MeasurementUnitsCodeSequence") or {}
    code = text(unit, "CodeValue")
    if text(unit, "CodingSchemeDesignator") != "UCUM" or code == "1" or "{" in code or not code:
        code = text(unit, "CodeMeaning")
        code = "" if code in ("no units", "1", "unitless") else code
    return f"{text(measured, 'NumericValue')} {code}".strip()


def _coordinates(node: Attributes, dimensions: int) -> str:
    if is_elsewhere(node, "GraphicData"):
        return f"{text(node, 'GraphicType').lower()} {NOT_SHOWN}".strip()
    data = numbers(node, "GraphicData")
    points = [data[start : start + dimensions] for start in range(0, len(data) - dimensions + 1, dimensions)]
    shown = " ".join(f"({', '.join(f'{number:g}' for number in point)})" for point in points[:_SHOWN_POINTS])
    more = f" and {len(points) - _SHOWN_POINTS} more points" if len(points) > _SHOWN_POINTS else ""
    return f"{text(node, 'GraphicType').lower()} {shown}{more}".strip()


def _temporal(node: Attributes) -> str:
    kind = text(node, "TemporalRangeType").lower()
    for keyword, form in (
        ("ReferencedSamplePositions", "samples {}"),
        ("ReferencedTimeOffsets", "{} s"),
        ("ReferencedDateTime", "{}"),
    ):
        stated: Sequence[str] = [as_text(value) for value in values(node, keyword)]
        if is_elsewhere(node, keyword):
            stated = [NOT_SHOWN]
        if stated:
            return f"{kind} {form.format(', '.join(stated))}".strip()
    return kind


def _reference(node: Attributes, evidence: dict[str, tuple[str, str]]) -> ReportReference | None:
    instance = item(node, "ReferencedSOPSequence")
    if instance is None:
        return None
    uid = text(instance, "ReferencedSOPInstanceUID")
    study, series = evidence.get(uid, ("", ""))
    frames = tuple(int(number) for number in numbers(instance, "ReferencedFrameNumber"))
    return ReportReference(study, series, text(instance, "ReferencedSOPClassUID"), uid, frames)
