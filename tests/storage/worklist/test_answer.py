"""What a worklist answer holds, and in which letters (PS3.4 K.4.1.1.3.2)."""

from typing import Any

import pytest

from storage.dicom.text_encoder import text_encoder
from storage.worklist.answer import answer, converted
from tests.storage.indexed import dataset, tag
from tests.storage.searching import values
from tests.storage.worklist_items import item, step

ITEM = item(step(ScheduledProtocolCodeSequence=[{"CodeValue": "A"}, {"CodeValue": "B", "CodeMeaning": "b"}])).dataset


def test_an_answer_has_what_was_asked_for_and_no_more() -> None:
    """Only requested attributes come, each of them, empty when it is not known (G-148, G-145)."""
    asked = dataset(
        PatientName="*",
        PatientID=[],
        AdmissionID=[],
        ScheduledProcedureStepSequence=[{"Modality": [], "PreMedication": []}],
    )
    chosen, complete = answer(asked, ITEM)
    assert complete
    assert chosen == dataset(
        PatientName="Doe^Jane",
        PatientID="P1",
        AdmissionID=[],
        ScheduledProcedureStepSequence=[{"Modality": "CT", "PreMedication": []}],
    )


@pytest.mark.parametrize("empty", [[], [{}]])
def test_an_empty_sequence_comes_with_all_that_is_known(empty: list[Any]) -> None:
    """A step asked for as a whole has every type 1 and 2 attribute, and whatever else is kept (G-149)."""
    chosen, _ = answer(dataset(ScheduledProcedureStepSequence=empty), ITEM)
    (found,) = values(chosen, "ScheduledProcedureStepSequence")
    assert values(found, "ScheduledProcedureStepID") == ["SPS1"]
    assert values(found, "ScheduledStationName") == []
    assert [values(code, "CodeValue") for code in values(found, "ScheduledProtocolCodeSequence")] == [["A"], ["B"]]


def test_every_item_of_a_sequence_comes_with_what_was_asked_for() -> None:
    """Several protocol codes are several items, each cut down to the keys (K.4.1.1.3.2)."""
    inner = {"ScheduledProtocolCodeSequence": [{"CodeMeaning": []}]}
    chosen, _ = answer(dataset(ScheduledProcedureStepSequence=[inner]), ITEM)
    (found,) = values(chosen, "ScheduledProcedureStepSequence")
    assert values(found, "ScheduledProtocolCodeSequence") == [dataset(CodeMeaning=[]), dataset(CodeMeaning="b")]


def test_attributes_nobody_knows_are_left_out() -> None:
    """A private attribute the item has not is no part of the answer, which is then incomplete (G-151)."""
    chosen, complete = answer(dataset(PatientID=[]) | {"00091010": {"vr": "UN"}}, ITEM)
    assert (chosen, complete) == (dataset(PatientID="P1"), False)


def test_how_the_query_is_to_be_read_is_not_answered() -> None:
    """Level and character set of the request are no keys (G-140, G-076)."""
    chosen, _ = answer(dataset(QueryRetrieveLevel="WORKLIST", SpecificCharacterSet="ISO_IR 100", PatientID=[]), ITEM)
    assert chosen == dataset(PatientID="P1")


LETTERS = [
    ("ISO_IR 100", "Wałęsa^Łukasz", "Walesa^Lukasz"),
    ("ISO_IR 100", "Buc^Jérôme", "Buc^Jérôme"),
    ("ISO_IR 101", "Wałęsa^Łukasz", "Wałęsa^Łukasz"),
    ("ISO_IR 100", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada^Tarou"),
    ("ISO_IR 100", "Διονυσιος", "?????????"),
    ("ISO_IR 6", "Müller^Groß", "Muller^Gross"),
    ("ISO_IR 100", "홍길동", "???"),
    ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎", "Yamada^Tarou=山田^太郎"),
    ("ISO_IR 192", "Διονυσιος", "Διονυσιος"),
    ("GBK", "Łuk^Anna", "Luk^Anna"),
    ("GBK", "Li^Lei=李^雷", "Li^Lei=李^雷"),
    ("GB18030", "Łuk^Anna", "Łuk^Anna"),
]


@pytest.mark.parametrize(("character_set", "name", "expected"), LETTERS)
def test_names_are_cut_down_to_the_letters_of_the_modality(character_set: str, name: str, expected: str) -> None:
    """What cannot be said loses accents, then groups, then letters; the rest stays as it is (G-154)."""
    found = converted(dataset(PatientName=name), text_encoder(character_set))
    assert found == dataset(PatientName=expected)


def test_text_within_sequences_is_cut_down_too() -> None:
    """Descriptions and codes are text like names; codes of other VRs are not touched (G-154)."""
    given = dataset(
        RequestedProcedureDescription="Schädel-CT",
        RequestedProcedureCodeSequence=[{"CodeMeaning": "Čéška"}],
        PatientSex="F",
    )
    found = converted(given, text_encoder("ISO_IR 6"))
    assert found[tag("RequestedProcedureDescription")]["Value"] == ["Schadel-CT"]
    assert values(values(found, "RequestedProcedureCodeSequence")[0], "CodeMeaning") == ["Ceska"]
    assert values(found, "PatientSex") == ["F"]
