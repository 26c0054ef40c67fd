"""Sending instances to another AE over associations that we open (PS3.4 Annex B, SCU).

Facts kept here:

- Contexts are planned for the instances at hand, over several associations where one has not enough of them (G-103).
- An association that is lost is opened again for what was not answered. Storing is harmless when done twice, so the
  instance that was under way is sent again, once; after `_MOST_LOSSES` associations that brought nothing across, or a
  peer that cannot be reached, the rest has failed.
- Whoever stops listening to the results ends it after the operation under way.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from dicomweb.dimse.association import Association, Timeouts
from dicomweb.dimse.errors import AssociationError, AssociationRejected, PeerUnreachable
from dicomweb.dimse.negotiation import UserIdentity
from dicomweb.dimse.requestor import Address, connect
from dicomweb.scu.contexts import Plan, kind_of, plan_associations
from dicomweb.scu.store_operations import Originator, Sent, StoreOperations
from storage.archive import Archive
from storage.errors import ArchiveError
from storage.retrieval.selection import Chosen

__all__ = ["Originator", "Sender", "Sent"]

_MOST_LOSSES: Final = 3
"""Associations lost one after another without a single answer."""
_MOST_ATTEMPTS: Final = 2
"""At one instance that the association is lost with."""
_YIELD_EVERY: Final = 500
_UNREACHABLE: Final = "The receiver cannot be reached."


class Sender:
    """Sends instances of the archive to one peer.

    Parameters
    ----------
    archive : Archive
        Where they are.
    address : Address
        Of the peer.
    calling_ae_title : str
        Ours.
    preferred : sequence of str
        Transfer syntaxes it wants before all else (`Peer.transfer_syntaxes`).
    identity : UserIdentity, optional
        Given when associations are opened.
    timeouts : Timeouts
        Of the associations.
    priority : int
        0 medium, 1 high, 2 low.
    originator : Originator, optional
        Who asked for it by C-MOVE.
    """

    def __init__(
        self,
        archive: Archive,
        address: Address,
        *,
        calling_ae_title: str,
        preferred: Sequence[str] = (),
        identity: UserIdentity | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - immutable
        priority: int = 0,
        originator: Originator | None = None,
    ) -> None:
        self._archive = archive
        self._address = address
        self._calling_ae_title = calling_ae_title
        self._preferred = preferred
        self._identity = identity
        self._timeouts = timeouts
        self._priority = priority
        self._originator = originator

    async def send(self, instances: Sequence[Chosen]) -> AsyncGenerator[Sent, None]:
        """Send instances; yields exactly one result each, association by association, else in order.

        Nothing is raised: whatever goes wrong is the result of the instances it concerns.

        Standard
        --------
        PS3.4 B.2.2; checklist G-100 to G-104.
        """
        hopeless = ""
        for plan in plan_associations(map(kind_of, instances), self._preferred):
            waiting = [instance for instance in instances if kind_of(instance) in plan.kinds]
            done = losses = attempts = 0
            while done < len(waiting) and not hopeless:
                try:
                    async with aclosing(self._over_association(plan, waiting[done:])) as results:
                        async for sent in results:
                            done, attempts = done + 1, 0
                            losses = losses if sent.status is None else 0
                            yield sent
                except (PeerUnreachable, AssociationRejected, ArchiveError) as error:
                    hopeless = str(error) or _UNREACHABLE
                except AssociationError as error:
                    losses, attempts = losses + 1, attempts + 1
                    if losses >= _MOST_LOSSES:
                        hopeless = str(error) or _UNREACHABLE
                    elif attempts >= _MOST_ATTEMPTS:
                        yield Sent(waiting[done], None, str(error))
                        done, attempts = done + 1, 0
            for number, instance in enumerate(waiting[done:]):
                yield Sent(instance, None, hopeless)
                if number % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)

    async def _over_association(self, plan: Plan, instances: Sequence[Chosen]) -> AsyncGenerator[Sent, None]:
        association = await self._connect(plan)
        operations = StoreOperations(
            self._archive,
            association,
            preferred=self._preferred,
            priority=self._priority,
            originator=self._originator,
        )
        try:
            async with aclosing(operations.run(instances)) as results:
                async for sent in results:
                    yield sent
        except GeneratorExit:  # nobody listens any more; no operation is under way
            await association.release()
            raise
        except BaseException:
            await association.abort()
            raise
        await association.release()

    async def _connect(self, plan: Plan) -> Association:
        """Open an association; a peer that does not answer the proposal is as good as unreachable."""
        try:
            return await connect(
                self._address,
                calling_ae_title=self._calling_ae_title,
                contexts=plan.contexts,
                identity=self._identity,
                timeouts=self._timeouts,
            )
        except AssociationRejected:
            raise
        except AssociationError as error:
            raise PeerUnreachable(str(error)) from error
