"""`/api/performed-steps`: what modalities reported, shown."""

from typing import Any

import httpx2
import pytest

from storage.archive import Archive
from storage.worklist.items import Worklist
from storage.worklist.performed_steps import PerformedSteps
from tests.builders import ct_slice
from tests.storage.indexed import dataset
from tests.storage.searching import values
from tests.storage.worklist_items import item


@pytest.fixture
async def steps(archive: Archive) -> PerformedSteps:
    """One step in progress for the item of `worklist_items`, one of the day before for nobody."""
    steps = PerformedSteps(archive.pool)
    await Worklist(archive.pool).add(item())
    asked = {"StudyInstanceUID": "1.2.3", "AccessionNumber": "A1", "ScheduledProcedureStepID": "SPS1"}
    for uid, date, requests in (("1.5.1", "20261121", [asked]), ("1.5.2", "20261120", [{"StudyInstanceUID": "1.2.9"}])):
        given = dataset(
            PatientID="P1",
            Modality="CT",
            PerformedProcedureStepStartDate=date,
            PerformedProcedureStepStatus="IN PROGRESS",
            ScheduledStepAttributesSequence=requests,
        )
        await steps.create(uid, given, calling_ae_title="CT1")
    return steps


async def test_steps_are_listed_and_found(client: httpx2.AsyncClient, steps: PerformedSteps) -> None:
    """The latest first, narrowed by status, patient, date, study and so on; a wrong parameter is named."""

    async def found(query: str) -> list[str]:
        answer = await client.get(f"/api/performed-steps{query}")
        assert answer.status_code == 200, answer.text
        return [step["sop_instance_uid"] for step in answer.json()]

    assert await found("") == ["1.5.1", "1.5.2"]
    assert await found("?date=20261120") == ["1.5.2"]
    assert await found("?date=20261121-") == ["1.5.1"]
    assert await found("?study_instance_uid=1.2.9&status=IN%20PROGRESS") == ["1.5.2"]
    assert await found("?limit=1&offset=1") == ["1.5.2"]
    for query in ("state=x", "limit=x", "date=x"):
        refused = await client.get(f"/api/performed-steps?{query}")
        assert (refused.status_code, query[:4] in refused.json()["detail"]) == (400, True)


async def test_a_step_is_shown_with_what_it_belongs_to(
    client: httpx2.AsyncClient, archive: Archive, steps: PerformedSteps
) -> None:
    """Its data set, its worklist item, and how many of the instances it refers to are in the archive (G-171)."""
    await archive.store(ct_slice("1.2.3", "1.2.3.1", "1.2.3.1.1", rows=8, columns=8))
    references = [{"ReferencedSOPInstanceUID": uid} for uid in ("1.2.3.1.1", "1.2.3.1.2")]
    await steps.change("1.5.1", dataset(PerformedSeriesSequence=[{"ReferencedImageSequence": references}]))
    shown: dict[str, Any] = (await client.get("/api/performed-steps/1.5.1")).json()
    assert (shown["status"], shown["calling_ae_title"], shown["start"]) == ("IN PROGRESS", "CT1", "20261121000000")
    assert (shown["referenced_instances"], shown["stored_instances"]) == (2, 1)
    assert [message["operation"] for message in shown["messages"]] == ["N-CREATE", "N-SET"]
    assert values(shown["dataset"], "PatientID") == ["P1"]
    (url,) = shown["worklist_items"]
    worklist_item = (await client.get(url)).json()
    (step,) = values(worklist_item, "ScheduledProcedureStepSequence")
    assert values(step, "ScheduledProcedureStepStatus") == ["STARTED"]
    assert (await client.get("/api/performed-steps/1.5.9")).status_code == 404
