"""What we accept of what a peer proposes: contexts, roles and extended negotiation; pure.

Facts this module keeps:

- Every context gets an answer; one that we do not know costs only itself (PS3.8 9.3.3.2; G-001).
- Result 3 is an abstract syntax nobody serves, 4 a context none of whose transfer syntaxes we take.
- Roles and extended negotiation are answered only where they were offered, for SOP classes we accepted, and never grant
  more than was proposed (PS3.7 D.3.3.4, D.3.3.5; G-012, G-015).
"""

from dicomweb.dimse.negotiation import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    ACCEPTED,
    TRANSFER_SYNTAXES_NOT_SUPPORTED,
    Acceptance,
    ContextAnswer,
    Proposal,
    ProposedContext,
)
from dicomweb.gateway.services import Provider, Services


def answer(proposal: Proposal, services: Services) -> Acceptance:
    """Answer every presentation context of a proposal.

    Standard
    --------
    PS3.8 9.3.3; PS3.7 D.3.
    """
    contexts = [
        _answer_context(context, _service(proposal, services, context), services) for context in proposal.contexts
    ]
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


def _service(proposal: Proposal, services: Services, context: ProposedContext) -> Provider | None:
    service_class, _ = proposal.common_extended.get(context.abstract_syntax, ("", ()))
    return services.of(context.abstract_syntax, service_class)


def _answer_context(context: ProposedContext, service: Provider | None, services: Services) -> ContextAnswer:
    # Whatever is refused, the item has a transfer syntax, which then means nothing (PS3.8 Table 9-18).
    meaningless = context.transfer_syntaxes[0] if context.transfer_syntaxes else ""
    if service is None:
        return ContextAnswer(context.id, ABSTRACT_SYNTAX_NOT_SUPPORTED, meaningless)
    chosen = services.transfer_syntax(service, context.transfer_syntaxes)
    if chosen is None:
        return ContextAnswer(context.id, TRANSFER_SYNTAXES_NOT_SUPPORTED, meaningless)
    return ContextAnswer(context.id, ACCEPTED, chosen)
