"""THE TABLE: which attributes belong to which level, how they are indexed and when a search returns them.

Tag and VR of a keyword come from pydicom's dictionary, and the VR decides how the attribute is matched
(`storage/matching/conditions.py`). An attribute that is not listed belongs to the instance; it is matched and returned
from the instance's metadata.

Standard: PS3.18 Tables 10.6.1-5 and 10.6.3-3 to 10.6.3-5; PS3.4 C.3.4, C.6.1.1, C.6.2.1; the modules of
PS3.3 C.7.1 to C.7.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, Literal

from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

from storage.dicom.json_values import clean, values_of
from storage.errors import InvalidQuery
from storage.matching.date_time import stored_date, stored_time
from storage.matching.person_name import component_groups
from storage.matching.search_text import clip, grams, normal

Tag8 = str
"""A tag as the DICOM JSON Model writes it: 8 upper-case hexadecimal digits (PS3.18 F.2.2)."""

_DEEPEST = 32
"""Attributes that a path joins: more than any data set of a device nests."""

Return = Literal["R", "C", "U"]
"""Returned by default: required, if known, or as the unique key of its level (PS3.18 10.6.3.3)."""


class Level(IntEnum):
    """A level of the Query/Retrieve Information Model; higher levels compare as smaller (PS3.4 C.6.1.1)."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3


@dataclass(frozen=True, slots=True)
class Attribute:
    """What the archive knows about an attribute.

    Attributes
    ----------
    keyword : str
        Keyword of PS3.6.
    level : Level
        The entity it describes.
    column : str or None
        Column of the table of its level (of `studies` for PATIENT) that matching and sorting use; without one it is
        matched in the table's `attributes`.
    returned : "R", "C", "U" or None
        Whether searches at its level return it unasked.
    gram : str or None
        The letter that tags its trigrams in `studies.grams`.
    computed : bool
        Whether its value comes from columns, not from the stored data set.
    """

    keyword: str
    level: Level
    column: str | None = None
    returned: Return | None = None
    gram: str | None = None
    computed: bool = False

    @property
    def tag(self) -> Tag8:
        """Its tag."""
        return tag_of(self.keyword)

    @property
    def vr(self) -> str:
        """Its VR; of two possible ones the first."""
        return vr_of(self.tag) or "UN"


@lru_cache(maxsize=4096)
def tag_of(keyword: str) -> Tag8:
    """Return the tag of a keyword of PS3.6; KeyError when there is none (keywords are case-sensitive)."""
    number = tag_for_keyword(keyword) if keyword else None  # attributes without a keyword have the empty one
    if number is None:
        raise KeyError(keyword)
    return f"{number:08X}"


@lru_cache(maxsize=4096)
def vr_of(tag: Tag8) -> str | None:
    """Return the VR of a tag of PS3.6, the first of two possible ones; None when the dictionary has no such tag."""
    try:
        vr = str(dictionary_VR(int(tag, 16)))
    except KeyError:
        return None
    return None if vr == "NONE" else vr.split(" or ")[0]


@lru_cache(maxsize=4096)
def has_several_values(tag: Tag8) -> bool:
    """Whether PS3.6 defines a tag's value multiplicity greater than 1; False when the dictionary has no such tag."""
    try:
        return dictionary_VM(int(tag, 16)) != "1"
    except KeyError:
        return False


_PATIENT = (
    Attribute("PatientName", Level.PATIENT, "patient_name", "R", gram="N"),
    Attribute("PatientID", Level.PATIENT, "patient_id", "R", gram="I"),
    Attribute("IssuerOfPatientID", Level.PATIENT, "issuer_of_patient_id"),
    Attribute("PatientBirthDate", Level.PATIENT, "patient_birth_date", "R"),
    Attribute("PatientSex", Level.PATIENT, "patient_sex", "R"),
    Attribute("NumberOfPatientRelatedStudies", Level.PATIENT, computed=True),
    Attribute("NumberOfPatientRelatedSeries", Level.PATIENT, computed=True),
    Attribute("NumberOfPatientRelatedInstances", Level.PATIENT, computed=True),
)

_STUDY = (
    Attribute("StudyInstanceUID", Level.STUDY, "study_instance_uid", "U", computed=True),
    Attribute("StudyDate", Level.STUDY, "study_date", "R"),
    Attribute("StudyTime", Level.STUDY, "study_time", "R"),
    Attribute("AccessionNumber", Level.STUDY, "accession_number", "R", gram="A"),
    Attribute("InstanceAvailability", Level.STUDY, None, "C", computed=True),
    Attribute("ModalitiesInStudy", Level.STUDY, "modalities", "R", computed=True),
    Attribute("ReferringPhysicianName", Level.STUDY, "referring_physician_name", "R", gram="R"),
    Attribute("TimezoneOffsetFromUTC", Level.STUDY, None, "C"),
    Attribute("StudyID", Level.STUDY, "study_id", "R"),
    Attribute("StudyDescription", Level.STUDY, "study_description", gram="D"),
    Attribute("SOPClassesInStudy", Level.STUDY, "sop_classes", computed=True),
    Attribute("NumberOfStudyRelatedSeries", Level.STUDY, "number_of_series", "R", computed=True),
    Attribute("NumberOfStudyRelatedInstances", Level.STUDY, "number_of_instances", "R", computed=True),
)

_SERIES = (
    Attribute("SeriesInstanceUID", Level.SERIES, "series_instance_uid", "U", computed=True),
    Attribute("Modality", Level.SERIES, "modality", "R"),
    Attribute("TimezoneOffsetFromUTC", Level.SERIES, None, "C"),
    Attribute("SeriesDescription", Level.SERIES, "series_description", "C"),
    Attribute("SeriesNumber", Level.SERIES, "series_number", "R"),
    Attribute("NumberOfSeriesRelatedInstances", Level.SERIES, "number_of_instances", "R", computed=True),
    Attribute("BodyPartExamined", Level.SERIES, "body_part_examined"),
    Attribute("PerformedProcedureStepStartDate", Level.SERIES, "performed_procedure_step_start_date", "C"),
    Attribute("PerformedProcedureStepStartTime", Level.SERIES, "performed_procedure_step_start_time", "C"),
    Attribute("RequestAttributesSequence", Level.SERIES, None, "C"),
)

_IMAGE = (
    Attribute("SOPInstanceUID", Level.IMAGE, "sop_instance_uid", "U", computed=True),
    Attribute("SOPClassUID", Level.IMAGE, "sop_class_uid", "R", computed=True),
    Attribute("InstanceAvailability", Level.IMAGE, None, "C", computed=True),
    Attribute("TimezoneOffsetFromUTC", Level.IMAGE, None, "C"),
    Attribute("InstanceNumber", Level.IMAGE, "instance_number", "R"),
    Attribute("Rows", Level.IMAGE, None, "C"),
    Attribute("Columns", Level.IMAGE, None, "C"),
    Attribute("BitsAllocated", Level.IMAGE, None, "C"),
    Attribute("NumberOfFrames", Level.IMAGE, None, "C"),
    Attribute("AvailableTransferSyntaxUID", Level.IMAGE, "transfer_syntax_uid", computed=True),
)

# The other attributes of the modules of each entity: kept in the table's `attributes`, matched there, returned on
# request (C-098).
_OTHERS: dict[Level, str] = {
    Level.PATIENT: """
        TypeOfPatientID IssuerOfPatientIDQualifiersSequence SourcePatientGroupIdentificationSequence
        GroupOfPatientsIdentificationSequence ReferencedPatientSequence PatientBirthTime
        PatientBirthDateInAlternativeCalendar PatientDeathDateInAlternativeCalendar PatientAlternativeCalendar
        QualityControlSubject OtherPatientIDs OtherPatientIDsSequence OtherPatientNames PatientBirthName
        PatientMotherBirthName ReferencedPatientPhotoSequence EthnicGroup EthnicGroupCodeSequence PatientComments
        PatientSpeciesDescription PatientSpeciesCodeSequence PatientBreedDescription PatientBreedCodeSequence
        BreedRegistrationSequence StrainDescription StrainNomenclature StrainCodeSequence StrainAdditionalInformation
        StrainStockSequence GeneticModificationsSequence ResponsiblePerson ResponsiblePersonRole
        ResponsibleOrganization PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence
        PatientAddress PatientTelephoneNumbers PatientTelecomInformation MilitaryRank BranchOfService
        CountryOfResidence RegionOfResidence PatientReligiousPreference PatientInsurancePlanCodeSequence
        PatientPrimaryLanguageCodeSequence MedicalRecordLocator ClinicalTrialSponsorName ClinicalTrialProtocolID
        ClinicalTrialProtocolName IssuerOfClinicalTrialProtocolID OtherClinicalTrialProtocolIDsSequence
        ClinicalTrialSiteID IssuerOfClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSubjectID
        IssuerOfClinicalTrialSubjectID ClinicalTrialSubjectReadingID IssuerOfClinicalTrialSubjectReadingID
        ClinicalTrialProtocolEthicsCommitteeName ClinicalTrialProtocolEthicsCommitteeApprovalNumber""",
    Level.STUDY: """
        IssuerOfAccessionNumberSequence ReferringPhysicianIdentificationSequence ReferringPhysicianAddress
        ReferringPhysicianTelephoneNumbers ConsultingPhysicianName ConsultingPhysicianIdentificationSequence
        PhysiciansOfRecord PhysiciansOfRecordIdentificationSequence NameOfPhysiciansReadingStudy
        PhysiciansReadingStudyIdentificationSequence RequestingService RequestingServiceCodeSequence
        ReferencedStudySequence ProcedureCodeSequence ReasonForPerformedProcedureCodeSequence
        AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence PatientAge PatientSize PatientWeight
        PatientBodyMassIndex MeasuredAPDimension MeasuredLateralDimension PatientSizeCodeSequence MedicalAlerts
        Allergies SmokingStatus PregnancyStatus LastMenstrualDate PatientState Occupation AdditionalPatientHistory
        AdmissionID IssuerOfAdmissionIDSequence ServiceEpisodeID IssuerOfServiceEpisodeIDSequence
        ServiceEpisodeDescription PatientSexNeutered ReasonForVisit ReasonForVisitCodeSequence CurrentPatientLocation
        PatientInstitutionResidence SpecialNeeds ClinicalTrialTimePointID IssuerOfClinicalTrialTimePointID
        ClinicalTrialTimePointDescription LongitudinalTemporalOffsetFromEvent LongitudinalTemporalEventType
        ConsentForClinicalTrialUseSequence""",
    Level.SERIES: """
        Laterality SeriesDate SeriesTime PerformingPhysicianName PerformingPhysicianIdentificationSequence
        ProtocolName SeriesDescriptionCodeSequence OperatorsName OperatorIdentificationSequence
        ReferencedPerformedProcedureStepSequence RelatedSeriesSequence PatientPosition SmallestPixelValueInSeries
        LargestPixelValueInSeries PerformedProcedureStepID PerformedProcedureStepEndDate PerformedProcedureStepEndTime
        PerformedProcedureStepDescription PerformedProtocolCodeSequence CommentsOnThePerformedProcedureStep
        AnatomicalOrientationType TreatmentSessionUID ClinicalTrialCoordinatingCenterName ClinicalTrialSeriesID
        IssuerOfClinicalTrialSeriesID ClinicalTrialSeriesDescription Manufacturer InstitutionName InstitutionAddress
        StationName InstitutionalDepartmentName InstitutionalDepartmentTypeCodeSequence ManufacturerModelName
        DeviceSerialNumber DeviceUID UDISequence SoftwareVersions GantryID SpatialResolution DateOfLastCalibration
        TimeOfLastCalibration ManufacturerDeviceClassUID DateOfManufacture DateOfInstallation FrameOfReferenceUID
        PositionReferenceIndicator SynchronizationFrameOfReferenceUID""",
}

ATTRIBUTES: tuple[Attribute, ...] = (
    *_PATIENT,
    *_STUDY,
    *_SERIES,
    *_IMAGE,
    *(Attribute(keyword, level) for level, keywords in _OTHERS.items() for keyword in keywords.split()),
)
"""The table. TimezoneOffsetFromUTC and InstanceAvailability are known at several levels; the rest once."""

BY_LEVEL: Mapping[Level, Mapping[Tag8, Attribute]] = {
    level: {attribute.tag: attribute for attribute in ATTRIBUTES if attribute.level is level} for level in Level
}

REQUEST_ATTRIBUTES_RETURNED: tuple[Tag8, ...] = (
    tag_of("ScheduledProcedureStepID"),
    tag_of("RequestedProcedureID"),
)
"""What is required in each item of the Request Attributes Sequence (PS3.18 Table 10.6.3-4)."""

RETRIEVE_URL = tag_of("RetrieveURL")
"""Returned at every level (R, C-078); whoever knows the base URL adds it."""


def attribute_of(tag: Tag8, level: Level = Level.IMAGE) -> Attribute | None:
    """Return what the table says about a tag, at `level` if it is known there, else at the nearest one above."""
    for candidate in sorted((known for known in Level if known <= level), reverse=True):
        if attribute := BY_LEVEL[candidate].get(tag):
            return attribute
    for candidate in Level:
        if attribute := BY_LEVEL[candidate].get(tag):
            return attribute
    return None


def level_of(tag: Tag8, level: Level = Level.IMAGE) -> Level:
    """Return the level an attribute belongs to, seen from a query at `level`; what is not listed is of the image."""
    attribute = attribute_of(tag, level)
    return attribute.level if attribute else Level.IMAGE


def parse_path(text: str) -> tuple[Tag8, ...] | None:
    """Read an attribute identifier: keywords and 8-digit tags of any case, joined by dots.

    Returns
    -------
    tuple of str
        The tags from the outermost sequence inwards; None when a part is neither a tag nor a keyword of PS3.6.

    Raises
    ------
    InvalidQuery
        There are more parts than `_DEEPEST`.

    Standard
    --------
    PS3.18 8.3.4.1.
    """
    tags: list[Tag8] = []
    for part in text.split("."):
        if len(part) == 8 and all(digit in "0123456789abcdefABCDEF" for digit in part):
            tags.append(part.upper())
            continue
        try:
            tags.append(tag_of(part))
        except KeyError:
            return None
    if len(tags) > _DEEPEST:
        raise InvalidQuery(f"{tags[0]}.{tags[1]}...: at most {_DEEPEST} attributes are joined by dots")
    return tuple(tags)


def columns(level: Level, dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Compute the matching columns of a row.

    Parameters
    ----------
    level : Level
        STUDY, SERIES or IMAGE (PATIENT columns are part of STUDY).
    dataset : mapping
        DICOM JSON object of an instance; odd values are as good as absent.

    Returns
    -------
    dict
        Column name to value; counters and UIDs are not among them.
    """
    row: dict[str, Any] = {}
    for known in _levels_of_row(level):
        for tag, attribute in BY_LEVEL[known].items():
            if attribute.column and not attribute.computed:
                row[attribute.column] = _column(attribute.vr, values_of(dataset.get(tag)))
    if level is Level.STUDY:
        row["grams"] = sorted(
            {
                gram
                for attribute in (*_PATIENT, *_STUDY)
                if attribute.gram and attribute.column
                for gram in grams(attribute.gram, row[attribute.column] or ())
            }
        )
        row["sort_key"] = (row["study_date"] + (row["study_time"] or "")) if row["study_date"] else ""
    return row


def select(level: Level, dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the attributes that describe `level` and make them fit for a jsonb column.

    Parameters
    ----------
    level : Level
        STUDY (with the patient's), SERIES or IMAGE (what instance searches return by default).
    dataset : mapping
        DICOM JSON object of an instance.

    Returns
    -------
    dict
        DICOM JSON object without values that are elsewhere (BulkDataURI), without what jsonb cannot hold.
    """
    chosen: dict[str, Any] = {}
    for known in _levels_of_row(level):
        for tag, attribute in BY_LEVEL[known].items():
            element = dataset.get(tag)
            if isinstance(element, dict) and not attribute.computed and "BulkDataURI" not in element:
                chosen[tag] = clean(element)
    return dict(sorted(chosen.items()))


def _levels_of_row(level: Level) -> tuple[Level, ...]:
    return (Level.PATIENT, Level.STUDY) if level is Level.STUDY else (level,)


def _column(vr: str, values: list[Any]) -> Any:
    """Return the value of a column: names as their groups, numbers as integers, everything else as text or None."""
    if vr == "PN":
        return component_groups(values[0]) if values else []
    if vr == "IS":
        return next((number for number in map(_integer, values) if number is not None), None)
    texts = [value for value in values if isinstance(value, str)]
    if vr in ("DA", "TM"):
        convert = stored_date if vr == "DA" else stored_time
        return next((found for found in map(convert, texts) if found), None)
    # A backslash in an attribute of one value is part of it: then all of it can be found.
    return clip(normal(vr, "\\".join(texts))) or None


def _integer(value: Any) -> int | None:
    try:
        number = int(value) if not isinstance(value, float) or value.is_integer() else None
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and -(2**63) <= number < 2**63 else None
