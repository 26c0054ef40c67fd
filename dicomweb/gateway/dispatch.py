"""From a request to its handler, and from whatever happens there to an answer.

Facts this module keeps:

- Every request gets exactly one final response; a handler that fails costs its request, never the association.
- An operation that the SOP class does not have is 0211; a SOP class that is not that of the context is 0122
  (PS3.7 Annex C; G-030, G-044).
- Only what breaks the association itself, an AssociationError, leaves this module.
"""

import logging
import time

from dicomweb.dimse.command_set import Operation
from dicomweb.dimse.errors import AssociationError
from dicomweb.gateway.associations import LiveAssociation
from dicomweb.gateway.call import Call, error_comment
from dicomweb.gateway.services import STORAGE, Provider, Services
from storage.database import connection_lost
from storage.errors import ArchiveError, Unavailable

logger = logging.getLogger(__name__)

SOP_CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNIZED_OPERATION = 0x0211


async def dispatch(call: Call, services: Services, live: LiveAssociation) -> None:
    """Have one request answered.

    Raises
    ------
    AssociationError
        The association ended.
    """
    operation = _operation(call)
    begun = time.perf_counter()
    live.begun(operation)
    try:
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
        await call.respond(UNRECOGNIZED_OPERATION, ErrorComment="The SOP class of this context has no such operation.")
        return
    if not _names_its_context(call, service):
        await call.respond(SOP_CLASS_NOT_SUPPORTED, ErrorComment="The SOP class is not that of the context.")
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
