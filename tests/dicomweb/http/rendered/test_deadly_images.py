"""Stored images that end the process that decodes them: a 406, at once the next time, and nobody else notices.

Headers are not checked here, so that the codec really crashes: OpenJPH divides by the width of tiles, which is zero.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from dicomweb.failures import failure_of
from dicomweb.telemetry.metrics import FOLDER_VARIABLE
from storage.dicom.transfer_syntax import EXPLICIT_LE, HTJ2K_LOSSLESS
from storage.errors import CodecEnded
from storage.pixels import decoders as pixel_decoders
from storage.pixels.codec_children import CHILDREN
from tests.builders import encapsulated, new_uid
from tests.dicomweb.http.wado.test_instances import stored
from tests.dicomweb.parts import parts_of
from tests.jpeg_2000 import encoded
from tests.live_server import REPOSITORY
from tests.storage.pixels.test_codec_children import CRASHING, GRAY

ROWS, COLUMNS = GRAY.shape
ANSWERS = {
    "frames/1": {"Accept": f'multipart/related; type="application/octet-stream"; transfer-syntax={EXPLICIT_LE}'},
    "frames/1/rendered": {"Accept": "image/jpeg"},
    "rendered": {"Accept": "image/png"},
    "": {"Accept": f"application/dicom; transfer-syntax={EXPLICIT_LE}"},
}
"""What of an instance needs its pixels."""


@pytest.fixture
def endings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let streams reach codecs whatever their headers say; return how children ended since."""
    monkeypatch.setattr(pixel_decoders, "check_codestream", lambda _: None)
    found: list[str] = []
    before, CHILDREN.on_ending = CHILDREN.on_ending, lambda _, reason: found.append(reason)
    yield found
    CHILDREN.on_ending = before


def image(*frames: bytes) -> bytes:
    """Return a file of HTJ2K frames."""
    described = {"Rows": ROWS, "Columns": COLUMNS, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    return encapsulated(list(frames), transfer_syntax=HTJ2K_LOSSLESS, **described, SOPInstanceUID=new_uid())


@pytest.mark.parametrize("first", list(ANSWERS))
async def test_an_image_that_ends_its_decoder_is_a_406(
    archive: Any, client: httpx2.AsyncClient, endings: list[str], first: str
) -> None:
    """What touches it again, in whatever way, is answered without another child; its thumbnail is an icon."""
    (path,) = await stored(archive, image(CRASHING))
    answer = await client.get(f"{path}/{first}".rstrip("/"), headers=ANSWERS[first])
    assert answer.status_code == 406 and "ends the process" in answer.json()["detail"]
    known = len(endings)
    assert known in (1, 2)
    for place, headers in ANSWERS.items():
        answer = await client.get(f"{path}/{place}".rstrip("/"), headers=headers)
        assert answer.status_code == 406, place
    icon = await client.get(f"{path}/thumbnail")
    assert (icon.status_code, icon.headers["content-type"]) == (200, "image/jpeg")
    assert len(endings) == known
    assert (await client.get(f"{path}/metadata")).status_code == 200


async def test_the_thumbnail_of_such_an_image_is_an_icon(
    archive: Any, client: httpx2.AsyncClient, endings: list[str]
) -> None:
    """Also when it is what comes first."""
    (path,) = await stored(archive, image(CRASHING))
    assert (await client.get(f"{path}/thumbnail")).status_code == 200
    assert len(endings) in (1, 2)


async def test_neighbours_are_answered(archive: Any, client: httpx2.AsyncClient, endings: list[str]) -> None:
    """Frames of others come to the bit while one after another ends its decoder."""
    good, *deadly = await stored(
        archive, image(encoded(GRAY, high_throughput=True)), *(image(CRASHING) for _ in range(6))
    )
    answers = await asyncio.gather(
        *(client.get(f"{path}/frames/1", headers=ANSWERS["frames/1"]) for path in [*deadly, *[good] * 20])
    )
    assert [answer.status_code for answer in answers] == [406] * 6 + [200] * 20
    for answer in answers[6:]:
        (part,) = parts_of(answer)
        assert np.array_equal(np.frombuffer(part.body, np.uint8).reshape(GRAY.shape), GRAY)
    assert len(endings) >= 6


async def test_a_receiver_by_dimse_is_told_of_a_failure(archive: Any, endings: list[str]) -> None:
    """C-GET and C-MOVE to who takes no HTJ2K: the sub-operation fails, each time, and the process goes on."""
    (path,) = await stored(archive, image(CRASHING))
    _, _, _, study, _, series, _, sop_instance = path.split("/")
    (instance,) = await archive.instances(study, series, sop_instance)
    for _ in range(2):
        with pytest.raises(CodecEnded) as caught:
            await archive.data_set(instance, [EXPLICIT_LE])
        assert failure_of(caught.value).dimse_status == 0xC000
    assert len(endings) in (1, 2)


def test_endings_are_counted(tmp_path: Path) -> None:
    """By what was decoded and why, over all processes."""
    program = (
        "import sys; from dicomweb.telemetry.metrics import Metrics, count_codec_endings\n"
        "from storage.pixels.codec_children import CHILDREN; from storage.errors import CodecEnded\n"
        "from tests.storage.pixels.test_codec_children import CRASHING, decoded\n"
        "count_codec_endings()\n"
        "try: decoded(CHILDREN, CRASHING)\n"
        "except CodecEnded: sys.stdout.buffer.write(Metrics().exposition())"
    )
    environment = {**os.environ, FOLDER_VARIABLE: str(tmp_path)}
    command = [sys.executable, "-c", program]
    out = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, check=True).stdout.decode()
    assert 'dicomweb_codec_endings_total{codec="htj2k_decode",reason="crashed"} 1.0' in out
