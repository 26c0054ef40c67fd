"""C-STORE operations over an association that is open: what C-MOVE, C-GET and `peers send` consist of.

Facts kept here:

- One operation is outstanding at a time; the next file is opened, or transcoded, while the response is waited for.
- The bytes are the stored ones wherever the peer took the stored transfer syntax; nothing is parsed then (G-101).
- What cannot be read, decoded or sent costs itself alone: it becomes a failed operation (G-102). Only an association
  that ended, or a database that is silent, ends them all.
- Status categories are those of PS3.4 Table B.2-1 and PS3.7 Annex C.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple

from dicomweb.dimse.association import Association, Context
from dicomweb.dimse.command_set import Command, Operation, number, text
from dicomweb.dimse.errors import AssociationError
from dicomweb.scu.contexts import syntaxes_to_try
from storage.archive import Archive
from storage.errors import ArchiveError
from storage.retrieval.data_set_file import DataSetFile
from storage.retrieval.instance_file import InstanceFile
from storage.retrieval.selection import Chosen

logger = logging.getLogger(__name__)

_FILES_AT_ONCE: Final = 100
"""How many files are looked up in the index at once."""
_WARNINGS: Final = frozenset((0x0001, 0x0107, 0x0116))
"""Warnings of PS3.7 Annex C; those of C-STORE are Bxxx."""


class Originator(NamedTuple):
    """Who asked for it by C-MOVE, and by which message (PS3.7 9.1.1.1.6, 9.1.1.1.7)."""

    ae_title: str
    message_id: int


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one instance.

    Attributes
    ----------
    instance : Chosen
        Which.
    status : int or None
        Of the C-STORE response; None when there was none.
    error : str
        Why it failed; free of patient data.
    """

    instance: Chosen
    status: int | None
    error: str = ""

    @property
    def is_warning(self) -> bool:
        """Whether it was stored with a warning."""
        return self.status is not None and (self.status >> 12 == 0xB or self.status in _WARNINGS)

    @property
    def has_failed(self) -> bool:
        """Whether it was not stored, as far as we know."""
        return self.status != 0 and not self.is_warning


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An instance that is ready to be sent, or the reason why it cannot be."""

    instance: Chosen
    context: Context | None = None
    data: DataSetFile | None = None
    error: str = ""


class StoreOperations:
    """Sends instances over an association.

    Parameters
    ----------
    archive : Archive
        Where they are.
    association : Association
        On which we are SCU of their SOP classes.
    preferred : sequence of str
        Transfer syntaxes the receiver wants before all else.
    priority : int
        0 medium, 1 high, 2 low; that of the request they belong to (G-106).
    originator : Originator, optional
        Who asked for it by C-MOVE (G-100).
    """

    def __init__(
        self,
        archive: Archive,
        association: Association,
        *,
        preferred: Sequence[str] = (),
        priority: int = 0,
        originator: Originator | None = None,
    ) -> None:
        self._archive = archive
        self._association = association
        self._preferred = preferred
        self._fields: Command = {"CommandField": int(Operation.C_STORE), "Priority": priority}
        if originator is not None:
            self._fields["MoveOriginatorApplicationEntityTitle"] = originator.ae_title
            self._fields["MoveOriginatorMessageID"] = originator.message_id

    async def run(self, instances: Sequence[Chosen]) -> AsyncGenerator[Sent, None]:
        """Send instances one after another; yields one result each, in order.

        Raises
        ------
        AssociationError
            The association ended; the instance that was being sent may or may not have arrived.
        ArchiveError
            The index does not answer.
        """
        async with aclosing(self._prepared(instances)) as prepared:
            coming = asyncio.ensure_future(anext(prepared, None))
            try:
                while (current := await asyncio.shield(coming)) is not None:
                    coming = asyncio.ensure_future(anext(prepared, None))
                    yield await self._sent(current)
            finally:
                coming.cancel()
                (left,) = await asyncio.gather(coming, return_exceptions=True)
                if isinstance(left, _Prepared) and left.data is not None:
                    await left.data.close()

    async def _prepared(self, instances: Sequence[Chosen]) -> AsyncGenerator[_Prepared, None]:
        for start in range(0, len(instances), _FILES_AT_ONCE):
            some = instances[start : start + _FILES_AT_ONCE]
            for instance, file in zip(some, await self._archive.files_of(some), strict=True):
                yield await self._prepare(instance, file)

    async def _prepare(self, instance: Chosen, file: InstanceFile | None) -> _Prepared:
        if file is None:
            return _Prepared(instance, error="It was removed from the archive meanwhile.")
        error = "The receiver accepts no presentation context for it."
        refused = False
        for uid in self._syntaxes_to_try(file):
            context = self._association.context_for(file.sop_class_uid, as_scu=True, transfer_syntax=uid)
            if context is None:
                continue
            try:
                return _Prepared(instance, context, await self._archive.data_set(file, (uid,)))
            except ArchiveError as failure:
                error = error if refused else str(failure)
            except Exception as failure:  # whatever is wrong with one instance, the others are not to suffer from it
                logger.error("%s cannot be read to be sent", instance.sop_instance_uid, exc_info=failure)
                error = error if refused else "The stored file cannot be read; the log has the details."
            refused = True
        return _Prepared(instance, error=error)

    def _syntaxes_to_try(self, file: InstanceFile) -> list[str]:
        """Return what to try for an instance; last what else was accepted, as with C-GET, where the peer proposes."""
        accepted = [each.transfer_syntax for each in self._association.contexts.values()]
        stored = file.transfer_syntax_uid
        return list(dict.fromkeys([*syntaxes_to_try(stored, self._preferred), *syntaxes_to_try(stored, accepted)]))

    async def _sent(self, prepared: _Prepared) -> Sent:
        if prepared.data is None or prepared.context is None:
            return Sent(prepared.instance, None, prepared.error)
        command: Command = {
            **self._fields,
            "AffectedSOPClassUID": prepared.context.abstract_syntax,
            "AffectedSOPInstanceUID": prepared.instance.sop_instance_uid,
        }
        try:
            response = await self._association.request(prepared.context, command, prepared.data.stream())
        except AssociationError:
            raise
        except Exception as error:  # in the middle of the message, which cannot be taken back
            logger.error("%s cannot be read while it is sent", prepared.instance.sop_instance_uid, exc_info=error)
            await self._association.abort()
            return Sent(prepared.instance, None, "The stored file cannot be read; the log has the details.")
        finally:
            await prepared.data.close()
        sent = Sent(prepared.instance, number(response.command, "Status", 0xC000))
        if not sent.has_failed:
            return sent
        comment = text(response.command, "ErrorComment")
        return Sent(sent.instance, sent.status, f"The receiver answered {sent.status:04X}. {comment}".strip())
