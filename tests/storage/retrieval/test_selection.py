"""Instances chosen by unique keys."""

import pytest

from storage.archive import Archive
from storage.retrieval.selection import Chosen, UniqueKeys
from tests.builders import ct_slice, new_uid


@pytest.fixture
async def uids(archive: Archive) -> dict[str, list[str]]:
    """Two studies of two patients, two series each, two instances each; UIDs by level, in order."""
    found: dict[str, list[str]] = {"study": [], "series": [], "instance": []}
    for patient in ("P1", "P2"):
        study = new_uid()
        found["study"].append(study)
        for number in (1, 2):
            series = new_uid()
            found["series"].append(series)
            for instance_number in (1, 2):
                instance = new_uid()
                found["instance"].append(instance)
                await archive.store(
                    ct_slice(
                        study,
                        series,
                        instance,
                        instance_number=instance_number,
                        SeriesNumber=number,
                        PatientID=patient,
                        rows=4,
                        columns=4,
                    )
                )
    return found


def instances(chosen: list[Chosen]) -> list[str]:
    return [one.sop_instance_uid for one in chosen]


async def test_each_key_chooses_and_all_must_hold(archive: Archive, uids: dict[str, list[str]]) -> None:
    """Single values and lists, of one level and of several, by series and instance number (PS3.4 C.4.2.2.1)."""
    study, series, instance = uids["study"], uids["series"], uids["instance"]
    for keys, expected in (
        (UniqueKeys(("P2",)), instance[4:]),
        (UniqueKeys(study_instance_uids=(study[0],)), instance[:4]),
        (UniqueKeys(study_instance_uids=tuple(study)), instance),
        (UniqueKeys((), (study[0],), (series[1],)), instance[2:4]),
        (UniqueKeys(series_instance_uids=(series[1], series[2])), instance[2:6]),
        (UniqueKeys(sop_instance_uids=(instance[7], instance[0], "1.2.3")), [instance[0], instance[7]]),
        (UniqueKeys(("P1",), (study[1],)), []),
        (UniqueKeys(("P*",)), []),
    ):
        assert instances(await archive.select(keys)) == expected


async def test_no_key_chooses_nothing(archive: Archive, uids: dict[str, list[str]]) -> None:
    """Nobody gets the whole archive by leaving everything out (PS3.4 C.4.2.2.1)."""
    assert await archive.select(UniqueKeys()) == []


async def test_files_come_in_the_order_asked_for(archive: Archive, uids: dict[str, list[str]]) -> None:
    """One that was removed meanwhile is None, the others are in their places."""
    chosen = await archive.select(UniqueKeys(study_instance_uids=(uids["study"][0],)))
    gone = Chosen(-1, "1.2", "1.3", "1.4", "1.5", "1.6")
    files = await archive.files_of([chosen[3], gone, chosen[0]])
    assert [file and file.sop_instance_uid for file in files] == [
        chosen[3].sop_instance_uid,
        None,
        chosen[0].sop_instance_uid,
    ]
