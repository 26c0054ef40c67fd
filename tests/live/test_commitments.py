"""Storage commitment with a real server: power cut between request and report, a parked report resent by a command."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from storage.work.commitments import Reference
from tests.builders import ct_slice, sop_instance_uid
from tests.dicomweb.gateway.committing import CT, Modality, committed
from tests.live.test_commands import run
from tests.live_server import LiveServer, free_port

WITHIN = 60.0
SHORT = {"DICOMWEB_COMMITMENT_RETRY_SECONDS": "0.2"}


def ask(server: LiveServer, modality: Modality, port: int) -> Reference:
    """Store an instance over HTTP, make the modality a peer, ask for commitment over DIMSE and leave."""
    file = ct_slice()
    with httpx2.Client(timeout=60) as client:
        headers = {"Content-Type": "application/dicom"}
        assert client.post(f"{server.root}/studies", content=file, headers=headers).status_code == 200
        peer = {"host": "127.0.0.1", "port": port, "commitment_delivery": ["new"]}
        assert client.put(f"{server.url}/api/peers/CT1", json=peer).status_code == 201
    reference = Reference(CT, sop_instance_uid(file))
    association = modality.open(server.dimse_port)
    assert modality.ask(association, "1.2.3", [reference]).Status == 0x0000
    association.release()
    return reference


def wait_for(server: LiveServer, state: str) -> dict[str, Any]:
    """Wait until the one commitment is in a state, as `/api` shows it."""
    deadline = time.monotonic() + WITHIN
    with httpx2.Client(timeout=60) as client:
        while time.monotonic() < deadline:
            (commitment,) = client.get(f"{server.url}/api/commitments").json()
            if commitment["state"] == state:
                return dict(commitment)
            time.sleep(0.1)
    raise AssertionError(f"it did not become {state}: {commitment}\n{server.log_tail()}")


def test_a_power_cut_between_request_and_report_loses_nothing(serve: Callable[..., LiveServer]) -> None:
    """What was answered 0000 is reported after the restart, though every process was killed (PS3.4 J.3.2.1.3; G-122,
    G-132)."""
    server = serve("--workers", "1", environment=SHORT)
    modality = Modality()
    port = free_port()
    reference = ask(server, modality, port)
    server.kill()
    serve("--workers", "1", data_dir=server.data_dir, environment=SHORT)
    with modality.listening(port):
        _, event_type, report = modality.report()
    assert (event_type, committed(report)) == (1, [reference.sop_instance_uid])


def test_a_parked_report_is_seen_and_resent_by_the_command(serve: Callable[..., LiveServer], tmp_path: Path) -> None:
    """`dicomweb commitments` lists it, shows its instances and has the running server deliver it (G-132)."""
    server = serve("--workers", "1", environment=SHORT | {"DICOMWEB_COMMITMENT_GIVE_UP_HOURS": "0.0001"})
    modality = Modality()
    port = free_port()
    reference = ask(server, modality, port)
    number = str(wait_for(server, "parked")["id"])
    folder = ("--data-dir", str(server.data_dir))
    status, out, _ = run(tmp_path, "commitments", "list", "--state", "parked", "--json", *folder)
    assert (status, json.loads(out)["problem"][:5]) == (0, "new: ")
    assert run(tmp_path, "commitments", "list", *folder)[1].startswith(f"{number} parked CT1 ")
    assert f"{reference.sop_instance_uid} sound" in run(tmp_path, "commitments", "show", number, *folder)[1]
    assert run(tmp_path, "commitments", "resend", "999", *folder)[0] == 3
    with modality.listening(port):
        assert run(tmp_path, "commitments", "resend", number, *folder)[0] == 0
        modality.report()
        assert wait_for(server, "reported")["delivered_by"] == "new"
