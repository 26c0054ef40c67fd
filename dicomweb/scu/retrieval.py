"""What C-MOVE and C-GET have in common: information models, the request and its responses (PS3.4 C.4.2, C.4.3)."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from dicomweb.dimse.association import Association, Message
from dicomweb.dimse.command_set import Command, Operation, number
from dicomweb.dimse.errors import AssociationError
from dicomweb.scu.calling import CANCELLED, PENDING, OperationFailed, comment_of, context_of, status_of
from storage.dicom import data_set
from storage.matching.attributes import tag_of

STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.1.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.1.3"
LONGEST_LIST: Final = 16 << 20
"""Bytes of a list of failed instances: room for a hundred thousand UIDs and more."""
SILENCE: Final = 600.0
"""Seconds without any response: pending ones are optional, and a tape robot may be at work (C.4.2.3.1)."""

_ORDINARY: Final = PENDING | {0x0000, 0xB000, CANCELLED}
_ALL_FAILED: Final = 0xA702
_FAILED_LIST: Final = tag_of("FailedSOPInstanceUIDList")


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How far the peer says it is: sub-operations that remain (None in the last response), and what became of others.

    `failed_uids` is what the last response lists.
    """

    remaining: int | None
    completed: int
    failed: int
    warning: int
    failed_uids: tuple[str, ...] = ()


async def retrievals(
    association: Association, operation: Operation, roots: Sequence[str], identifier: Mapping[str, Any], **more: str
) -> AsyncGenerator[Retrieval, None]:
    """Do a C-MOVE or C-GET, yield how far the peer is with each of its responses, and release the association.

    That some sub-operations failed is the last result, not an error.

    Parameters
    ----------
    association, operation
        Where it is asked for, and which of both.
    roots : sequence of str
        Its information models: the first that the peer accepted is used.
    identifier : mapping
        From `identifier.uids`.
    more
        Further elements of the command.

    Raises
    ------
    AssociationError
        The association broke, or the peer does not do this for us.
    OperationFailed
        The peer answered with a failure that is not about single instances.
    """
    context = context_of(association, *roots)
    sop_class = context.abstract_syntax
    command: Command = {"CommandField": operation, "AffectedSOPClassUID": sop_class, "Priority": 0, **more}
    data = data_set.encode(identifier, context.transfer_syntax)
    async with aclosing(association.requests(context, command, data, timeout=SILENCE)) as answers:
        async for answer in answers:
            yield await _retrieval(operation, answer)
    await association.release()


async def _retrieval(operation: Operation, answer: Message) -> Retrieval:
    command = answer.command
    status = status_of(command)
    failures = number(command, "NumberOfFailedSuboperations", 0)
    if not (status in _ORDINARY or (status == _ALL_FAILED and failures)):
        raise OperationFailed(operation.name.replace("_", "-"), status, comment_of(command))
    remaining = number(command, "NumberOfRemainingSuboperations", -1)
    return Retrieval(
        None if remaining < 0 else remaining,
        number(command, "NumberOfCompletedSuboperations", 0),
        failures,
        number(command, "NumberOfWarningSuboperations", 0),
        await _failed_uids(answer),
    )


async def _failed_uids(answer: Message) -> tuple[str, ...]:
    if answer.data is None:
        return ()
    try:
        listed = data_set.decode(await answer.data.read(LONGEST_LIST), answer.context.transfer_syntax)
    except AssociationError:
        raise
    except Exception:  # a list that cannot be read is no reason to forget what was retrieved
        return ()
    return tuple(listed.get(_FAILED_LIST, {}).get("Value", ()))
