"""What the tests of hostile input share: a patient nobody may read of, good neighbours, every way to read."""

import json

import httpx2

from tests.builders import ct_slice
from tests.live.exchange import DICOM, FRAMES, Key, failures, key_in, path_of, store, stored_keys

PATIENT = "Zzyzxova^Hildegunde"


def image() -> bytes:
    """A small valid image of the patient who must not be in the log."""
    return ct_slice(rows=8, columns=8, PatientName=PATIENT)


def store_among_good(client: httpx2.Client, *hostile_files: bytes) -> httpx2.Response:
    """Send files between two good ones; the good ones are stored whatever happens to the others."""
    before, after = image(), image()
    answer = store(client, before, *hostile_files, after)
    assert answer.status_code in (200, 202), answer.text
    assert {key_in(before), key_in(after)} <= set(stored_keys(answer))
    reported = len(stored_keys(answer)) + len(failures(answer))
    assert reported == 2 + len(hostile_files)
    return answer


def read_in_every_way(client: httpx2.Client, key: Key) -> None:
    """Ask for an instance in every form; never a 5xx, and JSON that is JSON."""
    path = path_of(key)
    study, series, instance = key
    for resource, accept in (
        (path, DICOM),
        (path, "application/dicom; transfer-syntax=*"),
        (f"{path}/metadata", "application/dicom+json"),
        (f"{path}/metadata", 'multipart/related; type="application/dicom+xml"'),
        (f"{path}/frames/1", FRAMES),
        (f"{path}/bulkdata", FRAMES),
        (f"{path}/pixeldata", FRAMES),
        (f"studies/{study}/instances?SOPInstanceUID={instance}&includefield=all", "application/dicom+json"),
        (f"studies?StudyInstanceUID={study}&includefield=all", "application/dicom+json"),
        (f"studies/{study}/series?SeriesInstanceUID={series}", "application/dicom+json"),
    ):
        answer = client.get(resource, headers={"Accept": accept})
        assert answer.status_code in (200, 404, 406), (resource, answer.status_code, answer.text[:300])
        if answer.headers["content-type"].endswith("json"):
            json.loads(answer.content)
