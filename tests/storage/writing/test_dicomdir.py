"""The directory of media: its records, their keys and their offsets, read back by pydicom."""

import io
import re
import struct
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.fileset import DIRECTORY_RECORDERS

from storage.errors import LimitExceeded
from storage.writing import dicomdir
from storage.writing.dicomdir import DicomdirWriter, Leaf, file_id, file_ids
from storage.writing.directory_records import LEAF_TAGS, RECORDS, instance_keys, record_type, with_date
from tests.storage.indexed import dataset, tag

CT = "1.2.840.10008.5.1.4.1.1.2"
STORAGE = "1.2.840.10008.5.1.4.1.1."
EXPLICIT_LE = "1.2.840.10008.1.2.1"
FILE_ID = re.compile(r"[A-Z0-9_]{1,8}(/[A-Z0-9_]{1,8}){0,7}")

STUDY = dataset(
    StudyDate="20240115",
    StudyTime="101530",
    AccessionNumber="A1",
    StudyDescription="Phantom",
    PatientName="Doe^Jane",
    PatientID="P1",
    PatientBirthDate="19700203",
    PatientSex="F",
    StudyID="S1",
)
SERIES = dataset(Modality="CT", SeriesNumber=3, SeriesDescription="Axial")


def leaf(number: int = 1, sop_class: str = CT, *, series: int = 1, has_pixel_data: bool = True) -> Leaf:
    return Leaf(file_id(series, number), sop_class, f"1.2.3.{series}.{number}", EXPLICIT_LE, has_pixel_data)


def written(
    study: dict[str, Any] = STUDY,
    series: list[tuple[dict[str, Any], list[tuple[Leaf, dict[str, Any]]]]] | None = None,
) -> bytes:
    """A directory of a study, by default of one image."""
    file = io.BytesIO()
    writer = DicomdirWriter(file, "1.2.3", study)
    for number, (attributes, leaves) in enumerate(series or [(SERIES, [(leaf(), dataset(InstanceNumber=1))])], 1):
        writer.begin_series(f"1.2.3.{number}", attributes)
        for one, keys in leaves:
            writer.add(one, keys)
    writer.finish()
    return file.getvalue()


def read(data: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def records(data: bytes) -> dict[str, Dataset]:
    """The last record of each type."""
    return {record.DirectoryRecordType: record for record in read(data).DirectoryRecordSequence}


def record_of(kind_of: str, *, has_pixel_data: bool = False, **values: Any) -> Dataset:
    """The record of an instance of a class."""
    data = written(series=[(SERIES, [(leaf(1, kind_of, has_pixel_data=has_pixel_data), dataset(**values))])])
    return read(data).DirectoryRecordSequence[-1]


def test_it_is_a_dicom_file_of_its_class() -> None:
    """Zero preamble, Explicit LE, Media Storage Directory, the File-set UID as instance (H-001, H-005, H-006)."""
    data = written()
    directory = read(data)
    meta = directory.file_meta
    assert data[:132] == bytes(128) + b"DICM"
    assert meta.MediaStorageSOPClassUID == "1.2.840.10008.1.3.10" and meta.TransferSyntaxUID == EXPLICIT_LE
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.MediaStorageSOPInstanceUID.startswith("2.25.") and meta.MediaStorageSOPInstanceUID.is_valid
    assert directory.FileSetConsistencyFlag == 0
    assert re.fullmatch(r"[A-Z0-9_ ]{0,16}", directory.FileSetID)
    assert meta.FileMetaInformationGroupLength == struct.unpack_from("<L", data, 140)[0]


def test_the_file_set_uid_follows_from_the_records() -> None:
    """The same instances are the same File-set, others are another (H-005)."""
    one, same = read(written()), read(written())
    other = read(written(STUDY | dataset(AccessionNumber="A2")))
    uids = [directory.file_meta.MediaStorageSOPInstanceUID for directory in (one, same, other)]
    assert uids[0] == uids[1] != uids[2]


def test_offsets_chain_the_records_from_the_first_byte_of_the_file() -> None:
    """Every offset is where an item begins, siblings in order, 0 at the ends; all records are active (H-007, H-008)."""
    series = [
        (SERIES, [(leaf(number, series=place), dataset(InstanceNumber=number)) for number in range(1, count + 1)])
        for place, count in enumerate((3, 1, 2), 1)
    ]
    data = written(series=series)
    directory = read(data)
    at = {record.seq_item_tell: record for record in directory.DirectoryRecordSequence}
    for place in at:
        assert data[place : place + 4] == b"\xfe\xff\x00\xe0"

    def children(offset: int) -> list[Dataset]:
        found = []
        while offset:
            found.append(at[offset])
            offset = at[offset].OffsetOfTheNextDirectoryRecord
        return found

    first = directory.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity
    assert first == directory.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity
    (patient,) = children(first)
    (study,) = children(patient.OffsetOfReferencedLowerLevelDirectoryEntity)
    of_study = children(study.OffsetOfReferencedLowerLevelDirectoryEntity)
    leaves = [children(one.OffsetOfReferencedLowerLevelDirectoryEntity) for one in of_study]
    assert [record.DirectoryRecordType for record in (patient, study, *of_study)] == [
        "PATIENT",
        "STUDY",
        *["SERIES"] * 3,
    ]
    assert [[one.InstanceNumber for one in some] for some in leaves] == [[1, 2, 3], [1], [1, 2]]
    assert all(one.OffsetOfReferencedLowerLevelDirectoryEntity == 0 for some in leaves for one in some)
    assert all(record.RecordInUseFlag == 0xFFFF for record in at.values())
    assert len(at) == 5 + 6


def test_the_keys_of_patient_study_and_series() -> None:
    """Required keys, type 2 keys even if empty, and what readers show (H-010 to H-012)."""
    found = records(written({key: value for key, value in STUDY.items() if key != tag("StudyDescription")}))
    assert (found["PATIENT"].PatientName, found["PATIENT"].PatientID) == ("Doe^Jane", "P1")
    assert (found["PATIENT"].PatientBirthDate, found["PATIENT"].PatientSex) == ("19700203", "F")
    study = found["STUDY"]
    assert (study.StudyDate, study.StudyTime, study.StudyID) == ("20240115", "101530", "S1")
    assert (study.StudyInstanceUID, study.AccessionNumber, study.StudyDescription) == ("1.2.3", "A1", "")
    series = found["SERIES"]
    assert (series.Modality, series.SeriesInstanceUID, series.SeriesNumber) == ("CT", "1.2.3.1", 3)
    assert series.SeriesDescription == "Axial"


def test_an_image_names_its_file() -> None:
    """File ID by components, class, instance and transfer syntax; the keys of an image (H-004, H-009, H-013)."""
    image = record_of(
        CT,
        InstanceNumber=7,
        ImageType=["ORIGINAL", "PRIMARY"],
        ReferencedImageSequence=[
            {"ReferencedSOPClassUID": CT, "ReferencedSOPInstanceUID": "1.9", "ReferencedFrameNumber": [1, 3]}
        ],
        PixelSpacing=[0.5, 0.25],
    )
    assert image.DirectoryRecordType == "IMAGE" and image.InstanceNumber == 7
    assert list(image.ReferencedFileID) == ["DICOM", "S0000001", "I0000001"]
    assert image.ReferencedSOPClassUIDInFile == CT and image.ReferencedSOPInstanceUIDInFile == "1.2.3.1.1"
    assert image.ReferencedTransferSyntaxUIDInFile == EXPLICIT_LE
    assert list(image.ImageType) == ["ORIGINAL", "PRIMARY"] and list(image.PixelSpacing) == [0.5, 0.25]
    assert list(image.ReferencedImageSequence[0].ReferencedFrameNumber) == [1, 3]


def test_file_ids_fit_every_disc() -> None:
    """Components of at most 8 capitals, digits and underscores, unique, one folder a series (H-003, H-021)."""
    ids = list(file_ids(["1.1"] * 3 + ["1.2"] + ["1.3"] * 2))
    assert len(set(ids)) == 6 and all(map(FILE_ID.fullmatch, ids))
    assert [one.rpartition("/")[0] for one in ids] == ["DICOM/S0000001"] * 3 + ["DICOM/S0000002"] + [
        "DICOM/S0000003"
    ] * 2
    assert FILE_ID.fullmatch(file_id(9_999_999, 9_999_999))
    with pytest.raises(LimitExceeded):
        file_id(1, 10_000_000)


def test_missing_values_are_made_up_in_the_directory_only() -> None:
    """A key of type 1 always has a value; two patients without ID do not become one (H-014; PS3.11 D.3.3.1)."""
    leaves = [(leaf(number), {}) for number in (1, 2)]
    found = read(written({}, [({}, leaves), ({}, [(leaf(1, series=2), {})])])).DirectoryRecordSequence
    patient, study, series, _, second, other, _ = found
    assert patient.PatientID.startswith("UNKNOWN-") and patient.PatientName == ""
    assert (study.StudyDate, study.StudyTime) == ("19000101", "000000") and study.StudyID
    assert (series.Modality, series.SeriesNumber, other.SeriesNumber) == ("OT", 1, 2)
    assert second.InstanceNumber == 2
    file = io.BytesIO()
    DicomdirWriter(file, "1.2.4", {}).finish()
    assert records(file.getvalue())["PATIENT"].PatientID != patient.PatientID


def test_a_date_of_the_first_instance_stands_in() -> None:
    """A study without a date of its own gets the earliest fact there is of it, and never half a date."""
    first = dataset(StudyDate="00000000", AcquisitionDate="20200617", AcquisitionTime="1225", ContentDate="20210101")
    known = with_date(dataset(StudyDate=[], StudyTime="08"), first)
    assert (known[tag("StudyDate")]["Value"], known[tag("StudyTime")]["Value"]) == (["20200617"], ["1225"])
    assert with_date(STUDY, first)[tag("StudyDate")]["Value"] == ["20240115"]
    assert tag("StudyDate") not in with_date(dataset(StudyDate="soon"), {})


def test_values_are_written_as_the_standard_wants_them_today() -> None:
    """Dates and times of ACR-NEMA are rewritten, codes are capitals; what is none of its VR is as good as absent."""
    old = dataset(StudyDate="1994.01.30", StudyTime="11:25:01", StudyID="S1", PatientSex="?!", PatientBirthDate="0000")
    found = records(written(old, [(dataset(Modality="ct", SeriesNumber="3a"), [(leaf(), dataset(ImageType=["A/B"]))])]))
    assert (found["STUDY"].StudyDate, found["STUDY"].StudyTime) == ("19940130", "112501")
    assert "PatientSex" not in found["PATIENT"] and "PatientBirthDate" not in found["PATIENT"]
    assert (found["SERIES"].Modality, found["SERIES"].SeriesNumber) == ("CT", 1)
    assert "ImageType" not in found["IMAGE"]


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("Doe^Jane", None),
        ("Müller^Jörg", "ISO_IR 100"),
        ("Люкceмбypг", "ISO_IR 192"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "ISO_IR 192"),
        ("김희중", "ISO_IR 192"),
    ],
)
def test_records_beyond_ascii_say_their_character_set(name: str, terms: str | None) -> None:
    """Specific Character Set is in every record that needs one and in no other (H-017)."""
    found = records(written(STUDY | dataset(PatientName=name), [(SERIES, [(leaf(), {})])]))
    assert str(found["PATIENT"].PatientName) == name
    assert found["PATIENT"].get("SpecificCharacterSet") == terms
    assert all("SpecificCharacterSet" not in record for kind, record in found.items() if kind != "PATIENT")


KINDS = {
    CT: "IMAGE",
    f"{STORAGE}77.1.6": "IMAGE",
    f"{STORAGE}66.4": "IMAGE",
    f"{STORAGE}481.1": "IMAGE",
    f"{STORAGE}481.2": "RT DOSE",
    f"{STORAGE}481.3": "RT STRUCTURE SET",
    f"{STORAGE}481.5": "RT PLAN",
    f"{STORAGE}481.8": "RT PLAN",
    f"{STORAGE}481.9": "RT TREAT RECORD",
    f"{STORAGE}481.10": "RADIOTHERAPY",
    f"{STORAGE}11.1": "PRESENTATION",
    f"{STORAGE}11.12": "PRESENTATION",
    f"{STORAGE}131": "PRESENTATION",
    f"{STORAGE}9.1.1": "WAVEFORM",
    f"{STORAGE}9.8.1": "WAVEFORM",
    f"{STORAGE}88.11": "SR DOCUMENT",
    f"{STORAGE}88.77": "SR DOCUMENT",
    f"{STORAGE}78.6": "SR DOCUMENT",
    f"{STORAGE}88.59": "KEY OBJECT DOC",
    f"{STORAGE}4.2": "SPECTROSCOPY",
    f"{STORAGE}66": "RAW DATA",
    f"{STORAGE}66.1": "REGISTRATION",
    f"{STORAGE}66.3": "REGISTRATION",
    f"{STORAGE}66.2": "FIDUCIAL",
    f"{STORAGE}66.5": "SURFACE",
    f"{STORAGE}66.6": "TRACT",
    f"{STORAGE}67": "VALUE MAP",
    f"{STORAGE}68.1": "SURFACE SCAN",
    f"{STORAGE}77.1.5.3": "STEREOMETRIC",
    f"{STORAGE}78.1": "MEASUREMENT",
    f"{STORAGE}90.1": "ASSESSMENT",
    f"{STORAGE}91.1": "ANNOTATION",
    f"{STORAGE}104.1": "ENCAP DOC",
    "1.2.840.10008.5.1.4.34.7": "PLAN",
}


@pytest.mark.parametrize(("sop_class", "kind"), KINDS.items())
def test_the_record_follows_from_the_class(sop_class: str, kind: str) -> None:
    """Each SOP class has its kind of record, with a value for every key that must have one (H-015, H-016)."""
    record = record_of(sop_class, has_pixel_data=kind == "IMAGE")
    assert record.DirectoryRecordType == kind
    missing = [key.tag for key in RECORDS[kind] if key.type == "1" and not record[int(key.tag, 16)].value]
    assert missing == []
    assert all(int(key.tag, 16) in record for key in RECORDS[kind] if key.type == "2")


def test_the_kinds_are_those_pydicom_knows() -> None:
    """No kind of record is missing that an instance of a patient can have (PS3.3 F.4)."""
    of_no_patient = {"HANGING PROTOCOL", "PALETTE", "IMPLANT", "IMPLANT ASSY", "IMPLANT GROUP"}
    assert set(DIRECTORY_RECORDERS) - of_no_patient <= set(RECORDS)
    assert set(KINDS.values()) == set(RECORDS) - {"PATIENT", "STUDY", "SERIES", "PRIVATE"}


def test_what_no_record_is_meant_for_is_private() -> None:
    """A private class with pixel data is an IMAGE, one without a PRIVATE record with the UID that says so (F.3.2.2)."""
    siemens = "1.3.12.2.1107.5.9.1"
    record = record_of(siemens)
    assert (record.DirectoryRecordType, record.PrivateRecordUID.is_valid) == ("PRIVATE", True)
    assert record_type(siemens, has_pixel_data=True) == "IMAGE"
    assert record_type(CT, has_pixel_data=False) == "IMAGE"
    assert record_of(f"{STORAGE}200.2").DirectoryRecordType == "PRIVATE"


def test_a_report_has_what_modifies_its_title_and_when_it_was_verified() -> None:
    """Content items other than HAS CONCEPT MOD stay out; the last verification counts (PS3.3 F.5.25)."""
    code = {"CodeValue": "1", "CodingSchemeDesignator": "99X", "CodeMeaning": "Befund"}
    record = record_of(
        f"{STORAGE}88.11",
        InstanceNumber=1,
        CompletionFlag="COMPLETE",
        VerificationFlag="VERIFIED",
        ContentDate="20240116",
        ContentTime="08",
        ConceptNameCodeSequence=[code],
        ContentSequence=[
            {"RelationshipType": "CONTAINS", "ValueType": "TEXT", "TextValue": "all of it"},
            {"RelationshipType": "HAS CONCEPT MOD", "ValueType": "CODE", "ConceptNameCodeSequence": [code]},
        ],
        VerifyingObserverSequence=[
            {"VerificationDateTime": "20240117101500"},
            {"VerificationDateTime": "20240118"},
            {"VerifyingOrganization": "none"},
        ],
    )
    assert record.VerificationDateTime == "20240118"
    assert [item.RelationshipType for item in record.ContentSequence] == ["HAS CONCEPT MOD"]
    assert record.ConceptNameCodeSequence[0].CodeMeaning == "Befund"
    assert (record.CompletionFlag, record.VerificationFlag) == ("COMPLETE", "VERIFIED")
    assert "VerifyingObserverSequence" not in record


def test_a_presentation_state_names_the_images_it_applies_to() -> None:
    """Series and images, and of a blending both inputs, without what they are shown with (PS3.3 F.5.23)."""
    images = [{"ReferencedSOPClassUID": CT, "ReferencedSOPInstanceUID": "1.9", "PurposeOfReferenceCodeSequence": []}]
    series = [{"SeriesInstanceUID": "1.8", "ReferencedImageSequence": images}]
    record = record_of(
        f"{STORAGE}11.4",
        ContentLabel="SOFT",
        PresentationCreationDate="20240115",
        PresentationCreationTime="101530",
        ReferencedSeriesSequence=series,
        BlendingSequence=[
            {"StudyInstanceUID": "1.7", "ReferencedSeriesSequence": series, "WindowCenter": [1.5]} for _ in range(2)
        ],
    )
    assert record.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.9"
    assert [sorted(element.keyword for element in item) for item in record.BlendingSequence] == [
        ["ReferencedSeriesSequence", "StudyInstanceUID"]
    ] * 2


HOSTILE = [
    None,
    "text",
    {},
    {"vr": "IS"},
    {"vr": "UN", "InlineBinary": "AAEC"},
    {"vr": "IS", "BulkDataURI": "00200013"},
    {"vr": "IS", "Value": "7"},
    {"vr": "IS", "Value": [None, {}]},
    {"vr": "IS", "Value": ["9" * 40]},
]


@pytest.mark.parametrize("attribute", HOSTILE, ids=str)
def test_odd_values_cost_only_themselves(attribute: Any) -> None:
    """Whatever the index has of an instance, its record is there and can be read."""
    keys = {tag("InstanceNumber"): attribute, tag("ImageType"): {"vr": "CS", "Value": ["ORIGINAL"]}}
    record = read(written(series=[(SERIES, [(leaf(), keys)])])).DirectoryRecordSequence[-1]
    assert (record.InstanceNumber, record.ImageType) == (1, "ORIGINAL")


def test_what_cannot_be_written_is_left_out() -> None:
    """A reference to bulk data deep in a sequence, or a number that is none, does not spoil the directory."""
    far = {"vr": "UT", "BulkDataURI": "0040A730/1/0040A160"}
    item = dataset(RelationshipType="HAS CONCEPT MOD", TextValue=far)
    keys = dataset(InstanceNumber=5) | {tag("ContentSequence"): {"vr": "SQ", "Value": [item]}}
    record = read(written(series=[(SERIES, [(leaf(1, f"{STORAGE}88.11"), keys)])])).DirectoryRecordSequence[-1]
    assert record.InstanceNumber == 5 and "ContentSequence" not in record
    image = record_of(CT, InstanceNumber=6, Rows={"vr": "US", "Value": ["many"]}, Columns=8)
    assert (image.InstanceNumber, image.Columns) == (6, 8) and "Rows" not in image


def test_instances_are_asked_for_nothing_large() -> None:
    """What the index reads ends before the functional groups, where it cuts (sql/dicomdir.sql)."""
    assert max(LEAF_TAGS) < tag("SharedFunctionalGroupsSequence") < tag("PerFrameFunctionalGroupsSequence")
    assert set(instance_keys("IMAGE", dataset(InstanceNumber=1), 1)) <= set(LEAF_TAGS)


def test_a_directory_of_more_than_four_gib_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An offset that has no room is never written (PS3.3 F.3.2.2)."""
    monkeypatch.setattr(dicomdir, "_LAST_OFFSET", 1000)
    with pytest.raises(LimitExceeded):
        written(series=[(SERIES, [(leaf(number), {}) for number in range(1, 9)])])
