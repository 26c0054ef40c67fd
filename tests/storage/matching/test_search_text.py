"""Texts of keys: what they may mean."""

import itertools

import pytest

from storage.matching.search_text import SPACE_OR_PLUS, readings


@pytest.mark.parametrize("places", range(5))
def test_a_space_or_plus_is_each_of_them_on_its_own(places: int) -> None:
    """All texts that come of choosing for every place; one text where there is no choice (A-013)."""
    chosen = {"a" + "".join(sign + "b" for sign in signs) for signs in itertools.product(" +", repeat=places)}
    found = readings("a" + (SPACE_OR_PLUS + "b") * places)
    assert set(found) == chosen and len(found) == 2**places


def test_of_many_places_all_are_the_same() -> None:
    """A hundred spaces are two texts, not two to the hundredth."""
    assert readings(SPACE_OR_PLUS * 100) == [" " * 100, "+" * 100]
