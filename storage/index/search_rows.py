"""What a search returns of each match: DICOM JSON objects, made from the columns and the JSON of the index.

Facts and clauses this module keeps:
- A required attribute without a value is there with its VR only, one "if known" is left out (PS3.4 C.4.1.1.3.2).
- Every matching key is returned (PS3.18 10.6.3.3), and the unique keys of the levels above (PS3.4 C.4.1.3.1.1).
- `includefield` of a lower level, or of something unknown, is left out silently (C-093, C-094, C-096).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from storage.dicom.json_values import values_of
from storage.matching.attributes import (
    BY_LEVEL,
    REQUEST_ATTRIBUTES_RETURNED,
    Level,
    Tag8,
    level_of,
    tag_of,
    vr_of,
)
from storage.matching.conditions import Key, Query, returned_levels
from storage.matching.search_text import readings
from storage.matching.stored_values import is_private_creator

Record: TypeAlias = Mapping[str, Any]
Dataset: TypeAlias = dict[str, Any]

_SEQUENCE_OF_REQUESTS = tag_of("RequestAttributesSequence")
_UNIQUE = {
    Level.STUDY: tag_of("StudyInstanceUID"),
    Level.SERIES: tag_of("SeriesInstanceUID"),
    Level.IMAGE: tag_of("SOPInstanceUID"),
}


def _text(column: str) -> Callable[[Record], list[Any]]:
    return lambda record: [record[column]] if record[column] else []


def _number(column: str) -> Callable[[Record], list[Any]]:
    return lambda record: [int(record[column] or 0)]


def _texts(column: str) -> Callable[[Record], list[Any]]:
    return lambda record: list(record[column])


_PATIENT_COUNTS = {
    tag_of("NumberOfPatientRelatedStudies"): "count(*)",
    tag_of("NumberOfPatientRelatedSeries"): "sum(pa.number_of_series)",
    tag_of("NumberOfPatientRelatedInstances"): "sum(pa.number_of_instances)",
}

# Of each computed attribute: the column of the result, the expression that gives it, and its values.
_COMPUTED: dict[tuple[Level, Tag8], tuple[str, str, Callable[[Record], list[Any]]]] = {
    (level, tag_of(keyword)): (column, expression, values(column))
    for level, keyword, column, expression, values in (
        (Level.STUDY, "StudyInstanceUID", "study_instance_uid", "st.study_instance_uid", _text),
        (Level.STUDY, "ModalitiesInStudy", "modalities", "st.modalities", _texts),
        (Level.STUDY, "SOPClassesInStudy", "sop_classes", "st.sop_classes", _texts),
        (Level.STUDY, "NumberOfStudyRelatedSeries", "study_series", "st.number_of_series", _number),
        (Level.STUDY, "NumberOfStudyRelatedInstances", "study_instances", "st.number_of_instances", _number),
        (Level.SERIES, "SeriesInstanceUID", "series_instance_uid", "se.series_instance_uid", _text),
        (Level.SERIES, "NumberOfSeriesRelatedInstances", "series_instances", "se.number_of_instances", _number),
        (Level.IMAGE, "SOPInstanceUID", "sop_instance_uid", "i.sop_instance_uid", _text),
        (Level.IMAGE, "SOPClassUID", "sop_class_uid", "i.sop_class_uid", _text),
        (Level.IMAGE, "AvailableTransferSyntaxUID", "transfer_syntax_uid", "i.transfer_syntax_uid", _text),
    )
} | {
    (Level.PATIENT, tag): (
        f"patient_{tag}",
        f"CASE WHEN st.patient_id IS NOT NULL THEN (SELECT {count} FROM studies pa "  # noqa: S608
        "WHERE pa.patient_id = st.patient_id AND pa.issuer_of_patient_id IS NOT DISTINCT FROM st.issuer_of_patient_id)"
        f" ELSE (SELECT {count} FROM studies pa WHERE pa.patient_id IS NULL AND pa.patient_name = st.patient_name) END",
        _number(f"patient_{tag}"),
    )
    for tag, count in _PATIENT_COUNTS.items()
}
_OF_FRAMES = {tag_of("SharedFunctionalGroupsSequence"), tag_of("PerFrameFunctionalGroupsSequence")}
_AVAILABILITY = tag_of("InstanceAvailability")
_DOCUMENTS = {
    Level.PATIENT: ("study_attributes", "st.attributes"),
    Level.STUDY: ("study_attributes", "st.attributes"),
    Level.SERIES: ("series_attributes", "se.attributes"),
    Level.IMAGE: ("instance_attributes", "i.attributes"),
}
_METADATA = ("metadata", "i.metadata")


@dataclass(slots=True)
class Wanted:
    """One attribute to return.

    Attributes
    ----------
    level : Level
        Where its value is looked up.
    required : bool
        Whether it is there even without a value.
    given : bool
        Whether somebody asked for it, so that an empty stored value is shown as such.
    items : dict or None
        Of a sequence: what to return of its items; None is everything.
    creator : str or None
        Of a private attribute.
    """

    level: Level
    required: bool = False
    given: bool = False
    items: "dict[Tag8, Wanted] | None" = None
    creator: str | None = None


@dataclass(slots=True)
class RowPlan:
    """What a query returns: the attributes, and the SQL columns they come from."""

    wanted: dict[Tag8, Wanted] = field(default_factory=dict)
    everything: tuple[Level, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)

    def rows(self, records: Sequence[Record]) -> list[Dataset]:
        """Make the DICOM JSON objects of records, attributes in ascending order."""
        ordered = sorted(self.wanted.items())
        return [self._row(record, ordered) for record in records]

    def _row(self, record: Record, ordered: Sequence[tuple[Tag8, Wanted]]) -> Dataset:
        metadata: Dataset = orjson.loads(record["metadata"]) if "metadata" in self.columns else {}
        row: Dataset = {}
        for tag, wanted in ordered:
            element = self._element(record, metadata, tag, wanted)
            if element is not None:
                row[tag] = element
        if self.everything:
            row |= self._rest(record, metadata, row)
        return dict(sorted(row.items())) if self.everything else row

    def _element(self, record: Record, metadata: Dataset, tag: Tag8, wanted: Wanted) -> Dataset | None:
        if computed := _COMPUTED.get((wanted.level, tag)):
            return _with_values(tag, computed[2](record))
        if tag == _AVAILABILITY:
            return _with_values(tag, ["ONLINE"])
        if wanted.creator is not None:
            return _private(metadata, tag, wanted.creator)
        if wanted.level is Level.IMAGE and tag not in BY_LEVEL[Level.IMAGE]:
            return _shown(metadata.get(tag), tag, wanted)
        return _shown(record[_DOCUMENTS[wanted.level][0]].get(tag), tag, wanted)

    def _rest(self, record: Record, metadata: Dataset, row: Dataset) -> Dataset:
        """Return everything else the levels have (C-092): nothing private, no bulk data, nothing of single frames."""
        rest: Dataset = {}
        for level in self.everything:
            documents = [record[_DOCUMENTS[level][0]], *([metadata] if level is Level.IMAGE else [])]
            for document in documents:
                for tag, element in document.items():
                    if tag not in row and level_of(tag, level) is level and _is_plain(tag, element):
                        rest[tag] = element
            for (known, tag), (_, _, values) in _COMPUTED.items():
                if known is level and tag not in row:
                    rest[tag] = _with_values(tag, values(record))
        return rest


def plan_rows(query: Query, keys: Sequence[Key]) -> RowPlan:
    """Decide what to return (PS3.18 10.6.3.3.1 to 10.6.3.3.3).

    Parameters
    ----------
    query : Query
        The search.
    keys : sequence of Key
        Its supported matching keys.
    """
    plan = RowPlan()
    levels = returned_levels(query)
    for level, tag in _UNIQUE.items():
        if level <= query.level:
            plan.wanted[tag] = Wanted(level, required=True)
    if query.defaults:
        for level in levels:
            for tag, attribute in BY_LEVEL[level].items():
                if attribute.returned:
                    plan.wanted[tag] = Wanted(level, attribute.returned != "C", items=_default_items(tag))
    if query.level is Level.PATIENT:
        plan.wanted[tag_of("PatientID")] = Wanted(Level.PATIENT, required=True)
    for key in keys:
        creator = key.values[0] if key.values and is_private_creator(key.path[-1]) else key.creator
        _want(plan, query, key.path, creator, required=True)
    for include in query.include:
        _want(plan, query, include.path, include.creator, required=False)
    if query.include_all:
        plan.everything = levels
    _choose_columns(plan)
    return plan


def _default_items(tag: Tag8) -> "dict[Tag8, Wanted] | None":
    if tag != _SEQUENCE_OF_REQUESTS:
        return None
    return {inner: Wanted(Level.SERIES, required=True) for inner in REQUEST_ATTRIBUTES_RETURNED}


def _want(plan: RowPlan, query: Query, path: tuple[Tag8, ...], creator: str | None, *, required: bool) -> None:
    """Add an attribute, or a part of a sequence, unless it is of a lower level."""
    tag = path[0]
    level = level_of(tag, query.level)
    if level > query.level:
        return
    known = plan.wanted.get(tag)
    if known is None:
        known = plan.wanted[tag] = Wanted(level, items={} if len(path) > 1 else None)
        known.creator = creator if len(path) == 1 else None
    known.required |= required
    known.given = True
    node = known
    for place, inner in enumerate(path[1:], 2):
        if node.items is None:
            return
        last = place == len(path)
        node = node.items.setdefault(inner, Wanted(level, items=None if last else {}))
        node.given, node.required = True, node.required or required
        node.creator = creator if last else None
    node.items = None


def _choose_columns(plan: RowPlan) -> None:
    for tag, wanted in plan.wanted.items():
        if computed := _COMPUTED.get((wanted.level, tag)):
            plan.columns[computed[0]] = computed[1]
        elif wanted.level is Level.IMAGE and tag not in BY_LEVEL[Level.IMAGE]:
            plan.columns[_METADATA[0]] = _METADATA[1]
        elif tag != _AVAILABILITY:
            column, expression = _DOCUMENTS[wanted.level]
            plan.columns[column] = expression
    for level in plan.everything:
        plan.columns |= {
            column: expression for (known, _), (column, expression, _) in _COMPUTED.items() if known is level
        }
        plan.columns[_DOCUMENTS[level][0]] = _DOCUMENTS[level][1]
        if level is Level.IMAGE:
            plan.columns[_METADATA[0]] = _METADATA[1]


def _with_values(tag: Tag8, values: list[Any]) -> Dataset:
    vr = vr_of(tag) or "UN"
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _shown(element: Any, tag: Tag8, wanted: Wanted) -> Dataset | None:
    """Return an element as it is asked for, or None when it is not shown."""
    if not isinstance(element, dict):
        return _with_values(tag, []) if wanted.required else None
    if wanted.items is not None:
        items = [_item(item, wanted.items) for item in values_of(element) if isinstance(item, dict)]
        return _with_values(tag, items) if items or wanted.required or wanted.given else None
    return element if len(element) > 1 or wanted.required or wanted.given else None


def _item(item: Dataset, wanted: "dict[Tag8, Wanted]") -> Dataset:
    found = {
        tag: _private(item, tag, inner.creator) if inner.creator else _shown(item.get(tag), tag, inner)
        for tag, inner in sorted(wanted.items())
    }
    return {tag: element for tag, element in found.items() if element is not None}


def _private(dataset: Dataset, tag: Tag8, creator: str) -> Dataset | None:
    """Return a private element wherever its creator's block is; it is given out under the tag asked for (C-097)."""
    creators = [text.strip(" ") for text in readings(creator)]
    for block, element in dataset.items():
        if block[:4] != tag[:4] or not is_private_creator(block):
            continue
        stored = [value.strip(" ") for value in values_of(element) if isinstance(value, str)]
        if found_creators := [value for value in stored if value in creators]:
            if is_private_creator(tag):
                return {"vr": "LO", "Value": found_creators[:1]}
            found = dataset.get(tag[:4] + block[6:] + tag[6:])
            return found if isinstance(found, dict) else None
    return None


def _is_plain(tag: Tag8, element: Any) -> bool:
    is_private = int(tag[3], 16) % 2 == 1
    is_of_frames = tag in _OF_FRAMES or tag.startswith("7FE0")
    return isinstance(element, dict) and not (is_private or is_of_frames or "BulkDataURI" in element)
