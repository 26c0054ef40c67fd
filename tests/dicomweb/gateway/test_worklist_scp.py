"""Worklist queries over real associations (PS3.4 Annex K)."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pynetdicom.dsutils import encode

from dicomweb.dimse.command_set import Command, Operation
from dicomweb.dimse.requestor import Address, connect
from dicomweb.gateway.worklist_scp import negotiate
from storage.archive import Archive
from storage.work.peers import Peer
from storage.worklist.items import Worklist
from tests.builders import dataset_of
from tests.dicomweb.gateway.serving import listening
from tests.dicomweb.gateway.worklist_peer import EVERYTHING, EXPLICIT_LE, IMPLICIT_LE, WORKLIST, ask, matches
from tests.storage.worklist_items import item, step

NAMES = {
    "P1": "Doe^Jane",
    "P2": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "P3": "Διονυσιος",
    "P4": "Buc^Jérôme",
}


@pytest.fixture
async def port(archive: Archive) -> AsyncIterator[int]:
    """A gateway with one step for each of four patients, half an hour apart."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    worklist = Worklist(archive.pool)
    for number, (patient_id, name) in enumerate(NAMES.items()):
        start = step(ScheduledProcedureStepID=f"S{number}", ScheduledProcedureStepStartTime=f"{8 + number:02}30")
        await worklist.add(item(start, PatientID=patient_id, PatientName=name, StudyInstanceUID=f"1.2.{number}"))
    async with listening(archive) as port:
        yield port


def names(answers: Any) -> list[str]:
    """The patient names of the answers."""
    return [str(found.PatientName) for found in matches(answers)]


@pytest.mark.parametrize(
    "syntax", [IMPLICIT_LE, "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]
)
async def test_every_step_is_answered_in_every_encoding(port: int, syntax: str) -> None:
    """One pending response a step, one step in each, then success, whatever the transfer syntax (G-143, G-151)."""
    answers = await ask(port, EVERYTHING, syntax=syntax)
    assert [status for status, _ in answers] == [0xFF00] * 4 + [0x0000]
    found = matches(answers)
    assert [each.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID for each in found] == [
        "S0",
        "S1",
        "S2",
        "S3",
    ]
    assert all(len(each.ScheduledProcedureStepSequence) == 1 for each in found)


async def test_only_what_was_asked_for_is_answered(port: int) -> None:
    """Requested attributes, empty when unknown, and nothing else (G-148, G-145)."""
    (found,) = matches(await ask(port, {"PatientID": "P1", "AdmissionID": "", "ReferencedStudySequence": []}))
    assert [element.keyword for element in found] == ["ReferencedStudySequence", "PatientID", "AdmissionID"]
    assert (found.PatientID, found.AdmissionID, len(found.ReferencedStudySequence)) == ("P1", "", 0)


async def test_a_level_in_the_identifier_is_ignored(port: int) -> None:
    """There is one level; what says otherwise neither matches nor comes back (G-140)."""
    (found,) = matches(await ask(port, {"QueryRetrieveLevel": "WORKLIST", "PatientID": "P1"}))
    assert "QueryRetrieveLevel" not in found


CHARACTER_SETS = [
    ("ISO_IR 100", "jérôme", "P4"),
    ("ISO_IR 126", "Διον*", "P3"),
    (["", "ISO 2022 IR 87"], "*=山田*", "P2"),
    ("ISO_IR 192", "山田*", "P2"),
]


@pytest.mark.parametrize(("character_set", "name", "patient"), CHARACTER_SETS)
async def test_names_are_asked_for_and_answered_in_their_letters(
    port: int, character_set: Any, name: str, patient: str
) -> None:
    """(0008,0005) says how the keys are written; the answer says its own, in which the name is whole (G-154)."""
    wanted = dataset_of({"SpecificCharacterSet": character_set, "PatientName": f"*{name}", "PatientID": ""})
    (found,) = matches(await ask(port, wanted))
    found.decode()
    assert (found.PatientID, str(found.PatientName)) == (patient, NAMES[patient])
    assert found.SpecificCharacterSet == character_set or character_set == "ISO_IR 100"


async def test_a_modality_gets_the_letters_it_is_configured_for(archive: Archive, port: int) -> None:
    """A peer with a character set of its own gets no other, at once after it was set (G-154)."""
    await archive.peers.put(Peer("CT1", "127.0.0.1", 104, character_set="ISO_IR 100"))
    found = matches(await ask(port, EVERYTHING))
    for each in found:
        each.decode()
    assert [str(each.PatientName) for each in found] == ["Doe^Jane", "Yamada^Tarou", "?????????", "Buc^Jérôme"]
    assert {each.get("SpecificCharacterSet", "ISO_IR 100") for each in found} == {"ISO_IR 100"}
    assert names(await ask(port, EVERYTHING, aet="CT2"))[1] == NAMES["P2"]


async def test_cancelling_ends_the_answers(archive: Archive, port: int) -> None:
    """After C-CANCEL no more answers come, and the last one is FE00 (G-151)."""
    await archive.pool.execute(
        "INSERT INTO worklist_steps (item, number, scheduled_procedure_step_id, station_ae_titles, start_at, modality, "
        "status, attributes) SELECT item, n, 'S', station_ae_titles, start_at, modality, status, attributes "
        "FROM worklist_steps, generate_series(2, 2000) AS n"
    )
    answers = await ask(port, EVERYTHING, cancel_after=10)
    assert answers[-1] == (0xFE00, None)
    assert 10 <= len(answers) < 7_000


async def test_a_key_of_the_wrong_form_is_refused(port: int) -> None:
    """A900 with the element at fault (G-020, G-151; PS3.4 Table K.4-1)."""
    two = dataset_of({"ScheduledProcedureStepSequence": [{"Modality": "CT"}, {"Modality": "MR"}]})
    assert await ask(port, two) == [(0xA900, None)]
    async with await connect(
        Address("127.0.0.1", port, "DICOMWEB"), calling_ae_title="CT1", contexts=[(WORKLIST, [EXPLICIT_LE])]
    ) as association:
        context = association.context_for(WORKLIST)
        assert context is not None
        no_date = dataset_of({"ScheduledProcedureStepSequence": [{"ScheduledProcedureStepStartDate": "tomorrow"}]})
        for keys, at_fault in ((two, 0x00400100), (no_date, 0x00400002)):
            identifier = encode(keys, is_implicit_vr=False, is_little_endian=True)
            assert identifier is not None
            command: Command = {"CommandField": Operation.C_FIND, "AffectedSOPClassUID": WORKLIST, "Priority": 0}
            answer = await association.request(context, command, identifier)
            assert (answer.status, answer.command["OffendingElement"]) == (0xA900, [at_fault])


async def test_a_key_that_cannot_be_matched_is_told(port: int) -> None:
    """FF01 says that some key was not supported (G-151)."""
    wanted = dataset_of({"PatientID": "P1"})
    wanted.add_new(0x00091001, "LO", "x")
    assert [status for status, _ in await ask(port, wanted)] == [0xFF01, 0x0000]


async def test_fuzzy_matching_is_negotiated(port: int) -> None:
    """Byte 3 makes names match by the beginnings of their parts (G-153)."""
    wanted = {**EVERYTHING, "PatientName": "jan do"}
    assert names(await ask(port, wanted)) == []
    assert names(await ask(port, wanted, offered=b"\1\1\1\0")) == ["Doe^Jane"]


@pytest.mark.parametrize(
    ("offered", "granted"), [(b"\0\0\0", b"\1\1\0"), (b"\1\1\1\1", b"\1\1\1\0"), (b"\1", b"\1"), (b"", b"")]
)
def test_the_answer_to_the_extended_negotiation_is_as_long_as_the_offer(offered: bytes, granted: bytes) -> None:
    """The first two bytes are 1 by definition, times are not adjusted (G-153; K.5.1)."""
    assert negotiate(WORKLIST, offered) == granted


async def test_finished_steps_are_hidden_unless_the_setting_says_otherwise(archive: Archive, port: int) -> None:
    """COMPLETED and DISCONTINUED steps are left out by default (G-152)."""
    await archive.pool.execute(
        "UPDATE worklist_steps SET status = 'COMPLETED' WHERE scheduled_procedure_step_id = 'S0'"
    )
    assert len(matches(await ask(port, EVERYTHING))) == 3
    async with listening(archive, worklist_hides_finished=False) as other:
        assert len(matches(await ask(other, EVERYTHING))) == 4
