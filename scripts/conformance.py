"""Write the tables of the README from the tables of the code: python -m scripts.conformance [--check]

Between `<!-- conformance: NAME -->` and `<!-- end of conformance -->` the README has what `TABLES[NAME]` makes;
--check writes nothing and fails when the README says something else.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import pynetdicom  # noqa: F401 - names UIDs that pydicom's dictionary lacks, in every process that imports it
from pydantic import ByteSize
from pydicom.uid import UID
from starlette.routing import BaseRoute, Mount, Route

from dicomweb.failures import FAILURES
from dicomweb.http.app import create_app
from dicomweb.http.capabilities import describe_handler
from dicomweb.http.message.media_types import TRANSFER_SYNTAXES_OF_MEDIA_TYPE
from dicomweb.settings import PREFIX, Settings
from storage.matching.attributes import ATTRIBUTES, BY_LEVEL, Attribute, Level

README = Path(__file__).resolve().parent.parent / "README.md"
SECTION = re.compile(r"(<!-- conformance: (\w+) -->\n)(.*?)(<!-- end of conformance -->)", re.DOTALL)
UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
RETURNED = {"R": "always", "C": "when known", "U": "always"}
MULTIPART = re.compile(r'multipart/related; type="(.+)"')


def settings() -> str:
    """Every setting with its flag, its environment variable and its default."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        flag = f"`--{name.replace('_', '-')}`"
        rows.append([flag, f"`{PREFIX}{name.upper()}`", _default(default), field.description or ""])
    return table(["flag", "environment", "default", "what it does"], rows)


def resources() -> str:
    """Every resource with its method, its transaction and its media types, the default first."""
    rows = []
    for path, route in _routes(create_app(cast("Any", None), Settings()).routes):
        described = describe_handler(route.name)
        rest = [f"`{path}`", described.title, _types(described.answers), _types(described.takes)]
        rows += [[method, *rest] for method in sorted((route.methods or set()) - {"HEAD"})]
    return table(["method", "resource", "transaction", "answers", "takes"], rows)


def attributes() -> str:
    """What searches match by index and return unasked, level by level."""
    rows = [
        [attribute.keyword, _tag(attribute), attribute.vr, level.name.lower(), _column(attribute), _returned(attribute)]
        for level in Level
        for attribute in BY_LEVEL[level].values()
        if attribute.column or attribute.returned or attribute.computed
    ]
    return table(["attribute", "tag", "VR", "level", "matched by", "returned"], rows)


def other_attributes() -> str:
    """The attributes that belong to a level, are matched without an index and returned when asked for."""
    lines = []
    for level in Level:
        named = [known.keyword for known in ATTRIBUTES if known.level is level]
        plain = [name for name in named if not _indexed(BY_LEVEL[level], name)]
        if plain:
            lines.append(f"* **{level.name.lower()}**: {', '.join(plain)}")
    return "\n".join(lines) + "\n"


def media_types() -> str:
    """The media type of a frame in each transfer syntax; the first of each is the default of the media type."""
    rows = [
        [f"`{media_type}`", f"`{uid}`", UID(uid).name, "yes" if place == 0 else ""]
        for media_type, uids in TRANSFER_SYNTAXES_OF_MEDIA_TYPE.items()
        for place, uid in enumerate(uids)
    ]
    return table(["media type", "transfer syntax", "name", "default"], rows)


def failures() -> str:
    """What goes wrong and what it is called over HTTP and in a STOW response."""
    rows = [
        [" ".join((error.__doc__ or error.__name__).split()), str(failure.http_status), f"{failure.stow_reason:04X}"]
        for error, failure in FAILURES.items()
    ]
    return table(["what", "HTTP status", "failure reason (0008,1197)"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings,
    "resources": resources,
    "attributes": attributes,
    "other_attributes": other_attributes,
    "media_types": media_types,
    "failures": failures,
}


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def rewritten(text: str) -> str:
    """Return the README with every table made anew; an unknown name is an error."""
    return SECTION.sub(lambda found: found[1] + TABLES[found[2]]() + found[4], text)


def main() -> int:
    """Rewrite the README, or with --check say whether it is up to date."""
    text = README.read_text(encoding="utf-8")
    wanted = rewritten(text)
    if "--check" in sys.argv[1:]:
        if wanted != text:
            print("the tables of README.md are not those of the code: run python -m scripts.conformance")
        return int(wanted != text)
    README.write_text(wanted, encoding="utf-8")
    return 0


def _default(value: object) -> str:
    if isinstance(value, ByteSize):
        unit = next(((size, name) for size, name in UNITS if value >= size and value % size == 0), None)
        return f"`{value // unit[0]} {unit[1]}`" if unit else f"`{int(value)}`"
    if value is None or value == []:
        return ""
    if isinstance(value, list):
        return _code([",".join(map(str, value))])
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _routes(routes: Sequence[BaseRoute], prefix: str = "") -> list[tuple[str, Route]]:
    found: list[tuple[str, Route]] = []
    for route in routes:
        if isinstance(route, Mount):
            found += _routes(route.routes, prefix + route.path)
        elif isinstance(route, Route):
            found.append((re.sub(r":\w+}", "}", prefix + route.path), route))
    return found


def _code(texts: Iterable[str], between: str = "<br>") -> str:
    return between.join(f"`{text}`" for text in texts)


def _types(media_types: Iterable[str]) -> str:
    """Media types, those inside multipart/related together."""
    parts = [found[1] for name in media_types if (found := MULTIPART.fullmatch(name))]
    single = [name for name in media_types if not MULTIPART.fullmatch(name)]
    grouped = [f"`multipart/related` of {_code(parts, ', ')}"] if parts else []
    return "; ".join([*([_code(single, ", ")] if single else []), *grouped])


def _tag(attribute: Attribute) -> str:
    return f"({attribute.tag[:4]},{attribute.tag[4:]})"


def _column(attribute: Attribute) -> str:
    if attribute.column is None:
        return ""
    return "column, and inside by trigrams" if attribute.gram else "column"


def _returned(attribute: Attribute) -> str:
    return RETURNED[attribute.returned] if attribute.returned else "when asked for"


def _indexed(known: Any, keyword: str) -> bool:
    attribute = next(entry for entry in known.values() if entry.keyword == keyword)
    return bool(attribute.column or attribute.returned or attribute.computed)


if __name__ == "__main__":
    sys.exit(main())
