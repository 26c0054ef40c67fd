"""`dicomweb completion`: a shell that is given the script completes."""

import shutil
import subprocess

import pytest

from dicomweb import cli
from tests.dicomweb.test_cli import run

ASK = """
source /dev/stdin
COMP_WORDS=(dicomweb {word}) COMP_CWORD=1 COMP_LINE="dicomweb {word}" COMP_POINT=99
_dicomweb dicomweb
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """All commands, and those that begin as what is typed."""
    script = run(capsys, "completion", "bash")[1]

    def completed(word: str) -> list[str]:
        command = ["bash", "-c", ASK.format(word=word or "''")]
        ended = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
        return [line.strip() for line in ended.stdout.splitlines()]

    assert set(cli.COMMANDS) <= set(completed(""))
    assert completed("stu") == ["studies"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_their_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It names every command."""
    status, out, _ = run(capsys, "completion", shell)
    assert status == 0 and all(name in out for name in cli.COMMANDS)
