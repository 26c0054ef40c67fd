"""Single values of a report as text for people: codes, names, dates, kinds of instances.

Facts and clauses this module keeps:
- PS3.3 8.8: what a code is read as is its Code Meaning; its value may be in Code Value, Long Code Value or URN.
- PS3.5 6.2: DA, TM and DT from the most to the least significant digits; an offset from UTC may follow.
- Pure: no I/O.
"""

import re

from pydicom._uid_dict import UID_dictionary

from dicomweb.rendering.attribute_values import Attributes, item, text

_DATE = re.compile(r"([0-9]{4})([0-9]{2})?([0-9]{2})?")
_TIME = re.compile(r"([0-9]{2})([0-9]{2})?([0-9]{2})?(\.[0-9]+)?")
_MOMENT = re.compile(r"([0-9]{4,8})([0-9]{2,6})?(\.[0-9]+)?([+-][0-9]{4})?")


def code_meaning(attributes: Attributes, keyword: str) -> str:
    """Return what the code in a sequence means, its value when no meaning is given; "" when there is none."""
    code = item(attributes, keyword) or {}
    named = (text(code, name) for name in ("CodeMeaning", "CodeValue", "LongCodeValue", "URNCodeValue"))
    return next((name for name in named if name), "")


def person(name: str) -> str:
    """Return a component group of a name in reading order: prefix, given, middle, family, suffix (PS3.5 6.2.1)."""
    family, given, middle, prefix, suffix, *_ = [*(part.strip() for part in name.split("^")), "", "", "", "", ""]
    read = " ".join(part for part in (prefix, given, middle, family) if part)
    return f"{read}, {suffix}" if suffix else read


def moment(date: str, time: str = "") -> str:
    """Return a date, a time or both as ISO 8601 writes them; what has another form is returned as it is."""
    if not time and len(date) > 8:
        parts = _MOMENT.fullmatch(date)
        if not parts:
            return date
        date, time = parts[1], (parts[2] or "")
        zone = f" {parts[4][:3]}:{parts[4][3:]}" if parts[4] else ""
        return f"{_joined(_DATE, date, '-')} {_joined(_TIME, time, ':')}{zone}".strip()
    return f"{_joined(_DATE, date, '-')} {_joined(_TIME, time, ':')}".strip()


def kind_of(sop_class_uid: str) -> str:
    """Return the name of a SOP class without the words every one has, "instance" when it is not known."""
    entry = UID_dictionary.get(sop_class_uid)
    if entry is None:
        return "instance"
    return str(entry[0]).removesuffix(" Storage").replace(" Storage - ", " - ")


def _joined(form: re.Pattern[str], value: str, separator: str) -> str:
    """Return the parts of a date or a time with separators; a fraction of a second is left out."""
    parts = form.fullmatch(value)
    return separator.join(part for part in parts.groups()[:3] if part) if parts else value
