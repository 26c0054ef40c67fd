"""A memory bounded in bytes."""

from dicomweb.http.rendered.byte_cache import ByteCache


def test_what_was_not_used_longest_is_forgotten_first() -> None:
    """The sum of the sizes never exceeds the capacity."""
    cache: ByteCache[str] = ByteCache(40)
    for name in "abcd":
        cache.put(name, name.upper(), 10)
    assert cache.get("a") == "A"
    cache.put("e", "E", 10)
    assert cache.get("b") is None and cache.get("a") == "A"
    assert cache.held == 40 and len(cache) == 4
    cache.put("a", "again", 5)
    assert cache.get("a") == "again" and cache.held == 35


def test_one_value_does_not_push_out_all_others() -> None:
    """A value above a quarter of the capacity is not kept; without capacity nothing is."""
    cache: ByteCache[str] = ByteCache(40)
    cache.put("large", "value", 11)
    assert cache.get("large") is None and cache.held == 0
    nothing: ByteCache[str] = ByteCache(0)
    nothing.put("a", "A", 1)
    assert nothing.get("a") is None
