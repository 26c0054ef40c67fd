"""A report as plain text (PS3.18 Table 8.7.4-1, text/plain).

Facts and clauses this module keeps:
- Containers are underlined headings, other items lines, indented by their depth; lines end with LF.
- Control characters of values are left out, so that they cannot move a terminal's cursor.
- Pure: no I/O.
"""

from collections.abc import Iterable, Iterator

from dicomweb.rendering.report import CONTAINER, ContentItem, Report
from dicomweb.rendering.report_html import reference_label

_INDENT = "  "


def report_text(report: Report, charset: str = "utf-8") -> bytes:
    """Return a report as plain text.

    Parameters
    ----------
    report : Report
        What to show.
    charset : str
        Character set of the text.

    Raises
    ------
    UnicodeEncodeError
        The character set does not have all of it.
    """
    lines = [report.title, "=" * len(report.title), ""]
    lines += [f"{label}: {value}" for label, value in report.facts]
    lines += ["", *_lines(report.content, 0)]
    return "\n".join(_printable(line) for line in lines).encode(charset) + b"\n"


def _lines(content: Iterable[ContentItem], depth: int) -> Iterator[str]:
    indent = _INDENT * depth
    for node in content:
        if node.value_type == CONTAINER:
            if node.name:
                yield from ("", f"{indent}{node.name}", f"{indent}{'-' * len(node.name)}")
            yield from _lines(node.children, depth)
            continue
        value = reference_label(node.reference) if node.reference else node.value
        if node.reference:
            value = f"{value} {node.reference.sop_instance_uid}"
        first, *more = value.splitlines() or [""]
        yield f"{indent}{node.name}: {first}".rstrip() if node.name else f"{indent}{first}"
        yield from (f"{indent}{_INDENT}{line}" for line in more)
        yield from _lines(node.children, depth + 1)


def _printable(line: str) -> str:
    return "".join(letter for letter in line if letter.isprintable() or letter == "\t")
