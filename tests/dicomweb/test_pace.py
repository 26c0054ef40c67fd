"""How fast is fast enough."""

import pytest

from dicomweb.pace import GRACE, Pace


@pytest.mark.parametrize(
    ("seconds_and_bytes", "too_slow"),
    [
        ([(1, 960)] * 120, False),  # a modem of 9,600 bit/s
        ([(1, 1000)] * 60 + [(1, 0)] * 60, False),  # a pause of a minute
        ([(1, 499)] * 120, True),
        ([(20, 1)] * 6, True),  # a byte in twenty seconds
        ([(1, 0)] * 119, False),  # two minutes are not over
        ([(1, 100_000)] + [(1, 0)] * 119, False),
        ([(1, 100_000)] + [(1, 0)] * 239, True),
    ],
)
def test_the_least_rate_is_averaged_over_two_minutes(
    seconds_and_bytes: list[tuple[float, int]], too_slow: bool
) -> None:
    """500 bytes a second are 60,000 in 120 seconds (checklist A-109)."""
    pace = Pace(500)
    assert (True in [pace.waited(*each) for each in seconds_and_bytes]) is too_slow


def test_who_needs_the_place_has_it_after_the_grace() -> None:
    """What went before does not count, and who moves again stays."""
    pace = Pace(500)
    pace.waited(GRACE, 50_000_000)
    assert not pace.gives_way()
    assert not pace.gives_way(GRACE / 2)
    assert pace.gives_way(GRACE)
    pace.waited(GRACE, 499 * int(GRACE))
    assert pace.gives_way()
    pace.waited(GRACE, 501 * int(GRACE))
    assert not pace.gives_way()


def test_without_a_least_rate_nobody_is_too_slow() -> None:
    """`--least-rate 0`."""
    pace = Pace(0)
    assert not any(pace.waited(120, 0) for _ in range(3))
    assert not pace.gives_way(3600)
