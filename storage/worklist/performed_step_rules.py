"""What a performed procedure step must and may not hold, from its creation to its final state; pure.

Facts and clauses this module keeps (PS3.4 F.7.2, Table F.7.2-1):

- Strict: a step is created IN PROGRESS (G-161), ends COMPLETED or DISCONTINUED and is never changed after that (G-164).
- Tolerant: a step that lacks what it must hold is kept all the same, since nobody will come back to tell us again what
  was done to a patient; the modality is warned (0107) and the departure is kept with the step (G-163, G-168).
- What a step was created with about patient, order, equipment and start stays: an N-SET of it is not taken (G-166). An
  attribute that the creation did not hold is taken (G-170): losing it would help nobody.
- A sequence in an N-SET replaces the whole sequence (G-167); both sides are Unicode by then (G-169).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydicom.datadict import keyword_for_tag

from storage.dicom.data_set import CHARACTER_SET
from storage.dicom.dicomjson import Attribute
from storage.dicom.json_attribute import shown
from storage.dicom.json_values import clean, values_of
from storage.matching.attributes import tag_of
from storage.worklist.item import first_text

IN_PROGRESS: Final = "IN PROGRESS"
FINAL: Final = ("COMPLETED", "DISCONTINUED")
STATUS: Final = tag_of("PerformedProcedureStepStatus")
REQUESTS: Final = tag_of("ScheduledStepAttributesSequence")
SERIES: Final = tag_of("PerformedSeriesSequence")
START: Final = (tag_of("PerformedProcedureStepStartDate"), tag_of("PerformedProcedureStepStartTime"))
_REASON: Final = tag_of("PerformedProcedureStepDiscontinuationReasonCodeSequence")
_CODE: Final = (tag_of("CodeValue"), tag_of("CodingSchemeDesignator"))
_INCORRECT_WORKLIST_ENTRY: Final = ("110514", "DCM")

_CREATED_WITH: Final = tuple(
    map(
        tag_of,
        (
            *("Modality", "PerformedStationAETitle", "PerformedProcedureStepStartDate"),
            *("PerformedProcedureStepStartTime", "PerformedProcedureStepStatus", "PerformedProcedureStepID"),
            "ScheduledStepAttributesSequence",
        ),
    )
)
_ENDED_WITH: Final = tuple(map(tag_of, ("PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime")))
_OF_EACH_SERIES: Final = tuple(map(tag_of, ("ProtocolName", "SeriesInstanceUID")))
_EMPTY_AT_LEAST: Final = tuple(
    map(
        tag_of,
        (
            *("PerformingPhysicianName", "OperatorsName", "SeriesDescription", "RetrieveAETitle"),
            *("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence"),
        ),
    )
)

FIXED: Final = frozenset(
    map(
        tag_of,
        (
            *("ScheduledStepAttributesSequence", "PatientName", "PatientID", "IssuerOfPatientID"),
            *("IssuerOfPatientIDQualifiersSequence", "PatientBirthDate", "PatientSex", "ReferencedPatientSequence"),
            *("AdmissionID", "IssuerOfAdmissionIDSequence", "ServiceEpisodeID", "IssuerOfServiceEpisodeIDSequence"),
            *("ServiceEpisodeDescription", "PerformedProcedureStepID", "PerformedStationAETitle"),
            *("PerformedStationName", "PerformedLocation", "PerformedProcedureStepStartDate"),
            *("PerformedProcedureStepStartTime", "Modality", "StudyID"),
        ),
    )
)
"""What an N-SET may not hold (PS3.4 Table F.7.2-1)."""


def readable(dataset: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Return a data set of a modality as it is kept: without its character set, fit for jsonb."""
    kept: dict[str, Attribute] = clean({tag: value for tag, value in dataset.items() if tag != CHARACTER_SET})
    return dict(sorted(kept.items()))


def missing_at_creation(dataset: Mapping[str, Attribute]) -> list[str]:
    """Return the tags of type 1 that have no value (G-163)."""
    missing = [tag for tag in _CREATED_WITH if not values_of(dataset.get(tag))]
    study = tag_of("StudyInstanceUID")
    if any(not first_text(request, study) for request in items_of(dataset, REQUESTS)):
        missing.append(study)
    return missing


def missing_at_the_end(dataset: Mapping[str, Attribute]) -> list[str]:
    """Return the tags that a step in a final state lacks (G-168)."""
    missing = [tag for tag in _ENDED_WITH if not values_of(dataset.get(tag))]
    series = items_of(dataset, SERIES)
    if not series:
        missing.append(SERIES)
    missing += [tag for tag in _OF_EACH_SERIES if any(not values_of(each.get(tag)) for each in series)]
    missing += [tag for tag in _EMPTY_AT_LEAST if any(tag not in each for each in series)]
    return missing


def changed(
    stored: Mapping[str, Attribute], changes: Mapping[str, Attribute]
) -> tuple[dict[str, Attribute], list[str]]:
    """Return a step after an N-SET, and the tags of what was not taken.

    Standard
    --------
    PS3.4 F.7.2.2.2; checklist G-166, G-167.
    """
    taken = {
        tag: value for tag, value in changes.items() if tag not in FIXED and not (tag == STATUS and is_empty(value))
    }
    refused = [tag for tag, value in changes.items() if tag in FIXED and value != stored.get(tag)]
    return dict(sorted({**stored, **taken}.items())), refused


def status_of(dataset: Mapping[str, Attribute]) -> str:
    """Return Performed Procedure Step Status (0040,0252); empty when there is none."""
    return first_text(dataset, STATUS)


def is_empty(attribute: Mapping[str, Any]) -> bool:
    """Whether an attribute has no value."""
    return not values_of(attribute)


def was_wrong_entry(dataset: Mapping[str, Attribute]) -> bool:
    """Whether the step was given up because another worklist entry was meant: that of this one is still to be done.

    Standard
    --------
    PS3.16 CID 9300, code 110514.
    """
    codes = [tuple(first_text(item, tag) for tag in _CODE) for item in items_of(dataset, _REASON)]
    return status_of(dataset) == "DISCONTINUED" and _INCORRECT_WORKLIST_ENTRY in codes


def items_of(dataset: Mapping[str, Attribute], tag: str) -> list[dict[str, Attribute]]:
    """Return the items of a sequence."""
    return [item for item in values_of(dataset.get(tag)) if isinstance(item, dict)]


def departure(operation: str, verb: str, tags: Sequence[str]) -> list[str]:
    """Say of each attribute how an operation departed from the Standard."""
    return [f"{operation} {verb} {keyword_for_tag(int(tag, 16)) or 'a private attribute'} {shown(tag)}" for tag in tags]
