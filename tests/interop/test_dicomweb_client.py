"""Python's public client, dicomweb-client: every call it has, against a real server."""

import inspect
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient
from PIL import Image
from pydicom.dataset import Dataset

from tests.builders import JPEG_BASELINE, ct_slice, dicom_file, encapsulated, multi_frame, new_uid
from tests.live_server import running_server

CALLS = {
    "store_instances",
    "search_for_studies",
    "search_for_series",
    "search_for_instances",
    "retrieve_study",
    "retrieve_series",
    "retrieve_instance",
    "iter_study",
    "iter_series",
    "retrieve_study_metadata",
    "retrieve_series_metadata",
    "retrieve_instance_metadata",
    "retrieve_instance_frames",
    "iter_instance_frames",
    "retrieve_bulkdata",
    "iter_bulkdata",
    "retrieve_series_rendered",
    "retrieve_instance_rendered",
    "retrieve_instance_frames_rendered",
}
"""What is offered; each has its test below."""

NOT_OFFERED = {
    "delete_study": 405,
    "delete_series": 405,
    "delete_instance": 405,
}
"""What is not offered, with the status that says so."""

LOCAL = {"lookup_keyword", "lookup_tag", "set_chunk_size", "set_http_retry_params"}
"""What never asks a server."""

JPEG = [b"\xff\xd8\xff\xe0one\xff\xd9", b"\xff\xd8\xff\xe0two\xff\xd9"]


@dataclass
class Stored:
    """What the archive holds: a CT series of three, a native and a compressed multi-frame image, another patient."""

    client: DICOMwebClient
    study: str
    ct: str
    slices: list[bytes]
    cine: bytes
    jpeg: bytes
    other: bytes

    def uids(self, file: bytes) -> tuple[str, str, str]:
        """The arguments that name an instance."""
        dataset = read(file)
        return dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID


def read(file: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(file))


def uids_of(results: list[dict[str, Any]], tag: str) -> list[str]:
    return [result[tag]["Value"][0] for result in results]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """An archive filled through the client."""
    with running_server(tmp_path_factory.mktemp("client") / "data", "--workers", "1") as server:
        client = DICOMwebClient(server.root)
        study, ct = new_uid(), new_uid()
        named: dict[str, Any] = {"PatientName": "Müller^Jörg", "PatientID": "P7", "StudyDate": "20240229"}
        held = Stored(
            client,
            study,
            ct,
            [ct_slice(study, ct, rows=32, columns=32, instance_number=number, **named) for number in (1, 2, 3)],
            multi_frame(4, rows=8, columns=8, StudyInstanceUID=study, SeriesNumber=2, **named),
            encapsulated(JPEG, StudyInstanceUID=study, SeriesNumber=3, Modality="US", **named),
            dicom_file(PatientName="Other^Ada", PatientID="P8", StudyDate="20200101", Modality="MR"),
        )
        for file in (*held.slices, held.cine, held.jpeg):
            answer = client.store_instances([read(file)], study_instance_uid=study)
            assert len(answer.ReferencedSOPSequence) == 1
        answer = client.store_instances([read(held.other)])
        assert "FailedSOPSequence" not in answer
        yield held


def test_no_call_of_the_client_is_forgotten() -> None:
    """A new version's new calls make this fail, so that they are looked at (L-006)."""
    public = {name for name, _ in inspect.getmembers(DICOMwebClient, callable) if not name.startswith("_")}
    assert public == CALLS | set(NOT_OFFERED) | LOCAL


def test_store_instances(stored: Stored) -> None:
    """Many at once, into a study, again, and into the wrong study (B-001, B-034, B-042, B-052)."""
    study = new_uid()
    files = [read(ct_slice(study, rows=8, columns=8)) for _ in range(5)]
    answer = stored.client.store_instances(files)
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [
        file.SOPInstanceUID for file in files
    ]
    assert answer.RetrieveURL.endswith(f"/studies/{study}")
    again = stored.client.store_instances(files, study_instance_uid=study)
    assert len(again.ReferencedSOPSequence) == 5
    stranger = read(ct_slice(rows=8, columns=8))
    with pytest.raises(requests.HTTPError) as refused:
        stored.client.store_instances([stranger], study_instance_uid=study)
    assert refused.value.response.status_code == 409
    mixed = stored.client.store_instances([stranger, files[0]], study_instance_uid=study)
    assert len(mixed.FailedSOPSequence) == len(mixed.ReferencedSOPSequence) == 1
    assert mixed.FailedSOPSequence[0].FailureReason >= 0xA900


@pytest.mark.parametrize(
    "filters",
    [
        {"PatientID": "P7"},
        {"00100020": "P7"},
        {"PatientName": "müller*"},
        {"PatientName": "MULLER^JORG"},
        {"StudyDate": "20240201-20240301"},
        {"ModalitiesInStudy": "US"},
        {"PatientID": "P7", "StudyDate": "20240229", "PatientName": "*Jörg"},
    ],
    ids=str,
)
def test_search_for_studies(stored: Stored, filters: dict[str, str]) -> None:
    """Filters by keyword and tag, wildcards, accents, ranges (C-001, C-010, C-031, C-034, C-040, C-052)."""
    (found,) = stored.client.search_for_studies(search_filters=filters)
    assert found["0020000D"]["Value"] == [stored.study]
    assert found["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]
    assert found["00201208"]["Value"] == [5]


def test_fuzzymatching_and_fields(stored: Stored) -> None:
    """The flag is taken, and included fields are returned (C-056, C-090)."""
    found = stored.client.search_for_studies(
        fuzzymatching=True, search_filters={"PatientName": "Muller"}, fields=["StudyDescription", "00101010"]
    )
    assert stored.study in uids_of(found, "0020000D")
    assert all("00081030" in result for result in found)


def test_paging_reaches_everything_once(stored: Stored) -> None:
    """limit, offset and get_remaining agree (C-110 and following; PS3.18 8.3.4.4)."""
    everything = uids_of(stored.client.search_for_instances(stored.study), "00080018")
    assert len(everything) == 5
    pages = [stored.client.search_for_instances(stored.study, limit=2, offset=offset) for offset in (0, 2, 4, 6)]
    assert [uid for page in pages for uid in uids_of(page, "00080018")] == everything
    remaining = stored.client.search_for_instances(stored.study, limit=2, get_remaining=True)
    assert uids_of(remaining, "00080018") == everything
    studies = stored.client.search_for_studies(limit=1, get_remaining=True)
    assert len(studies) == len({result["0020000D"]["Value"][0] for result in studies}) >= 2


def test_search_for_series(stored: Stored) -> None:
    """Of a study and of all (C-002, C-005, C-011, C-073)."""
    series = stored.client.search_for_series(stored.study)
    assert [result["00080060"]["Value"][0] for result in series] == ["CT", "CT", "US"]
    assert series[0]["00201209"]["Value"] == [3]
    (found,) = stored.client.search_for_series(search_filters={"SeriesInstanceUID": stored.ct})
    assert found["0020000D"]["Value"] == [stored.study]
    assert stored.client.search_for_series(new_uid()) == []


def test_search_for_instances(stored: Stored) -> None:
    """Of a series, of a study, of all (C-003, C-004, C-006, C-012)."""
    found = stored.client.search_for_instances(stored.study, stored.ct)
    assert uids_of(found, "00080018") == [read(file).SOPInstanceUID for file in stored.slices]
    (one,) = stored.client.search_for_instances(stored.study, search_filters={"InstanceNumber": "2"})
    assert one["00080018"]["Value"] == [read(stored.slices[1]).SOPInstanceUID]
    uid = read(stored.other).SOPInstanceUID
    (other,) = stored.client.search_for_instances(search_filters={"SOPInstanceUID": uid})
    assert other["0020000D"]["Value"] == [read(stored.other).StudyInstanceUID]


ANY = (("application/dicom", "*"),)


def test_retrieve_and_iterate(stored: Stored) -> None:
    """Studies, series and instances as pydicom data sets equal to what was stored (D-001 to D-012)."""
    client = stored.client
    expected = {read(file).SOPInstanceUID: read(file) for file in (*stored.slices, stored.cine, stored.jpeg)}
    for datasets in (
        client.retrieve_study(stored.study, media_types=ANY),
        list(client.iter_study(stored.study, media_types=ANY)),
    ):
        assert {dataset.SOPInstanceUID: dataset for dataset in datasets} == expected
    slices = [read(file) for file in stored.slices]
    assert client.retrieve_series(stored.study, stored.ct) == slices
    assert list(client.iter_series(stored.study, stored.ct)) == slices
    assert client.retrieve_instance(*stored.uids(stored.cine)) == read(stored.cine)
    assert client.retrieve_instance(*stored.uids(stored.jpeg), media_types=ANY) == read(stored.jpeg)
    named = client.retrieve_instance(*stored.uids(stored.jpeg), media_types=(("application/dicom", JPEG_BASELINE),))
    assert named == read(stored.jpeg)


def test_what_is_not_there_is_a_404(stored: Stored) -> None:
    """Unknown studies, instances and frames (D-042, A-105)."""
    with pytest.raises(requests.HTTPError) as missing:
        stored.client.retrieve_study(new_uid())
    assert missing.value.response.status_code == 404
    with pytest.raises(requests.HTTPError) as missing:
        stored.client.retrieve_instance_frames(*stored.uids(stored.cine), frame_numbers=[5])
    assert missing.value.response.status_code == 404


def test_retrieve_metadata(stored: Stored) -> None:
    """Of a study, a series and an instance; pydicom reads it back (D-020 and following)."""
    client = stored.client
    assert len(client.retrieve_study_metadata(stored.study)) == 5
    series = client.retrieve_series_metadata(stored.study, stored.ct)
    assert len(series) == 3
    metadata = client.retrieve_instance_metadata(*stored.uids(stored.slices[1]))
    assert metadata == series[1]
    dataset = Dataset.from_json(metadata, bulk_data_uri_handler=lambda tag, vr, uri: None)
    expected = read(stored.slices[1])
    assert dataset.PatientName == expected.PatientName
    assert dataset.ImagePositionPatient == expected.ImagePositionPatient


@pytest.mark.parametrize(
    "media_types",
    [None, ("application/octet-stream",), (("application/octet-stream", "1.2.840.10008.1.2.1"),)],
    ids=str,
)
def test_retrieve_native_frames(stored: Stored, media_types: Any) -> None:
    """One, several and in any order, retrieved and iterated (D-040 to D-045)."""
    client = stored.client
    pixels = read(stored.cine).PixelData
    frames = [pixels[start : start + 128] for start in range(0, 512, 128)]
    for numbers in ([1], [1, 2, 3, 4], [4, 2]):
        expected = [frames[number - 1] for number in numbers]
        uids = stored.uids(stored.cine)
        assert client.retrieve_instance_frames(*uids, numbers, media_types=media_types) == expected
        assert list(client.iter_instance_frames(*uids, numbers, media_types=media_types)) == expected


@pytest.mark.parametrize("media_types", [None, (("image/jpeg", JPEG_BASELINE),), (("image/jpeg", "*"),)], ids=str)
def test_retrieve_compressed_frames(stored: Stored, media_types: Any) -> None:
    """The compressed streams as stored, under their own media type (D-043 to D-047)."""
    padded = [frame + b"\0" * (len(frame) % 2) for frame in JPEG]
    found = stored.client.retrieve_instance_frames(*stored.uids(stored.jpeg), [1, 2], media_types=media_types)
    assert found == padded


def test_retrieve_bulkdata(stored: Stored) -> None:
    """The URL of the metadata resolves as it is, whole, in pieces and in part (D-070 to D-078, A-115)."""
    client = stored.client
    url = client.retrieve_instance_metadata(*stored.uids(stored.cine))["7FE00010"]["BulkDataURI"]
    pixels = read(stored.cine).PixelData
    octets = ("application/octet-stream",)
    assert client.retrieve_bulkdata(url) == [pixels]
    assert client.retrieve_bulkdata(url, media_types=octets) == [pixels]
    assert list(client.iter_bulkdata(url)) == [pixels]
    whole = client.retrieve_bulkdata(url, media_types=octets, byte_range=(10, 19))
    assert whole == [pixels]  # asked for as multipart, of which no ranges are given
    compressed = client.retrieve_instance_metadata(*stored.uids(stored.jpeg))["7FE00010"]["BulkDataURI"]
    assert len(client.retrieve_bulkdata(compressed, media_types=(("image/jpeg", JPEG_BASELINE),))) == 2


def test_retrieve_rendered(stored: Stored) -> None:
    """Instances and frames as pictures, in each media type of the client and without one (D-090 to D-093)."""
    client, uids = stored.client, stored.uids(stored.slices[0])
    for media_type, form in {
        "image/jpeg": "JPEG",
        "image/png": "PNG",
        "image/gif": "GIF",
        "image/jp2": "JPEG2000",
    }.items():
        for rendered in (
            client.retrieve_instance_rendered(*uids, media_types=(media_type,)),
            client.retrieve_instance_frames_rendered(*uids, [1], media_types=(media_type,)),
        ):
            opened = Image.open(io.BytesIO(rendered))
            assert (opened.format, opened.size) == (form, (32, 32))
    assert client.retrieve_instance_rendered(*uids) == client.retrieve_instance_frames_rendered(*uids, [1])
    parameters = {"window": "40,400,linear", "viewport": "16,16", "quality": 50}
    small = client.retrieve_instance_rendered(*uids, media_types=("image/jpeg",), params=parameters)
    assert Image.open(io.BytesIO(small)).size == (16, 16)
    several = client.retrieve_instance_frames_rendered(*stored.uids(stored.cine), [1, 2, 3], media_types=("image/gif",))
    assert Image.open(io.BytesIO(several)).format == "GIF"
    assert client.retrieve_series_rendered(stored.study, stored.ct).count(b"Content-Type: image/jpeg") == 3


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_what_is_not_offered_says_so(stored: Stored, name: str) -> None:
    """Deleting is 405 with Allow and changes nothing (A-104)."""
    call = getattr(stored.client, name)
    levels = {"study": 1, "series": 2}.get(name.rpartition("_")[2], 3)
    with pytest.raises(requests.HTTPError) as refused:
        call(*stored.uids(stored.cine)[:levels])
    assert refused.value.response.status_code == NOT_OFFERED[name]
    assert "Allow" in refused.value.response.headers
    assert stored.client.retrieve_instance(*stored.uids(stored.cine)) == read(stored.cine)
