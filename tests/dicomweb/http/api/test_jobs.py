"""`/api/jobs`: asked for, listed, cancelled, tried again."""

from typing import Any

import httpx2
import pytest

from storage.work.jobs import JobQueue

PEER = {"host": "192.0.2.7", "port": 104}
SEND = {"kind": "send", "peer": "PACS", "studies": ["1.2.3"]}


@pytest.fixture
async def pacs(client: httpx2.AsyncClient) -> None:
    """A peer named PACS."""
    await client.put("/api/peers/PACS", json=PEER)


async def test_a_job_is_queued_and_watched(client: httpx2.AsyncClient, archive: Any, pacs: None) -> None:
    """POST answers 202 with Location; the job there shows its state and, while it runs, how far it is."""
    series = {"study_instance_uid": "1.2.4", "series_instance_uid": "1.2.4.5"}
    queued = await client.post("/api/jobs", json=SEND | {"entities": [series]})
    assert queued.status_code == 202
    job = queued.json()
    assert job["state"] == "queued"
    assert job["parameters"] == {"peer": "PACS", "entities": [{"study_instance_uid": "1.2.3"}, series]}
    claimed = await JobQueue(archive.pool, ["send"]).claim()
    assert claimed is not None
    await claimed.keep(total=2, items={"1.1": None, "1.2": "A700"})
    seen = (await client.get(queued.headers["location"])).json()
    assert seen["state"] == "running"
    assert seen["progress"] == {"total": 2, "done": 1, "failed": 1, "failures": [{"item": "1.2", "error": "A700"}]}
    await claimed.finish("failed")
    assert (await client.delete(queued.headers["location"])).status_code == 409
    retried = await client.post(queued.headers["location"] + "/retry", json={})
    assert (retried.status_code, retried.json()["state"]) == (202, "queued")
    cancelled = await client.delete(queued.headers["location"])
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert (await client.delete(queued.headers["location"])).status_code == 200


async def test_jobs_are_listed_by_state(client: httpx2.AsyncClient, pacs: None) -> None:
    """The list is narrowed by state and kind and read page by page, the newest first."""
    numbers = [(await client.post("/api/jobs", json=SEND)).json()["id"] for _ in range(3)]
    await client.delete(f"/api/jobs/{numbers[1]}")

    async def listed(query: str) -> list[int]:
        return [job["id"] for job in (await client.get(f"/api/jobs?{query}")).json()]

    assert await listed("") == numbers[::-1]
    assert await listed("state=queued") == [numbers[2], numbers[0]]
    assert await listed("state=cancelled,done&kind=send") == [numbers[1]]
    assert await listed("kind=pull") == []
    assert await listed(f"limit=1&before={numbers[2]}") == [numbers[1]]
    for query in ("state=lost", "limit=0", "before=x"):
        assert (await client.get(f"/api/jobs?{query}")).status_code == 400


@pytest.mark.parametrize(
    ("members", "says"),
    [
        (SEND | {"peer": "NOBODY"}, "peer: there is no peer"),
        (SEND | {"studies": []}, "studies: name"),
        (SEND | {"studies": ["1.2.x"]}, "not a UID"),
        (SEND | {"kind": "burn"}, "kind: must be 'send' or 'pull'"),
        (SEND | {"method": "carry"}, "method"),
        (SEND | {"study": "1.2"}, "study: there is no such member"),
        (SEND | {"entities": [{"study_instance_uid": "1.2", "sop_instance_uid": "1.3"}]}, "series_instance_uid"),
        (SEND | {"entities": [{}]}, "entities.0.study_instance_uid: is missing"),
    ],
)
async def test_a_job_that_cannot_be_is_refused(
    client: httpx2.AsyncClient, pacs: None, members: dict[str, Any], says: str
) -> None:
    """What is wrong with a job is said before anything is queued."""
    answer = await client.post("/api/jobs", json=members)
    assert answer.status_code == 400
    assert says in answer.json()["detail"]
    assert (await client.get("/api/jobs")).json() == []


@pytest.mark.parametrize("number", ["1", "0", "x", "99999999999999999999"])
async def test_a_job_that_is_not_there_is_not_found(client: httpx2.AsyncClient, number: str) -> None:
    """Whatever stands for the number, 404 and never a 500."""
    assert (await client.get(f"/api/jobs/{number}")).status_code == 404
    assert (await client.delete(f"/api/jobs/{number}")).status_code == 404
    assert (await client.post(f"/api/jobs/{number}/retry", json={})).status_code == 404
