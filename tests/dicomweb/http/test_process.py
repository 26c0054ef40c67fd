"""A worker process from inside (what real ones do is in tests/live)."""

import gc
from collections.abc import Iterator

import pytest

from dicomweb.process.garbage import tune_garbage_collector


@pytest.fixture
def collector() -> Iterator[None]:
    """The garbage collector as it was, after the test."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_a_large_header_is_not_collected_through_again_and_again(collector: None) -> None:
    """Reading many small objects starts few collections, and none of them looks at what start-up made."""
    tune_garbage_collector()
    assert gc.get_freeze_count() > 10_000
    before = [generation["collections"] for generation in gc.get_stats()]
    kept = [{"vr": "DS", "Value": [number]} for number in range(200_000)]
    after = [generation["collections"] for generation in gc.get_stats()]
    assert len(kept) == 200_000
    assert after[0] - before[0] <= 10
    assert after[2] == before[2]
