"""A short run of every generator of `python -m tests.fuzz`, the same each time."""

import pytest

from tests.fuzz.campaign import Campaign
from tests.fuzz.generators import GENERATORS
from tests.fuzz.mutation import VALUES
from tests.fuzz.target import Target

INPUTS = 20
SLOW = {("multipart", "two hundred thousand tiny parts")}
"""Pinned inputs that take tens of seconds: the program sends them, these tests do not."""
PINNED = [(name, pinned) for name, generator in GENERATORS.items() for pinned in generator.pinned]


@pytest.mark.parametrize("name", list(GENERATORS))
def test_inputs_of_every_kind_cost_only_themselves(target: Target, name: str) -> None:
    """No process ends, nothing unforeseen is logged or answered, memory stays within its bound (promise 7)."""
    campaign = Campaign(GENERATORS[name], target, seed=1)
    campaign.run(inputs=INPUTS)
    assert campaign.sent == INPUTS
    assert campaign.failures == []


@pytest.mark.parametrize(("name", "pinned"), [each for each in PINNED if each not in SLOW])
def test_what_was_once_too_much_costs_only_itself(target: Target, name: str, pinned: str) -> None:
    """Inputs that ended, filled or held up a server once, and what resembles them (promise 7)."""
    campaign = Campaign(GENERATORS[name], target, seed=1)
    campaign.attack(pinned, GENERATORS[name].pinned_input(pinned))
    assert campaign.failures == []


@pytest.mark.parametrize("name", list(GENERATORS))
def test_an_input_can_be_made_again(name: str) -> None:
    """The same seed and number give the same bytes, others give others."""
    generator = GENERATORS[name]
    assert [generator.input(1, number) for number in range(9)] == [generator.input(1, number) for number in range(9)]
    assert len({generator.input(seed, number) for seed in (1, 2) for number in range(9)}) > 9


def test_an_input_depends_on_nothing_that_was_made_before() -> None:
    """What fails alone can be made again alone; and what is made stays small, however many came before."""
    generator = GENERATORS["json"]
    alone, odd = generator.input(7, 5), repr(VALUES)
    made = [generator.input(7, number) for number in range(600)]
    assert generator.input(7, 5) == alone
    assert repr(VALUES) == odd
    assert max(map(len, made)) < 4 << 20
