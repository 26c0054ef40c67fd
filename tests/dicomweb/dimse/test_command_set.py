"""Command sets (PS3.7 6.3, Annex E), cross-checked with pydicom and pynetdicom."""

from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode as pynetdicom_decode
from pynetdicom.dsutils import encode as pynetdicom_encode

from dicomweb.dimse.command_set import Command, Operation, decode, encode, has_data_set, is_response

UIDS = st.integers(1, 10**30).map(lambda number: f"2.25.{number}")
TITLES = st.text("ABCXYZ019_", min_size=1, max_size=16)
SHORTS = st.integers(0, 0xFFFF)
COMMANDS: st.SearchStrategy[Command] = st.fixed_dictionaries(
    {"CommandField": st.sampled_from([int(operation) for operation in Operation])},
    optional={
        "MessageID": SHORTS,
        "MessageIDBeingRespondedTo": SHORTS,
        "AffectedSOPClassUID": UIDS,
        "RequestedSOPClassUID": UIDS,
        "AffectedSOPInstanceUID": UIDS,
        "RequestedSOPInstanceUID": UIDS,
        "MoveDestination": TITLES,
        "MoveOriginatorApplicationEntityTitle": TITLES,
        "MoveOriginatorMessageID": SHORTS,
        "Priority": st.integers(0, 2),
        "CommandDataSetType": st.sampled_from([1, 0x0101]),
        "Status": SHORTS,
        "OffendingElement": st.lists(st.integers(0, 0xFFFFFFFF), min_size=1, max_size=3),
        "AttributeIdentifierList": st.lists(st.integers(0, 0xFFFFFFFF), min_size=1, max_size=3),
        "ErrorComment": st.text("abc xyz", min_size=1, max_size=64).map(lambda text: f"x{text}x"[:64].strip()),
        "ErrorID": SHORTS,
        "EventTypeID": SHORTS,
        "ActionTypeID": SHORTS,
        "NumberOfRemainingSuboperations": SHORTS,
        "NumberOfCompletedSuboperations": SHORTS,
        "NumberOfFailedSuboperations": SHORTS,
        "NumberOfWarningSuboperations": SHORTS,
    },
)


@given(COMMANDS)
def test_what_is_written_is_read(command: Command) -> None:
    """Every element of every message comes back as it was (PS3.7 6.3.1)."""
    assert decode(encode(command)) == command


@given(COMMANDS)
def test_pydicom_writes_the_same_bytes(command: Command) -> None:
    """Implicit VR Little Endian, elements ascending, as pydicom and pynetdicom write it (PS3.7 6.3.1)."""
    dataset = Dataset()
    for keyword, value in command.items():
        setattr(dataset, keyword, value)
    encoded = encode(command)
    body = pynetdicom_encode(dataset, True, True)
    assert body is not None
    assert encoded[12:] == body
    assert encoded[:12] == b"\0\0\0\0\4\0\0\0" + len(body).to_bytes(4, "little")


@given(COMMANDS)
def test_pynetdicom_reads_what_is_written(command: Command) -> None:
    """pynetdicom finds the same values (PS3.7 E.1)."""
    dataset = pynetdicom_decode(BytesIO(encode(command)), True, True)
    assert {
        element.keyword: _plain(element.value) for element in dataset if element.keyword != "CommandGroupLength"
    } == {keyword: _plain(value) for keyword, value in command.items()}


@given(st.binary(max_size=200))
def test_anything_else_is_a_value_error(data: bytes) -> None:
    """Bytes that are no command set raise ValueError and nothing else (promise 7)."""
    try:
        command = decode(data)
    except ValueError:
        return
    assert "CommandField" in command


@given(COMMANDS, st.data())
def test_a_truncated_command_set_never_passes_for_another(command: Command, data: st.DataObject) -> None:
    """Every prefix is refused or says no more than the whole (PS3.7 6.3.1)."""
    encoded = encode(command)
    try:
        part = decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])
    except ValueError:
        return
    assert part.items() <= command.items()


TOLERATED = {
    "no group length": (bytes.fromhex("0000 0001 02000000 3000"), {"CommandField": 0x30}),
    "not ascending": (
        bytes.fromhex("0000 1001 02000000 0700 0000 0001 02000000 3000"),
        {"CommandField": 0x30, "MessageID": 7},
    ),
    "unknown element": (bytes.fromhex("0000 0001 02000000 3000 0000 9999 02000000 4142"), {"CommandField": 0x30}),
    "empty value": (bytes.fromhex("0000 0001 02000000 3000 0000 0009 00000000"), {"CommandField": 0x30}),
    "odd length": (
        bytes.fromhex("0000 0200 03000000 312e32 0000 0001 02000000 3000"),
        {"AffectedSOPClassUID": "1.2", "CommandField": 0x30},
    ),
    "padded with spaces": (
        bytes.fromhex("0000 0200 04000000 312e3220 0000 0001 02000000 3000"),
        {"AffectedSOPClassUID": "1.2", "CommandField": 0x30},
    ),
    "four bytes for US": (bytes.fromhex("0000 0001 04000000 30000000"), {"CommandField": 0x30}),
}


@pytest.mark.parametrize(("data", "command"), TOLERATED.values(), ids=TOLERATED)
def test_what_can_be_understood_is_read(data: bytes, command: Command) -> None:
    """Order, padding, group length and unknown elements do not matter to a reader."""
    assert decode(data) == command


REFUSED = {
    "empty": b"",
    "no command field": bytes.fromhex("0000 1001 02000000 0700"),
    "other group": bytes.fromhex("0800 1001 02000000 0700"),
    "longer than the set": bytes.fromhex("0000 0001 ffffffff 3000"),
    "half a tag": bytes.fromhex("0000 0001 02000000 3000 0000 0109 02000000 0000"),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_no_command_set_is_refused(data: bytes) -> None:
    """What has no Command Field, or ends within an element, is no command set (PS3.7 E.1)."""
    with pytest.raises(ValueError, match="command set"):
        decode(data)


@pytest.mark.parametrize(
    "command", [{"PatientName": "x"}, {"MessageID": 65536}, {"MessageID": "1"}, {"MoveDestination": 7}, {"Status": -1}]
)
def test_what_cannot_be_said_is_a_value_error(command: dict[str, Any]) -> None:
    """An element of another group, or a value that does not fit, is the caller's mistake."""
    with pytest.raises(ValueError):
        encode({"CommandField": 1} | command)


def test_absent_values_are_left_out_and_text_stays_in_the_default_repertoire() -> None:
    """None is no element, one tag stands for a list of tags, what is beyond ASCII is a "?" (PS3.5 6.1.2.1)."""
    command: dict[str, Any] = {
        "CommandField": 0x8001,
        "ErrorComment": "größer",
        "ErrorID": None,
        "OffendingElement": 0x00100010,
    }
    assert decode(encode(command)) == {
        "CommandField": 0x8001,
        "ErrorComment": "gr??er",
        "OffendingElement": [0x00100010],
    }


def test_requests_responses_and_data_sets_are_told_apart() -> None:
    """The highest bit of Command Field makes a response; 0101H says there is no data set (PS3.7 E.1)."""
    assert [is_response({"CommandField": field}) for field in (0x0001, 0x8001, 0x0FFF)] == [False, True, False]
    assert [has_data_set({"CommandDataSetType": kind}) for kind in (0, 1, 0x0102, 0x0101)] == [True, True, True, False]
    assert not has_data_set({})


def _plain(value: Any) -> Any:
    if isinstance(value, int):
        return [int(value)]
    return str(value) if isinstance(value, str) else [int(item) for item in value]
