"""The command lines and programs of the README and of error messages do what they say, word for word."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.builders import ct_slice
from tests.live_server import REPOSITORY, LiveServer

README = REPOSITORY / "README.md"
RECIPE = re.compile(r"<!-- recipe(?:: (\w+))? -->\n```\w+\n(.*?)```", re.DOTALL)
CURL = """#!/bin/sh
exec {curl} --fail-with-body --silent --show-error "$@"
"""

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def recipes(language: str) -> str:
    """All recipes of a language, one after the other as a reader follows them."""
    if not README.exists():
        pytest.skip("there is no README.md yet")
    found = [code for name, code in RECIPE.findall(README.read_text(encoding="utf-8")) if name == language]
    assert found, "the README has no such recipe"
    return "\n".join(found)


def follow(text: str, server: LiveServer, folder: Path, program: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a recipe in a folder, with the address and the scratch folder of this test in the place of the usual ones."""
    curl, bin_folder = shutil.which("curl"), folder / "bin"
    bin_folder.mkdir()
    (bin_folder / "curl").write_text(CURL.format(curl=curl))
    (bin_folder / "curl").chmod(0o755)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (folder / ".venv" / "bin" / "python").chmod(0o755)
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}").replace("/tmp/", f"{folder}/")
    return subprocess.run(
        [*program, text],
        cwd=folder,
        env=os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_curl_recipes_of_the_readme_work(serve: Callable[..., LiveServer], tmp_path: Path) -> None:
    """Uploads, searches and retrievals run as they stand there, and bring what they promise (README)."""
    server = serve("--workers", "1")
    done = follow(recipes(""), server, tmp_path, ["bash", "-euo", "pipefail", "-c"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "image.dcm").read_bytes()[128:132] == b"DICM"
    assert len((tmp_path / "frame.raw").read_bytes()) == 128 * 128 * 2
    assert (tmp_path / "frame.raw").read_bytes() in (tmp_path / "frames.multipart").read_bytes()
    assert (tmp_path / "image.dcm").read_bytes() in (tmp_path / "study.multipart").read_bytes()
    assert set(re.findall(r"^(\d{3}) http", done.stdout, re.MULTILINE)) == {"200"}
    assert "[]" not in done.stdout


def test_the_python_recipe_of_the_readme_works(serve: Callable[..., LiveServer], tmp_path: Path) -> None:
    """The program of the README runs as it stands there (README; L-006)."""
    server = serve("--workers", "1")
    done = follow(recipes("python"), server, tmp_path, [sys.executable, "-c"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["1", "1", str(128 * 128 * 2), "1CT1"]


@pytest.mark.parametrize("place", [1, 2, 4])
def test_the_examples_in_a_refusal_work(serve: Callable[..., LiveServer], tmp_path: Path, place: int) -> None:
    """A 415 shows how it is done, and that is how it is done (A-107)."""
    server = serve("--workers", "1")
    refused = httpx2.post(f"{server.root}/studies", content=b"x", headers={"Content-Type": "text/plain"})
    assert refused.status_code == 415
    example = refused.json()["example"]
    assert [line.startswith("#") for line in example] == [True, False, False, True, False]
    (tmp_path / "folder").mkdir()
    (tmp_path / "image.dcm").write_bytes(ct_slice(rows=8, columns=8))
    (tmp_path / "folder" / "a.dcm").write_bytes(ct_slice(rows=8, columns=8))
    if example[place].startswith("zip") and shutil.which("zip") is None:
        pytest.skip("needs zip")
    done = follow(example[place], server, tmp_path, ["bash", "-euo", "pipefail", "-c"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(httpx2.get(f"{server.root}/instances").json()) == 1
