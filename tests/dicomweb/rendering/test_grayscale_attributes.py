"""How many bits of a sample are its value."""

import pytest

from dicomweb.rendering.grayscale import full_range
from dicomweb.rendering.grayscale_attributes import bits_stored_of, stored_values_of


@pytest.mark.parametrize(
    ("allocated", "stored", "expected"),
    [
        (16, 12, 12),
        (32, 32, 32),
        (16, 65535, 16),
        (8, 16, 8),
        (16, -1, 16),
        (16, 0, 0),
        (0, 12, 12),
        (0, 65535, 0),
        (65535, 65535, 0),
    ],
)
def test_bits_stored_are_at_most_those_allocated(allocated: int, stored: int, expected: int) -> None:
    """More bits than are allocated are all of them, and 0 is said when neither number can be (PS3.5 8.1.1)."""
    attributes = {
        "00280100": {"vr": "US", "Value": [allocated]},
        "00280101": {"vr": "US", "Value": [stored]},
    }
    assert bits_stored_of(attributes) == expected
    assert full_range(stored_values_of(attributes)) == (0.0, float(2 ** (expected or 16) - 1))
