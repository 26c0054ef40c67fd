"""Stored files that the index does not know: counted, and told."""

from storage.archive import Archive
from storage.upkeep.stocktaking import advice, take_stock, unindexed, unindexed_files
from storage.upkeep.sweep import sweep
from tests.builders import ct_slice


async def test_files_that_were_brought_back_are_counted(archive: Archive) -> None:
    """Beside what is indexed; what is let go of is not among them, and taking stock again forgets what is in order."""
    for _ in range(3):
        await archive.store(ct_slice())
    assert await unindexed_files(archive.pool) == 0
    assert await take_stock(archive) == 0
    names = sorted(archive.blobs.names())
    strangers = [archive.blobs.path(name).with_stem(f"{archive.blobs.path(name).stem[:-1]}x") for name in names[:2]]
    for stranger in strangers:
        stranger.write_bytes(b"whatever")
    assert [archive.blobs.path(name) async for name in unindexed(archive)] == sorted(strangers)
    assert (await take_stock(archive), await unindexed_files(archive.pool)) == (2, 2)
    await archive.pool.execute("INSERT INTO discarded_blobs (blob) VALUES ($1)", _name_of(archive, strangers[0]))
    assert await take_stock(archive) == 1
    await sweep(archive.pool, archive.blobs)
    strangers[1].unlink()
    assert (await take_stock(archive), await unindexed_files(archive.pool)) == (0, 0)


def _name_of(archive: Archive, path: object) -> str:
    return next(name for name in archive.blobs.names() if archive.blobs.path(name) == path)


def test_the_advice_says_how_many_and_what_to_do() -> None:
    """Nothing where nothing is missing."""
    assert advice(0) == ""
    assert advice(1).startswith("1 stored file is not in the index, so nobody finds what is in it. ")
    assert "dicomweb reindex" in advice(1)
    assert advice(12345).startswith("12,345 stored files are not in the index")
