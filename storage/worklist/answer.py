"""What a worklist query is answered with; pure.

Facts and clauses this module keeps:

- An answer has the attributes that were asked for and no others (PS3.4 K.4.1.1.3.2; G-148); character set and offset
  from UTC may stand beside them.
- What was asked for and is not known has zero length (G-145); an attribute nobody knows is left out, and the status of
  the answer then is FF01 (G-151).
- A sequence that was asked for without items, or with an empty one, comes with all that is known (K.2.2.1.2; G-149).
- Text goes out in the character set the modality knows: what that cannot say loses its accents, then the component
  groups that cannot be said, then becomes a question mark (G-154).
"""

import unicodedata
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from storage.dicom.dicomjson import Attribute
from storage.dicom.json_values import values_of
from storage.dicom.text_encoder import TextEncoder, Unrepresentable
from storage.matching.attributes import tag_of, vr_of
from storage.matching.person_name import GROUPS
from storage.worklist.item import STEPS
from storage.worklist.matching import UNMATCHED

TIMEZONE: Final = tag_of("TimezoneOffsetFromUTC")

ALWAYS_IN_A_STEP: Final = tuple(
    map(
        tag_of,
        (
            *("ScheduledStationAETitle", "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"),
            *("Modality", "ScheduledPerformingPhysicianName", "ScheduledProcedureStepDescription"),
            *("ScheduledStationName", "ScheduledProcedureStepLocation", "ScheduledProtocolCodeSequence"),
            *("PreMedication", "ScheduledProcedureStepID", "RequestedContrastAgent", "ScheduledProcedureStepStatus"),
            *("ScheduledProcedureStepEndDate", "ScheduledProcedureStepEndTime"),
            "CommentsOnTheScheduledProcedureStep",
        ),
    )
)
"""What an answer to an empty Scheduled Procedure Step Sequence has in any case: the list of DCMTK's wlmscpfs."""

_TEXT: Final = frozenset({"PN", "LO", "SH", "ST", "LT", "UT", "UC"})
_LETTERS: Final = str.maketrans({"ß": "ss", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE"})
_MORE_LETTERS: Final = str.maketrans({"ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i", "ð": "d", "þ": "th", "Þ": "Th"})


def answer(identifier: Mapping[str, Attribute], item: Mapping[str, Attribute]) -> tuple[dict[str, Attribute], bool]:
    """Return what of an item a request asks for.

    Parameters
    ----------
    identifier : mapping
        DICOM JSON object of the request.
    item : mapping
        The item with the one step that matched.

    Returns
    -------
    dict of str to Attribute
        The answer.
    bool
        Whether everything asked for is an attribute we know.

    Standard
    --------
    PS3.4 K.4.1.1.3.2, Table K.6-1.
    """
    asked = {tag: attribute for tag, attribute in identifier.items() if tag not in UNMATCHED}
    chosen, complete = _chosen(asked, item)
    if TIMEZONE in item:
        chosen[TIMEZONE] = item[TIMEZONE]
    return dict(sorted(chosen.items())), complete


def _chosen(asked: Mapping[str, Attribute], stored: Mapping[str, Attribute]) -> tuple[dict[str, Attribute], bool]:
    chosen: dict[str, Attribute] = {}
    complete = True
    for tag, key in asked.items():
        known = stored.get(tag)
        vr = vr_of(tag) or (str(known.get("vr")) if known else "")
        if not vr:
            complete = False
        elif vr == "SQ":
            chosen[tag], whole = _sequence(tag, key, known)
            complete &= whole
        else:
            chosen[tag] = known if known is not None else {"vr": vr}
    return chosen, complete


def _sequence(tag: str, key: Attribute, known: Attribute | None) -> tuple[Attribute, bool]:
    """Return a sequence with what was asked for of each of its items; those of a step or a code are few."""
    items = [item for item in values_of(known) if isinstance(item, Mapping)]
    wanted = next((item for item in values_of(key) if isinstance(item, Mapping) and item), None)
    if wanted is None:
        always: dict[str, Attribute] = {}
        if tag == STEPS:
            always = {inner: {"vr": vr_of(inner) or "LO"} for inner in ALWAYS_IN_A_STEP}
        return _of_items([dict(sorted({**always, **item}.items())) for item in items]), True
    found = [_chosen(wanted, item) for item in items]
    return _of_items([chosen for chosen, _ in found]), all(complete for _, complete in found)


def _of_items(items: list[dict[str, Attribute]]) -> Attribute:
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def converted(dataset: Mapping[str, Any], characters: TextEncoder) -> dict[str, Any]:
    """Return an answer whose text can be said in a character set (G-154).

    Parameters
    ----------
    dataset : mapping
        DICOM JSON object.
    characters : TextEncoder
        What writes text in the character set.

    Standard
    --------
    PS3.4 K.4.1.1.3.2; PS3.3 C.12.1.1.2.
    """
    return {tag: _converted(attribute, characters) for tag, attribute in dataset.items()}


def _converted(attribute: Mapping[str, Any], characters: TextEncoder) -> dict[str, Any]:
    vr = str(attribute.get("vr"))
    values = attribute.get("Value")
    if not values or (vr != "SQ" and vr not in _TEXT):
        return dict(attribute)
    if vr == "SQ":
        convert: Any = partial(converted, characters=characters)
    else:
        convert = partial(_name if vr == "PN" else _text, vr=vr, characters=characters)
    return {**attribute, "Value": [convert(value) if value else value for value in values]}


def _name(value: Any, vr: str, characters: TextEncoder) -> Any:
    """Leave out component groups that cannot be said when there is one that can."""
    if not isinstance(value, Mapping):
        return _text(value, vr, characters)
    groups = {group: str(value[group]) for group in GROUPS if value.get(group)}
    said = {group: text for group, text in groups.items() if _can_say(_plainer(vr, text, characters), vr, characters)}
    return {group: _text(text, vr, characters) for group, text in (said or groups).items()}


def _text(value: Any, vr: str, characters: TextEncoder) -> Any:
    """Return a text with what cannot be said replaced, character by character."""
    if not isinstance(value, str) or _can_say(value, vr, characters):
        return value
    plainer = _plainer(vr, value, characters)
    return "".join(character if _can_say(character, vr, characters) else "?" for character in plainer)


def _plainer(vr: str, text: str, characters: TextEncoder) -> str:
    """Take accents and ligatures from the letters that cannot be said as they are."""
    return "".join(
        character if _can_say(character, vr, characters) else _bare(character)
        for character in unicodedata.normalize("NFC", text)
    )


def _bare(character: str) -> str:
    letters = character.translate(_LETTERS).translate(_MORE_LETTERS)
    decomposed = unicodedata.normalize("NFKD", letters)
    bare = "".join(part for part in decomposed if not unicodedata.combining(part))
    return bare if bare and (len(bare) == 1 or bare.isascii()) else character


def _can_say(text: str, vr: str, characters: TextEncoder) -> bool:
    if text.isascii():
        return True
    try:
        characters.encode(vr, text)
    except Unrepresentable:
        return False
    return True
