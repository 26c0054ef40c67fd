"""Modality worklist: C-FIND for scheduled procedure steps (PS3.4 Annex K).

Facts and clauses this module keeps:

- There is one level; a Query/Retrieve Level in the identifier is ignored (K.4.1.1.3.1; G-140).
- Every answer is FF00, or FF01 when a key could not be matched or is no attribute we know; the last one is 0000, FE00
  after a C-CANCEL (Table K.4-1; G-151). Cancelling takes effect between two answers.
- An identifier that cannot be is A900 with the element at fault (Table K.4-1).
- Answers are read in batches and sent one by one: a slow modality costs neither memory nor a database connection.
- The first two bytes of the extended negotiation are 1 by definition, names are matched fuzzily when that is offered,
  times are not adjusted (K.5.1; G-153).
- An answer is in the character set configured for the peer, cut down to it. Else it is whole: in the character set of
  the request, of one that states none in Latin-1, which modalities knew before UTF-8; in UTF-8 when that has not all
  of the text (K.4.1.1.3.2; G-154).
"""

import re
from contextlib import aclosing
from typing import Any, Final

from dicomweb.gateway.call import CANCELLED, SUCCESS, Call, WrongIdentifier
from dicomweb.gateway.decoding import decoded
from storage.dicom import data_set
from storage.dicom.text_encoder import TextEncoder, text_encoder
from storage.errors import InvalidQuery
from storage.worklist.answer import answer, converted
from storage.worklist.items import Worklist
from storage.worklist.matching import WorklistQuery, conditions, keys_of

SOP_CLASSES: Final = frozenset({"1.2.840.10008.5.1.4.31"})
"""Modality Worklist Information Model - FIND."""

OF_IDENTIFIER: Final = data_set.Bounds(length=1 << 20, elements=4096, values=10_000)
"""What a request's identifier may have; real ones have some hundred bytes."""

LATIN_1: Final = "ISO_IR 100"

MATCH: Final = 0xFF00
MATCH_WITHOUT_SOME_KEY: Final = 0xFF01
_FUZZY: Final = 2
_TIMEZONE: Final = 3
_AT_FAULT: Final = re.compile(r"(?:\([0-9A-F]{4},[0-9A-F]{4}\) > )*\(([0-9A-F]{4}),([0-9A-F]{4})\): ")
"""What the message begins with when a key is wrong: where it stands."""


def negotiate(sop_class_uid: str, offered: bytes) -> bytes:
    """Answer the extended negotiation (PS3.4 K.5.1; G-153).

    Parameters
    ----------
    sop_class_uid : str
        The worklist SOP class.
    offered : bytes
        The peer's application information, 3 or 4 bytes.
    """
    return bytes((1, 1, int(offered[_FUZZY : _FUZZY + 1] == b"\1"), 0))[: len(offered)]


async def find(call: Call) -> None:
    """Answer a worklist query.

    Standard
    --------
    PS3.4 K.4.1; checklist G-140 to G-154.
    """
    identifier, characters = await _identifier(call)
    query, all_keys_matched = _understood(call, identifier)
    peer = await call.gateway.peers.get(call.association.calling_ae_title)
    configured = text_encoder(peer.character_set) if peer and peer.character_set else None
    async with aclosing(Worklist(call.gateway.archive.pool).find(query)) as items:
        async for item in items:
            if call.association.is_cancelled(call.message):
                await call.respond(CANCELLED)
                return
            chosen, all_known = answer(identifier, item)
            status = MATCH if all_keys_matched and all_known else MATCH_WITHOUT_SOME_KEY
            await call.respond(status, _encoded(call, chosen, configured, characters))
    await call.respond(CANCELLED if call.association.is_cancelled(call.message) else SUCCESS)


def _understood(call: Call, identifier: dict[str, Any]) -> tuple[WorklistQuery, bool]:
    """Return what is looked for, and whether all of it can be matched."""
    offered = call.association.extended.get(call.message.context.abstract_syntax, b"")
    try:
        query = WorklistQuery(
            keys_of(identifier),
            fuzzy=offered[_FUZZY : _FUZZY + 1] == b"\1",
            finished=not call.gateway.settings.worklist_hides_finished,
        )
        return query, not conditions(query).unmatched
    except InvalidQuery as error:
        if (place := _AT_FAULT.match(str(error))) is None:
            raise
        raise WrongIdentifier(str(error), "".join(place.groups())) from None


async def _identifier(call: Call) -> data_set.Decoded:
    """Return what is asked for, and the character set it is asked in."""
    found = await decoded(call.message, OF_IDENTIFIER)
    if found is None:
        raise InvalidQuery("a worklist query has an identifier")
    return found


def _encoded(call: Call, chosen: dict[str, Any], configured: TextEncoder | None, asked_in: str) -> bytes:
    if configured is not None:
        chosen, asked_in = converted(chosen, configured), configured.specific_character_set
    return data_set.encode(chosen, call.message.context.transfer_syntax, character_set=asked_in or LATIN_1)
