"""The Native DICOM Model in XML (PS3.19 Annex A.1) from and to the DICOM JSON Model.

What is kept here:

* A private attribute has the tag gggg00ee and its privateCreator; the block is not sent. Reading gives it the block
  that its creator element reserves, or reserves one (PS3.19 Table A.1.5-2).
* Every Value, Item and PersonName is numbered from 1; an empty value among several is an empty element.
* A person name's groups are split into their five components.
* XML 1.0 has no character for most control characters: they become U+FFFD.
* What reading does not know of an attribute is kept under its own name ("<value>", "@value", "#text"), for
  `json_attribute` to judge; what is no attribute in a data set is refused. DataFragment is read (`data_fragments`).
* Reading refuses a document type declaration, so there are no entities to expand or to fetch.
"""

import math
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser
from xml.sax.saxutils import escape, quoteattr

from pydicom.datadict import keyword_for_tag

from storage.dicom.dicomjson import INTEGER, NAME_GROUPS, Attribute, decimal_string, integer_string
from storage.dicom.elements import Limits
from storage.dicom.json_attribute import FRAGMENTS, STRAY
from storage.dicom.vr import AMBIGUOUS, standard_vr
from storage.errors import InvalidDicom, LimitExceeded

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
ILLEGAL: Final = dict.fromkeys(
    (*set(range(0x20)) - {0x09, 0x0A, 0x0D}, 0xFFFE, 0xFFFF, *range(0xD800, 0xE000)), "\ufffd"
)
KEPT_BY_REFERENCE: Final = {"\r": "&#13;"}
"""A carriage return written plainly would be read as a line feed (XML 1.0 2.11)."""
IN_ATTRIBUTE: Final = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
LEVELS_AN_ITEM: Final = 2
"""Elements of the document a level of nesting takes: DicomAttribute and Item."""
LEVELS_BESIDE: Final = 5
"""The root, and DicomAttribute, PersonName, group and component of a name."""
MAX_DEPTH: Final = Limits().max_depth
KNOWN: Final = frozenset(("tag", "vr", "keyword", "privateCreator"))
"""The XML attributes of a DicomAttribute."""
BINARY: Final = ("InlineBinary", "BulkData")
CONTENT: Final = ("Value", "Item", "PersonName", "DataFragment", *BINARY)
"""The elements in a DicomAttribute."""
BLOCKS: Final = range(0x10, 0x100)


def encode(dataset: dict[str, Attribute]) -> bytes:
    """Return a DICOM JSON object as a NativeDicomModel document in UTF-8.

    Standard
    --------
    PS3.19 A.1.5 and A.1.6; PS3.18 F.3.
    """
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
    return "".join((head, *_attributes(dataset), "</NativeDicomModel>")).encode("utf-8")


def decode(document: bytes) -> dict[str, Attribute]:
    """Return the data set of a NativeDicomModel document as a DICOM JSON object, keys ascending.

    Both `uri` and `uuid` of BulkData become BulkDataURI. The namespace may be absent.

    Raises
    ------
    InvalidDicom
        When it is no well-formed document, has a document type declaration or an element that belongs to none, or is no
        NativeDicomModel.
    LimitExceeded
        When sequences are nested too deeply.

    Standard
    --------
    PS3.19 A.1.5.
    """
    parser = XMLParser(target=_Builder())
    try:
        parser.feed(document)
        root = parser.close()
    except (ParseError, LookupError, ValueError) as error:
        raise InvalidDicom(f"the metadata is not well-formed XML: {error}") from None
    if not isinstance(root, Element) or _name(root) != "NativeDicomModel":
        raise InvalidDicom("the root element of XML metadata must be NativeDicomModel (PS3.19 A.1.5)")
    return _dataset(root)


class _Builder(TreeBuilder):
    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse: entities are declared here, and they can expand without bound or fetch files."""
        raise InvalidDicom("XML metadata must not have a document type declaration")

    def start(self, tag: Any, attrs: Any, /) -> Element:
        self._depth += 1
        if self._depth > MAX_DEPTH * LEVELS_AN_ITEM + LEVELS_BESIDE:
            raise LimitExceeded(f"sequences are nested more than {MAX_DEPTH} levels deep")
        return super().start(tag, attrs)

    def end(self, tag: Any, /) -> Element:
        self._depth -= 1
        return super().end(tag)


# Writing


def _attributes(dataset: dict[str, Attribute]) -> Iterator[str]:
    for key, attribute in dataset.items():
        vr = attribute["vr"]
        creator = _creator(dataset, key)
        tag = key if creator is None else f"{key[:4]}00{key[6:]}"
        yield f'<DicomAttribute tag="{tag}" vr="{vr}"'
        if creator is not None:
            yield f" privateCreator={_quoted(creator)}"
        elif keyword := keyword_for_tag(int(key, 16)):
            yield f' keyword="{keyword}"'
        content = "".join(_content(vr, attribute))
        yield f">{content}</DicomAttribute>" if content else "/>"


def _creator(dataset: dict[str, Attribute], key: str) -> str | None:
    """Return the private creator of a private data element, None for any other element or when it is missing."""
    if int(key[3], 16) % 2 == 0 or key[4:6] == "00":
        return None
    values = dataset.get(f"{key[:4]}00{key[4:6]}", {}).get("Value")
    return values[0] if values and isinstance(values[0], str) else None


def _content(vr: str, attribute: Attribute) -> Iterator[str]:
    if "InlineBinary" in attribute:
        yield f"<InlineBinary>{attribute['InlineBinary']}</InlineBinary>"
    elif "BulkDataURI" in attribute:
        yield f"<BulkData uri={_quoted(attribute['BulkDataURI'])}/>"
    for number, value in enumerate(attribute.get("Value", ()), 1):
        if vr == "SQ":
            yield f'<Item number="{number}">{"".join(_attributes(value or {}))}</Item>'
        elif vr == "PN":
            yield f'<PersonName number="{number}">{"".join(_name_groups(value or {}))}</PersonName>'
        else:
            yield f'<Value number="{number}">{"" if value is None else _escaped(str(value))}</Value>'


def _name_groups(name: dict[str, str]) -> Iterator[str]:
    for group in NAME_GROUPS:
        if group in name:
            components = zip(COMPONENTS, name[group].split("^", len(COMPONENTS) - 1), strict=False)
            text = "".join(f"<{component}>{_escaped(part)}</{component}>" for component, part in components)
            yield f"<{group}>{text}</{group}>"


def _escaped(text: str) -> str:
    return escape(text.translate(ILLEGAL), KEPT_BY_REFERENCE)


def _quoted(text: str) -> str:
    return quoteattr(text.translate(ILLEGAL), IN_ATTRIBUTE)


# Reading


def _dataset(parent: Element) -> dict[str, Attribute]:
    dataset: dict[str, Attribute] = {}
    private: list[tuple[str, str, Attribute]] = []
    for name in _unknown(parent, ("DicomAttribute",)):
        raise InvalidDicom(f"{name[:40]} in <{_name(parent)}> is none of PS3.19 A.1.5")
    for element in parent:
        tag, creator = element.get("tag", "").upper(), element.get("privateCreator")
        if len(tag) != 8 or not set(tag) <= set("0123456789ABCDEF"):
            raise InvalidDicom(f"a DicomAttribute has no tag of 8 hexadecimal digits (PS3.19 A.1.5): {tag[:20]!r}")
        attribute = _attribute(tag, element, creator)
        if creator is not None:
            private.append((tag, creator.strip(), attribute))
        elif tag in dataset:
            raise InvalidDicom(f"the attribute {tag} is there twice")
        else:
            dataset[tag] = attribute
    for tag, creator, attribute in private:
        _place(dataset, tag, creator, attribute)
    return dict(sorted(dataset.items()))


def _place(dataset: dict[str, Attribute], tag: str, creator: str, attribute: Attribute) -> None:
    """Put a private attribute into the first block of its creator where there is room; reserve one if need be."""
    group, number = tag[:4], tag[6:]
    unused: int | None = None
    for block in BLOCKS:
        reserved = dataset.get(f"{group}00{block:02X}")
        if reserved is None:
            unused = unused or block
        elif reserved.get("Value") == [creator] and f"{group}{block:02X}{number}" not in dataset:
            dataset[f"{group}{block:02X}{number}"] = attribute
            return
    if unused is None:
        raise InvalidDicom(f"group {group} has no room for another private creator (PS3.5 7.8.1)")
    dataset[f"{group}00{unused:02X}"] = {"vr": "LO", "Value": [creator]}
    dataset[f"{group}{unused:02X}{number}"] = attribute


def _attribute(tag: str, element: Element, creator: str | None) -> Attribute:
    vr = element.get("vr") or (None if creator is not None else standard_vr(int(tag, 16))) or "UN"
    if vr in AMBIGUOUS:
        raise InvalidDicom(f"the attribute {tag} needs its vr, which the data dictionary leaves open ({vr})")
    members: Attribute = {
        f"@{name}": text for name, text in element.attrib.items() if name not in KNOWN and "}" not in name
    }
    members |= _unknown(element, CONTENT)
    numbered: list[tuple[int, Any]] = []
    fragments: list[tuple[int, Any]] = []
    for child in element:
        match _name(child):
            case "Value":
                numbered.append((_number(tag, child), _value(tag, vr, _leaf(child))))
            case "Item":
                numbered.append((_number(tag, child), _dataset(child)))
            case "PersonName":
                numbered.append((_number(tag, child), _person_name(child)))
            case "DataFragment":
                fragments.append((_number(tag, child), _binary(child) | _unknown(child, BINARY)))
    members |= _binary(element)
    if fragments:  # an offset table that is empty may have been left out
        first = min(number for number, _ in fragments)
        members[FRAGMENTS] = [*([None] if first > 1 else []), *_in_order(fragments)]
    values = _in_order(numbered)
    return {"vr": vr, **({} if not values or values == [None] else {"Value": values}), **members}


def _binary(parent: Element) -> dict[str, Any]:
    """Return InlineBinary and BulkDataURI of an attribute or fragment; more than one of a kind as a list."""
    found: dict[str, list[str]] = {}
    for child in parent:
        if _name(child) == "InlineBinary":
            found.setdefault("InlineBinary", []).append("".join(_leaf(child).split()))
        elif _name(child) == "BulkData":
            uri = child.get("uri") or child.get("URI") or child.get("uuid") or _leaf(child).strip()
            found.setdefault("BulkDataURI", []).append(uri)
    return {form: values if len(values) > 1 else values[0] for form, values in found.items()}


def _in_order(numbered: list[tuple[int, Any]]) -> list[Any]:
    return [value for _, value in sorted(numbered, key=lambda pair: pair[0])]


def _unknown(parent: Element, known: Collection[str]) -> dict[str, str]:
    """Return what an element holds beside the children that are known, by its name: what that says altogether."""
    found: dict[str, str] = {}
    if stray := "".join((parent.text or "", *(child.tail or "" for child in parent))).strip():
        found[STRAY] = stray
    for child in parent:
        if _name(child) not in known:
            told = [text for inner in child.iter() for text in (*inner.attrib.values(), inner.text or "")]
            found[f"<{_name(child)}>"] = found.get(f"<{_name(child)}>", "") + "".join(told).strip()
    return found


def _leaf(element: Element) -> str:
    """Return the text of an element that holds nothing else; raises InvalidDicom for one that does."""
    if len(element):
        raise InvalidDicom(f"<{_name(element[0])[:40]}> within <{_name(element)}> is none of PS3.19 A.1.5")
    return element.text or ""


def _number(tag: str, element: Element) -> int:
    text = element.get("number", "1")
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise InvalidDicom(f"the attribute {tag} has a value that is not numbered from 1 (PS3.19 A.1.5)")
    return int(text)


def _value(tag: str, vr: str, text: str) -> str | int | float | None:
    read = NUMBERS.get(vr)
    if read is None:
        return text or None
    text = text.strip()
    if not text:
        return None
    number = read(text)
    if number is None:
        raise InvalidDicom(f"the attribute {tag} ({vr}) has a value that is not a finite number")
    return number


def _integer(text: str) -> int | str | None:
    number = integer_string(text)
    return None if isinstance(number, str) and INTEGER.fullmatch(number) is None else number


def _float(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


NUMBERS: Final[dict[str, Callable[[str], int | float | str | None]]] = {
    "IS": integer_string,
    "DS": decimal_string,
    **dict.fromkeys(("US", "SS", "UL", "SL", "UV", "SV"), _integer),
    **dict.fromkeys(("FL", "FD"), _float),
}


def _person_name(element: Element) -> dict[str, str] | None:
    """Return the groups of a name; what is no group, or no component of one, is a group under its own name."""
    name: dict[str, str] = {}
    for group in element:
        key = "Alphabetic" if _name(group) == "SingleByte" else _name(group)
        parts = {_name(component): _leaf(component) for component in group}
        last = max((at for at, component in enumerate(COMPONENTS) if component in parts), default=-1)
        if key in NAME_GROUPS and (text := "^".join(parts.get(component, "") for component in COMPONENTS[: last + 1])):
            name[key] = text
        if key in NAME_GROUPS:
            name |= {inner: text for inner, text in _unknown(group, COMPONENTS).items() if text}
    name |= _unknown(element, (*NAME_GROUPS, "SingleByte"))
    return {group: name[group] for group in (*NAME_GROUPS, *name) if name.get(group)} or None


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]
