"""One text for whatever people know a study by: the patient's name or ID, or the accession number; pure.

Facts this module keeps:
- A name is found as fuzzy matching finds it, by the beginnings of its words; numbers by how they begin, whatever the
  case. With wildcards in the text it is a pattern for all of them.
- Each has its grams, so that a typed letter more is one look into the index more.
"""

from storage.matching.attributes import attribute_of, tag_of
from storage.matching.match_kinds import Kinds, Match, any_of
from storage.matching.search_text import is_wild, readings
from storage.matching.stored_values import Bindings, ColumnValue

_NAME = "PatientName"
_NUMBERS = ("PatientID", "AccessionNumber")
_KINDS = Kinds(fuzzy=True, ignore_case=True)


def text_condition(text: str, bindings: Bindings) -> str:
    """Return the condition that a study, the table `st`, is known by a text that is not blank."""
    texts = [meant.strip(" ") for meant in readings(text)]
    name = any_of([_KINDS.name("PN", _NAME, meant) for meant in texts])
    number = any_of([_KINDS.text("LO", _NAME, meant if is_wild(meant) else f"{meant}*") for meant in texts])
    found = [_in_column(_NAME, name, bindings), *(_in_column(keyword, number, bindings) for keyword in _NUMBERS)]
    return f"({' OR '.join(found)})"


def _in_column(keyword: str, match: Match, bindings: Bindings) -> str:
    attribute = attribute_of(tag_of(keyword))
    assert attribute is not None and attribute.column is not None
    return match(ColumnValue(f"st.{attribute.column}", attribute.gram), bindings)
