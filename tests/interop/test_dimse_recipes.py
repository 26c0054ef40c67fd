"""The DIMSE command lines of the README do what they say, word for word, with DCMTK's programs."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.dcmtk import program
from tests.interop.test_curl_recipes import recipes
from tests.live.test_supervisor import wait_for
from tests.live_server import REPOSITORY, LiveServer, free_port

PROGRAMS = ("echoscu", "storescu", "findscu", "getscu", "movescu")


def test_the_dimse_recipes_of_the_readme_work(serve: Callable[..., LiveServer], tmp_path: Path) -> None:
    """Verify, store, search, get, move and ask for the worklist, against the sample files of `--demo` (README)."""
    programs = {name: program(name) for name in PROGRAMS}
    server = serve("--workers", "1", "--demo", data_dir=tmp_path / "dicomweb-data")
    wait_for(lambda: "Loaded " in server.log.read_text(), 60)
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name, path in programs.items():
        (binaries / name).symlink_to(path)
    for name, arguments in (("python", ""), ("dicomweb", "-m dicomweb.cli ")):
        (binaries / name).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments}"$@"\n')
        (binaries / name).chmod(0o755)
    text = recipes("dimse").replace("127.0.0.1 11112", f"127.0.0.1 {server.dimse_port}")
    text = text.replace("11113", str(free_port())).replace("/tmp/", f"{tmp_path}/")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Received Echo Response (Success)" in done.stdout
    assert set(re.findall(r"Received Store Response \((.*)\)", done.stdout)) == {"Success"}
    assert "[CompressedSamples^CT1 ]" in done.stdout
    assert [len(list((tmp_path / name).iterdir())) for name in ("got", "moved")] == [1, 1]
    assert "1 worklist items: 1 added" in done.stdout
    assert "[Doe^Jane]" in done.stdout
