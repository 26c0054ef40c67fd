"""One request of a peer, as a handler sees it.

Facts this module keeps:

- A refusal has a status and an Error Comment, with an Offending Element where one element is at fault. An Error ID is
  ours to invent but for A710 of a performed step: the others have none (PS3.7 Annex C; G-020, G-164).
- What is refused is said in the log, too: most peers show their users a number, if anything.
"""

import logging
from dataclasses import dataclass, field
from typing import Final

from dicomweb.dimse.association import Association, Message
from dicomweb.dimse.command_set import PENDING, Operation, Value, text
from dicomweb.dimse.negotiation import shown_title
from dicomweb.failures import failure_of
from dicomweb.gateway.gateway import Gateway
from storage.errors import InvalidQuery
from storage.matching.attributes import Tag8

logger = logging.getLogger(__name__)

LONGEST_COMMENT: Final = 64
"""Characters of Error Comment (0000,0902), VR LO."""

SUCCESS: Final = 0x0000
CANCELLED: Final = 0xFE00
_WARNINGS: Final = frozenset((0x0001, 0x0107, 0x0116))
"""Of PS3.7 Annex C; those of a service are Bxxx."""


class WrongIdentifier(InvalidQuery):
    """An identifier that does not match its SOP class.

    Parameters
    ----------
    text : str
        What is wrong.
    tag : str
        The element at fault, for Offending Element (0000,0901).
    """

    def __init__(self, text: str, tag: Tag8) -> None:
        super().__init__(text)
        self.tag = tag


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
            if _is_failure(status):
                self._log(status, fields)
        await self.association.respond(self.message, status, data, **fields)

    async def refuse(self, error: BaseException) -> None:
        """Answer that it failed, and why.

        Standard
        --------
        PS3.7 Annex C; checklist G-020.
        """
        said = str(error) if isinstance(error, Exception) else ""
        await self.fail(failure_of(error).dimse_status, said, error.tag if isinstance(error, WrongIdentifier) else None)

    async def warn(self, status: int, what: str) -> None:
        """Answer that it is done, but that there is something to know."""
        self._log(status, {"ErrorComment": error_comment(what)}, "warned")
        await self.respond(status, None, ErrorComment=error_comment(what))

    async def fail(self, status: int, why: str, *tags: Tag8 | None) -> None:
        """Answer with a failure, why, and the elements at fault."""
        offending = [int(tag, 16) for tag in tags if tag is not None]
        fields: dict[str, Value] = {"OffendingElement": offending} if offending else {}
        await self.respond(status, None, ErrorComment=error_comment(why), **fields)

    def _log(self, status: int, fields: dict[str, Value], how: str = "refused") -> None:
        try:
            operation = Operation(self.message.operation).name.replace("_", "-")
        except ValueError:
            operation = "a request"
        who = shown_title(self.association.calling_ae_title)
        logger.warning("%s of %s %s with %04X: %s", operation, who, how, status, text(fields, "ErrorComment"))


def _is_failure(status: int) -> bool:
    return status not in (SUCCESS, CANCELLED) and status not in _WARNINGS and status >> 12 != 0xB


def error_comment(text: str) -> str:
    """Return `text` as a value of Error Comment (0000,0902): LO, at most 64 characters of the default repertoire."""
    plain = "".join(each if each.isascii() and each.isprintable() and each != "\\" else "?" for each in text)
    if len(plain) <= LONGEST_COMMENT:
        return plain
    return plain[: LONGEST_COMMENT - 3].rsplit(" ", 1)[0] + "..."
