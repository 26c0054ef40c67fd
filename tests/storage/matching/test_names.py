"""Names in half-width katakana, and in scripts that have no spaces between the parts of a name."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.matching.attributes import Level
from storage.matching.person_name import apart, fold, together
from storage.matching.search_text import grams, pattern_grams
from storage.worklist.items import Worklist
from storage.worklist.matching import query_of
from tests.storage.indexed import add_instance, connected, dataset
from tests.storage.searching import key, search, uids
from tests.storage.worklist_items import item

NAMES = {
    "1": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "2": "ヤマダ^ハナコ=山田^花子=やまだ^はなこ",
    "3": "ﾔﾏﾀ^ｼﾞﾛｳ",
    "4": "Hong^Gildong=洪^吉洞=홍^길동",
    "5": "Wang^XiaoDong=王小东",
    "6": "Taro^Yamada=太郎^山田",
}


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    """A connection to an index with a study of each name, in columns and in JSON."""
    opened = await connected(database_url)
    for number, name in NAMES.items():
        named = dict.fromkeys(("PatientName", "ReferringPhysicianName", "OperatorsName"), name)
        await add_instance(opened, dataset(StudyInstanceUID=number, **named))
    yield opened
    await opened.close()


async def found(connection: Any, wanted: str, *, fuzzy: bool = False) -> str:
    """The numbers of the names a key finds, the same with and without indexes, in columns and in JSON."""
    answers = set()
    for name in ("PatientName", "ReferringPhysicianName", "OperatorsName"):
        for scans in ("on", "off"):
            await connection.execute(f"SET enable_seqscan = {scans}")
            page = await search(connection, Level.IMAGE, key(name, wanted), fuzzy=fuzzy)
            answers.add("".join(sorted(uids(page))))
    assert len(answers) == 1, answers
    return answers.pop()


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ("ﾔﾏﾀﾞ^ﾀﾛｳ", "1"),
        ("ヤマダ^タロウ", "1"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "1"),
        ("ﾔﾏ*", "123"),
        ("ﾔﾏﾀ*", "123"),  # the beginning of ﾔﾏﾀﾞ, which has four characters
        ("ﾔﾏﾀﾞ*", "12"),
        ("ﾔﾏﾀﾞ^*", "12"),
        ("ﾔﾏﾀ^*", "3"),
        ("ﾔﾏ??^*", "12"),
        ("ﾔﾏ?^*", "3"),
        ("ﾔ???^ﾀﾛｳ", "1"),
        ("*ﾞ^ﾀﾛｳ", "1"),
        ("*^ｼ*", "3"),
        ("*^ｼﾛｳ", ""),
        ("ﾔﾏﾀ*=山田*", "12"),
        ("ﾔﾏﾅ*", ""),
        ("ヤマ?^*", "123"),  # of full width, one character each
        ("ヤマダ*", "12"),
        ("ヤマタ*", "3"),
        ("やま?^*", "12"),
    ],
)
async def test_a_voicing_mark_of_half_width_is_a_character(connection: Any, wanted: str, numbers: str) -> None:
    """So a key may end before it and a `?` may stand for it, whatever the width that is stored (PS3.4 C.2.2.2.4)."""
    assert await found(connection, wanted) == numbers


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ("山田太郎", "1"),
        ("山田太郎*", "1"),
        ("山田 太郎", "16"),
        ("山田　太郎", "16"),
        ("山田^太郎", "16"),
        ("太郎山田", "6"),
        ("山田太", "1"),
        ("山", "126"),
        ("太郎", "16"),
        ("田太郎", ""),
        ("やまだたろう", "1"),
        ("やまだ太郎", ""),
        ("yamada 太郎山田", "6"),
        ("ヤマダタロウ", "1"),
        ("ﾔﾏﾀﾞﾀ", "1"),
        ("ﾔﾏﾀ", "123"),
        ("ヤマタ", "3"),
        ("洪吉洞", "4"),
        ("홍길동", "4"),
        ("홍 길동", "4"),
        ("王 小东", "5"),
        ("王小东", "5"),
        ("wang 王小", "5"),
        ("小东", ""),
        ("honggildong", ""),
    ],
)
async def test_a_name_is_found_without_its_delimiters(connection: Any, wanted: str, numbers: str) -> None:
    """Han, kana and Hangul are written together; stored and asked for, with and without delimiters (C-056)."""
    assert await found(connection, wanted, fuzzy=True) == numbers


async def test_the_worklist_finds_them_as_well(pool: Any) -> None:
    """By the same rules."""
    worklist = Worklist(pool)
    for number, name in NAMES.items():
        await worklist.add(item(PatientName=name, PatientID=number))
    for wanted, fuzzy, numbers in (("ﾔﾏﾀ*", False, "123"), ("山田太郎", True, "1"), ("王 小东", True, "5")):
        items = await worklist.search(query_of([key("PatientName", wanted)], fuzzy=fuzzy), limit=9, offset=0)
        assert sorted(each.dataset["00100020"]["Value"][0] for each in items) == list(numbers)


@given(st.text("ﾔﾀﾞﾊﾟカ^*?", max_size=8), st.text("ﾔﾀﾞﾊﾟカガ^", max_size=12))
def test_grams_never_exclude_what_a_half_width_key_matches(pattern: str, text: str) -> None:
    """What is looked up in the index is true of every name that matches."""
    wanted, stored = apart(fold(pattern)), apart(fold(text))
    expression = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in wanted)
    if stored and re.fullmatch(expression, stored):
        assert set(pattern_grams("N", together(wanted))) <= grams("N", fold(text))
