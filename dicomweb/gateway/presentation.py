"""What we accept of what a peer proposes: contexts, roles and extended negotiation; pure.

Facts this module keeps:

- Every context gets an answer; one that we do not know costs only itself (PS3.8 9.3.3.2; G-001).
- Result 3 is an abstract syntax nobody serves, 4 a context none of whose transfer syntaxes we take.
- On a context whose SCP role a peer wants for storage it is we who send; the transfer syntax is chosen for that.
- Roles and extended negotiation are answered only where they were offered, for SOP classes we accepted, and never grant
  more than was proposed (PS3.7 D.3.3.4, D.3.3.5; G-012, G-015).
"""

from typing import Final

from pydicom._uid_dict import UID_dictionary

from dicomweb.dimse.negotiation import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    ACCEPTED,
    TRANSFER_SYNTAXES_NOT_SUPPORTED,
    Acceptance,
    ContextAnswer,
    Proposal,
    ProposedContext,
)
from dicomweb.gateway.services import STORAGE, Provider, Services

_REFUSALS: Final = {
    ABSTRACT_SYNTAX_NOT_SUPPORTED: "SOP class not served",
    TRANSFER_SYNTAXES_NOT_SUPPORTED: "transfer syntaxes not taken",
}
_MOST_NAMED: Final = 3


def answer(proposal: Proposal, services: Services) -> Acceptance:
    """Answer every presentation context of a proposal.

    Standard
    --------
    PS3.8 9.3.3; PS3.7 D.3.
    """
    contexts = [_answer_context(proposal, context, services) for context in proposal.contexts]
    proposed = {context.id: context.abstract_syntax for context in proposal.contexts}
    accepted = {proposed[context.id] for context in contexts if context.result == ACCEPTED}
    roles: dict[str, tuple[bool, bool]] = {}
    extended: dict[str, bytes] = {}
    for context in proposal.contexts:
        uid = context.abstract_syntax
        service = _service(proposal, services, context)
        if uid not in accepted or service is None:
            continue
        if uid in proposal.roles:
            as_scu, as_scp = proposal.roles[uid]
            roles[uid] = as_scu, as_scp and service.peer_may_be_scp
        if uid in proposal.extended and service.negotiate is not None:
            extended[uid] = service.negotiate(uid, proposal.extended[uid])
    return Acceptance(contexts=contexts, roles=roles, extended=extended, identity_response=None)


def refused(proposal: Proposal, acceptance: Acceptance) -> str:
    """Name the SOP classes of which no context was accepted, for the log: a few of them, empty when there is none."""
    proposed = {context.id: context.abstract_syntax for context in proposal.contexts}
    accepted = {proposed[each.id] for each in acceptance.contexts if each.result == ACCEPTED}
    results = {proposed[each.id]: each.result for each in acceptance.contexts if proposed[each.id] not in accepted}
    named = [f"{_name(uid)} ({_REFUSALS.get(result, 'refused')})" for uid, result in results.items()]
    return ", ".join(named[:_MOST_NAMED]) + (
        f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    )


def _name(uid: str) -> str:
    known = UID_dictionary.get(uid)
    return known[0] if known else "".join(each if each in "0123456789." else "?" for each in uid[:64])


def _service(proposal: Proposal, services: Services, context: ProposedContext) -> Provider | None:
    service_class, _ = proposal.common_extended.get(context.abstract_syntax, ("", ()))
    return services.of(context.abstract_syntax, service_class)


def _answer_context(proposal: Proposal, context: ProposedContext, services: Services) -> ContextAnswer:
    service = _service(proposal, services, context)
    # Whatever is refused, the item has a transfer syntax, which then means nothing (PS3.8 Table 9-18).
    meaningless = context.transfer_syntaxes[0] if context.transfer_syntaxes else ""
    if service is None:
        return ContextAnswer(context.id, ABSTRACT_SYNTAX_NOT_SUPPORTED, meaningless)
    _, peer_is_scp = proposal.roles.get(context.abstract_syntax, (True, False))
    to_peer = peer_is_scp and service is STORAGE
    chosen = services.transfer_syntax(service, context.transfer_syntaxes, to_peer=to_peer)
    if chosen is None:
        return ContextAnswer(context.id, TRANSFER_SYNTAXES_NOT_SUPPORTED, meaningless)
    return ContextAnswer(context.id, ACCEPTED, chosen)
