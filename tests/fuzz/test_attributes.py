"""Changed attributes against the application in process.

For longer: `DICOMWEB_FUZZ_ATTRIBUTES=5000 DICOMWEB_FUZZ_SEED=7 python -m pytest tests/fuzz/test_attributes.py`.
"""

import logging
import os
import random

import httpx2
import pytest

from tests.fuzz.attributes import Answer, check, image, make

MUTANTS = int(os.environ.get("DICOMWEB_FUZZ_ATTRIBUTES", "25"))
SEED = os.environ.get("DICOMWEB_FUZZ_SEED", "1")


async def test_no_attribute_is_an_unforeseen_error(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever stands in the attributes, an instance is shown or refused, and no error is logged (PS3.18 8.5)."""

    async def ask(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        answer = await client.request(method, f"/dicom-web{path}", headers=headers, content=body)
        return Answer(answer.status_code, answer.content)

    await check(ask, image())
    faults: list[str] = []
    for number in range(MUTANTS):
        name = f"attributes {SEED} {number}"
        caplog.clear()
        file = make(random.Random(name))
        try:
            await check(ask, file)
        except Exception as error:  # the application's own, raised through the client
            logging.getLogger(__name__).exception("%s", name)
            faults.append(f"{name}: {error!r}")
        if errors := [entry for entry in caplog.records if entry.levelno >= logging.ERROR]:
            told = errors[0].exc_text or logging.Formatter().format(errors[0])
            faults.append(f"{name}: {told[-1500:]}")
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:40])
