"""One request of a peer, as a handler sees it."""

from dataclasses import dataclass, field
from typing import Final

from dicomweb.dimse.association import Association, Message
from dicomweb.dimse.command_set import Value
from dicomweb.failures import failure_of
from dicomweb.gateway.gateway import Gateway

PENDING: Final = frozenset((0xFF00, 0xFF01))
LONGEST_COMMENT: Final = 64
"""Characters of Error Comment (0000,0902), VR LO."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request, and the way to answer it.

    Attributes
    ----------
    gateway : Gateway
        The archive, the settings, the peers.
    association : Association
        Where the request came in.
    message : Message
        Command, presentation context and data set.
    final : list of int
        The final status once it was sent.
    """

    gateway: Gateway
    association: Association
    message: Message
    final: list[int] = field(default_factory=list)

    def text(self, keyword: str) -> str:
        """Return a value of the command as text, empty when it is absent."""
        value = self.message.command.get(keyword)
        return value.strip(" \0") if isinstance(value, str) else ""

    async def respond(self, status: int, data: bytes | None = None, **fields: Value) -> None:
        """Answer with a status and, by keyword, further fields of the command; pending ones may come before."""
        if status not in PENDING:
            self.final.append(status)
        await self.association.respond(self.message, status, data, **fields)

    async def refuse(self, error: BaseException) -> None:
        """Answer that it failed, and why.

        Standard
        --------
        PS3.7 Annex C; checklist G-020.
        """
        text = str(error) if isinstance(error, Exception) else ""
        await self.respond(failure_of(error).dimse_status, ErrorComment=error_comment(text))


def error_comment(text: str) -> str:
    """Return `text` as a value of Error Comment (0000,0902): LO, at most 64 characters of the default repertoire."""
    plain = "".join(each if each.isascii() and each.isprintable() and each != "\\" else "?" for each in text)
    if len(plain) <= LONGEST_COMMENT:
        return plain
    return plain[: LONGEST_COMMENT - 3].rsplit(" ", 1)[0] + "..."
