"""`dicomweb worklist` as a process of its own, and what a running server then says."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import orjson

from tests.live.test_commands import run
from tests.live_server import LiveServer
from tests.storage.worklist_items import item_dataset, step


def test_items_are_imported_beside_a_running_server(tmp_path: Path, serve: Callable[..., LiveServer]) -> None:
    """What is imported is on the worklist at once, again and again the same; what is wrong is listed (issue 4.6)."""
    server = serve("--workers", "1")
    data = ["--data-dir", str(tmp_path / "served")]
    orders = tmp_path / "orders.json"
    orders.write_bytes(orjson.dumps([item_dataset(), item_dataset(PatientName=None, StudyInstanceUID="1.2.9")]))
    status, out, err = run(tmp_path, "worklist", "import", str(orders), *data)
    assert (status, out) == (1, "2 worklist items: 1 added, 0 changed, 0 unchanged, 1 refused.\n")
    assert "orders.json: item 2: The worklist item cannot be taken: PatientName (0010,0010) has no value." in err
    orders.write_bytes(orjson.dumps([item_dataset(), item_dataset(step(Modality="MR"), StudyInstanceUID="1.2.9")]))
    status, out, _ = run(tmp_path, "worklist", "import", str(orders), *data)
    assert (status, out) == (0, "2 worklist items: 1 added, 0 changed, 1 unchanged, 0 refused.\n")
    assert len(httpx2.get(f"{server.url}/api/worklist").json()) == 2
    status, out, _ = run(tmp_path, "worklist", "list", "modality=MR", *data)
    assert (status, out.split("\t")[:6]) == (0, ["20261121", "0830", "CT1", "MR", "SCHEDULED", "SPS1"])
    status, out, _ = run(tmp_path, "worklist", "list", "--json", *data)
    assert sorted(orjson.loads(line)["0020000D"]["Value"] for line in out.splitlines()) == [["1.2.3"], ["1.2.9"]]
    status, _, err = run(tmp_path, "worklist", "list", "mod=MR", *data)
    assert (status, "there is no attribute of this name" in err) == (2, True)
    status, out, err = run(tmp_path, "worklist", "list", "pixel_data=1", *data)
    assert (status, out, "pixel_data cannot be searched for" in err) == (2, "", True), "not everything (A-010)"
