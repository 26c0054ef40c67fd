"""`/api/commitments`: listed, shown with their instances, resent."""

import httpx2

from storage.archive import Archive
from storage.work.commitments import Commitments, Reference

CT = "1.2.840.10008.5.1.4.1.1.2"


async def checked(archive: Archive, *reasons: int) -> int:
    """A commitment whose instances were found to be so."""
    table = Commitments(archive.pool)
    uid = f"1.2.{len(await table.newest())}"
    number = await table.add(uid, "CT1", "DICOMWEB", [Reference(CT, f"1.5.{place}") for place in range(len(reasons))])
    await table.claim("checking")
    await table.record_checks(number, dict(enumerate(reasons, 1)))
    await table.finish_step(number, "reporting")
    return number


async def test_a_commitment_is_shown_with_its_instances(client: httpx2.AsyncClient, archive: Archive) -> None:
    """Each instance has its outcome, and what failed its reason (PS3.3 C.14.1.1)."""
    number = await checked(archive, 0, 0x0110)
    shown = (await client.get(f"/api/commitments/{number}")).json()
    assert (shown["state"], shown["requester"], shown["number_failed"]) == ("reporting", "CT1", 1)
    assert shown["instances"] == [
        {
            "sop_class_uid": CT,
            "sop_instance_uid": "1.5.0",
            "outcome": "sound",
            "failure_reason": None,
            "meaning": "",
        },
        {
            "sop_class_uid": CT,
            "sop_instance_uid": "1.5.1",
            "outcome": "failed",
            "failure_reason": "0110",
            "meaning": "processing failure",
        },
    ]


async def test_commitments_are_listed_by_state(client: httpx2.AsyncClient, archive: Archive) -> None:
    """The newest first, page by page, without their instances."""
    numbers = [await checked(archive, 0) for _ in range(3)]
    await archive.pool.execute("UPDATE commitments SET state = 'parked' WHERE id = $1", numbers[1])

    async def listed(query: str) -> list[int]:
        return [one["id"] for one in (await client.get(f"/api/commitments?{query}")).json()]

    assert await listed("") == numbers[::-1]
    assert await listed("state=parked") == [numbers[1]]
    assert await listed("state=reporting,reported") == [numbers[2], numbers[0]]
    assert await listed(f"limit=1&before={numbers[2]}") == [numbers[1]]
    for query in ("state=lost", "limit=0", "before=x"):
        assert (await client.get(f"/api/commitments?{query}")).status_code == 400


async def test_a_report_is_resent(client: httpx2.AsyncClient, archive: Archive) -> None:
    """POST resend makes a parked report due at once; one that was never checked is 409, an unknown one 404."""
    number = await checked(archive, 0)
    await archive.pool.execute("UPDATE commitments SET state = 'parked', attempts = 9, due_at = 'infinity'")
    resent = await client.post(f"/api/commitments/{number}/resend", json={})
    assert (resent.status_code, resent.json()["state"], resent.json()["attempts"]) == (202, "reporting", 0)
    assert await Commitments(archive.pool).requester_to_report_to() == "CT1"
    unchecked = await Commitments(archive.pool).add("1.9", "CT1", "DICOMWEB", [Reference(CT, "1.5")])
    assert (await client.post(f"/api/commitments/{unchecked}/resend", json={})).status_code == 409
    for unknown in ("/api/commitments/999", "/api/commitments/x"):
        assert (await client.get(unknown)).status_code == 404
        assert (await client.post(unknown + "/resend", json={})).status_code == 404


async def test_commitments_are_described(client: httpx2.AsyncClient) -> None:
    """OpenAPI names the paths and what they answer."""
    document = (await client.get("/api/openapi.json")).json()
    assert {"/commitments", "/commitments/{number}", "/commitments/{number}/resend"} <= document["paths"].keys()
    assert "CommitmentInFull" in document["components"]["schemas"]
