"""Interoperation with DCMTK's tools in both roles."""

import asyncio
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from dicomweb.dimse.association import Association
from dicomweb.dimse.requestor import Address, connect
from tests.builders import ct_slice, dataset_only
from tests.dcmtk import find_program
from tests.dicomweb.dimse.peers import CONTEXTS, CT_IMAGE_STORAGE, ECHO, PATIENT, STORE, VERIFICATION, acceptor

PROGRAMS = {name: find_program(name) for name in ("echoscu", "storescu", "storescp", "termscu")}

pytestmark = pytest.mark.skipif(None in PROGRAMS.values(), reason="needs DCMTK (Debian package dcmtk)")


async def run(name: str, *arguments: str) -> tuple[int, str]:
    """Run a program; return its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        PROGRAMS[name] or name, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, output.decode(errors="replace")


async def test_echoscu_is_answered() -> None:
    """C-ECHO of DCMTK, several times on one association, then release (G-030)."""
    async with acceptor() as seen:
        assert await run("echoscu", "--repeat", "3", "-aet", "ECHOSCU", "127.0.0.1", str(seen.port)) == (0, "")
        await seen.done()
    assert [proposal.calling_ae_title for proposal in seen.proposals] == ["ECHOSCU"]
    assert seen.errors == []


async def test_echoscu_aborts_and_proposes_as_much_as_it_can() -> None:
    """An A-ABORT of DCMTK ends the association; 128 contexts are answered one by one (G-001, G-008)."""
    async with acceptor() as seen:
        code, _ = await run("echoscu", "--abort", "-ppc", "128", "-pts", "38", "127.0.0.1", str(seen.port))
        assert code == 0
        await seen.done()
    assert len(seen.proposals[0].contexts) == 128
    assert [str(error) for error in seen.errors] == ["the peer aborted the association"]


@pytest.mark.parametrize("max_pdu", ["4096", "131072"])
async def test_storescu_stores_what_it_has(tmp_path: Path, max_pdu: str) -> None:
    """Several files on one association arrive byte for byte (G-040, G-041)."""
    files = [ct_slice(instance_number=number) for number in range(1, 4)]
    kept: list[bytes] = []

    async def keep(association: Association) -> None:
        async for message in association.messages():
            assert message.data is not None
            kept.append(await message.data.read(1 << 24))
            await association.respond(message, 0)

    for at, file in enumerate(files):
        (tmp_path / f"{at}.dcm").write_bytes(file)
    async with acceptor(keep, max_pdu=131072) as seen:
        options = ["-R", "--max-send-pdu", max_pdu, "+sd", "127.0.0.1", str(seen.port), str(tmp_path)]
        assert await run("storescu", *options) == (0, "")
        await seen.done()
    assert {_instance(data) for data in kept} == {_instance(dataset_only(file)) for file in files}
    assert seen.errors == []


async def test_we_store_to_storescp(tmp_path: Path, unused_tcp_port: int) -> None:
    """DCMTK's receiver writes the files we send, with PDUs no longer than it takes (G-007)."""
    file = ct_slice()
    process = await asyncio.create_subprocess_exec(
        PROGRAMS["storescp"] or "", "--max-pdu", "4096", "-od", str(tmp_path), str(unused_tcp_port)
    )
    try:
        address = Address("127.0.0.1", unused_tcp_port, "STORESCP")
        async with await _when_it_listens(address) as association:
            assert association.peer_max_pdu == 4096
            storage = association.context_for(CT_IMAGE_STORAGE)
            verification = association.context_for(VERIFICATION)
            assert storage is not None and verification is not None
            uid = pydicom.dcmread(BytesIO(file)).SOPInstanceUID
            command = STORE | {"AffectedSOPInstanceUID": str(uid)}
            assert (await association.request(storage, command, dataset_only(file))).status == 0
            assert (await association.request(verification, ECHO)).status == 0
        (written,) = tmp_path.iterdir()
        assert pydicom.dcmread(written).PixelData == pydicom.dcmread(BytesIO(file)).PixelData
    finally:
        process.terminate()
        await process.wait()


async def _when_it_listens(address: Address) -> Association:
    for _ in range(100):
        try:
            return await connect(address, calling_ae_title="SCU", contexts=CONTEXTS, timeouts=PATIENT)
        except Exception:
            await asyncio.sleep(0.05)
    raise AssertionError("DCMTK's storescp does not listen")


def _instance(data: bytes) -> tuple[str, bytes]:
    dataset = pydicom.dcmread(BytesIO(data), force=True)
    return str(dataset.SOPInstanceUID), bytes(dataset.PixelData)
