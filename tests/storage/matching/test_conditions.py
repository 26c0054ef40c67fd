"""Matching: the forms of keys, and the conditions against a plain Python matcher on random data in a real database."""

import datetime
import random
import re
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InvalidQuery
from storage.index.search import find
from storage.matching.attributes import Level, parse_path
from storage.matching.conditions import Key, Query, conditions, is_permitted, returned_levels
from storage.matching.date_time import date_range, date_time_range, stored_date, stored_time, time_range, utc_offset
from storage.matching.match_kinds import Kinds, kind_of
from storage.matching.person_name import fold, tokens
from storage.matching.search_text import grams, like_pattern, pattern_grams
from tests.storage.indexed import add_instance, connected, dataset, tag


def key(name: str, *values: str) -> Key:
    """A key by keyword."""
    path = parse_path(name)
    assert path is not None
    return Key(path, values, name)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("20240229", "20240229", "20240229"),
        ("2024.02.29", "20240229", "20240229"),
        ("20240101-20240131", "20240101", "20240131"),
        ("20240101-", "20240101", None),
        ("-20240131", None, "20240131"),
    ],
)
def test_date_ranges(value: str, low: str | None, high: str | None) -> None:
    """Ranges are inclusive and may be open (C-040, C-046)."""
    assert date_range("StudyDate", value)[:2] == (low, high)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("10", "100000000000", "100000000000"),
        ("2230", "223000000000", "223000000000"),
        ("22:30:15.5", "223015500000", "223015500000"),
        ("10-11", "100000000000", "115959999999"),
        ("1000-1030", "100000000000", "103059999999"),
        ("-103015.25", None, "103015259999"),
        ("235960-", "235960000000", None),
    ],
)
def test_time_ranges(value: str, low: str | None, high: str | None) -> None:
    """The upper end reaches to the end of its unit; a single value is its lower end (C-041, C-043)."""
    assert time_range("StudyTime", value)[:2] == (low, high)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("2024", "2024-01-01T00:00:00", "2024-01-01T00:00:00"),
        ("20240101-0500", "2024-01-01T05:00:00", "2024-01-01T05:00:00"),
        ("2024-2025", "2024-01-01T00:00:00", "2025-12-31T23:59:59.999999"),
        ("20240101-0500-20240102+0100", "2024-01-01T05:00:00", "2024-01-02T22:59:59.999999"),
        ("20240101-0500-", "2024-01-01T05:00:00", None),
        ("-202402", None, "2024-02-29T23:59:59.999999"),
        ("-20240101-0500", None, "2024-01-02T04:59:59.999999"),
    ],
)
def test_date_time_ranges(value: str, low: str | None, high: str | None) -> None:
    """A hyphen that can be an offset from UTC is one (C-042)."""
    found = date_time_range("AcquisitionDateTime", value, datetime.timedelta())
    assert tuple(end.isoformat() if end else None for end in found[:2]) == (low, high)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        *(
            (date_range, value)
            for value in ("", "-", "2024", "20240230", "20240101-20230101", "1-2-3", "*", "00000101")
        ),
        *((time_range, value) for value in ("-", "24", "1", "1060", "11-10", "10*", "101010.", "1:00")),
        *((lambda n, v: date_time_range(n, v, datetime.timedelta()), value) for value in ("-", "20", "2025-2024", "x")),
        *((utc_offset, value) for value in ("0100", "+1", "+1500", "-1300", "+0160")),
    ],
)
def test_what_is_no_date_or_time_is_named(read: Callable[[str, str], Any], value: str) -> None:
    """A wrong value is refused with the key's name, and the value is not repeated (C-047)."""
    with pytest.raises(InvalidQuery, match="TheKey"):
        read("TheKey", value)


@given(st.text(), st.text())
def test_reading_stored_dates_and_keys_never_fails_otherwise(stored: str, value: str) -> None:
    """Any text is a date, a time, or is refused."""
    stored_date(stored)
    stored_time(stored)
    for vr in ("DA", "TM", "DT", "IS", "UI", "PN", "LO", "AT", "UR"):
        kind = kind_of(vr)
        assert kind
        try:
            kind(Kinds(), vr, "Key", value)
        except InvalidQuery as error:
            assert "Key" in str(error)


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("Müller^Jörg^^", "muller^jorg"),
        ("  O'Brien  ^ Zoë", "o'brien^zoe"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("Łódź", "lodz"),
        ("İstanbul", "istanbul"),
        ("ﾔﾏﾀﾞ", "ヤマダ"),
        ("か", "か"),
        ("が", "が"),
        ("김^희중", "김^희중"),
        ("^", ""),
    ],
)
def test_folding_names(name: str, folded: str) -> None:
    """Case, accents, width and empty components go, letters stay (C-031, C-060, user pain 13)."""
    assert fold(name) == unicodedata.normalize("NFC", folded)


def test_words_of_fuzzy_matching() -> None:
    """Punctuation is ignored (C-056)."""
    assert tokens("O'Brien-Smith, J. *") == ["obrien", "smith", "j"]


def test_like_patterns_escape_what_sql_knows() -> None:
    """Only * and ? are wildcards (C-034, C-035)."""
    assert like_pattern(r"a%b_c\d**e?") == r"a\%b\_c\\d%e_"


@given(st.text("aB1.'^- é*?", max_size=8), st.text("aB1.'^- é", max_size=12))
def test_grams_never_exclude_a_match(pattern: str, text: str) -> None:
    """Whatever matches a pattern has all its grams."""
    pattern, text = fold(pattern), fold(text)
    expression = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    if text and re.fullmatch(expression, text, re.DOTALL):
        for field in ("N", "D"):
            assert set(pattern_grams(field, pattern)) <= grams(field, text)


def test_levels_that_a_search_matches_and_returns() -> None:
    """Table 10.6.1-4: what the path fixes is neither matched nor returned (C-013, C-014, C-077)."""
    patient, study, series, image = Level
    assert returned_levels(Query(study)) == (patient, study)
    assert returned_levels(Query(series)) == (patient, study, series)
    assert returned_levels(Query(series, study_instance_uid="1")) == (series,)
    assert returned_levels(Query(image)) == (patient, study, series, image)
    assert returned_levels(Query(image, study_instance_uid="1")) == (series, image)
    assert returned_levels(Query(image, study_instance_uid="1", series_instance_uid="2")) == (image,)
    assert is_permitted(Query(study), key("Modality"))
    assert not is_permitted(Query(study), key("SeriesNumber"))


def test_values_are_bound_never_written() -> None:
    """No text of the requester becomes part of the statement (C-035)."""
    nasty = "x'; DROP TABLE studies; --*"
    query = Query(
        Level.IMAGE,
        (key("PatientID", nasty), key("PatientName", nasty), key("StationName", nasty), key("ImageComments", nasty)),
        study_instance_uid=None,
    )
    result = conditions(query)
    assert "DROP" not in " ".join(result.sql)
    assert len(result.keys) == 4


def test_universal_keys_and_unknown_forms() -> None:
    """Empty and * match all, but are returned (C-034, C-038, C-039)."""
    result = conditions(Query(Level.STUDY, (key("StudyDate", "*"), key("PatientID"), key("StudyInstanceUID", "*"))))
    assert result.sql == []
    assert len(result.keys) == 3
    with pytest.raises(InvalidQuery, match="PatientID"):
        conditions(Query(Level.STUDY, (key("PatientID", "a\0b"),)))
    with pytest.raises(InvalidQuery, match="PatientID"):
        conditions(Query(Level.STUDY, (key("PatientID", "a" * 5000),)))
    with pytest.raises(InvalidQuery, match="twice"):
        conditions(Query(Level.STUDY, (key("PatientID", "a"), key("00100020", "b"))))


def test_a_search_never_has_more_values_than_postgresql_takes() -> None:
    """Many values, of one key or of several together, are refused with what to do; PostgreSQL takes 32,767."""
    names, texts = [f"a{number}" for number in range(10_000)], [str(number) for number in range(9_000)]
    for keys in (
        (key("PatientName", *names),),
        tuple(key(name, *texts) for name in ("PatientID", "AccessionNumber", "StudyID", "StudyDescription")),
        (key("RequestAttributesSequence.RequestedProcedureID", *texts), key("SeriesDescription", *texts)),
    ):
        with pytest.raises(InvalidQuery, match="ask for fewer at a time"):
            conditions(Query(Level.IMAGE, keys))


async def test_as_many_values_as_are_allowed_are_searched_for(database_url: str) -> None:
    """A page in any order and its counts fit beside the most values, and long lists of UIDs are one value each."""
    connection = await connected(database_url)
    values = [str(number) for number in range(10_000)]
    chosen = dict.fromkeys(("PatientID", "AccessionNumber", "StudyID"), "7")
    uids = dict.fromkeys(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), "7")
    keys = [key(name, *values) for name in chosen | uids]
    order = ("PatientName", "-StudyDate", "SeriesNumber")
    try:
        await add_instance(connection, dataset(**chosen, **uids))
        await add_instance(connection, dataset(**chosen, **uids | {"SOPInstanceUID": "8"}))
        first = await find(connection, Query(Level.IMAGE, tuple(keys), count_total=True, limit=1, order_by=order))
        assert first.remaining == 1 and first.total == 2
        cursor = first.next_cursor
        second = await find(connection, Query(Level.IMAGE, tuple(keys), limit=1, order_by=order, cursor=cursor))
        assert [row[tag("SOPInstanceUID")]["Value"] for row in second.rows] == [["8"]]
    finally:
        await connection.close()


# A plain matcher, written from PS3.4 C.2.2.2 without a look at the SQL.

_TEXTS = ["", "a", "ab", "A", "a%b", "a_b", "a\\b", "*", "abc def", "é", "e\u0301", "ABC", "b'c", "100%"]
_NAMES = [
    "Doe^Jane",
    "DOÉ^jane^^",
    "O'Neil^Ann Marie",
    "山田^太郎",
    "Yamada^Taro=山田^太郎=やまだ",
    "De-Lange^P.",
    "",
    "Doe",
]
_DATES = ["20240101", "2024.01.02", "20231231", "bad", "", "20240230"]
_TIMES = ["10", "1030", "10:30:15", "235959.999999", "", "late"]
_NUMBERS = ["1", "01", "2", "-3", "x", ""]
_ATTRIBUTES = {
    "PatientName": _NAMES,
    "ReferringPhysicianName": _NAMES,
    "NameOfPhysiciansReadingStudy": _NAMES,
    "PatientID": _TEXTS,
    "StudyDescription": _TEXTS,
    "AdmissionID": _TEXTS,
    "PatientComments": _TEXTS,
    "StudyDate": _DATES,
    "LastMenstrualDate": _DATES,
    "StudyTime": _TIMES,
    "PatientBirthTime": _TIMES,
    "NumberOfFrames": _NUMBERS,
}


def _wild(pattern: str, text: str) -> bool:
    expression = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def _text_matches(wanted: str, stored: str) -> bool:
    wanted, stored = (unicodedata.normalize("NFC", text).strip(" ") for text in (wanted, stored))
    return stored != "" and _wild(wanted, stored)


def _plain(text: str) -> str:
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not "\u0300" <= c <= "\u036f")
    return unicodedata.normalize("NFC", bare).rstrip("^ ")


def _name_matches(wanted: str, stored: str) -> bool:
    groups = [_plain(group) for group in stored.split("=")]
    if "=" not in wanted:
        pattern = _plain(wanted)
        return any(
            group and (_wild(pattern, group) or (pattern.endswith("^*") and _wild(pattern[:-2], group)))
            for group in groups
        )
    asked = [_plain(group) for group in wanted.split("=")]
    groups += [""] * 3
    return all(not a.strip("*") or (g != "" and _wild(a, g)) for a, g in zip(asked, groups, strict=False))


def _fuzzy_matches(wanted: str, stored: str) -> bool:
    def split(text: str) -> list[str]:
        return re.sub(r"['.]", "", re.sub(r"[-^=,]", " ", _plain(text))).split()

    asked = split(re.sub(r"[*?]", " ", wanted))
    return bool(asked) and all(any(part.startswith(word) for part in split(stored)) for word in asked)


def _range_matches(parse: Callable[[str], str | None], wanted: str, stored: str) -> bool:
    value = parse(stored)
    if value is None:
        return False
    low, hyphen, high = wanted.partition("-")
    if not hyphen:
        return value == parse(low)
    upper = parse(high)
    if parse is _time and upper:
        digits = re.sub("[:.]", "", high)
        upper = upper[: len(digits)] + "235959999999"[len(digits) :]
    return (not low or value >= (parse(low) or "")) and (not high or value <= (upper or ""))


def _date(text: str) -> str | None:
    try:
        return datetime.datetime.strptime(text.replace(".", ""), "%Y%m%d").strftime("%Y%m%d")
    except ValueError:
        return None


def _time(text: str) -> str | None:
    digits = re.sub("[:.]", "", text)
    return digits.ljust(12, "0") if digits.isdigit() else None


def _number(wanted: str, stored: str) -> bool:
    try:
        return int(wanted) == int(stored)
    except ValueError:
        return False


def reference(name: str, wanted: str, stored: str, *, fuzzy: bool) -> bool:
    """Whether a stored value matches a key."""
    if not wanted.strip("* "):
        return True
    if not stored.strip(" "):
        return False
    if "Name" in name:
        return _name_matches(wanted, stored) or (fuzzy and _fuzzy_matches(wanted, stored))
    if "Date" in name:
        return _range_matches(_date, wanted, stored)
    if "Time" in name:
        return _range_matches(_time, wanted, stored)
    return _number(wanted, stored) if name == "NumberOfFrames" else _text_matches(wanted, stored)


def random_key(chance: random.Random) -> tuple[str, str]:
    """An attribute and a key that sometimes matches something."""
    name = chance.choice(list(_ATTRIBUTES))
    if "Date" in name:
        days = ["20240101", "20231231", "20240102"]
        low, high = sorted(chance.choices(days, k=2))
        return name, chance.choice([low, f"{low}-{high}", f"{low}-", f"-{high}"])
    if "Time" in name:
        low, high = sorted(chance.choices(["10", "1030", "103015", "23"], k=2))
        return name, chance.choice([low, f"{low}-{high}", f"{low}-", f"-{high}"])
    value = chance.choice(_ATTRIBUTES[name])
    if name == "NumberOfFrames":
        return name, value if value != "x" else "2"
    for _ in range(chance.randrange(3)):
        at = chance.randrange(len(value) + 1)
        end = min(len(value), at + chance.randrange(3))
        value = value[:at] + chance.choice(["*", "?", "", "**"]) + value[end:]
    return name, chance.choice([value, value, value.upper(), value.lower(), f"*{value}*", f"{value}*"])


async def test_conditions_agree_with_a_plain_matcher(database_url: str) -> None:
    """Random keys on random data find what PS3.4 C.2.2.2 says, with and without columns (C-030 to C-061)."""
    chance = random.Random(4)
    connection = await connected(database_url)
    try:
        assert await _compare(connection, chance) > 200, "too few of the keys match anything"
    finally:
        await connection.close()


async def _compare(connection: Any, chance: random.Random) -> int:
    """Compare what the index finds with what the plain matcher does; return how many keys match something."""
    stored: dict[str, dict[str, str]] = {}
    for number in range(120):
        values = {name: chance.choice(choices) for name, choices in _ATTRIBUTES.items()}
        stored[f"7.{number}"] = values
        given = {name: value if value else [] for name, value in values.items()}
        await add_instance(connection, dataset(SOPInstanceUID=f"7.{number}", **given))
    await connection.execute("ANALYZE")
    hits = 0
    for round_number in range(700):
        if round_number == 350:
            await connection.execute("SET enable_seqscan = off; SET enable_indexscan = off")
        name, wanted = random_key(chance)
        fuzzy = chance.random() < 0.3
        page = await find(connection, Query(Level.IMAGE, (key(name, wanted),), fuzzy=fuzzy))
        found = {row[tag("SOPInstanceUID")]["Value"][0] for row in page.rows}
        expected = {uid for uid, values in stored.items() if reference(name, wanted, values[name], fuzzy=fuzzy)}
        assert found == expected, (name, wanted, fuzzy, [stored[uid][name] for uid in found ^ expected])
        hits += bool(expected)
    return hits
