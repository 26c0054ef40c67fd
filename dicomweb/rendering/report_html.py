"""A report as an HTML page (PS3.18 Table 8.7.4-1, text/html).

Facts and clauses this module keeps:
- D-116: every value is escaped; the page has no script, loads nothing, and forbids both.
- It is read in the colours of whoever shows it, and scrolled by keys in a frame, too: Tab stops at it.
- Containers are sections with headings, other items lists; relationships other than CONTAINS are named.
- Pure: no I/O.
"""

from collections.abc import Callable, Iterable
from html import escape
from typing import Final

from dicomweb.rendering.report import CONTAINER, ContentItem, Report, ReportReference
from dicomweb.rendering.report_values import kind_of

Link = Callable[[ReportReference], str | None]
"""Makes the URL of an instance a report refers to, None when there is none."""

CONTENT_SECURITY_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""For the header of that name, beside the page."""

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 sans-serif; max-width: 48em; margin: 2em auto; padding: 0 1em; color: light-dark(#222, #e8ebef); }
h1 { font-size: 1.6em; } h2 { font-size: 1.3em; } h3, h4, h5, h6 { font-size: 1.1em; }
header dl { display: grid; grid-template-columns: max-content auto; gap: 0 1em; }
header dl { background: light-dark(#f4f4f4, #1d222a); }
header dl { padding: .5em 1em; }
dt, .name { font-weight: bold; } dd { margin: 0; } .value { white-space: pre-wrap; }
.relation { color: light-dark(#666, #9ba6b3); }
"""
_RELATIONS = {
    "HAS PROPERTIES": "property",
    "INFERRED FROM": "inferred from",
    "SELECTED FROM": "selected from",
    "HAS CONCEPT MOD": "",
    "HAS OBS CONTEXT": "",
    "HAS ACQ CONTEXT": "",
    "CONTAINS": "",
}


def report_html(report: Report, link: Link | None = None, charset: str = "utf-8") -> bytes:
    """Return a report as an HTML page.

    Parameters
    ----------
    report : Report
        What to show.
    link : callable, optional
        Makes URLs of the instances it refers to.
    charset : str
        Character set of the page; what it does not have is written as character references.
    """
    title = escape(report.title)
    facts = "".join(f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>\n" for label, value in report.facts)
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="{escape(charset)}">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">\n'
        f'<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body tabindex="0">\n'
        f"<header>\n<h1>{title}</h1>\n<dl>\n{facts}</dl>\n</header>\n"
        f"<main>\n{''.join(_listed(report.content, link, 2))}</main>\n</body>\n</html>\n"
    )
    return page.encode(charset, "xmlcharrefreplace")


def _listed(content: Iterable[ContentItem], link: Link | None, level: int) -> list[str]:
    """Return the markup of items: containers as sections, those between them as lists."""
    parts: list[str] = []
    open_list = False
    for node in content:
        is_section = node.value_type == CONTAINER
        if is_section == open_list:  # a list ends before a section and begins after one
            parts.append("</ul>\n" if open_list else "<ul>\n")
            open_list = not open_list
        parts += _section(node, link, level) if is_section else _entry(node, link, level)
    if open_list:
        parts.append("</ul>\n")
    return parts


def _section(node: ContentItem, link: Link | None, level: int) -> list[str]:
    heading = f"<h{level}>{escape(node.name)}</h{level}>\n" if node.name else ""
    return ["<section>\n", heading, *_listed(node.children, link, min(level + 1, 6)), "</section>\n"]


def _entry(node: ContentItem, link: Link | None, level: int) -> list[str]:
    relation = _RELATIONS.get(node.relationship, node.relationship.lower())
    parts = ["<li>"]
    if relation:
        parts.append(f'<span class="relation">{escape(relation)}:</span> ')
    if node.name:
        parts.append(f'<span class="name">{escape(node.name)}:</span> ')
    if node.value:
        parts.append(f'<span class="value">{escape(node.value)}</span>')
    if node.reference:
        parts.append(_linked(node.reference, link))
    return [*parts, *_listed(node.children, link, level), "</li>\n"]


def _linked(reference: ReportReference, link: Link | None) -> str:
    label = escape(reference_label(reference))
    url = link(reference) if link else None
    return (
        f'<a href="{escape(url)}">{label}</a>'
        if url
        else f'<span title="{escape(reference.sop_instance_uid)}">{label}</span>'
    )


def reference_label(reference: ReportReference) -> str:
    """Return what an instance is called in a report: its kind, and its frames if there are some named."""
    frames = ", ".join(str(number) for number in reference.frame_numbers)
    return f"{kind_of(reference.sop_class_uid)}{f', frame {frames}' if frames else ''}"
