"""The scrub: every file is read, what is damaged is found, what was stored before gets its checksums."""

import time
from typing import Any

from storage.archive import Archive
from storage.blobs.damage import damaged_files
from storage.upkeep.scrub import LEAST_PAUSE, Scrub, Step
from tests.builders import DEFLATED, ct_slice, encapsulated, multi_frame

DAY = 86_400.0


async def fill(archive: Archive, number: int = 4) -> list[Any]:
    """Store slices; returns where they lie."""
    for n in range(number):
        assert (await archive.store(ct_slice("1.2", "1.3", f"1.4.{n}", instance_number=n))).status == "stored"
    return [archive.blobs.path(one.blob) for one in await archive.instances("1.2")]


async def steps(scrub: Scrub, number: int) -> list[Step]:
    """Do some steps, without their pauses."""
    return [await scrub.step() for _ in range(number)]


async def test_a_round_reads_every_file_once_and_the_next_begins_when_its_time_has_come(archive: Archive) -> None:
    """Files, then the end with what was read, then nothing until the days are over."""
    sizes = [path.stat().st_size for path in await fill(archive)]
    done = await steps(Scrub(archive, 30), 6)
    assert [one.finding for one in done] == [None] * 6
    ended = done[4].ended
    assert ended is not None and (ended.files, ended.bytes) == (4, sum(sizes))
    assert [one.ended for one in done if one is not done[4]] == [None] * 5
    assert done[5].pause == 3600.0  # looked at again, and not before the days are over read again
    await archive.pool.execute("UPDATE scrub SET begun_at = now() - interval '31 days'")
    await Scrub(archive, 30).step()
    assert await archive.pool.fetchval("SELECT files FROM scrub") == 0
    await Scrub(archive, 30).step()
    assert await archive.pool.fetchval("SELECT files FROM scrub") == 1


async def test_a_round_goes_on_where_it_was(archive: Archive) -> None:
    """Another process reads what the last one had not read."""
    files = await fill(archive)
    await steps(Scrub(archive, 30), 2)
    for path in files[:2]:
        path.unlink()  # not read again: nobody notices in this round
    assert [one.finding for one in await steps(Scrub(archive, 30), 2)] == [None, None]


async def test_files_are_spread_over_the_days(archive: Archive) -> None:
    """Each file may take its share of the time that is left; who is late does not wait."""
    await fill(archive)
    (step,) = await steps(Scrub(archive, 0.02), 1)
    assert 0.9 * 0.02 * DAY / 4 < step.pause < 0.02 * DAY / 3.9
    await archive.pool.execute("UPDATE scrub SET begun_at = now() - interval '40 days'")
    (late,) = await steps(Scrub(archive, 30), 1)
    assert late.pause == LEAST_PAUSE


async def test_a_file_is_read_at_an_idle_rate(archive: Archive) -> None:
    """However large it is, it is never read faster; what is read is the same."""
    await archive.store(ct_slice(rows=1024, columns=1024))
    blob = await archive.pool.fetchval("SELECT blob FROM instances")
    began = time.monotonic()
    assert await archive.blobs.digest_slowly(blob, 20e6) == archive.blobs.digest(blob)
    assert time.monotonic() - began > 0.1  # 2 MB


async def test_damage_is_found_and_forgotten_when_it_was_none(archive: Archive) -> None:
    """A flipped bit, a file that is gone; one that is read again and right is not damaged any more."""
    files = await fill(archive)
    good = files[1].read_bytes()
    files[1].write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    files[2].unlink()
    found = [one.finding.kind for one in await steps(Scrub(archive, 30), 5) if one.finding]
    assert found == ["damaged", "missing"]
    assert await damaged_files(archive.pool) == 2
    files[1].write_bytes(good)
    await archive.pool.execute("UPDATE scrub SET last_row = 0")
    await steps(Scrub(archive, 30), 4)
    assert await damaged_files(archive.pool) == 1


async def test_what_was_stored_before_gets_its_checksums(archive: Archive) -> None:
    """They are those that it would have had; a file that is not what was stored gets none."""
    jpeg = encapsulated([b"\xff\xd8one\xff\xd9", b"\xff\xd8two\xff\xd9"], transfer_syntax="1.2.840.10008.1.2.4.50")
    for file in (ct_slice(), jpeg, multi_frame(3, transfer_syntax=DEFLATED), multi_frame(2, rows=200, columns=200)):
        await archive.store(file)
    columns = "SELECT checksums, frame_checksums FROM instances ORDER BY id"
    before = await archive.pool.fetch(columns)
    await archive.pool.execute("UPDATE instances SET checksums = NULL, frame_checksums = NULL")
    done = await steps(Scrub(archive, 30), 3)
    assert max(one.pause for one in done) < 1  # they do not wait for their turn
    last = archive.blobs.path(await archive.pool.fetchval("SELECT blob FROM instances ORDER BY id DESC LIMIT 1"))
    last.write_bytes(last.read_bytes()[:-1] + b"\x01")
    await steps(Scrub(archive, 30), 1)
    assert await archive.pool.fetch(columns) == [*before[:3], (None, None)]
