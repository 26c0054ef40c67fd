"""Searches written shortly, and what their pages say."""

from typing import Any

from storage.index.search import Page, find
from storage.matching.attributes import Level, parse_path
from storage.matching.conditions import Include, Key, Query
from tests.storage.indexed import tag


def key(name: str, *values: str, creator: str | None = None) -> Key:
    """A key by keywords joined by dots."""
    path = parse_path(name)
    assert path is not None
    return Key(path, values, name, creator)


def include(name: str, creator: str | None = None) -> Include:
    """An attribute to return."""
    path = parse_path(name)
    assert path is not None
    return Include(path, creator)


def uids(page: Page, keyword: str = "StudyInstanceUID") -> list[str]:
    """One UID of each row."""
    return [row[tag(keyword)]["Value"][0] for row in page.rows]


def values(row: dict[str, Any], keyword: str) -> Any:
    """The values of an attribute; None when it is absent, [] when it is empty."""
    element = row.get(tag(keyword))
    return None if element is None else element.get("Value", [])


async def search(connection: Any, level: Level, *keys: Key, **options: Any) -> Page:
    """Find by keys."""
    return await find(connection, Query(level, keys, **options))
