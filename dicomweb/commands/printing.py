"""What commands write: results to standard output, as lines, tables or JSON; sentences about them to standard error."""

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import orjson
from cyclopts import Parameter

from storage.index.record import UID

Json = Annotated[bool, Parameter(negative=())]
"""The flag `--json`, which every command has that writes results."""

WIDEST = 40
"""Characters of a column, unless it holds UIDs: they are there to be used."""


def write(*lines: str) -> None:
    """Write lines of the result."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def write_json(*items: Any) -> None:
    """Write each item as one line of JSON."""
    write(*(orjson.dumps(item).decode() for item in items))


def write_either(item: Any, line: str, *, as_json: bool) -> None:
    """Write one item as JSON, or the line that tells it to a person."""
    if as_json:
        write_json(item)
    else:
        write(line)


def say(*sentences: str) -> None:
    """Write sentences about the result, or about what is going on."""
    sys.stderr.writelines(f"{sentence}\n" for sentence in sentences)


def write_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write rows in columns that are as wide as they must be."""
    cells = [[_cell(text) for text in row] for row in (names, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """Return a text in which nothing that a peer or a file says moves the cursor of a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _cell(text: str) -> str:
    if len(text) <= WIDEST or UID.fullmatch(text):
        return printable(text)
    return printable(text[: WIDEST - 1]) + "…"
