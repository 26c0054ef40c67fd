"""`/api/status`: how much there is and how it is."""

from typing import Any

import httpx2
import pytest

from storage.errors import Unavailable
from storage.upkeep import statistics
from storage.upkeep.statistics import StatisticsReader
from tests.builders import ct_slice, new_uid


async def test_it_counts_what_is_stored(archive: Any, client: httpx2.AsyncClient) -> None:
    """Studies, series, instances and bytes; the disk, the database, and no gateway where none is served."""
    study, series = new_uid(), new_uid()
    files = [ct_slice(study, series), ct_slice(study, series, instance_number=2), ct_slice()]
    for data in files:
        await archive.store(data)
    status = (await client.get("/api/status")).json()
    counts = {"studies": 2, "series": 2, "instances": 3, "bytes": sum(map(len, files)), "bytes_estimated": False}
    assert status["archive"] == counts | {"unindexed_files": 0, "damaged_files": 0, "advice": ""}
    assert status["storage"]["ok"] and 0 < status["storage"]["free_bytes"] < status["storage"]["total_bytes"]
    assert status["database"]["ok"] and status["database"]["bytes"] > 0
    assert int(status["database"]["version"].split(".")[0]) >= 14
    assert status["gateway"]["serves"] is False and status["gateway"]["ok"] is None
    assert status["dicomweb_root"] == "http://archive.test/dicom-web"
    assert status["viewer"] is False and status["jobs"] == {} and status["commitments"] == {}


async def test_modalities_are_counted_by_study(archive: Any, client: httpx2.AsyncClient) -> None:
    """The most frequent first, then by name; a study of two modalities counts for both; 503 when nobody can tell."""
    assert (await client.get("/api/modalities")).json() == {}
    mixed = new_uid()
    for study, modality in ((mixed, "MR"), (mixed, "SR"), (new_uid(), "SR"), (new_uid(), "CT"), (new_uid(), "SR")):
        await archive.store(ct_slice(study, Modality=modality))
    read = await StatisticsReader(archive).read()
    assert list(read.modalities.items()) == [("SR", 3), ("CT", 1), ("MR", 1)]
    await archive.pool.close()
    client._transport.app.state.statistics = StatisticsReader(archive)  # type: ignore[attr-defined]
    assert (await client.get("/api/modalities")).status_code == 503


async def test_what_does_not_answer_is_said_and_the_rest_is_told(app: Any, client: httpx2.AsyncClient) -> None:
    """A page about trouble is there in trouble: 200, with the part that fails."""

    class Silent:
        async def ask(self) -> None:
            raise Unavailable("The DIMSE gateway does not answer.")

    app.state.gateway_probe = Silent()
    await app.state.archive.pool.close()
    answer = await client.get("/api/status")
    assert answer.status_code == 200
    status = answer.json()
    assert status["archive"] is None and status["database"]["ok"] is False
    assert status["gateway"]["problem"] == "The DIMSE gateway does not answer."
    assert status["gateway"]["ok"] is False and status["storage"]["ok"] is True


async def test_it_is_counted_once_for_all_who_ask(archive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is asked for, tables are read every few seconds; many sizes are estimated from a sample."""
    for _ in range(3):
        await archive.store(ct_slice())
    reader = StatisticsReader(archive)
    first = await reader.read()
    await archive.store(ct_slice())
    assert await reader.read() is first
    await archive.pool.execute("ANALYZE instances")
    monkeypatch.setattr(statistics, "EXACT_UP_TO", 2)
    estimated = await StatisticsReader(archive).read()
    assert estimated.instances == 4 and estimated.estimated
    assert estimated.stored_bytes == pytest.approx(first.stored_bytes / 3 * 4, rel=0.01)
