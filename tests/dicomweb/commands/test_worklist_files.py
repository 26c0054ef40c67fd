"""Worklist items in files: DICOM worklist files, DICOM JSON, tables."""

import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydicom.filewriter import dcmwrite

from dicomweb.importing.worklist_files import UnreadableFile, column_path, found, items_in
from storage.errors import InvalidDicom
from storage.worklist.item import WorklistItem, read_item
from tests.builders import dataset_of
from tests.storage.indexed import tag
from tests.storage.searching import values
from tests.storage.worklist_items import ITEM, STEP, item_dataset

TABLE = """patient_id,Patient Name,PATIENT-BIRTH-DATE,accession_number,scheduled_station_ae_title,\
scheduled_procedure_step_start_date,ScheduledProcedureStepStartTime,modality,\
scheduled_protocol_code_sequence.code_value,patient_weight
P1,"Yamada^Tarou=山田^太郎",1970-01-01,A1,CT1,2026-11-21,08:30,CT,CTABD,70.5
P1,"Yamada^Tarou=山田^太郎",1970-01-01,A1,CT2,2026-11-21,09:15,CT,,70.5

P2,Doe^Jane,,,MR1\\MR2,20261122,10,MR,,
"""


def read(path: Path) -> list[WorklistItem]:
    """The items of a file."""
    return [read_item(dataset, repeatable=True) for _, dataset in items_in(path)]


def worklist_file(**values: Any) -> bytes:
    """A DICOM worklist file without file meta information, as dump2dcm writes it."""
    stream = io.BytesIO()
    dataset = dataset_of({**ITEM, "ScheduledProcedureStepSequence": [STEP], **values})
    dcmwrite(stream, dataset, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return stream.getvalue()


def test_a_worklist_file_is_read_in_its_character_set(tmp_path: Path) -> None:
    """`.wl` files without file meta information are what wlmscpfs reads; their names are in (0008,0005)."""
    (tmp_path / "a.wl").write_bytes(worklist_file(SpecificCharacterSet="ISO_IR 126", PatientName="Διονυσιος"))
    (item,) = read(tmp_path / "a.wl")
    assert values(item.attributes, "PatientName") == [{"Alphabetic": "Διονυσιος"}]
    assert item.step_ids == ["SPS1"]


@pytest.mark.parametrize("wrap", [False, True])
def test_json_is_one_object_or_an_array(tmp_path: Path, wrap: bool) -> None:
    """A DICOM JSON file holds an item or an array of items."""
    value = [item_dataset(), item_dataset(PatientID="P2")] if wrap else item_dataset()
    (tmp_path / "a.json").write_bytes(orjson.dumps(value))
    assert [values(item.attributes, "PatientID") for item in read(tmp_path / "a.json")] == [["P1"], ["P2"]][: 1 + wrap]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_has_an_item_for_each_order(tmp_path: Path, delimiter: str) -> None:
    """Columns are keywords in any spelling; rows of one order are its steps; dates and times are made DICOM's."""
    (tmp_path / "a.csv").write_text(TABLE.replace(",", delimiter), "utf-8-sig")
    first, second = read(tmp_path / "a.csv")
    assert values(first.attributes, "PatientName") == [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]
    assert values(first.attributes, "PatientBirthDate") == ["19700101"]
    assert values(first.attributes, "PatientWeight") == [70.5]
    assert [step_id[:3] for step_id in first.step_ids] == ["A1-", "A1-"]
    assert len(set(first.step_ids)) == 2
    assert [row["start_at"][:12] for row in first.step_rows()] == ["202611210830", "202611210915"]
    assert values(values(first.steps[0], "ScheduledProtocolCodeSequence")[0], "CodeValue") == ["CTABD"]
    assert tag("ScheduledProtocolCodeSequence") not in first.steps[1]
    assert second.step_rows()[0]["station_ae_titles"] == ["MR1", "MR2"]
    assert [item.study_instance_uid for item in read(tmp_path / "a.csv")] == [
        first.study_instance_uid,
        second.study_instance_uid,
    ]


def test_one_order_number_of_two_patients_is_two_items(tmp_path: Path) -> None:
    """Nobody's exam is listed under the name of another because two hospitals count alike (G-140)."""
    other = TABLE.splitlines()[2].replace("P1", "P3").replace("CT1", "MR1")
    (tmp_path / "a.csv").write_text(TABLE + other, "utf-8")
    items = read(tmp_path / "a.csv")
    assert [(item.patient_id, len(item.steps)) for item in items] == [("P1", 2), ("P2", 1), ("P3", 1)]
    assert len({item.study_instance_uid for item in items}) == 3


def test_columns_of_the_step_need_no_sequence_before_them() -> None:
    """`modality` is that of the step; a path says which sequence is meant."""
    modality = (tag("ScheduledProcedureStepSequence"), tag("Modality"))
    assert column_path("modality") == modality
    assert column_path(" Scheduled Procedure Step Sequence.Modality ") == modality
    code_value = (tag("RequestedProcedureCodeSequence"), tag("CodeValue"))
    assert column_path("RequestedProcedureCodeSequence.CodeValue") == code_value


CLOCK_TIMES = [
    *(("08:30", "0830"), ("8:30", "0830"), ("9:15:05", "091505"), ("09:15:05.5", "091505.5"), ("0830", "0830")),
    *(("8:3", None), ("8", None), ("830", None), ("8.30", None), ("8:3:0", None), ("24:00", None), (":30", None)),
]


@pytest.mark.parametrize(("written", "kept"), CLOCK_TIMES)
def test_the_hour_of_a_time_with_colons_needs_no_leading_zero(tmp_path: Path, written: str, kept: str | None) -> None:
    """Spreadsheets write 8:30; what may be another time is refused."""
    steps = "scheduled_station_ae_title,scheduled_procedure_step_start_date,scheduled_procedure_step_start_time"
    (tmp_path / "a.csv").write_text(f"patient_id,patient_name,modality,{steps}\nP1,A,CT,CT1,2026-11-21,{written}\n")
    if kept is None:
        with pytest.raises(InvalidDicom, match="not a time"):
            read(tmp_path / "a.csv")
        return
    (item,) = read(tmp_path / "a.csv")
    assert values(item.steps[0], "ScheduledProcedureStepStartTime") == [kept]


def test_a_date_is_written_with_all_its_digits(tmp_path: Path) -> None:
    """2026-1-2 could be meant otherwise."""
    columns = "patient_id,patient_name,modality,scheduled_station_ae_title"
    start = "scheduled_procedure_step_start_date,scheduled_procedure_step_start_time"
    (tmp_path / "a.csv").write_text(f"{columns},{start}\nP1,A,CT,CT1,2026-1-2,8:30\n")
    with pytest.raises(InvalidDicom, match="not a date"):
        read(tmp_path / "a.csv")


UNREADABLE = [
    ("a.csv", b"patient\n1\n", "column 'patient'"),
    ("a.csv", b"scheduled_protocol_code_sequence\n1\n", "ScheduledProtocolCodeSequence.CodeValue"),
    ("a.csv", b"patient_id\n1,2\n", "line 2 has more values"),
    ("a.csv", b"patient_id\n\xff\n", "not UTF-8"),
    ("a.json", b"{", "not JSON"),
    ("a.wl", b"something else entirely, and long enough", "not a DICOM data set"),
    ("a.wl", b"", "not a DICOM data set"),
]


@pytest.mark.parametrize(("name", "data", "says"), UNREADABLE)
def test_a_file_that_is_none_of_them_is_refused_with_a_reason(
    tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    """What cannot be read says why (promise 7)."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UnreadableFile, match=says):
        items_in(tmp_path / name)


def test_a_value_that_is_no_number_is_refused(tmp_path: Path) -> None:
    """A weight in words is a mistake in the table, not zero."""
    (tmp_path / "a.csv").write_bytes(b"patient_weight\nheavy\n")
    with pytest.raises(UnreadableFile, match="not a number"):
        read(tmp_path / "a.csv")


def test_folders_are_read_for_what_may_hold_items(tmp_path: Path) -> None:
    """Lock files and the like in a folder are passed over; a file that is named is read whatever its name."""
    for name in ("b.wl", "a.json", "lockfile", "deep/c.CSV", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in found([tmp_path])] == ["a.json", "b.wl", "c.CSV"]
    assert list(found([tmp_path / "notes.txt"])) == [tmp_path / "notes.txt"]


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    """Whoever filled a folder does not choose what else of this machine is read; links within it are followed."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (folder / "a.json", tmp_path / "secret.json"):
        path.write_text("{}")
    (folder / "b.json").symlink_to("a.json")
    (folder / "c.json").symlink_to("../secret.json")
    assert [path.name for path in found([folder])] == ["a.json", "b.json"]
    assert list(found([folder / "c.json"])) == [folder / "c.json"], "what is named is read"
