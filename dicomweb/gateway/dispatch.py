"""From a request to its handler, and from whatever happens there to an answer.

Facts this module keeps:

- Every request gets exactly one final response; a handler that fails costs its request, never the association.
- An operation that the SOP class does not have is 0211; a SOP class that is not that of the context is 0122
  (PS3.7 Annex C; G-030, G-044).
- A peer that negotiated only the SCP role for a SOP class asks nothing of us there: 0124 (PS3.7 D.3.3.4). A report of
  an event (N-EVENT-REPORT) is taken all the same, for some archives deliver it without having negotiated any role.
- A C-STORE may name another storage class than its context, which some senders do; that of the data set must be the
  one named, see storage_scp. One Message ID used twice is no error of ours to find: requests are answered one by one
  in their order, so 0210 is never answered.
- Only what breaks the association itself, an AssociationError, leaves this module.
"""

import logging
import time

from dicomweb.dimse.command_set import Operation
from dicomweb.dimse.errors import AssociationError
from dicomweb.gateway.associations import LiveAssociation
from dicomweb.gateway.call import Call, error_comment
from dicomweb.gateway.places import Places
from dicomweb.gateway.services import STORAGE, Provider, Services
from storage.database.pool import connection_lost
from storage.errors import ArchiveError, Unavailable

logger = logging.getLogger(__name__)

SOP_CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNIZED_OPERATION = 0x0211
NOT_AUTHORIZED = 0x0124


async def dispatch(call: Call, services: Services, live: LiveAssociation, places: Places) -> None:
    """Have one request answered, when there is a place.

    Raises
    ------
    AssociationError
        The association ended.
    """
    operation = _operation(call)
    begun = time.perf_counter()
    live.begun(operation)
    try:
        async with places.place(live):
            await _answer(call, services, operation)
    finally:
        live.ended()
        seconds = time.perf_counter() - begun
        status = call.final[-1] if call.final else None
        call.gateway.metrics.answered(operation, status, seconds)
        shown = "none" if status is None else f"{status:04X}"
        logger.debug("%s answered %s in %.1f ms", operation.name if operation else "request", shown, seconds * 1000)


async def _answer(call: Call, services: Services, operation: Operation | None) -> None:
    service_class, _ = call.association.proposal.common_extended.get(call.message.context.abstract_syntax, ("", ()))
    service = services.of(call.message.context.abstract_syntax, service_class)
    handler = service.handlers.get(operation) if service is not None and operation is not None else None
    if handler is None or service is None:
        await call.fail(UNRECOGNIZED_OPERATION, "The SOP class of this context has no such operation.")
        return
    if not (call.message.context.as_scp or operation is Operation.N_EVENT_REPORT):
        await call.fail(NOT_AUTHORIZED, "The SCU role was not negotiated for this SOP class.")
        return
    if not _names_its_context(call, service):
        await call.fail(SOP_CLASS_NOT_SUPPORTED, "The SOP class is not that of the context.")
        return
    try:
        await handler(call)
    except AssociationError:
        raise
    except ArchiveError as error:
        await _fail(call, error)
    except Exception as error:
        if connection_lost(error):
            logger.error("the database or the storage does not answer: %s", error)
            await _fail(call, Unavailable("The database or the storage does not answer now."))
        else:
            logger.error("unforeseen error", exc_info=error)
            await _fail(call, ArchiveError("The archive failed on this request; its log has the details."))
    if not call.final:
        logger.error("%s was not answered by its handler", operation.name if operation else "a request")
        await _fail(call, ArchiveError("The archive failed on this request."))


def _operation(call: Call) -> Operation | None:
    try:
        return Operation(call.message.operation)
    except ValueError:
        return None


def _names_its_context(call: Call, service: Provider) -> bool:
    """Whether the SOP class of the command is that of the context; the data set tells for storage, see storage_scp."""
    named = call.message.sop_class_uid.strip(" \0")
    return service is STORAGE or not named or named == call.message.context.abstract_syntax


async def _fail(call: Call, error: ArchiveError) -> None:
    if call.final:  # it has been answered; a second response would belong to nothing
        logger.error("a request failed after it was answered: %s", error_comment(str(error)))
        return
    await call.refuse(error)
