"""Thousands of associations, well-behaved and not, and what they leave behind in the gateway: nothing.

python -m scripts.bench.soak [--associations 20000] [--at-once 16]

Of 20 associations 8 echo, 4 store, 3 search, 2 are aborted, 1 vanishes without a word, 1 stays half-open (the
connection is there, the request never comes) and 1 sends garbage. A line is printed every so often: file
descriptors, threads and resident memory of the gateway process. It ends with status 1 when they grow.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from dicomweb.dimse.association import Association
from dicomweb.dimse.command_set import Operation
from dicomweb.dimse.errors import AssociationError
from dicomweb.dimse.requestor import Address, connect
from scripts.bench.data import ct_image, uid
from scripts.bench.server import bench_server
from storage.dicom.data_set import encode
from storage.dicom.part10 import BytesSource, read_header

VERIFICATION, STUDY_FIND, CT = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
HALF_OPEN_SECONDS = 2
GROWTH = {"descriptors": 20, "threads": 4, "MiB": 24}
"""How much more than after warming up is still the noise of a moment."""


async def echo(address: Address, _: int) -> None:
    """Verify."""
    association = await _connected(address, VERIFICATION)
    context = association.context_for(VERIFICATION)
    assert context is not None
    answer = await association.request(context, {"CommandField": Operation.C_ECHO, "AffectedSOPClassUID": VERIFICATION})
    assert answer.command["Status"] == 0
    await association.release()


async def store(address: Address, number: int) -> None:
    """Store one small image; the same few again and again, so that the archive does not grow."""
    association = await _connected(address, CT)
    context = association.context_for(CT)
    assert context is not None
    image = ct_image(number % 50, number % 50, number % 50, 16)
    header, _ = read_header(BytesSource(image))
    command = {
        "CommandField": Operation.C_STORE,
        "AffectedSOPClassUID": CT,
        "AffectedSOPInstanceUID": uid(3, number % 50),
        "Priority": 0,
    }
    answer = await association.request(context, command, image[header.dataset_offset :])
    assert answer.command["Status"] == 0, answer.command
    await association.release()


async def find(address: Address, _: int) -> None:
    """Search all studies."""
    association = await _connected(address, STUDY_FIND)
    context = association.context_for(STUDY_FIND)
    assert context is not None
    asked = {"00080052": {"vr": "CS", "Value": ["STUDY"]}, "0020000D": {"vr": "UI"}, "00100010": {"vr": "PN"}}
    command = {"CommandField": Operation.C_FIND, "AffectedSOPClassUID": STUDY_FIND, "Priority": 0}
    async for _message in association.requests(context, command, encode(asked, context.transfer_syntax)):
        pass
    await association.release()


async def abort(address: Address, _: int) -> None:
    """Begin and abort."""
    await (await _connected(address, VERIFICATION)).abort()


async def vanish(address: Address, _: int) -> None:
    """Begin, then close the connection in the middle of a PDU."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"\x01\x00\x00\x00\x01\x00" + b"\x00" * 20)
    await writer.drain()
    writer.transport.abort()
    del reader


async def half_open(address: Address, _: int) -> None:
    """Connect and say nothing until the gateway hangs up."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    assert await asyncio.wait_for(reader.read(100), 10 * HALF_OPEN_SECONDS) is not None
    writer.close()


async def garbage(address: Address, _: int) -> None:
    """Speak HTTP."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(reader.read(1000), 10)
    writer.close()


MIX: tuple[Callable[[Address, int], Awaitable[None]], ...] = (
    *(echo, store, echo, find, echo, abort, store, echo, half_open, echo),
    *(store, find, echo, vanish, echo, store, find, abort, garbage, echo),
)


async def _connected(address: Address, sop_class: str) -> Association:
    return await connect(address, calling_ae_title="SOAK", contexts=[(sop_class, [EXPLICIT, IMPLICIT])])


async def run(address: Address, first: int, count: int, at_once: int) -> int:
    """Run so many associations; returns how many of the well-behaved ones failed."""
    failed = 0
    places = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        nonlocal failed
        try:
            await MIX[number % len(MIX)](address, number)
        except (AssociationError, OSError) as error:
            print(f"association {number} ({MIX[number % len(MIX)].__name__}): {error}", flush=True)
            failed += 1
        finally:
            places.release()

    tasks = set()
    for number in range(first, first + count):
        await places.acquire()
        task = asyncio.create_task(one(number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return failed


def gateway_of(supervisor: int) -> int:
    """Return the process id of the gateway, a child of the supervisor."""
    children = subprocess.run(
        ["pgrep", "-P", str(supervisor), "-f", "dicomweb.gateway"], capture_output=True, text=True
    )
    return int(children.stdout.split()[0])


def held(process: int) -> dict[str, float]:
    """Return what a process holds."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return {
        "descriptors": len(list(Path(f"/proc/{process}/fd").iterdir())),
        "threads": float(status["Threads"]),
        "MiB": int(status["VmRSS"].split()[0]) / 1024,
    }


def main() -> None:
    """Run them all and watch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--associations", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=16)
    options = parser.parse_args()
    flags = ("--dimse-acse-timeout", str(HALF_OPEN_SECONDS), "--workers", "1")
    with bench_server(*flags) as server:
        address = Address("127.0.0.1", server.live.dimse_port, "DICOMWEB")
        process = gateway_of(server.live.process.pid)
        began, failed, step = time.perf_counter(), 0, max(1, options.associations // 10)
        before: dict[str, float] = {}
        for first in range(0, options.associations, step):
            failed += asyncio.run(run(address, first, step, options.at_once))
            now = held(process)
            before = before or now
            rate = (first + step) / (time.perf_counter() - began)
            print(f"{first + step:6} associations, {rate:5.0f}/s: " + _shown(now), flush=True)
        time.sleep(2 * HALF_OPEN_SECONDS)
        after = held(process)
        same = gateway_of(server.live.process.pid) == process
        print(f"at rest: {_shown(after)}; {failed} failed; the same process: {same}")
    grown = [name for name, most in GROWTH.items() if after[name] > before[name] + most]
    if grown or failed:
        sys.exit(f"grown: {', '.join(grown) or 'nothing'}; failed: {failed}")


def _shown(values: dict[str, float]) -> str:
    return ", ".join(f"{value:.0f} {name}" for name, value in values.items())


if __name__ == "__main__":
    main()
