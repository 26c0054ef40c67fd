"""A-ASSOCIATE-RQ and A-ASSOCIATE-AC as bytes (PS3.8 9.3.2, 9.3.3, Annex D; PS3.7 D.3.3).

Facts this module keeps:

- Everything is big endian. An item is type, a reserved byte, a length of 16 bits and its content (PS3.8 9.3.1).
- Items and sub-items of a type we do not know are skipped (PS3.8 9.3.1): pynetdicom's codecs raise on them, which is
  one of two reasons for this module; the other is that they take an empty field for "the rest of the item".
- Reserved fields are sent as 0 and not looked at; the titles of an A-ASSOCIATE-AC are those of the request as it came
  (PS3.8 Table 9-17).
- UIDs are not padded in negotiation (PS3.8 Annex F); what comes padded is read nevertheless.
- Nothing here knows sockets. What cannot be read is a ProtocolError with the reason of the A-ABORT.
"""

import struct
from collections.abc import Iterator
from typing import Final

from dicomweb.dimse.errors import ProtocolError
from dicomweb.dimse.negotiation import (
    ACCEPTED,
    APPLICATION_CONTEXT,
    ASSUMED_MAX_PDU,
    PROTOCOL_VERSION,
    Acceptance,
    Answer,
    ContextAnswer,
    Implementation,
    Proposal,
    ProposedContext,
    UserIdentity,
)

TITLES: Final = slice(4, 68)
"""Where the titles and the reserved bytes after them stand in the body of both PDUs."""

_HEADER = struct.Struct(">BxI")
_ITEM = struct.Struct(">BxH")
_SHORT = struct.Struct(">H")
_INVALID_VALUE: Final = 6
_VERSION_NAME_LENGTH: Final = 16


def encode_request(proposal: Proposal) -> bytes:
    """Write an A-ASSOCIATE-RQ.

    Raises
    ------
    ValueError
        A title or a UID is not of the default repertoire, or something is too long for its field.
    """
    contexts = b"".join(
        _item(0x20, struct.pack(">Bxxx", context.id) + _syntaxes(context.abstract_syntax, context.transfer_syntaxes))
        for context in proposal.contexts
    )
    identity = proposal.identity
    user = [
        *_implementation(proposal.max_pdu, proposal.implementation_class_uid, proposal.implementation_version_name),
        *_negotiated(proposal.roles, proposal.extended),
        *(_common_extended(uid, *entry) for uid, entry in proposal.common_extended.items()),
        _identity(identity) if identity else b"",
    ]
    return _associate(0x01, _titles(proposal), APPLICATION_CONTEXT, contexts, user)


def encode_acceptance(
    proposal: Proposal, acceptance: Acceptance, *, max_pdu: int, implementation: Implementation
) -> bytes:
    """Write the A-ASSOCIATE-AC that answers a proposal; the acceptance is sent as it is (see `negotiation.within`)."""
    first_offered = {context.id: context.transfer_syntaxes[:1] for context in proposal.contexts}
    contexts = b"".join(
        _item(
            0x21,
            struct.pack(">BxBx", answer.id, answer.result)
            + _item(0x40, _bytes(answer.transfer_syntax or "".join(first_offered.get(answer.id, ())))),
        )
        for answer in acceptance.contexts
    )
    response = acceptance.identity_response
    user = [
        *_implementation(max_pdu, implementation.class_uid, implementation.version_name),
        _item(0x53, struct.pack(">HH", 1, 1)) if proposal.asynchronous_operations else b"",
        *_negotiated(acceptance.roles, acceptance.extended),
        _item(0x59, _counted(response)) if response is not None else b"",
    ]
    return _associate(0x02, proposal.octets or _titles(proposal), APPLICATION_CONTEXT, contexts, user)


def decode_request(body: bytes) -> Proposal:
    """Read an A-ASSOCIATE-RQ without its header of six bytes.

    Raises
    ------
    ProtocolError
        It cannot be read, or two contexts have the same id.
    """
    fixed, items = _parts(body)
    contexts = [_proposed_context(content) for kind, content in items if kind == 0x20]
    if len({context.id for context in contexts}) < len(contexts):
        raise ProtocolError("two presentation contexts with one id", _INVALID_VALUE)
    user = _user_information(items)
    implementation = _last(user, 0x55)
    identities = [_read_identity(content) for kind, content in user if kind == 0x58]
    windows = [_unpack(">HH", content) for kind, content in user if kind == 0x53]
    return Proposal(
        calling_ae_title=_text(fixed[20:36]),
        called_ae_title=_text(fixed[4:20]),
        contexts=tuple(contexts),
        application_context=_text(_last(items, 0x10)),
        roles=_roles(user),
        extended=_extended(user),
        common_extended=dict(_read_common_extended(content) for kind, content in user if kind == 0x57),
        identity=identities[-1] if identities else None,
        max_pdu=_max_pdu(user),
        implementation_class_uid=_text(_last(user, 0x52)),
        implementation_version_name=_text(implementation),
        protocol_version=_SHORT.unpack_from(fixed)[0],
        asynchronous_operations=(windows[-1][0], windows[-1][1]) if windows else None,
        octets=bytes(fixed[TITLES]),
    )


def decode_acceptance(body: bytes) -> Answer:
    """Read an A-ASSOCIATE-AC without its header of six bytes.

    Raises
    ------
    ProtocolError
        It cannot be read.
    """
    _, items = _parts(body)
    contexts = [_answered_context(content) for kind, content in items if kind == 0x21]
    user = _user_information(items)
    responses = [_field(content, 0)[0] for kind, content in user if kind == 0x59]
    acceptance = Acceptance(contexts, _roles(user), _extended(user), responses[-1] if responses else None)
    return Answer(acceptance, _max_pdu(user), _text(_last(user, 0x52)), _text(_last(user, 0x55)))


def _associate(kind: int, titles: bytes, application_context: str, contexts: bytes, user: list[bytes]) -> bytes:
    body = b"".join(
        [
            struct.pack(">Hxx", PROTOCOL_VERSION),
            titles,
            _item(0x10, _bytes(application_context)),
            contexts,
            _item(0x50, b"".join(user)),
        ]
    )
    return _HEADER.pack(kind, len(body)) + body


def _item(kind: int, content: bytes) -> bytes:
    if len(content) > 0xFFFF:
        raise ValueError(f"an item of {len(content)} bytes, which is too long")
    return _ITEM.pack(kind, len(content)) + content


def _syntaxes(abstract_syntax: str, transfer_syntaxes: tuple[str, ...]) -> bytes:
    offered = b"".join(_item(0x40, _bytes(uid)) for uid in transfer_syntaxes)
    return _item(0x30, _bytes(abstract_syntax)) + offered


def _implementation(max_pdu: int, class_uid: str, version_name: str) -> Iterator[bytes]:
    yield _item(0x51, struct.pack(">I", max_pdu))
    yield _item(0x52, _bytes(class_uid))
    yield _item(0x55, _bytes(version_name)[:_VERSION_NAME_LENGTH])


def _negotiated(roles: dict[str, tuple[bool, bool]], extended: dict[str, bytes]) -> Iterator[bytes]:
    for uid, (scu, scp) in roles.items():
        yield _item(0x54, _counted(_bytes(uid)) + bytes([scu, scp]))
    for uid, information in extended.items():
        yield _item(0x56, _counted(_bytes(uid)) + information)


def _common_extended(uid: str, service_class: str, related: tuple[str, ...]) -> bytes:
    classes = b"".join(_counted(_bytes(general)) for general in related)
    return _item(0x57, _counted(_bytes(uid)) + _counted(_bytes(service_class)) + _counted(classes))


def _identity(identity: UserIdentity) -> bytes:
    head = struct.pack(">BB", identity.kind, identity.response_requested)
    return _item(0x58, head + _counted(identity.primary) + _counted(identity.secondary))


def _counted(content: bytes) -> bytes:
    if len(content) > 0xFFFF:
        raise ValueError(f"a field of {len(content)} bytes, which is too long")
    return _SHORT.pack(len(content)) + content


def _bytes(text: str) -> bytes:
    # Not ASCII, so that what a peer proposed can be named in its answer whatever it is.
    return text.encode("latin-1")


def _titles(proposal: Proposal) -> bytes:
    return _title(proposal.called_ae_title) + _title(proposal.calling_ae_title) + bytes(32)


def _title(title: str) -> bytes:
    encoded = title.encode("ascii")
    if not 0 < len(encoded) <= 16:
        raise ValueError(f"{title!r} is no AE title: 1 to 16 characters")
    return encoded.ljust(16)


def _parts(body: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Return the fixed 68 bytes and the items after them."""
    if len(body) < TITLES.stop:
        raise ProtocolError(f"an A-ASSOCIATE PDU of {len(body)} bytes", _INVALID_VALUE)
    return body[: TITLES.stop], list(_items(body[TITLES.stop :]))


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(content):
        kind, length = _unpack(_ITEM.format, content[at : at + _ITEM.size])
        at += _ITEM.size
        if at + length > len(content):
            raise ProtocolError(f"item {kind:02X} is longer than what holds it", _INVALID_VALUE)
        yield kind, content[at : at + length]
        at += length


def _user_information(items: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return [item for kind, content in items if kind == 0x50 for item in _items(content)]


def _last(items: list[tuple[int, bytes]], wanted: int) -> bytes:
    return next((content for kind, content in reversed(items) if kind == wanted), b"")


def _proposed_context(content: bytes) -> ProposedContext:
    (identifier,) = _unpack(">Bxxx", content[:4])
    items = list(_items(content[4:]))
    offered = tuple(_text(syntax) for kind, syntax in items if kind == 0x40)
    return ProposedContext(identifier, _text(_last(items, 0x30)), offered)


def _answered_context(content: bytes) -> ContextAnswer:
    identifier, result = _unpack(">BxBx", content[:4])
    # The transfer syntax of a context that was not accepted may be anything, even no item (PS3.8 Table 9-18).
    syntax = _text(_last(list(_items(content[4:])), 0x40)) if result == ACCEPTED else ""
    return ContextAnswer(identifier, result, syntax)


def _max_pdu(user: list[tuple[int, bytes]]) -> int:
    content = _last(user, 0x51)
    return int(_unpack(">I", content)[0]) if content else ASSUMED_MAX_PDU


def _roles(user: list[tuple[int, bytes]]) -> dict[str, tuple[bool, bool]]:
    roles = {}
    for content in (content for kind, content in user if kind == 0x54):
        uid, at = _field(content, 0)
        scu, scp = _unpack(">BB", content[at:])
        roles[_text(uid)] = (scu == 1, scp == 1)
    return roles


def _extended(user: list[tuple[int, bytes]]) -> dict[str, bytes]:
    fields = ((_field(content, 0), content) for kind, content in user if kind == 0x56)
    return {_text(uid): content[at:] for (uid, at), content in fields}


def _read_common_extended(content: bytes) -> tuple[str, tuple[str, tuple[str, ...]]]:
    uid, at = _field(content, 0)
    service_class, at = _field(content, at)
    classes = _field(content, at)[0] if at < len(content) else b""
    related = []
    at = 0
    while at < len(classes):
        general, at = _field(classes, at)
        related.append(_text(general))
    return _text(uid), (_text(service_class), tuple(related))


def _read_identity(content: bytes) -> UserIdentity:
    kind, response = _unpack(">BB", content[:2])
    primary, at = _field(content, 2)
    secondary = _field(content, at)[0] if at < len(content) else b""
    return UserIdentity(kind, primary, secondary, response == 1)


def _field(content: bytes, at: int) -> tuple[bytes, int]:
    """Return the field that begins with its length, and where it ends."""
    (length,) = _unpack(">H", content[at : at + 2])
    end = at + 2 + int(length)
    if end > len(content):
        raise ProtocolError("a field is longer than its item", _INVALID_VALUE)
    return content[at + 2 : end], end


def _unpack(layout: str, content: bytes) -> tuple[int, ...]:
    try:
        return struct.unpack(layout, content)
    except struct.error as error:
        raise ProtocolError("an item of the wrong length", _INVALID_VALUE) from error


def _text(content: bytes) -> str:
    return content.decode("latin-1").strip(" \0")
