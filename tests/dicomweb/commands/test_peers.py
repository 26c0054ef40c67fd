"""`dicomweb peers`: what is kept of passcodes, and what is shown."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from dicomweb.commands.printing import write_table
from storage.archive import Archive
from tests.dicomweb.test_cli import run

EVERY_OPTION = (
    *("--tls", "--commitment-delivery", "new,next", "--transfer-syntax", "1.2.840.10008.1.2.4.70"),
    *("--character-set", "ISO_IR 100", "--availability", "--forward-performed-steps", "--description", "upstairs"),
)


def test_the_identity_we_present_is_kept_and_its_passcode_never_shown(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--our-username and --our-passcode-file say who we are to the peer (PS3.7 D.3.3.7)."""
    places = ("--data-dir", str(tmp_path / "data"), "--database-url", database_url)
    passcode = tmp_path / "passcode"
    passcode.write_text("sesame\nnot this line\n")
    identity = ("--our-username", "archive", "--our-passcode-file", str(passcode))
    status, out, err = run(capsys, "peers", "add", "PACS", "192.0.2.7", "104", *identity, *places)
    assert (status, out.partition(":")[0]) == (0, "PACS is added"), err
    assert "our_username=archive" in out and "has_our_passcode" in out and "sesame" not in out

    async def kept() -> str | None:
        archive = await Archive.open(database_url, tmp_path / "data")
        peer = await archive.peers.get("PACS")
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


def test_options_that_are_not_named_stay(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A peer that moves keeps its user identity and all else; what is named is changed, empty or --no- takes away."""
    places = ("--data-dir", str(tmp_path / "data"), "--database-url", database_url)
    passcode = tmp_path / "passcode"
    passcode.write_text("sesame\n")
    both = ("--passcode-file", str(passcode), "--our-username", "us", "--our-passcode-file", str(passcode))

    def add(port: int, *options: str) -> tuple[str, dict[str, Any]]:
        status, out, err = run(capsys, "peers", "add", "SEC", "127.0.0.1", str(port), *options, *places)
        assert status == 0, err
        shown: dict[str, Any] = json.loads(run(capsys, "peers", "show", "SEC", *places)[1])
        return out, shown

    _, first = add(1, "--username", "joe", *both, *EVERY_OPTION)
    out, moved = add(2)
    assert moved == first | {"port": 2}
    assert (moved["username"], moved["has_passcode"], moved["has_our_passcode"]) == ("joe", True, True)
    assert out.startswith("SEC is changed: host=127.0.0.1 port=2 tls ") and "username=joe has_passcode" in out
    assert add(2, "--description", "cellar")[1] == moved | {"description": "cellar"}
    takes_away = ("--no-tls", "--no-availability", "--transfer-syntax", "", "--character-set", "", "--description", "")
    assert add(2, *takes_away)[1] == moved | {
        "tls": False, "availability": False, "transfer_syntaxes": [], "character_set": "", "description": ""
    }  # fmt: skip
    _, open_to_all = add(2, "--username", "", "--our-username", "")
    assert (open_to_all["username"], open_to_all["has_passcode"]) == ("", False)
    assert (open_to_all["our_username"], open_to_all["has_our_passcode"]) == ("", False)


def test_another_username_does_not_drop_the_passcode_unsaid(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The passcode is that of the username it was given with: another username needs one said, be it an empty one."""
    places = ("--data-dir", str(tmp_path / "data"), "--database-url", database_url)
    passcode, empty = tmp_path / "passcode", tmp_path / "empty"
    passcode.write_text("sesame\n")
    empty.touch()
    add = ("peers", "add", "SEC", "127.0.0.1", "1")
    assert run(capsys, *add, "--username", "joe", "--passcode-file", str(passcode), *places)[0] == 0
    status, _, err = run(capsys, *add, "--username", "ann", *places)
    assert (status, "--passcode-file" in err) == (2, True)
    assert json.loads(run(capsys, "peers", "show", "SEC", *places)[1])["username"] == "joe"
    assert run(capsys, *add, "--username", "ann", "--passcode-file", str(empty), *places)[0] == 0
    shown = json.loads(run(capsys, "peers", "show", "SEC", *places)[1])
    assert (shown["username"], shown["has_passcode"]) == ("ann", False)


def test_a_table_cuts_words_and_never_uids(capsys: pytest.CaptureFixture[str]) -> None:
    """A UID that is shown can be used; of other values, what is cut ends in an ellipsis."""
    uid = "1.2.840.113619." + "9" * 49
    write_table(("StudyInstanceUID", "StudyDescription"), [(uid, "x" * 41), (uid, "y" * 40)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [[uid, "x" * 39 + "…"], [uid, "y" * 40]]
