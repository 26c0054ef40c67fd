"""Finding the bulk data parts that metadata refers to, and the files they wait in."""

import os
import time
from pathlib import Path

import pytest

from dicomweb.spool import PREFIX, spool_folder
from dicomweb.stow_metadata import BulkParts
from storage.compose import BulkPart


def part(name: str) -> BulkPart:
    return BulkPart("image/jpeg", None, Path(name), 1)


def test_frames_keep_their_order() -> None:
    """Parts of one Content-Location are found together, in the order of the message (B-012)."""
    bulk = BulkParts()
    frames = [part(str(number)) for number in range(3)]
    for frame in (frames[0], frames[1]):
        bulk.add("http://host/1/pixels", frame)
    bulk.add("http://host/2/pixels", part("other"))
    bulk.add("http://host/1/pixels", frames[2])
    assert bulk.find("http://host/1/pixels") == frames
    assert bulk.unused() == 1


@pytest.mark.parametrize("uri", ["pixels", "nothing", "", "cid:pixels", "els", "http://[bad"])
def test_what_is_ambiguous_or_unknown_is_not_guessed(uri: str) -> None:
    """A reference that two locations fit, or none, finds nothing (B-010, B-017)."""
    bulk = BulkParts()
    bulk.add("http://host/1/pixels", part("one"))
    bulk.add("http://host/2/pixels", part("two"))
    assert bulk.find(uri) == []
    assert bulk.unused() == 2


def test_an_exact_location_goes_before_a_similar_one() -> None:
    """What is equal is meant, however much else resembles it (B-010)."""
    bulk = BulkParts()
    bulk.add("HTTP://HOST/1", part("upper"))
    bulk.add("http://host/1", part("lower"))
    assert bulk.find("http://host/1") == [part("lower")]
    assert bulk.find("http://Host/1") == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """Folders of requests that are a day old are removed, younger ones are another worker's."""
    folder = spool_folder(tmp_path)
    old, young = folder / (PREFIX + "old"), folder / (PREFIX + "young")
    for left in (old, young):
        left.mkdir()
        (left / "part").write_bytes(b"x")
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    spool_folder(tmp_path)
    assert not old.exists()
    assert young.exists()
