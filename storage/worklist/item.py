"""A worklist item as it is kept: checked, completed, taken apart into a requested procedure and its steps; pure.

Facts and clauses this module keeps:

- What an answer must hold with a value (type 1, PS3.4 Table K.6-1; G-144) must be there, but for the identifiers an
  information system may leave to us: Study Instance UID, Requested Procedure ID, Scheduled Procedure Step ID.
- A made-up Study Instance UID is kept with the item, so that every query, the performed steps and the images of the
  procedure have the same one (G-150).
- What is imported again gets the same made-up identifiers again. They are made of the patient and of the order's
  numbers; a step's also of its modality, stations and protocol, so that no exam takes the place of another (`_kinds`).
- Whatever else the item holds is kept and can be asked for: the model is open (PS3.4 K.6.1.2.2).
- Everything was encoded once when it is kept: no answer to a modality fails because of a stored value.
"""

import base64
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydicom.datadict import keyword_for_tag

from storage.dicom import data_set
from storage.dicom.dicomjson import Attribute
from storage.dicom.json_attribute import normalised, shown
from storage.dicom.json_values import clean, values_of
from storage.dicom.part10 import EXPLICIT_LE
from storage.errors import InvalidDicom
from storage.index.record import STRICT_UID
from storage.matching.attributes import tag_of, vr_of
from storage.matching.date_time import stored_date, stored_time
from storage.matching.person_name import component_groups
from storage.matching.search_text import clip, normal

STEPS: Final = tag_of("ScheduledProcedureStepSequence")
STATUS: Final = tag_of("ScheduledProcedureStepStatus")
DATE: Final = tag_of("ScheduledProcedureStepStartDate")
TIME: Final = tag_of("ScheduledProcedureStepStartTime")
STUDY: Final = tag_of("StudyInstanceUID")
REQUESTED_PROCEDURE: Final = tag_of("RequestedProcedureID")
STEP_ID: Final = tag_of("ScheduledProcedureStepID")
ACCESSION: Final = tag_of("AccessionNumber")
_PATIENT_NAME: Final = tag_of("PatientName")
_PATIENT_ID: Final = tag_of("PatientID")
_ISSUER: Final = tag_of("IssuerOfPatientID")
_STATION: Final = tag_of("ScheduledStationAETitle")
_MODALITY: Final = tag_of("Modality")

SCHEDULED: Final = "SCHEDULED"
FINISHED: Final = ("COMPLETED", "DISCONTINUED")
"""Values of Scheduled Procedure Step Status (0040,0020) of steps that nobody need perform any more."""

ITEM_COLUMNS: Final[Mapping[str, str]] = {
    STUDY: "study_instance_uid",
    ACCESSION: "accession_number",
    REQUESTED_PROCEDURE: "requested_procedure_id",
    tag_of("RequestedProcedurePriority"): "requested_procedure_priority",
    tag_of("AdmissionID"): "admission_id",
    _PATIENT_ID: "patient_id",
    tag_of("PatientSex"): "patient_sex",
    _PATIENT_NAME: "patient_name",
    tag_of("ReferringPhysicianName"): "referring_physician_name",
    tag_of("RequestingPhysician"): "requesting_physician",
}
"""Attributes of the requested procedure that have a column of `worklist_items`."""

STEP_COLUMNS: Final[Mapping[str, str]] = {
    STEP_ID: "scheduled_procedure_step_id",
    _STATION: "station_ae_titles",
    _MODALITY: "modality",
    tag_of("ScheduledPerformingPhysicianName"): "performing_physician_name",
    STATUS: "status",
}
"""Attributes of a step that have a column of `worklist_steps`; date and time share `start_at`."""

STEP_TAGS: Final = frozenset(
    map(
        tag_of,
        (
            *("ScheduledStationAETitle", "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"),
            *("ScheduledProcedureStepEndDate", "ScheduledProcedureStepEndTime", "Modality"),
            *("ScheduledPerformingPhysicianName", "ScheduledPerformingPhysicianIdentificationSequence"),
            *("ScheduledProcedureStepDescription", "ScheduledProcedureStepID", "ScheduledStationName"),
            *("ScheduledProcedureStepLocation", "ScheduledProtocolCodeSequence", "PreMedication"),
            *("ReferencedDefinedProtocolSequence", "ReferencedPerformedProtocolSequence"),
            *("ScheduledProcedureStepStatus", "CommentsOnTheScheduledProcedureStep", "RequestedContrastAgent"),
        ),
    )
)
"""Attributes that an item has in its steps alone (PS3.4 Table K.6-1, PS3.3 C.4.10)."""

_PROTOCOLS: Final = tuple(map(tag_of, ("ScheduledProtocolCodeSequence", "ScheduledProcedureStepDescription")))
_PROCEDURES: Final = tuple(map(tag_of, ("RequestedProcedureCodeSequence", "RequestedProcedureDescription")))
_CODE: Final = (tag_of("CodeValue"), tag_of("CodingSchemeDesignator"))
_LONGEST: Final = {"AE": 16, "CS": 16, "SH": 16}
_NAMESPACE: Final = uuid.UUID("5b0cbd30-6c3e-4a52-9a0e-2f8f4f0f7c11")
_MOST_STEPS: Final = 1000
_MOST_COMPLAINTS: Final = 12


@dataclass(frozen=True, slots=True)
class WorklistItem:
    """A requested procedure of a patient and the steps it is to be done in.

    Attributes
    ----------
    attributes : dict of str to Attribute
        DICOM JSON object of everything but the Scheduled Procedure Step Sequence.
    steps : tuple of dict
        The items of that sequence, at least one.
    unnamed : frozenset of int
        Which of them, from 0, had no ID of their own.
    """

    attributes: dict[str, Attribute]
    steps: tuple[dict[str, Attribute], ...]
    unnamed: frozenset[int] = field(default=frozenset(), compare=False)

    @property
    def dataset(self) -> dict[str, Attribute]:
        """The whole item as one DICOM JSON object."""
        return merged(self.attributes, self.steps)

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID (0020,000D)."""
        return str(values_of(self.attributes[STUDY])[0])

    @property
    def patient_id(self) -> str:
        """Patient ID (0010,0020), as the column keeps it."""
        return str(column(_PATIENT_ID, self.attributes))

    @property
    def step_ids(self) -> list[str]:
        """Scheduled Procedure Step ID (0040,0009) of each step, as the column keeps it."""
        return [str(column(STEP_ID, step)) for step in self.steps]

    def another(self, number: int) -> "WorklistItem":
        """Return the item as the second, third ... of the same kind: its made-up step IDs are others, repeatably."""
        steps = list(self.steps)
        for at in self.unnamed:
            seed = f"{self.study_instance_uid}\\{first_text(steps[at], STEP_ID)}\\{number}"
            steps[at] = {**steps[at], STEP_ID: _sh("S" + _short(uuid.uuid5(_NAMESPACE, seed)))}
        return replace(self, steps=tuple(steps))

    def row(self) -> dict[str, Any]:
        """Return the columns of `worklist_items`, `attributes` included."""
        columns = {name: column(tag, self.attributes) for tag, name in ITEM_COLUMNS.items()}
        return {**columns, "attributes": self.attributes}

    def step_rows(self) -> list[dict[str, Any]]:
        """Return the columns of `worklist_steps` for each step, `number` from 1; a status that is not given is None."""
        return [_step_row(number, step) for number, step in enumerate(self.steps, 1)]


def path_in_item(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return where in an item an attribute is that somebody names: those of the step need no sequence before them."""
    return (STEPS, *path) if path[0] in STEP_TAGS else path


def with_status(step: Mapping[str, Attribute], status: str) -> dict[str, Attribute]:
    """Return a step as it is kept (in its column alone it has a status) with its status."""
    return dict(sorted({**step, STATUS: {"vr": "CS", "Value": [status]}}.items()))


def merged(attributes: Mapping[str, Attribute], steps: Iterable[Mapping[str, Attribute]]) -> dict[str, Attribute]:
    """Return the DICOM JSON object of a requested procedure with these steps, attributes ascending."""
    return dict(sorted({**attributes, STEPS: {"vr": "SQ", "Value": list(steps)}}.items()))


def column(tag: str, dataset: Mapping[str, Attribute]) -> Any:
    """Return an attribute as its column keeps it: names as folded groups, AE titles all, else a text or None."""
    vr = vr_of(tag) or "LO"
    values = values_of(dataset.get(tag))
    if vr == "PN":
        return component_groups(values[0]) if values else []
    texts = [clip(normal(vr, value)) for value in values if isinstance(value, str)]
    if tag == _STATION:
        return [text for text in texts if text]
    return clip("\\".join(texts)) or None


def _step_row(number: int, step: Mapping[str, Attribute]) -> dict[str, Any]:
    columns = {name: column(tag, step) for tag, name in STEP_COLUMNS.items()}
    without_status = {tag: attribute for tag, attribute in step.items() if tag != STATUS}
    return {**columns, "number": number, "start_at": start_of(step, DATE, TIME), "attributes": without_status}


def start_of(dataset: Mapping[str, Attribute], date_tag: str, time_tag: str) -> str:
    """Return date and time as YYYYMMDDHHMMSSffffff; midnight without a time, empty without a date."""
    date = stored_date(first_text(dataset, date_tag))
    return date + (stored_time(first_text(dataset, time_tag)) or stored_time("00") or "") if date else ""


def first_text(dataset: Mapping[str, Attribute], tag: str) -> str:
    """Return the first value of a text attribute; empty when there is none."""
    values = values_of(dataset.get(tag))
    return values[0].strip(" ") if values and isinstance(values[0], str) else ""


def read_item(dataset: Any, *, repeatable: bool = False) -> WorklistItem:
    """Check and complete a worklist item.

    Parameters
    ----------
    dataset : object
        What should be a DICOM JSON object.
    repeatable : bool
        Whether identifiers that are missing follow from the others, so that the same source read again gives the same
        item; else they are random.

    Raises
    ------
    InvalidDicom
        It is no DICOM JSON object, or lacks what every answer must hold; the message lists what, free of values.

    Standard
    --------
    PS3.4 Table K.6-1; checklist G-144, G-150.
    """
    whole = normalised(dataset)
    whole.pop(data_set.CHARACTER_SET, None)
    whole = data_set.decode(data_set.encode(whole, EXPLICIT_LE, character_set="ISO_IR 192"), EXPLICIT_LE)
    whole.pop(data_set.CHARACTER_SET, None)  # kept as Unicode; said anew in every answer
    whole = clean(whole)
    items = values_of(whole.pop(STEPS, None))
    steps = [dict(step) for step in items if isinstance(step, Mapping) and step]
    for step in steps:
        step.pop(data_set.CHARACTER_SET, None)
        _spell_start(step)
    if wrong := _complaints(whole, steps):
        raise InvalidDicom("The worklist item cannot be taken: " + "; ".join(wrong[:_MOST_COMPLAINTS]) + ".")
    unnamed = frozenset(at for at, step in enumerate(steps) if not first_text(step, STEP_ID))
    _identify(whole, steps, _repeatable(whole, steps) if repeatable else None)
    return WorklistItem(dict(sorted(whole.items())), tuple(dict(sorted(step.items())) for step in steps), unnamed)


def _spell_start(step: dict[str, Attribute]) -> None:
    """Write the date and the time a step begins at as the Standard wants them (PS3.5 6.2), however they were spelt."""
    if date := stored_date(first_text(step, DATE)):
        step[DATE] = {"vr": "DA", "Value": [date]}
    if stored_time(time := first_text(step, TIME)):
        step[TIME] = {"vr": "TM", "Value": [time.replace(":", "")]}


def _complaints(whole: Mapping[str, Attribute], steps: list[dict[str, Attribute]]) -> list[str]:
    """Say what is missing or ill-formed."""
    wrong = [_missing(tag) for tag in (_PATIENT_NAME, _PATIENT_ID) if not column(tag, whole)]
    wrong += _misfits(whole, (STUDY, REQUESTED_PROCEDURE, ACCESSION))
    if not steps:
        wrong.append(_missing(STEPS, "; at least one step is needed"))
    if len(steps) > _MOST_STEPS:
        wrong.append(f"it has more than {_MOST_STEPS} steps")
    for number, step in enumerate(steps[:_MOST_STEPS], 1):
        place = f" in item {number} of ScheduledProcedureStepSequence"
        wrong += [_missing(tag, place) for tag in (_STATION, DATE, TIME, _MODALITY) if not values_of(step.get(tag))]
        wrong += [text + place for text in _misfits(step, (_STATION, _MODALITY, STEP_ID, STATUS))]
        if values_of(step.get(DATE)) and not stored_date(first_text(step, DATE)):
            wrong.append(f"{_named(DATE)} is not a date (YYYYMMDD){place}")
        if values_of(step.get(TIME)) and not stored_time(first_text(step, TIME)):
            wrong.append(f"{_named(TIME)} is not a time (HHMMSS){place}")
    return wrong


def _misfits(dataset: Mapping[str, Attribute], tags: tuple[str, ...]) -> list[str]:
    """Say which identifiers a modality could not take."""
    wrong = []
    for tag in tags:
        vr = vr_of(tag) or ""
        texts = [value for value in values_of(dataset.get(tag)) if isinstance(value, str)]
        if vr == "UI" and any(not STRICT_UID.fullmatch(text) for text in texts):
            wrong.append(f"{_named(tag)} is not a UID (PS3.5 9.1)")
        if any(len(text) > _LONGEST.get(vr, 64) for text in texts):
            wrong.append(f"{_named(tag)} is longer than the {_LONGEST.get(vr, 64)} characters of {vr}")
    return wrong


def _missing(tag: str, rest: str = "") -> str:
    return f"{_named(tag)} has no value{rest}"


def _named(tag: str) -> str:
    return f"{keyword_for_tag(int(tag, 16))} {shown(tag)}"


def _identify(
    whole: dict[str, Attribute], steps: list[dict[str, Attribute]], repeatable: Callable[[str], uuid.UUID] | None
) -> None:
    """Give a Study Instance UID, a Requested Procedure ID and Scheduled Procedure Step IDs where there are none."""
    made_up = repeatable or _random
    if not first_text(whole, STUDY):
        whole[STUDY] = {"vr": "UI", "Value": [f"2.25.{made_up('study').int}"]}
    if not first_text(whole, REQUESTED_PROCEDURE):
        order = first_text(whole, ACCESSION)
        short = order if 0 < len(order) <= _LONGEST["SH"] else "R" + _short(made_up("requested procedure"))
        whole[REQUESTED_PROCEDURE] = _sh(short)
    unnamed = [(number, step) for number, step in enumerate(steps, 1) if not first_text(step, STEP_ID)]
    taken = {first_text(step, STEP_ID) for step in steps}
    kinds = _kinds(whole, [step for _, step in unnamed])
    for (number, step), kind in zip(unnamed, kinds, strict=True):
        identifier = made_up(f"step {kind}")
        name = _short(identifier)[:5] if repeatable else str(number)
        readable = f"{first_text(whole, REQUESTED_PROCEDURE)}-{name}"
        fits = len(readable) <= _LONGEST["SH"] and readable not in taken
        step[STEP_ID] = _sh(readable if fits else "S" + _short(identifier))
        taken.add(first_text(step, STEP_ID))


def _kinds(whole: Mapping[str, Attribute], steps: list[dict[str, Attribute]]) -> list[str]:
    """Return what tells the steps without IDs of an order apart, wherever they stand.

    That is modality, stations and protocol; the start only among steps that have all these in common. So an exam that
    is put off stays the same, and of two alike, when the first is done and no longer exported, the second is not taken
    for it: rather a step is on the worklist twice than an exam never done. For the same reason an exam given to another
    station, or with another protocol, is another: whoever wants it changed gives its step an ID.
    """
    kinds = [_kind(whole, step) for step in steps]
    often = Counter(kinds)
    starts = [start_of(step, DATE, TIME) for step in steps]
    kinds = [f"{kind}\\{start}" if often[kind] > 1 else kind for kind, start in zip(kinds, starts, strict=True)]
    seen: Counter[str] = Counter()
    for at, kind in enumerate(kinds):
        seen[kind] += 1
        if seen[kind] > 1:
            kinds[at] = f"{kind}\\{seen[kind]}"
    return kinds


def _kind(whole: Mapping[str, Attribute], step: Mapping[str, Attribute]) -> str:
    """Return modality, stations and the best that says what is to be done: codes rather than words."""
    said = [_said(step, tag) for tag in _PROTOCOLS] + [_said(whole, tag) for tag in _PROCEDURES]
    stations = column(_STATION, step)
    return "\\".join([first_text(step, _MODALITY), *stations, next(filter(None, said), "")])


def _said(dataset: Mapping[str, Attribute], tag: str) -> str:
    """Return a text, or the codes of a code sequence."""
    codes = [item for item in values_of(dataset.get(tag)) if isinstance(item, Mapping)]
    return "\\".join(first_text(code, part) for code in codes for part in _CODE) if codes else first_text(dataset, tag)


def _sh(text: str) -> Attribute:
    return {"vr": "SH", "Value": [text]}


def _short(identifier: uuid.UUID) -> str:
    """Return 14 letters and digits of a UUID: SH holds 16."""
    return base64.b32encode(identifier.bytes)[:14].decode("ascii")


def _random(purpose: str) -> uuid.UUID:
    return uuid.uuid4()


def _repeatable(whole: Mapping[str, Attribute], steps: list[dict[str, Attribute]]) -> Callable[[str], uuid.UUID]:
    """Return what makes identifiers of patient and order; when it has no number, of the IDs or the places and times of
    its steps."""
    given = [first_text(whole, tag) for tag in (STUDY, ACCESSION, REQUESTED_PROCEDURE)]
    if not any(given):
        given = [part for step in steps for part in _place(step)]
    patient = first_text(whole, _ISSUER), first_text(whole, _PATIENT_ID).lower()
    seed = "\\".join([*patient, *given])
    return lambda purpose: uuid.uuid5(_NAMESPACE, f"{seed}\\{purpose}")


def _place(step: Mapping[str, Attribute]) -> list[str]:
    """Return what a step without an order is known by: its ID alone, or where and when it is to be."""
    own = first_text(step, STEP_ID)
    return [own] if own else [first_text(step, tag) for tag in (_STATION, _MODALITY, DATE, TIME)]
