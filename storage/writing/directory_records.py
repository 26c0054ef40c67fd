"""THE TABLE: which directory record a SOP class has on media, and which keys each kind of record has.

Facts kept here (PS3.3 F.4, F.5; PS3.11 D.3.3.1):

* A key of type 1 that the instance has not, or has in a form that is none of its VR, is made up in the directory; the
  file stays as it is. What is made up says so: dates of 1900, UNKNOWN, numbers in the order of the files.
* A study without a date gets one of its first instance, whose series may have begun on it.
* A key of type 2 is there, maybe empty. One of type 1C is there when the instance has it with a value.
* Of a content tree only what modifies the title is taken (HAS CONCEPT MOD); of references only what refers.
* What the table does not know is an IMAGE when it has pixel data or its class says so, else PRIVATE under a UID of
  ours: a reader may pass over it, and finds the rest.
* Codes are capital letters: those of a file that are not are made so, or count as missing.
* Pure: DICOM JSON objects in and out.
"""

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from pydicom._uid_dict import UID_dictionary

from storage.matching.attributes import tag_of, vr_of
from storage.matching.date_time import stored_date, stored_time

Dataset = Mapping[str, Any]

PRIVATE_RECORD_UID: Final = "2.25.263347906203127418098425406142853012917"
"""Private Record UID (0004,1432) of instances that no kind of record is meant for."""

_CLASSES: Final[dict[str, tuple[str, ...]]] = {
    "RT DOSE": ("481.2",),
    "RT STRUCTURE SET": ("481.3",),
    "RT PLAN": ("481.5", "481.8"),
    "RT TREAT RECORD": ("481.4", "481.6", "481.7", "481.9"),
    "RADIOTHERAPY": (*(f"481.{number}" for number in range(10, 23)), "481.25"),
    "PRESENTATION": (*(f"11.{number}" for number in range(1, 13)), "131", "9.100.1", "9.100.2"),
    "SR DOCUMENT": ("78.6", "79.1"),
    "KEY OBJECT DOC": ("88.59",),
    "SPECTROSCOPY": ("4.2",),
    "RAW DATA": ("66",),
    "REGISTRATION": ("66.1", "66.3"),
    "FIDUCIAL": ("66.2",),
    "SURFACE": ("66.5",),
    "TRACT": ("66.6",),
    "VALUE MAP": ("67",),
    "SURFACE SCAN": ("68.1", "68.2"),
    "STEREOMETRIC": ("77.1.5.3",),
    "MEASUREMENT": (*(f"78.{number}" for number in (1, 2, 3, 4, 5, 7, 8)), "80.1"),
    "ASSESSMENT": ("90.1",),
    "ANNOTATION": ("91.1",),
    "ENCAP DOC": (*(f"104.{number}" for number in range(1, 6)),),
}
_FAMILIES: Final = (("9.", "WAVEFORM"), ("88.", "SR DOCUMENT"))
_IMAGES: Final = frozenset(
    uid
    for uid, (name, *_) in UID_dictionary.items()
    if name.endswith(("Image Storage", "Image Storage - For Presentation", "Image Storage - For Processing"))
)
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_RECORD_TYPES: Final = {
    **{_STORAGE + number: kind for kind, numbers in _CLASSES.items() for number in numbers},
    **{f"1.2.840.10008.5.1.4.34.{number}": "PLAN" for number in (1, 7, 10)},
}

_CONTENT: Final = "ContentDate/1 ContentTime/1"
_IDENTIFIED: Final = "InstanceNumber/1 ContentLabel/1 ContentDescription/2 ContentCreatorName/2"
_TITLED: Final = f"InstanceNumber/1 {_CONTENT} ConceptNameCodeSequence/1 ContentSequence/1C"
_DESCRIBED: Final = f"{_CONTENT} {_IDENTIFIED}"

_KEYS: Final = {
    "PATIENT": "PatientName/2 PatientID/1 PatientBirthDate/1C PatientSex/1C",
    "STUDY": "StudyDate/1 StudyTime/1 StudyDescription/2 StudyInstanceUID/1 StudyID/1 AccessionNumber/2",
    "SERIES": "Modality/1 SeriesInstanceUID/1 SeriesNumber/1 SeriesDescription/1C InstitutionName/1C"
    " InstitutionAddress/1C PerformingPhysicianName/1C",
    "IMAGE": "InstanceNumber/1 ImageType/1C ReferencedImageSequence/1C NumberOfFrames/1C Rows/1C Columns/1C"
    " PixelSpacing/1C ImagePositionPatient/1C ImageOrientationPatient/1C FrameOfReferenceUID/1C"
    " AcquisitionDateTime/1C AcquisitionTimeSynchronized/1C SynchronizationFrameOfReferenceUID/1C CalibrationImage/1C"
    " LossyImageCompressionRatio/1C",
    "RT DOSE": "InstanceNumber/1 DoseSummationType/1",
    "RT STRUCTURE SET": "InstanceNumber/1 StructureSetLabel/1 StructureSetDate/2 StructureSetTime/2",
    "RT PLAN": "InstanceNumber/1 RTPlanLabel/1 RTPlanDate/2 RTPlanTime/2",
    "RT TREAT RECORD": "InstanceNumber/1 TreatmentDate/2 TreatmentTime/2",
    "RADIOTHERAPY": "InstanceNumber/1 UserContentLabel/1C UserContentLongLabel/1C ContentDescription/2"
    " ContentCreatorName/2",
    "PRESENTATION": f"PresentationCreationDate/1 PresentationCreationTime/1 {_IDENTIFIED} ReferencedSeriesSequence/1C"
    " BlendingSequence/1C",
    "SR DOCUMENT": f"{_TITLED} CompletionFlag/1 VerificationFlag/1 VerificationDateTime/1C",
    "KEY OBJECT DOC": _TITLED,
    "SPECTROSCOPY": f"ImageType/1 {_CONTENT} InstanceNumber/1 ReferencedImageEvidenceSequence/1C NumberOfFrames/1"
    " Rows/1 Columns/1 DataPointRows/1 DataPointColumns/1",
    "RAW DATA": f"{_CONTENT} InstanceNumber/2",
    "WAVEFORM": f"InstanceNumber/1 {_CONTENT}",
    "REGISTRATION": _DESCRIBED,
    "FIDUCIAL": _DESCRIBED,
    "SURFACE": _DESCRIBED,
    "TRACT": _DESCRIBED,
    "VALUE MAP": _DESCRIBED,
    "MEASUREMENT": _DESCRIBED,
    "ANNOTATION": _DESCRIBED,
    "SURFACE SCAN": _CONTENT,
    "STEREOMETRIC": "InstanceNumber/1C",
    "ASSESSMENT": "InstanceNumber/1 InstanceCreationDate/1 InstanceCreationTime/2",
    "ENCAP DOC": "ContentDate/2 ContentTime/2 InstanceNumber/1 DocumentTitle/2 HL7InstanceIdentifier/1C"
    " ConceptNameCodeSequence/2 MIMETypeOfEncapsulatedDocument/1",
    "PLAN": "InstanceNumber/1C",
    "PRIVATE": "InstanceNumber/1C",
}


class Key(NamedTuple):
    """A key of a directory record: its tag, its VR, and its type: 1, 1C or 2."""

    tag: str
    vr: str
    type: str


def _key(text: str) -> Key:
    keyword, _, kind = text.partition("/")
    tag = tag_of(keyword)
    return Key(tag, vr_of(tag) or "UN", kind)


RECORDS: Final[Mapping[str, tuple[Key, ...]]] = {
    kind: tuple(sorted(map(_key, keys.split()))) for kind, keys in _KEYS.items()
}
"""Directory Record Type -> its keys by ascending tag."""

_TITLE = tag_of("ConceptNameCodeSequence")
_TREE = tag_of("ContentSequence")
_RELATIONSHIP = tag_of("RelationshipType")
_VERIFIED = tag_of("VerificationDateTime")
_OBSERVERS = tag_of("VerifyingObserverSequence")
_SERIES_NUMBER, _INSTANCE_NUMBER = tag_of("SeriesNumber"), tag_of("InstanceNumber")
_PATIENT_ID, _STUDY_ID = tag_of("PatientID"), tag_of("StudyID")
_STUDY_UID, _SERIES_UID = tag_of("StudyInstanceUID"), tag_of("SeriesInstanceUID")

_STUDY_DATE, _STUDY_TIME = tag_of("StudyDate"), tag_of("StudyTime")
_MOMENTS: Final = tuple(
    (tag_of(f"{event}Date"), tag_of(f"{event}Time"))
    for event in ("Study", "Series", "Acquisition", "Content", "InstanceCreation")
)
"""When a study took place, if nothing before it in the list says so."""

LEAF_TAGS: Final = sorted(
    {key.tag for kind, keys in RECORDS.items() if kind not in ("PATIENT", "STUDY", "SERIES") for key in keys}
    | {tag for moment in _MOMENTS for tag in moment}
    | {_OBSERVERS}
)
"""Everything an instance is asked for."""

CHANGED_BY_LOSS: Final = (tag_of("ImageType"), tag_of("LossyImageCompressionRatio"))
"""What is no longer true of an image that was compressed with loss for the media."""

_REFERENCE: Final = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")
_ITEMS: Final = {
    tag_of(keyword): tuple(map(tag_of, kept))
    for keyword, kept in {
        "ReferencedImageSequence": (*_REFERENCE, "ReferencedFrameNumber"),
        "ReferencedSeriesSequence": ("SeriesInstanceUID", "ReferencedImageSequence"),
        "BlendingSequence": ("StudyInstanceUID", "ReferencedSeriesSequence"),
    }.items()
}
"""What is taken of the items of a sequence; of one that is not here, everything."""

_UNTITLED: Final = {
    tag_of("CodeValue"): {"vr": "SH", "Value": ["UNKNOWN"]},
    tag_of("CodingSchemeDesignator"): {"vr": "SH", "Value": ["99DICOMWEB"]},
    tag_of("CodeMeaning"): {"vr": "LO", "Value": ["Unknown document"]},
}
_MADE_UP_BY_VR: Final[dict[str, Any]] = {
    "DA": "19000101",
    "TM": "000000",
    "IS": 1,
    "US": 1,
    "UL": 1,
    "SQ": _UNTITLED,
}
_MADE_UP: Final[dict[str, Any]] = {
    tag_of("Modality"): "OT",
    tag_of("CompletionFlag"): "PARTIAL",
    tag_of("VerificationFlag"): "UNVERIFIED",
    tag_of("MIMETypeOfEncapsulatedDocument"): "application/octet-stream",
}
_PLAIN_TIME: Final = re.compile(r"\d\d(?:\d\d(?:\d\d(?:\.\d{1,6})?)?)?", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d{1,11}", re.ASCII)
_CODE: Final = re.compile(r"[A-Z0-9_ ]{0,16}")


def record_type(sop_class_uid: str, *, has_pixel_data: bool) -> str:
    """Return the Directory Record Type (0004,1430) of an instance.

    Standard
    --------
    PS3.3 F.4, F.5; PS3.4 I.4; checklist H-015.
    """
    known = _RECORD_TYPES.get(sop_class_uid)
    if known is None and sop_class_uid.startswith(_STORAGE):
        number = sop_class_uid.removeprefix(_STORAGE)
        known = next((kind for family, kind in _FAMILIES if number.startswith(family)), None)
    if known is None and (has_pixel_data or sop_class_uid in _IMAGES):
        known = "IMAGE"
    return known or "PRIVATE"


def patient_keys(study_instance_uid: str, attributes: Dataset) -> dict[str, Any]:
    """Return the keys of the PATIENT record of a study, from what the index knows of the study (H-010)."""
    return _keys("PATIENT", attributes, {_PATIENT_ID: f"UNKNOWN-{_short(study_instance_uid)}"})


def with_date(attributes: Dataset, first: Dataset) -> Dataset:
    """Return what is known of a study, with date and time of its first instance, or no date, if its own is none."""
    for dataset in (attributes, first):
        for date_tag, time_tag in _MOMENTS:
            if date := _usable(date_tag, "DA", dataset.get(date_tag)):
                time = _usable(time_tag, "TM", dataset.get(time_tag))
                moment = {_STUDY_DATE: {"vr": "DA", "Value": date}, _STUDY_TIME: {"vr": "TM", "Value": time}}
                return {**attributes, **moment}
    return {tag: attribute for tag, attribute in attributes.items() if tag != _STUDY_DATE}


def study_keys(study_instance_uid: str, attributes: Dataset) -> dict[str, Any]:
    """Return the keys of the STUDY record (H-011)."""
    uid = {_STUDY_UID: {"vr": "UI", "Value": [study_instance_uid]}}
    return _keys("STUDY", {**attributes, **uid}, {_STUDY_ID: _short(study_instance_uid)})


def series_keys(series_instance_uid: str, attributes: Dataset, place: int) -> dict[str, Any]:
    """Return the keys of the SERIES record of the series at a place, counted from 1 (H-012)."""
    uid = {_SERIES_UID: {"vr": "UI", "Value": [series_instance_uid]}}
    return _keys("SERIES", {**attributes, **uid}, {_SERIES_NUMBER: place})


def instance_keys(kind: str, dataset: Dataset, place: int) -> dict[str, Any]:
    """Return the keys of the record of the instance at a place, counted from 1, of its series.

    Parameters
    ----------
    kind : str
        From `record_type`.
    dataset : DICOM JSON object
        The instance, as far as `LEAF_TAGS`.
    place : int
        Its number when it states none.

    Standard
    --------
    PS3.3 F.5.4 and following; PS3.11 D.3.3.1; checklist H-013, H-014, H-016.
    """
    if kind == "SR DOCUMENT" and (verified := _last_verification(dataset)):
        dataset = {**dataset, _VERIFIED: {"vr": "DT", "Value": [verified]}}
    return _keys(kind, dataset, {_INSTANCE_NUMBER: place})


def _keys(kind: str, dataset: Dataset, made_up: Mapping[str, Any]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for tag, vr, type_ in RECORDS[kind]:
        values = _usable(tag, vr, dataset.get(tag))
        if not values and type_ == "1":
            given = made_up.get(tag) or _MADE_UP.get(tag) or _MADE_UP_BY_VR.get(vr) or "UNKNOWN"
            values = [given]
        if values:
            keys[tag] = {"vr": vr, "Value": values}
        elif type_ == "2":
            keys[tag] = {"vr": vr}
    return keys


def _usable(tag: str, vr: str, attribute: Any) -> list[Any]:
    """Return the values of an attribute that can be keys; none when it is not of its VR."""
    values = attribute.get("Value") if isinstance(attribute, Mapping) and attribute.get("vr") == vr else None
    if not isinstance(values, list) or all(value in (None, "", {}) for value in values):
        return []
    if vr == "SQ":
        return _items(tag, values)
    if vr == "DA":
        return [day] if (day := stored_date(str(values[0]))) else []
    if vr == "TM":
        return [time] if (time := _time(str(values[0]))) else []
    if vr == "CS":
        codes = [str(value or "").strip().upper() for value in values]
        return codes if all(map(_CODE.fullmatch, codes)) else []
    if vr == "IS":
        texts = [str(value).strip() for value in values]
        return [int(text) for text in texts] if all(map(_INTEGER.fullmatch, texts)) else []
    return values


def _items(tag: str, items: list[Any]) -> list[Any]:
    items = [item for item in items if isinstance(item, Mapping)]
    if tag == _TITLE:
        return items[:1]
    if tag == _TREE:
        return [item for item in items if _first(item, _RELATIONSHIP) == "HAS CONCEPT MOD"]
    if kept := _ITEMS.get(tag):
        return [taken for item in items if (taken := _taken(item, kept))]
    return items


def _taken(item: Dataset, kept: tuple[str, ...]) -> dict[str, Any]:
    taken = {}
    for tag in kept:
        if values := _usable(tag, vr_of(tag) or "UN", item.get(tag)):
            taken[tag] = {"vr": vr_of(tag), "Value": values}
    return taken


def _time(text: str) -> str:
    """Return a TM value as it may be written today, empty when it is none."""
    normal = stored_time(text)
    if normal is None:
        return ""
    plain = text.strip(" \0")
    if _PLAIN_TIME.fullmatch(plain):
        return plain
    return normal[:6] if normal.endswith("000000") else f"{normal[:6]}.{normal[6:]}"


def _last_verification(dataset: Dataset) -> str:
    """Return when a document was verified last (F.5.25), as text; empty when nobody did."""
    observers = dataset.get(_OBSERVERS)
    items = observers.get("Value") if isinstance(observers, Mapping) else None
    found = [_first(item, _VERIFIED) for item in items or () if isinstance(item, Mapping)]
    return max((moment for moment in found if isinstance(moment, str)), default="")


def _first(dataset: Dataset, tag: str) -> Any:
    attribute = dataset.get(tag)
    values = attribute.get("Value") if isinstance(attribute, Mapping) else None
    return values[0] if isinstance(values, list) and values else None


def _short(uid: str) -> str:
    """Return 8 characters that stand for a UID."""
    return blake2b(uid.encode(), digest_size=4).hexdigest().upper()
