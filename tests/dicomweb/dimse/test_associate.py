"""A-ASSOCIATE PDUs (PS3.8 9.3.2, 9.3.3; PS3.7 D.3.3), cross-checked with pynetdicom's codecs."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from dicomweb.dimse.associate import decode_acceptance, decode_request, encode_acceptance, encode_request
from dicomweb.dimse.errors import ProtocolError
from dicomweb.dimse.negotiation import (
    IMPLEMENTATION,
    Acceptance,
    ContextAnswer,
    Implementation,
    Proposal,
    ProposedContext,
    UserIdentity,
    contexts_of,
    within,
)
from storage.dicom import part10

UIDS = st.integers(1, 10**30).map(lambda number: f"2.25.{number}")
TITLES = st.text("ABCXYZ019_", min_size=1, max_size=16)
FLAGS = st.tuples(st.booleans(), st.booleans())
IDENTITIES = st.one_of(
    st.builds(
        UserIdentity, st.sampled_from([1, 3, 4, 5]), st.binary(min_size=1, max_size=60), st.just(b""), st.booleans()
    ),
    st.builds(
        UserIdentity,
        st.just(2),
        st.binary(min_size=1, max_size=60),
        st.binary(min_size=1, max_size=60),
        st.booleans(),
    ),
)


@st.composite
def proposals(draw: st.DrawFn) -> Proposal:
    """Proposals in which everything occurs."""
    offered = draw(st.lists(st.tuples(UIDS, st.lists(UIDS, min_size=1, max_size=4)), min_size=1, max_size=8))
    return Proposal(
        draw(TITLES),
        draw(TITLES),
        tuple(ProposedContext(2 * at + 1, uid, tuple(syntaxes)) for at, (uid, syntaxes) in enumerate(offered)),
        roles=draw(st.dictionaries(UIDS, FLAGS, max_size=3)),
        extended=draw(st.dictionaries(UIDS, st.binary(min_size=1, max_size=8), max_size=3)),
        common_extended=draw(st.dictionaries(UIDS, st.tuples(UIDS, st.lists(UIDS, max_size=3).map(tuple)), max_size=3)),
        identity=draw(st.none() | IDENTITIES),
        max_pdu=draw(st.sampled_from([0, 4096, 16384, 131072, 0xFFFFFFFF])),
        implementation_class_uid=draw(UIDS),
        implementation_version_name=draw(TITLES),
    )


@given(proposals())
def test_a_proposal_comes_back_as_it_was(proposal: Proposal) -> None:
    """Every field of a request is written and read (PS3.8 9.3.2, PS3.7 D.3.3)."""
    encoded = encode_request(proposal)
    assert encoded[:6] == b"\x01\x00" + (len(encoded) - 6).to_bytes(4, "big")
    decoded = decode_request(encoded[6:])
    assert decoded.octets == proposal.called_ae_title.ljust(16).encode() + proposal.calling_ae_title.ljust(
        16
    ).encode() + bytes(32)
    assert _fields(decoded) == _fields(proposal)


@given(proposals())
def test_pynetdicom_reads_a_proposal_and_writes_the_same(proposal: Proposal) -> None:
    """An independent codec finds the same fields, and what it makes of them is read back the same (PS3.8 9.3.2)."""
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(encode_request(proposal))
    assert (theirs.calling_ae_title, theirs.called_ae_title) == (proposal.calling_ae_title, proposal.called_ae_title)
    assert theirs.application_context_name == proposal.application_context
    for found, context in zip(theirs.presentation_context, proposal.contexts, strict=True):
        assert (found.context_id, found.abstract_syntax) == (context.id, context.abstract_syntax)
        assert tuple(found.transfer_syntax) == context.transfer_syntaxes
    user = theirs.user_information
    assert user.maximum_length == proposal.max_pdu
    assert user.implementation_class_uid == proposal.implementation_class_uid
    assert _fields(decode_request(theirs.encode()[6:])) == _fields(proposal)


@given(proposals(), st.data())
def test_an_acceptance_comes_back_as_it_was(proposal: Proposal, data: st.DataObject) -> None:
    """Every field of an acceptance is written and read, by pynetdicom as well (PS3.8 9.3.3)."""
    answers = [
        ContextAnswer(context.id, 0, data.draw(st.sampled_from(context.transfer_syntaxes)))
        if data.draw(st.booleans())
        else ContextAnswer(context.id, data.draw(st.integers(1, 4)))
        for context in proposal.contexts
    ]
    response = data.draw(st.none() | st.binary(min_size=1, max_size=20))
    acceptance = Acceptance(answers, dict(proposal.roles), dict(proposal.extended), response)
    proposal = decode_request(encode_request(proposal)[6:])
    encoded = encode_acceptance(proposal, acceptance, max_pdu=4096, implementation=IMPLEMENTATION)
    answer = decode_acceptance(encoded[6:])
    assert answer.acceptance == acceptance
    assert (answer.max_pdu, answer.implementation_class_uid) == (4096, IMPLEMENTATION.class_uid)
    theirs = A_ASSOCIATE_AC()
    theirs.decode(encoded)
    assert [(found.context_id, found.result) for found in theirs.presentation_context] == [
        (found.id, found.result) for found in answers
    ]
    assert decode_acceptance(theirs.encode()[6:]) == answer


@given(st.binary(max_size=300))
@example(bytes(67))
@example(bytes(71))
@example(bytes(71) + b"\x01")
def test_garbage_is_a_protocol_error(data: bytes) -> None:
    """Whatever is not laid out as a proposal or an acceptance is a ProtocolError and nothing else (promise 7)."""
    for decode in (decode_request, decode_acceptance):
        try:
            decode(data)
        except ProtocolError:
            continue
        assert len(data) >= 68 and _is_items(data[68:])


@given(proposals(), st.data())
def test_a_damaged_proposal_is_read_or_a_protocol_error(proposal: Proposal, data: st.DataObject) -> None:
    """Cut and overwritten anywhere, a proposal never raises anything else, and can be answered (promise 7)."""
    body = bytearray(encode_request(proposal)[6:])
    for _ in range(data.draw(st.integers(0, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        damaged = decode_request(bytes(body[: data.draw(st.integers(0, len(body)))]))
    except ProtocolError:
        return
    answers = [ContextAnswer(context.id, 0, "".join(context.transfer_syntaxes[:1])) for context in damaged.contexts]
    acceptance = within(damaged, Acceptance(answers, damaged.roles, damaged.extended, b""))
    decode_acceptance(encode_acceptance(damaged, acceptance, max_pdu=0, implementation=IMPLEMENTATION)[6:])


def test_items_of_unknown_type_are_skipped() -> None:
    """Unrecognized items and sub-items are ignored (PS3.8 9.3.1)."""
    encoded = encode_request(_proposal())
    unknown = b"\x7f\x00\x00\x03abc"
    at = encoded.index(b"\x50\x00", 74)
    length = int.from_bytes(encoded[at + 2 : at + 4], "big")
    user = b"\x50\x00" + (length + 7).to_bytes(2, "big") + unknown + encoded[at + 4 :]
    assert _fields(decode_request(encoded[6:at] + unknown + user)) == _fields(_proposal())


def test_what_was_left_out_has_a_default() -> None:
    """Without user information nothing is proposed beyond the contexts, and PDUs stay small (PS3.7 D.3.3.1)."""
    encoded = encode_request(_proposal())
    proposal = decode_request(encoded[6 : encoded.index(b"\x50\x00", 74)])
    assert (proposal.max_pdu, proposal.roles, proposal.identity) == (16384, {}, None)


def test_titles_lose_their_spaces_and_come_back_as_received() -> None:
    """Leading and trailing spaces of a title mean nothing, but the answer repeats them (G-006, PS3.8 Table 9-17)."""
    encoded = bytearray(encode_request(_proposal()))
    encoded[10:74] = b"  CALLED        " + b" a b            " + bytes(range(32))
    proposal = decode_request(bytes(encoded[6:]))
    assert (proposal.called_ae_title, proposal.calling_ae_title) == ("CALLED", "a b")
    answer = encode_acceptance(proposal, Acceptance([]), max_pdu=0, implementation=IMPLEMENTATION)
    assert answer[10:74] == encoded[10:74]


def test_the_asynchronous_window_is_answered_only_when_offered() -> None:
    """One operation at a time is what we answer, and only when asked (G-011, PS3.7 D.3.3.3)."""
    window = b"\x53\x00\x00\x04"
    plain = decode_request(encode_request(_proposal())[6:])
    body = bytearray(encode_request(_proposal())[6:])
    at = body.index(b"\x50\x00", 68)
    length = int.from_bytes(body[at + 2 : at + 4], "big") + 8
    asking = decode_request(bytes(body[: at + 2] + length.to_bytes(2, "big") + window + b"\0\5\0\0" + body[at + 4 :]))
    assert asking.asynchronous_operations == (5, 0)
    answers = [
        encode_acceptance(proposal, Acceptance([]), max_pdu=0, implementation=IMPLEMENTATION)
        for proposal in (plain, asking)
    ]
    assert [window + b"\0\1\0\1" in answer for answer in answers] == [False, True]


def test_the_version_name_is_cut_at_sixteen_characters() -> None:
    """Implementation Version Name has 1 to 16 characters (G-009, PS3.7 D.3.3.2)."""
    proposal = decode_request(encode_request(_proposal(implementation_version_name="A" * 20))[6:])
    assert proposal.implementation_version_name == "A" * 16


def test_the_implementation_is_the_one_in_the_files() -> None:
    """Associations and file meta information name the same program (G-009; PS3.7 D.3.3.2, PS3.10 7.1)."""
    assert Implementation(part10.IMPLEMENTATION_CLASS_UID, part10.IMPLEMENTATION_VERSION_NAME) == IMPLEMENTATION


def test_two_contexts_with_one_id_are_a_protocol_error() -> None:
    """Presentation context ids are unique (G-008, PS3.8 9.3.2.2)."""
    twice = (ProposedContext(1, "1.2", ("1.3",)), ProposedContext(1, "1.4", ("1.3",)))
    with pytest.raises(ProtocolError, match="one id"):
        decode_request(encode_request(_proposal(contexts=twice))[6:])


@pytest.mark.parametrize("fields", [{"calling_ae_title": "A" * 17}, {"called_ae_title": ""}, {"called_ae_title": "Ä"}])
def test_a_proposal_that_cannot_be_written_is_a_value_error(fields: dict[str, Any]) -> None:
    """An AE title has 1 to 16 characters of the default repertoire (G-006, PS3.5 6.2)."""
    with pytest.raises(ValueError):
        encode_request(_proposal(**fields))


def test_nothing_is_granted_that_was_not_proposed() -> None:
    """Roles, extended negotiation and a server response only answer what was offered (G-012, G-013, G-015)."""
    proposal = _proposal(roles={"1.2": (True, False)}, extended={"1.2": b"\1"}, identity=UserIdentity(2, b"u", b"p"))
    generous = Acceptance(
        [ContextAnswer(1, 0, "1.3"), ContextAnswer(99, 0, "1.3")],
        {"1.2": (True, True), "1.4": (True, True)},
        {"1.2": b"\1", "1.4": b"\1"},
        b"",
    )
    answered = within(proposal, generous)
    assert answered == Acceptance([ContextAnswer(1, 0, "1.3")], {"1.2": (True, False)}, {"1.2": b"\1"}, None)


def test_contexts_are_refused_that_are_illegal_or_unanswered() -> None:
    """An even id, no answer, or a transfer syntax nobody proposed: not accepted (G-008, PS3.8 9.3.3.2)."""
    proposed = tuple(ProposedContext(at, "1.2", ("1.3",)) for at in (1, 2, 3, 5))
    answers = [ContextAnswer(1, 0, "1.3"), ContextAnswer(2, 0, "1.3"), ContextAnswer(3, 0, "1.4")]
    results = [answer.result for answer in within(_proposal(contexts=proposed), Acceptance(answers)).contexts]
    assert results == [0, 2, 4, 2]


ROLES = {
    "nothing said": ({}, {}, (True, False)),
    "proposed, not answered": ({"1.2": (True, True)}, {}, (True, False)),
    "both": ({"1.2": (True, True)}, {"1.2": (True, True)}, (True, True)),
    "only SCP": ({"1.2": (False, True)}, {"1.2": (False, True)}, (False, True)),
    "refused": ({"1.2": (True, True)}, {"1.2": (False, False)}, (False, False)),
    "more than proposed": ({"1.2": (True, False)}, {"1.2": (True, True)}, (True, False)),
}


@pytest.mark.parametrize(("proposed", "granted", "requestor"), ROLES.values(), ids=ROLES)
def test_roles_follow_from_proposal_and_answer(proposed: Any, granted: Any, requestor: tuple[bool, bool]) -> None:
    """The requestor is SCU unless roles were negotiated, and the acceptor is the other one (G-012, PS3.7 D.3.3.4)."""
    proposal = _proposal(roles=proposed)
    acceptance = Acceptance([ContextAnswer(1, 0, "1.3")], granted)
    ours = contexts_of(proposal, acceptance, is_requestor=True)[1]
    theirs = contexts_of(proposal, acceptance, is_requestor=False)[1]
    assert (ours.as_scu, ours.as_scp) == requestor == (theirs.as_scp, theirs.as_scu)


def _proposal(**fields: Any) -> Proposal:
    defaults: dict[str, Any] = {
        "calling_ae_title": "SCU",
        "called_ae_title": "SCP",
        "contexts": (ProposedContext(1, "1.2", ("1.3",)),),
        "implementation_class_uid": "1.5",
        "implementation_version_name": "V",
    }
    return Proposal(**defaults | fields)


def _is_items(content: bytes) -> bool:
    """Whether there are only items, each as long as it says (PS3.8 9.3.2)."""
    while len(content) >= 4:
        end = 4 + int.from_bytes(content[2:4], "big")
        if end > len(content):
            return False
        content = content[end:]
    return not content


def _fields(proposal: Proposal) -> list[Any]:
    return [getattr(proposal, name) for name in Proposal.__dataclass_fields__ if name != "octets"]
