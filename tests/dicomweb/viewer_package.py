"""A small package with the shape of OHIF's, and an npm that hands it out."""

import base64
import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from dicomweb.http.viewer import package

PAGE = b"<!doctype html><html><head><script>window.PUBLIC_URL='/'</script></head><body>viewer</body></html>"
SCRIPT = b"console.log('" + b"x" * 5000 + b"');\n"
FILES: Mapping[str, bytes] = {
    "package/LICENSE": b"MIT",
    "package/dist/index.html": PAGE,
    "package/dist/app.bundle.0f6159c501addfe9.js": SCRIPT,
    "package/dist/app.bundle.css": b"body{color:red}" * 100,
    "package/dist/37fa160cc3a47cfd.wasm": b"\0asm" + bytes(range(256)) * 4,
    "package/dist/app-config.js": b"window.config = {}",
    "package/dist/init-service-worker.js": b"// none",
    "package/dist/manifest.json": b"{}",
    "package/dist/assets/favicon.ico": b"\0\0\1\0",
    "package/dist/ohif-logo.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}


def packed(files: Mapping[str, bytes] = FILES, *, odd: tarfile.TarInfo | None = None) -> bytes:
    """Return a package of files, and of one odd member."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as members:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
        if odd is not None:
            members.addfile(odd)
    return written.getvalue()


def pin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Make a package the one that is meant."""
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    monkeypatch.setattr(package, "INTEGRITY", f"sha512-{digest}")


def fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put an `npm` of our own, a shell script, before all others."""
    folder.mkdir(exist_ok=True)
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
