"""The command line: help, version, messages."""

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from dicomweb import cli
from dicomweb.commands import table
from dicomweb.commands.exit_status import ExitStatus
from dicomweb.settings import Settings
from tests.corpus import REPOSITORY


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process; its exit status and what it wrote."""
    with patch.dict(os.environ), pytest.raises(SystemExit) as ended:  # main changes the environment of its process
        cli.main(arguments)
    captured = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err


@pytest.mark.parametrize("name", list(table.COMMANDS))
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`dicomweb COMMAND --help` shows how it is used (design 2)."""
    status, out, _ = run(capsys, name, "--help")
    assert status == 0
    assert f"Example: dicomweb {name}" in " ".join(out.split())


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """`dicomweb --help` names every command."""
    _, out, _ = run(capsys, "--help")
    assert all(name in out for name in table.COMMANDS)


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """`dicomweb --version` prints the version."""
    status, out, _ = run(capsys, "--version")
    assert status == 0
    assert len(out.split()) == 1


def test_serve_has_a_flag_for_every_setting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting has the same name on the command line as in the file (design 2)."""
    monkeypatch.setenv("COLUMNS", "400")  # so that no name is broken into two lines
    _, out, _ = run(capsys, "serve", "--help")
    text = "".join(out.replace("│", " ").split())
    assert [name for name in Settings.model_fields if f"--{name.replace('_', '-')}" not in text] == []


def test_a_wrong_flag_is_named_without_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong value ends with status 2 and one line for each mistake (user-pains 18)."""
    status, _, err = run(capsys, "serve", "--port", "x", "--workers", "0")
    assert status == 2
    assert [line.split(": ")[-2] for line in err.splitlines() if "--" in line] != []
    assert "--port" in err and "--workers" in err and "Traceback" not in err


@pytest.mark.parametrize("command", ["serve", "migrate", "check", "reindex"])
def test_a_wrong_database_url_is_one_line_without_its_password(tmp_path: Path, command: str) -> None:
    """A password with an unescaped character is no traceback, and no piece of it is shown."""
    (tmp_path / "blobs").mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "dicomweb", command, "--data-dir", str(tmp_path)]
        + ["--database-url", "postgresql://archive:tell/nobody@127.0.0.1/db"]
        + (["--port", "0", "--no-dimse"] if command == "serve" else []),
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        check=False,
        timeout=60,
        text=True,
        capture_output=True,
    )
    (line,) = (line for line in ended.stderr.splitlines() if line.startswith("dicomweb: "))
    assert ended.returncode == ExitStatus.WRONG_USE
    assert "--database-url" in line and "percent-encoded" in line
    assert not any(secret in ended.stdout + ended.stderr for secret in ("Traceback", "tell", "nobody"))


PIPED = """
import sys
from dicomweb import cli
from dicomweb.commands import table
def few() -> None:
    print("line")
def many() -> None:
    for number in range(100_000):
        print(number)
def complain() -> None:
    for number in range(100_000):
        sys.stderr.write("wrong\\n")
def lose() -> None:
    raise BrokenPipeError(32, "a peer went away")
table.COMMANDS = cli.COMMANDS = {name: "piped:" + name for name in ("few", "many", "complain", "lose")}
if __name__ == "__main__":
    cli.main()
"""


def piped(folder: Path, name: str, closed: str = "", python: str = "-B") -> tuple[int, str]:
    """Run a command, nobody reading one of its outputs any more; its status and what the others got."""
    (folder / "piped.py").write_text(PIPED)
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(
            [sys.executable, python, "piped.py", name],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            check=False,
            timeout=60,
            text=True,
            stdout=write if closed == "stdout" else subprocess.PIPE,
            stderr=write if closed == "stderr" else subprocess.PIPE,
        )
    finally:
        os.close(write)
    return ended.returncode, (ended.stdout or "") + (ended.stderr or "")


@pytest.mark.parametrize(("name", "closed"), [("few", "stdout"), ("many", "stdout"), ("complain", "stderr")])
@pytest.mark.parametrize("python", ["-B", "-u"])
def test_a_closed_pipe_ends_a_command_silently(tmp_path: Path, name: str, closed: str, python: str) -> None:
    """`dicomweb ... | head -1` ends like any other tool: no traceback, the status of SIGPIPE."""
    assert piped(tmp_path, name, closed, python) == (141, "")


def test_a_lost_connection_is_no_closed_pipe(tmp_path: Path) -> None:
    """Sockets raise BrokenPipeError too: that is not passed over."""
    status, said = piped(tmp_path, "lose")
    assert (status, "a peer went away" in said) == (1, True)
