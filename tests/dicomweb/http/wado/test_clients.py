"""Retrieving with a client people use: python's dicomweb-client, over a socket."""

import asyncio
from typing import Any

import numpy as np
from dicomweb_client.api import DICOMwebClient

from tests.builders import ct_slice, encapsulated, multi_frame, new_uid
from tests.dicomweb.loopback import listening

JPEG_LS = "1.2.840.10008.1.2.4.80"


async def test_dicomweb_client_retrieves_everything(archive: Any, app: Any) -> None:
    """Files, metadata, bulk data and frames; the client sends Host without its port (L-006, A-127)."""
    study, series = new_uid(), new_uid()
    outcome = await archive.store(multi_frame(3, StudyInstanceUID=study, SeriesInstanceUID=series))
    await archive.store(ct_slice(study, series, instance_number=2))
    key = (study, series, outcome.sop_instance_uid)

    def retrieve(url: str) -> None:
        client = DICOMwebClient(f"{url}/dicom-web")
        assert len(client.retrieve_study(study)) == len(client.retrieve_series(study, series)) == 2
        assert len(list(client.iter_series(study, series))) == 2
        assert client.retrieve_instance(*key).NumberOfFrames == 3
        (metadata,) = client.retrieve_series_metadata(study, series)[:1]
        uri = metadata["7FE00010"]["BulkDataURI"]
        assert uri.startswith(url + "/")
        (pixels,) = client.retrieve_bulkdata(uri)
        assert client.retrieve_bulkdata(uri, media_types=("application/octet-stream",)) == [pixels]
        assert list(client.iter_bulkdata(uri)) == [pixels]
        frames = client.retrieve_instance_frames(*key, frame_numbers=[1, 2, 3])
        assert [set(np.frombuffer(frame, "<u2")) for frame in frames] == [{1}, {2}, {3}]
        assert b"".join(frames) == pixels

    async with listening(app) as url:
        await asyncio.to_thread(retrieve, url)


async def test_dicomweb_client_retrieves_compressed_images(archive: Any, app: Any) -> None:
    """Stored frames by the client's default, by `*` and by media type (L-005, L-006, D-045)."""
    frames = [b"first!", b"second"]
    outcome = await archive.store(encapsulated(frames, transfer_syntax=JPEG_LS))
    key = (outcome.study_instance_uid, outcome.series_instance_uid, outcome.sop_instance_uid)

    def retrieve(url: str) -> None:
        client = DICOMwebClient(f"{url}/dicom-web")
        assert client.retrieve_instance(*key).file_meta.TransferSyntaxUID == JPEG_LS
        for media_types in (None, ("image/jls",), (("image/jls", JPEG_LS),), ("image/*",)):
            got = client.retrieve_instance_frames(*key, frame_numbers=[2, 1], media_types=media_types)
            assert got == [frames[1], frames[0]], media_types
        (metadata,) = client.retrieve_study_metadata(key[0])
        assert client.retrieve_bulkdata(metadata["7FE00010"]["BulkDataURI"]) == frames

    async with listening(app) as url:
        await asyncio.to_thread(retrieve, url)
