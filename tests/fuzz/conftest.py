"""The server that the short runs attack."""

from collections.abc import Iterator

import pytest

from tests.fuzz.campaign import prepare, still_serves
from tests.fuzz.target import Target, under_attack


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server under attack, which still serves in the end."""
    with under_attack(tmp_path_factory.mktemp("fuzz")) as attacked:
        prepare(attacked)
        yield attacked
        assert still_serves(attacked)
