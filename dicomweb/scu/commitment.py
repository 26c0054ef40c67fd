"""Asking another archive for storage commitment, and taking its report (PS3.4 J).

Facts this module keeps:

- The report may come on the association of the request or on one the other archive opens with us, whenever it likes
  (J.3.3.1.2). So the question is kept in the database, whoever takes the report writes the answer there, and whoever
  waits looks both at the association and there.
- A report that comes again is taken again: the other side may not have seen our answer.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from dicomweb.dimse.association import Association
from dicomweb.dimse.command_set import Operation, number, text
from dicomweb.dimse.errors import AssociationError
from dicomweb.dimse.message import Message, Timeouts
from dicomweb.dimse.negotiation import UserIdentity
from dicomweb.dimse.requestor import Address, connect
from dicomweb.scu.commitment_data_set import (
    COMMITTED,
    FAILURES_EXIST,
    INVALID_ARGUMENT,
    MOST_INSTANCES,
    NO_SUCH_ARGUMENT,
    PROCESSING_FAILURE,
    REQUEST_STORAGE_COMMITMENT,
    RESOURCE_LIMITATION,
    SOP_CLASS,
    SOP_INSTANCE,
    ArgumentRefused,
    read_report,
    write_request,
)
from storage.dicom.data_set import Bounds, decode, encode
from storage.errors import ArchiveError, InvalidDicom, LimitExceeded
from storage.work.commitments import Reference
from storage.work.commitments_asked import Answer, CommitmentsAsked

IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
TRANSFER_SYNTAXES: Final = (EXPLICIT, IMPLICIT)

OF_COMMITMENT: Final = Bounds(length=16 << 20, elements=6 * MOST_INSTANCES)
"""What an N-ACTION or N-EVENT-REPORT may have: room for all the instances we take, with five attributes each."""

NO_SUCH_OBJECT_INSTANCE: Final = 0x0112
NO_SUCH_EVENT_TYPE: Final = 0x0113
UNRECOGNIZED_OPERATION: Final = 0x0211

_LINGER: Final = 30.0
"""Seconds the association of a request is kept open for the report; some archives wait for its end to open another."""
_LOOK_EVERY: Final = 1.0


class CommitmentRefused(ArchiveError):
    """Another archive did not take our request for storage commitment; nothing is known of the instances."""


class CommitmentUnanswered(ArchiveError):
    """Another archive took our request for storage commitment, but its report did not come in time."""


async def request_commitment(
    address: Address,
    calling: str,
    references: Sequence[Reference],
    *,
    asked: CommitmentsAsked | None = None,
    within: float = 600.0,
    timeouts: Timeouts | None = None,
    identity: UserIdentity | None = None,
) -> Answer:
    """Ask an archive to commit to instances and wait for its report.

    Parameters
    ----------
    address : Address
        Of the archive.
    calling : str
        Our AE title; the report may come on an association opened with the one who has this title.
    references : sequence of Reference
        The instances, each once.
    asked : CommitmentsAsked, optional
        Where the gateway leaves a report that comes on another association; without it such a report is missed.
    within : float
        Seconds until the report must be there.
    timeouts : Timeouts, optional
        Of the association.
    identity : UserIdentity, optional
        Under which it is opened.

    Returns
    -------
    Answer
        What it committed to, and what failed for which reason.

    Raises
    ------
    AssociationError
        There was no association, or it ended before the request was answered.
    CommitmentRefused
        It does not offer storage commitment, or answered the request with a failure.
    CommitmentUnanswered
        The report did not come in time.

    Standard
    --------
    PS3.4 J.3.2, J.3.3; checklist G-136.
    """
    deadline = time.monotonic() + within
    transaction_uid = f"2.25.{uuid.uuid4().int}"
    if asked is not None:
        await asked.ask(transaction_uid, address.ae_title)
    association = await connect(
        address,
        calling_ae_title=calling,
        contexts=[(SOP_CLASS, TRANSFER_SYNTAXES)],
        identity=identity,
        timeouts=timeouts or Timeouts(),
    )
    listening = asyncio.create_task(_listen(association, transaction_uid))
    try:
        await _send_request(association, transaction_uid, references)
        answer = await _wait(listening, asked, transaction_uid, min(deadline, time.monotonic() + _LINGER))
        await association.release()
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await association.abort()
    while answer is None and asked is not None and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_EVERY)
        answer = await asked.answer(transaction_uid)
    if answer is None:
        raise CommitmentUnanswered(f"{address.ae_title} sent no report in {within:g} seconds")
    return answer


async def take_report(
    association: Association, message: Message, record: Callable[[str, Answer], Awaitable[bool]]
) -> None:
    """Take an N-EVENT-REPORT and answer it.

    Parameters
    ----------
    association, message
        Where it came, and what came.
    record : callable
        Given the Transaction UID and the answer; keeps it, and tells whether anybody has asked. It raises when the
        answer could not be kept.

    Standard
    --------
    PS3.4 J.3.3.1.3; PS3.7 10.1.1.
    """
    try:
        transaction_uid, answer = await _read_report(message)
    except ArgumentRefused as error:
        await _answer_report(association, message, error.status, str(error))
        return
    if await record(transaction_uid, answer):
        await _answer_report(association, message, 0x0000)
    else:
        await _answer_report(association, message, INVALID_ARGUMENT, "nobody here asked for this transaction")


async def read_data_set(message: Message) -> dict[str, object]:
    """Return the data set of an N-ACTION or N-EVENT-REPORT as a DICOM JSON object.

    Raises
    ------
    ArgumentRefused
        There is none, it is too long, or cannot be read.
    """
    if message.data is None:
        raise ArgumentRefused(NO_SUCH_ARGUMENT, "there is no data set")
    try:
        data = await message.data.read(OF_COMMITMENT.length)
    except ValueError as error:
        raise ArgumentRefused(
            RESOURCE_LIMITATION, f"the data set has more than {OF_COMMITMENT.length >> 20} MiB"
        ) from error
    try:
        return await asyncio.to_thread(decode, data, message.context.transfer_syntax, OF_COMMITMENT)
    except LimitExceeded as error:
        raise ArgumentRefused(RESOURCE_LIMITATION, str(error)) from error
    except InvalidDicom as error:
        raise ArgumentRefused(PROCESSING_FAILURE, str(error)) from error


def status_of(response: Message) -> int:
    """Return the status of a response; one without it is a failure."""
    return number(response.command, "Status", PROCESSING_FAILURE)


def status_text(response: Message) -> str:
    """Say what the status of a response is, with the comment on it."""
    comment = text(response.command, "ErrorComment")
    return f"status {status_of(response):04X}H" + (f" ({comment})" if comment else "")


async def _send_request(association: Association, transaction_uid: str, references: Sequence[Reference]) -> None:
    context = association.context_for(SOP_CLASS)
    if context is None:
        raise CommitmentRefused(f"{association.called_ae_title} does not offer storage commitment")
    data = await asyncio.to_thread(encode, write_request(transaction_uid, references), context.transfer_syntax)
    response = await association.request(
        context,
        {
            "CommandField": int(Operation.N_ACTION),
            "RequestedSOPClassUID": SOP_CLASS,
            "RequestedSOPInstanceUID": SOP_INSTANCE,
            "ActionTypeID": REQUEST_STORAGE_COMMITMENT,
        },
        data,
    )
    if status_of(response):
        raise CommitmentRefused(f"{association.called_ae_title} refused storage commitment: {status_text(response)}")


async def _listen(association: Association, transaction_uid: str) -> Answer | None:
    """Return what the report on this association says; None when the association ends without one."""
    answers: list[Answer] = []

    async def record(named: str, answer: Answer) -> bool:
        if named == transaction_uid:
            answers.append(answer)
        return named == transaction_uid

    with contextlib.suppress(AssociationError):
        async for message in association.messages():
            if number(message.command, "CommandField") != Operation.N_EVENT_REPORT:
                await association.respond(message, UNRECOGNIZED_OPERATION)
                continue
            await take_report(association, message, record)
            if answers:
                break
    return answers[0] if answers else None


async def _wait(
    listening: "asyncio.Task[Answer | None]", asked: CommitmentsAsked | None, transaction_uid: str, until: float
) -> Answer | None:
    """Wait for the report here and in the database, no longer than the association is open."""
    while (left := until - time.monotonic()) > 0:
        done, _ = await asyncio.wait({listening}, timeout=min(left, _LOOK_EVERY))
        if done:
            return listening.result()
        if asked is not None and (answer := await asked.answer(transaction_uid)) is not None:
            return answer
    return None


async def _read_report(message: Message) -> tuple[str, Answer]:
    if text(message.command, "AffectedSOPInstanceUID") != SOP_INSTANCE:
        raise ArgumentRefused(NO_SUCH_OBJECT_INSTANCE, "not the storage commitment instance")
    if number(message.command, "EventTypeID") not in (COMMITTED, FAILURES_EXIST):
        raise ArgumentRefused(NO_SUCH_EVENT_TYPE, "storage commitment has event types 1 and 2")
    return await asyncio.to_thread(read_report, await read_data_set(message))


async def _answer_report(association: Association, message: Message, status: int, comment: str = "") -> None:
    event_type = number(message.command, "EventTypeID")
    await association.respond(message, status, EventTypeID=event_type, ErrorComment=comment)
