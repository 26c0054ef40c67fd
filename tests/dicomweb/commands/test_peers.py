"""`dicomweb peers`: what is kept of passcodes, and what is shown."""

import asyncio
import json
from pathlib import Path

import pytest

from storage.archive import Archive
from storage.peers import Peers
from tests.dicomweb.test_cli import run


def test_the_identity_we_present_is_kept_and_its_passcode_never_shown(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--our-username and --our-passcode-file say who we are to the peer (PS3.7 D.3.3.7)."""
    places = ("--data-dir", str(tmp_path / "data"), "--database-url", database_url)
    passcode = tmp_path / "passcode"
    passcode.write_text("sesame\nnot this line\n")
    identity = ("--our-username", "archive", "--our-passcode-file", str(passcode))
    status, out, err = run(capsys, "peers", "add", "PACS", "192.0.2.7", "104", *identity, *places)
    assert (status, out) == (0, "PACS is added.\n"), err

    async def kept() -> str | None:
        archive = await Archive.open(database_url, tmp_path / "data")
        peer = await Peers(archive.pool).get("PACS")
        await archive.close()
        return peer.our_passcode.reveal() if peer and peer.our_passcode else None

    assert asyncio.run(kept()) == "sesame"
    for arguments in (("show", "PACS"), ("list", "--json"), ("list",)):
        _, out, _ = run(capsys, "peers", *arguments, *places)
        assert "PACS" in out and "sesame" not in out
    shown = json.loads(run(capsys, "peers", "show", "PACS", *places)[1])
    assert (shown["our_username"], shown["has_our_passcode"]) == ("archive", True)
    missing = ("--our-passcode-file", str(tmp_path / "missing"))
    status, _, err = run(capsys, "peers", "add", "PACS", "192.0.2.7", "104", *missing, *places)
    assert (status, "--our-passcode-file" in err) == (2, True)
