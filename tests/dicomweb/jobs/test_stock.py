"""Taking stock beside the jobs."""

import asyncio
import logging

import pytest

from dicomweb.jobs import repeating, stock
from storage.archive import Archive
from storage.upkeep.stocktaking import unindexed_files


async def test_what_the_database_refuses_is_tried_again(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs run in the same process: it must not end because stock cannot be taken."""
    monkeypatch.setattr(repeating, "AGAIN_AFTER", 0.05)
    (archive.blobs.root / "20260101" / "0000").mkdir(parents=True)
    (archive.blobs.root / "20260101" / "0000" / f"{0:032x}.dcm").write_bytes(b"brought back")
    await archive.pool.execute("ALTER TABLE stock RENAME TO elsewhere")
    caplog.set_level(logging.ERROR)
    keeping = asyncio.create_task(stock.keep_stock(archive))
    try:
        async with asyncio.timeout(60):
            while "cannot be compared" not in caplog.text:
                await asyncio.sleep(0.01)
            await archive.pool.execute("ALTER TABLE elsewhere RENAME TO stock")
            while await unindexed_files(archive.pool) != 1:
                await asyncio.sleep(0.02)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
