"""Which presentation contexts to propose so that instances can be sent, and which transfer syntaxes to try.

Facts kept here:

- A context is accepted in one of its transfer syntaxes, and the peer chooses which (PS3.8 9.3.3.3). So each syntax that
  matters to us stands alone, and only the little endian ones share a context.
- Implicit VR Little Endian must be proposed for every SOP class, but where only a lossy or referenced form exists that
  we cannot decode (PS3.5 10.1; G-101).
- An association has at most 128 contexts (PS3.8 9.3.2.2): more of them need more associations (G-103). Those of one
  SOP class stay together, so that every instance finds its fall-back beside it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from storage.dicom.transfer_syntax import EXPLICIT_LE, IMPLICIT_LE, decodable, encodable

MOST_CONTEXTS: Final = 128
"""Of one association (PS3.8 9.3.2.2)."""

Context = tuple[str, tuple[str, ...]]
"""An abstract syntax and the transfer syntaxes proposed for it."""


class Stored(Protocol):
    """What is known of an instance that is to be sent."""

    @property
    def sop_class_uid(self) -> str: ...
    @property
    def transfer_syntax_uid(self) -> str: ...


class Kind(NamedTuple):
    """What instances have in common that are sent the same way."""

    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One association: what to propose on it, and the kinds of instances that are sent over it."""

    contexts: tuple[Context, ...]
    kinds: frozenset[Kind]


def kind_of(instance: Stored) -> Kind:
    """Return what decides how an instance is sent."""
    return Kind(instance.sop_class_uid, instance.transfer_syntax_uid)


def syntaxes_to_try(transfer_syntax_uid: str, preferred: Sequence[str] = ()) -> list[str]:
    """Return the transfer syntaxes an instance can be sent in, the best first.

    Parameters
    ----------
    transfer_syntax_uid : str
        In which it is stored.
    preferred : sequence of str
        What the receiver wants before all else; one that would lose information is used for what is stored in it only.
    """
    stored = transfer_syntax_uid
    ours = [stored, EXPLICIT_LE, IMPLICIT_LE] if decodable(stored) else [stored]
    wanted = [uid for uid in preferred if uid in ours or (decodable(stored) and encodable(uid, lossy=False))]
    return list(dict.fromkeys([*wanted, *ours]))


def plan_associations(kinds: Iterable[Kind], preferred: Sequence[str] = ()) -> list[Plan]:
    """Spread kinds of instances over as few associations as their order allows.

    Standard
    --------
    PS3.8 9.3.2.2; PS3.5 10.1; checklist G-101, G-103.
    """
    stored: dict[str, list[str]] = {}
    for sop_class_uid, transfer_syntax_uid in dict.fromkeys(kinds):
        stored.setdefault(sop_class_uid, []).append(transfer_syntax_uid)
    plans: list[Plan] = []
    contexts: list[Context] = []
    members: set[Kind] = set()
    for sop_class_uid, uids in stored.items():
        for some in _portions(sop_class_uid, uids, preferred):
            added = _contexts(sop_class_uid, some, preferred)
            if len(contexts) + len(added) > MOST_CONTEXTS:
                plans.append(Plan(tuple(contexts), frozenset(members)))
                contexts, members = [], set()
            contexts += added
            members |= {Kind(sop_class_uid, uid) for uid in some}
    if contexts:
        plans.append(Plan(tuple(contexts), frozenset(members)))
    return plans


def _contexts(sop_class_uid: str, stored: Sequence[str], preferred: Sequence[str]) -> list[Context]:
    """Return the contexts of one SOP class: each syntax worth having alone, then what any receiver takes."""
    wanted = dict.fromkeys(uid for one in stored for uid in syntaxes_to_try(one, preferred))
    both = [uid for uid in (EXPLICIT_LE, IMPLICIT_LE) if uid in wanted]
    alone = [uid for uid in wanted if uid in stored or uid in preferred]
    alone.sort(key=lambda uid: preferred.index(uid) if uid in preferred else len(preferred))
    rest = [uid for uid in both if uid not in alone]
    return [(sop_class_uid, (uid,)) for uid in alone] + ([(sop_class_uid, tuple(rest))] if rest else [])


def _portions(sop_class_uid: str, stored: Sequence[str], preferred: Sequence[str]) -> list[Sequence[str]]:
    """Return the stored syntaxes of one SOP class in parts that fit into an association; mostly it is one part."""
    if len(stored) == 1 or len(_contexts(sop_class_uid, stored, preferred)) <= MOST_CONTEXTS:
        return [stored]
    middle = len(stored) // 2
    return [
        *_portions(sop_class_uid, stored[:middle], preferred),
        *_portions(sop_class_uid, stored[middle:], preferred),
    ]
