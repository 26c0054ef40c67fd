"""Dates and times as they are compared: one sortable form for what is stored, ranges for what is asked.

Facts and clauses this module keeps:
- Values match by meaning, not by spelling: 2230 is 223000 (PS3.4 C.2.2.2.1.3 note).
- A missing part of a time is zero at the lower end of a range and its maximum at the upper end (C-041).
- The forms of the ACR-NEMA days, YYYY.MM.DD and HH:MM:SS, are understood (PS3.5 6.2 notes, C-046).
- A hyphen of a DT value that can be an offset from UTC is one (PS3.4 C.2.2.2.5.3).

Dates compare as YYYYMMDD, times as HHMMSSffffff, date-times as datetimes in UTC.
"""

import calendar
import datetime
import re
from typing import Generic, NamedTuple, TypeVar

from storage.errors import InvalidQuery

_DATE = re.compile(r"(\d{4})([.\-]?)(\d{2})\2(\d{2})", re.ASCII)
_QUERY_DATE = re.compile(r"\d{4}\.\d{2}\.\d{2}|\d{8}", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(?:\.(\d+))?)?)?", re.ASCII)
_DATE_TIME = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?)?)?)?([+-]\d{4})?", re.ASCII
)
_OFFSET = re.compile(r"([+-])(\d\d)([0-5]\d)", re.ASCII)

DAY_START = "000000000000"
DAY_END = "235959999999"

Moment = TypeVar("Moment", str, datetime.datetime)


class Range(NamedTuple, Generic[Moment]):
    """What a key asks for; both ends belong to it, None is open. A single value has `single` and equal ends."""

    low: Moment | None
    high: Moment | None
    single: bool = False


def stored_date(text: str) -> str | None:
    """Return a stored DA value as YYYYMMDD, or None when it is no date."""
    match = _DATE.fullmatch(text.strip(" \0"))
    if match is None:
        return None
    digits = match[1] + match[3] + match[4]
    return digits if _is_date(digits) else None


def stored_time(text: str) -> str | None:
    """Return a stored TM value as HHMMSSffffff, its missing parts zero, or None when it is no time."""
    return _time(text.strip(" \0"), DAY_START)


def date_range(name: str, value: str) -> Range[str]:
    """Read a key for a DA attribute.

    Parameters
    ----------
    name : str
        What the requester calls the key, for the message.
    value : str
        `YYYYMMDD`, `a-b`, `-b` or `a-`.

    Raises
    ------
    InvalidQuery
        It is no date or range of dates, or ends before it begins.

    Standard
    --------
    PS3.4 C.2.2.2.5.1.
    """
    value = value.strip(" ")
    parts = value.split("-")
    days = [part.strip(" ") for part in parts]
    if len(days) > 2 or not any(days):
        raise InvalidQuery(f"{name}: a date is YYYYMMDD, a range of dates YYYYMMDD-YYYYMMDD")
    ends = [_query_date(name, day) if day else None for day in days]
    if len(ends) == 1:
        return Range(ends[0], ends[0], single=True)
    _in_order(name, ends[0], ends[1])
    return Range(ends[0], ends[1])


def time_range(name: str, value: str, *, across_days: bool = False) -> Range[str]:
    """Read a key for a TM attribute.

    Parameters
    ----------
    name : str
        What the requester calls the key, for the message.
    value : str
        `HHMMSS.ffffff` with any number of parts, `a-b`, `-b` or `a-`.
    across_days : bool
        Whether the times belong to a range of dates, so that the second may be the earlier one.

    Raises
    ------
    InvalidQuery
        It is no time or range of times, or ends before it begins.

    Standard
    --------
    PS3.4 C.2.2.2.5.2.
    """
    parts = [part.strip(" ") for part in value.split("-")]
    if len(parts) > 2 or not any(parts):
        raise InvalidQuery(f"{name}: a time is HHMMSS.FFFFFF, a range of times HHMMSS-HHMMSS")
    if len(parts) == 1:
        moment = _query_time(name, parts[0], DAY_START)
        return Range(moment, moment, single=True)
    low = _query_time(name, parts[0], DAY_START) if parts[0] else None
    high = _query_time(name, parts[1], DAY_END) if parts[1] else None
    if not across_days:
        _in_order(name, low, high)
    return Range(low, high)


def date_time_range(name: str, value: str, zone: datetime.timedelta) -> Range[datetime.datetime]:
    """Read a key for a DT attribute.

    Parameters
    ----------
    name : str
        What the requester calls the key, for the message.
    value : str
        `YYYYMMDDHHMMSS.ffffff&ZZXX` with any number of parts, `a-b`, `-b` or `a-`.
    zone : timedelta
        Offset from UTC of values that state none.

    Returns
    -------
    Range of datetime
        In UTC, without tzinfo.

    Raises
    ------
    InvalidQuery
        It is no date-time or range of them, or ends before it begins.

    Standard
    --------
    PS3.4 C.2.2.2.1.3, C.2.2.2.5.3.
    """
    value = value.strip(" ")
    if (moment := _date_time(value, zone, end=False)) is not None:
        return Range(moment, moment, single=True)
    for hyphen in sorted((at for at, character in enumerate(value) if character == "-"), reverse=True):
        left, right = value[:hyphen].strip(" "), value[hyphen + 1 :].strip(" ")
        low, high = _date_time(left, zone, end=False), _date_time(right, zone, end=True)
        if (left or right) and (low or not left) and (high or not right):
            if low and high and low > high:
                raise InvalidQuery(f"{name}: the range ends before it begins")
            return Range(low, high)
    raise InvalidQuery(f"{name}: a date-time is YYYYMMDDHHMMSS.FFFFFF&ZZXX, a range two of them with a hyphen between")


def utc_offset(name: str, value: str) -> datetime.timedelta:
    """Read an offset from UTC, `&ZZXX` (PS3.3 C.12.1.1.8); raises InvalidQuery."""
    match = _OFFSET.fullmatch(value.strip(" "))
    offset = _offset(match) if match else None
    if offset is None:
        raise InvalidQuery(f"{name}: an offset from UTC is +HHMM or -HHMM, -1200 to +1400")
    return offset


def _query_date(name: str, text: str) -> str:
    digits = text.replace(".", "")
    if not _QUERY_DATE.fullmatch(text) or not _is_date(digits):
        raise InvalidQuery(f"{name}: not a date (YYYYMMDD)")
    return digits


def _query_time(name: str, text: str, rest: str) -> str:
    moment = _time(text, rest)
    if moment is None:
        raise InvalidQuery(f"{name}: not a time (HHMMSS.FFFFFF)")
    return moment


def _in_order(name: str, low: str | None, high: str | None) -> None:
    if low and high and low > high:
        raise InvalidQuery(f"{name}: the range ends before it begins")


def _is_date(digits: str) -> bool:
    try:
        datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return False
    return True


def _time(text: str, rest: str) -> str | None:
    """Return HHMMSSffffff, the missing parts taken from `rest`."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    given = "".join(part for part in match.groups() if part)[:12]
    return given + rest[len(given) :]


def _date_time(text: str, zone: datetime.timedelta, *, end: bool) -> datetime.datetime | None:
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, offset_text = match.groups()
    offset_match = _OFFSET.fullmatch(offset_text) if offset_text else None
    offset = _offset(offset_match) if offset_match else (zone if offset_text is None else None)
    if offset is None:
        return None
    try:
        in_month = int(month or (12 if end else 1))
        return (
            datetime.datetime(
                int(year),
                in_month,
                int(day or (calendar.monthrange(int(year), in_month)[1] if end else 1)),
                int(hour or (23 if end else 0)),
                int(minute or (59 if end else 0)),
            )
            + datetime.timedelta(seconds=int(second or (59 if end else 0)))  # of which there may be 60
            + datetime.timedelta(microseconds=int((fraction or "").ljust(6, "9" if end else "0")))
            - offset
        )
    except (ValueError, OverflowError):
        return None


def _offset(match: re.Match[str]) -> datetime.timedelta | None:
    offset = datetime.timedelta(hours=int(match[2]), minutes=int(match[3]))
    signed = -offset if match[1] == "-" else offset
    return signed if datetime.timedelta(hours=-12) <= signed <= datetime.timedelta(hours=14) else None
