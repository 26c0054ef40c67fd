"""The identifier of a C-FIND -> a search, and rows of the search -> identifiers of the answers; pure.

Facts this module keeps:

- A request in the hierarchy has one value for the unique key of every level above and no other key of them; only
  relational queries may do otherwise (PS3.4 C.4.1.2.1, C.4.1.3.2.1; G-065, G-066).
- An answer has the keys asked for, the level, the unique keys of the levels above and where the instances can be had;
  what is known to have no value has zero length, what is not supported is left out and the status is FF01
  (PS3.4 C.4.1.1.3.2; G-069 to G-071).
- Date and time are one range only when that was negotiated, other than in QIDO-RS (PS3.4 C.2.2.2.5.4; G-068).
- (0008,0005), (0008,0053) and (0008,0201) say how the request is to be read; they are never matched (C.2.2.2).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from dicomweb.gateway.call import WrongIdentifier
from dicomweb.gateway.identifier import QUERY_RETRIEVE_LEVEL, UNIQUE_KEYS, Identifier, key_values, name_of
from storage.errors import InvalidQuery
from storage.matching.attributes import BY_LEVEL, Level, Tag8, level_of, tag_of, vr_of
from storage.matching.conditions import Include, Key, Query, conditions
from storage.matching.search_text import is_wild
from storage.matching.stored_values import is_private_creator

PENDING: Final = 0xFF00
PENDING_WITH_UNSUPPORTED_KEYS: Final = 0xFF01

_CHARACTER_SET = tag_of("SpecificCharacterSet")
_TIMEZONE = tag_of("TimezoneOffsetFromUTC")
_RETRIEVE_AE_TITLE = tag_of("RetrieveAETitle")
_AVAILABILITY = tag_of("InstanceAvailability")
_NO_KEYS = frozenset((QUERY_RETRIEVE_LEVEL, _CHARACTER_SET, _RETRIEVE_AE_TITLE, tag_of("QueryRetrieveView")))

PAGE: Final = 500
PAGE_OF_WHOLE: Final = 32

SUPPORTED: Final = bytes([1, 1, 1, 1, 0, 1, 1])
"""Of extended negotiation: relational, combined date-time, fuzzy names, time zone; no view of enhanced images; empty
values, multiple values (PS3.4 Table C.5.1-1)."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What an association agreed on for searches (PS3.4 C.5.1.1)."""

    relational: bool = False
    combined_datetime: bool = False
    fuzzy: bool = False
    timezone: bool = False
    empty_value: bool = False
    multiple_value: bool = False

    @classmethod
    def of(cls, answer: bytes) -> "Negotiated":
        """Read the answer we gave to an offer."""
        given = [byte == 1 for byte in answer.ljust(len(SUPPORTED), b"\0")]
        return cls(given[0], given[1], given[2], given[3], given[5], given[6])


def negotiate(sop_class_uid: str, offered: bytes) -> bytes:
    """Answer an offer of extended negotiation, with as many bytes as were offered.

    Standard
    --------
    PS3.4 C.5.1.1; checklist G-015, G-067.
    """
    return bytes(min(byte, ours) for byte, ours in zip(offered, SUPPORTED.ljust(len(offered), b"\0"), strict=False))


@dataclass(frozen=True, slots=True)
class Search:
    """A request, understood.

    Attributes
    ----------
    query : Query
        What is searched for.
    status : int
        Of every pending answer.
    character_set : str
        What answers should be in.
    page_rows : int
        Rows to be read at once; few when each needs all that is known of an instance, which may be megabytes.
    """

    query: Query
    status: int
    character_set: str
    page_rows: int
    _returned: Mapping[Tag8, str]  # tag -> VR, for an attribute without a value
    _constant: Mapping[Tag8, dict[str, Any]]

    def answer(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the identifier that tells of a row of the search."""
        found = {tag: row.get(tag) or {"vr": vr} for tag, vr in self._returned.items()}
        if self.query.level is Level.IMAGE:  # only the data set of an instance has values that lie elsewhere
            found = _without_bulk_data(found)
        return {**found, **self._constant}


def understand(identifier: Identifier, negotiated: Negotiated, *, ae_title: str, relational: bool) -> Search:
    """Turn the identifier of a C-FIND into a search.

    Parameters
    ----------
    identifier : Identifier
        The request.
    negotiated : Negotiated
        Of the association.
    ae_title : str
        Who can be asked for the instances: (0008,0054) of the answers.
    relational : bool
        Whether queries outside the hierarchy are answered though nobody negotiated them.

    Raises
    ------
    WrongIdentifier
        The identifier breaks a rule; it names the element.
    InvalidQuery
        A value is not of the form its VR asks for.

    Standard
    --------
    PS3.4 C.4.1.1.3, C.4.1.2, C.4.1.3.
    """
    if not (relational or negotiated.relational):
        _check_hierarchy(identifier)
    keys = list(_keys(identifier, negotiated))
    asked_for = {key.path for key in keys}
    above = [(UNIQUE_KEYS[level],) for level in identifier.levels_above]
    keys += [Key(path) for path in above if path not in asked_for]
    query = Query(
        identifier.level,
        tuple(keys),
        include=(Include((_TIMEZONE,)),) if _TIMEZONE in identifier.keys else (),
        defaults=False,
        fuzzy=negotiated.fuzzy,
        empty_value=negotiated.empty_value,
        multiple_value=negotiated.multiple_value,
        combined_datetime=negotiated.combined_datetime,
        count_remaining=False,
    )
    matched = _supported(query)
    # a key that cannot be matched may still be returned
    query = replace(query, keys=tuple(key if key.path in matched else replace(key, values=()) for key in keys))
    usable = _supported(query)
    returned = {path[0] for path in usable if level_of(path[0], query.level) <= query.level}
    supported = all(key.path in matched and key.path[0] in returned for key in keys if key.path != (_TIMEZONE,))
    vrs = {tag: vr_of(tag) or identifier.keys[tag]["vr"] for tag in sorted(returned)}
    if _TIMEZONE in identifier.keys and query.level > Level.PATIENT:
        vrs[_TIMEZONE] = "SH"
    status = PENDING if supported else PENDING_WITH_UNSUPPORTED_KEYS
    is_whole = any(
        level_of(path[0], query.level) is Level.IMAGE and path[0] not in BY_LEVEL[Level.IMAGE] for path in usable
    )
    return Search(
        query,
        status,
        identifier.character_set,
        PAGE_OF_WHOLE if is_whole else PAGE,
        vrs,
        _constants(identifier, ae_title, returned),
    )


def _supported(query: Query) -> set[tuple[Tag8, ...]]:
    """Return the keys that can be matched, so far as they have values, and returned."""
    try:
        return {key.path for key in conditions(query).keys}
    except InvalidQuery as error:
        text = str(error)  # it begins with the name of the key
        tag = next((key.path[-1] for key in query.keys if text.startswith(f"{key.label}:")), None)
        raise (WrongIdentifier(text, tag) if tag else error) from None


def _check_hierarchy(identifier: Identifier) -> None:
    for level in identifier.levels_above:
        tag = UNIQUE_KEYS[level]
        values = identifier.values(tag)
        if len(values) != 1 or is_wild(values[0]):
            raise WrongIdentifier(f"{name_of(tag)} must have one value at this level.", tag)
    highest = identifier.levels[0]
    unique = set(UNIQUE_KEYS.values())
    for tag in identifier.keys:
        level = max(level_of(tag, identifier.level), highest)
        if level < identifier.level and tag not in unique and tag not in _NO_KEYS and identifier.values(tag):
            raise WrongIdentifier(f"{name_of(tag)} is a key of a higher level.", tag)


def _keys(identifier: Identifier, negotiated: Negotiated) -> Iterator[Key]:
    for tag, attribute in identifier.keys.items():
        if tag in _NO_KEYS or is_private_creator(tag):
            continue
        if tag == _TIMEZONE and not negotiated.timezone:
            continue
        if tag == _AVAILABILITY and (identifier.level is Level.PATIENT or not key_values(attribute)):
            continue
        yield from _key((tag,), attribute, identifier.keys)


def _key(path: tuple[Tag8, ...], attribute: Mapping[str, Any], siblings: Mapping[str, Any]) -> Iterator[Key]:
    """Yield the key of an attribute; of a sequence, those of its one item (PS3.4 C.2.2.2.6)."""
    tag = path[-1]
    if attribute["vr"] != "SQ":
        creator = key_values(siblings.get(f"{tag[:4]}00{tag[4:6]}", {})) if int(tag[3], 16) % 2 else ()
        yield Key(path, key_values(attribute), name_of(tag), creator[0] if creator else None)
        return
    items = attribute.get("Value", [])
    if len(items) > 1:
        raise WrongIdentifier(f"{name_of(tag)} may have one item in a request.", tag)
    inner = items[0] if items else {}
    if not inner:
        yield Key(path, (), name_of(tag))
    for inner_tag, inner_attribute in inner.items():
        if not int(inner_tag[3], 16) % 2:  # private keys are not supported in items
            yield from _key((*path, inner_tag), inner_attribute, inner)


def _constants(identifier: Identifier, ae_title: str, returned: set[Tag8]) -> dict[Tag8, dict[str, Any]]:
    """Return what all answers have in common."""
    constant: dict[Tag8, dict[str, Any]] = {
        QUERY_RETRIEVE_LEVEL: {"vr": "CS", "Value": [identifier.level.name]},
        _RETRIEVE_AE_TITLE: {"vr": "AE", "Value": [ae_title]},
    }
    if _AVAILABILITY in identifier.keys:
        constant[_AVAILABILITY] = {"vr": "CS", "Value": ["ONLINE"]}
    if _CHARACTER_SET in identifier.keys:
        constant[_CHARACTER_SET] = {"vr": "CS"}
    blocks = {tag[:4] + "00" + tag[4:6] for tag in returned if int(tag[3], 16) % 2}
    return constant | {tag: attribute for tag, attribute in identifier.keys.items() if tag in blocks}


def _without_bulk_data(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out values that are too large for the index."""
    found: dict[str, Any] = {}
    for tag, attribute in dataset.items():
        if attribute["vr"] == "SQ" and "Value" in attribute:
            found[tag] = {"vr": "SQ", "Value": [_without_bulk_data(item) for item in attribute["Value"]]}
        elif "BulkDataURI" not in attribute:
            found[tag] = attribute
    return found
