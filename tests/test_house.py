"""The repository itself: what every file of it keeps."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from storage.database.pool import sql_folder

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("dicomweb", "storage")
SCRIPT_LINES = 30

# Written in pieces, so that this file does not contain what it forbids.
FORBIDDEN = [
    "py" + "pi.org",
    "python" + "hosted.org",
    "deb." + "debian.org",
    "registry.npm" + "js.org",
    "/wo" + "rk/",
    "/tmp/" + "dev",
    "/ro" + "ot/",
    "TO" + "DO",
    "FIX" + "ME",
    "raise NotImplemented" + "Error",
]


@cache
def files() -> list[Path]:
    """The files of the repository; those git knows or would add, and without git those not in hidden folders."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [path for path in (ROOT / name for name in listed.stdout.splitlines()) if path.is_file()]
    folders = [ROOT / name for name in (*PACKAGES, "tests", "scripts", "sql", ".ci")]
    found = [path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return [path for path in (*found, *ROOT.glob("*")) if path.is_file()]


def python_files(*folders: str) -> list[Path]:
    """The Python files below the folders that have something in them."""
    inside = [path for path in files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders]
    return [path for path in inside if path.stat().st_size]


def scripts() -> list[Path]:
    """The shell scripts a person calls; `venv` is sourced by them."""
    named = [path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix]
    return [*sorted(path for path in named if path.name != "venv"), *sorted((ROOT / ".ci").iterdir())]


@pytest.mark.parametrize("forbidden", FORBIDDEN)
def test_no_file_names_this_machine_or_a_registry_or_leaves_work_undone(forbidden: str) -> None:
    """Anyone can clone this anywhere: no registry hosts, no paths of one machine, no unfinished business."""
    marks = forbidden.isalpha() and forbidden.isupper()
    pattern = re.compile(rf"\b{forbidden}\b" if marks else re.escape(forbidden))
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in files()}
    assert [str(path.relative_to(ROOT)) for path, text in texts.items() if pattern.search(text)] == []


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_a_script_is_executable_strict_and_short(script: Path) -> None:
    """Every script runs as it is, stops at the first error and fits on a screen."""
    text = script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    assert len(text.splitlines()) <= SCRIPT_LINES


def test_a_module_that_looks_up_is_caught(tmp_path: Path) -> None:
    """The floors of the house hold for a new module in any room, without a word about it in the contracts."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    strays = {
        "storage/dicom": "storage.archive",
        "dicomweb/http/stow": "dicomweb.http.app",
        "dicomweb/jobs": "starlette",
    }
    for room, wanted in strays.items():
        (tmp_path / room / "stray.py").write_text(f"import {wanted}\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    judged = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert judged.returncode == 1
    for room, wanted in strays.items():
        assert f"{room.replace('/', '.')}.stray -> {wanted}" in judged.stdout


def test_the_versions_installed_are_pinned() -> None:
    """Every direct dependency, at run time and for development, has one version in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.!+]+", pin)] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    pinned = {_normalised(pin.partition("==")[0]) for pin in pins}
    assert {_normalised(re.split(r"[\[<>=!~; ]", name, maxsplit=1)[0]) for name in wanted} <= pinned


def test_migrations_are_numbered_without_gaps() -> None:
    """Migrations are append-only: 0001, 0002, ..."""
    names = sorted(path.name for path in (sql_folder() / "migrations").glob("*.sql"))
    assert [name[:5] for name in names] == [f"{number:04}_" for number in range(1, len(names) + 1)]


def test_every_module_says_what_it_is_for() -> None:
    """A module opens with a docstring."""
    bare = [path for path in python_files(*PACKAGES, "tests", "scripts") if ast.get_docstring(_tree(path)) is None]
    assert [str(path.relative_to(ROOT)) for path in bare] == []


def test_everything_public_has_a_docstring() -> None:
    """A public class or function of the packages says in one sentence what it is or does."""
    places = [(path, node) for path in python_files(*PACKAGES) for node in _public(_tree(path))]
    assert [_place(path, node) for path, node in places if ast.get_docstring(node) is None] == []


def test_every_test_says_what_is_promised() -> None:
    """A test has a docstring: one sentence, with the clause where there is one."""
    functions = [
        (path, node)
        for path in python_files("tests")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert [_place(path, node) for path, node in functions if ast.get_docstring(node) is None] == []


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "manager", "service"])
def test_modules_and_classes_are_named_after_what_they_are(word: str) -> None:
    """Names say what a thing is; these words say nothing."""
    paths = python_files(*PACKAGES, "tests", "scripts")
    assert [str(path.relative_to(ROOT)) for path in paths if word in path.stem.split("_")] == []
    classes = [node.name for path in paths for node in ast.walk(_tree(path)) if isinstance(node, ast.ClassDef)]
    assert [name for name in classes if name.lower().endswith(word)] == []


def test_every_attack_of_the_security_page_has_its_test() -> None:
    """docs/security.md names tests and test modules that exist."""
    named = set(re.findall(r"\btest_\w+", (ROOT / "docs/security.md").read_text("utf-8")))
    tests = [path for path in files() if path.is_relative_to(ROOT / "tests") and path.suffix == ".py"]
    there = {path.stem for path in tests}.union(
        *(re.findall(r"\bdef (test_\w+)", path.read_text("utf-8")) for path in tests)
    )
    assert named - there == set()
    assert len(named) > 30


@pytest.mark.parametrize("name", ["settings", "resources", "attributes", "media_types", "failures"])
def test_the_readme_says_what_the_code_does(name: str) -> None:
    """The conformance tables of the README are those the code makes: python -m scripts.conformance renews them."""
    from scripts import conformance

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"<!-- conformance: {name} -->" in readme
    written = {found[2]: found[3] for found in conformance.SECTION.finditer(readme)}
    assert written[name] == conformance.TABLES[name]()


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _place(path: Path, node: "Public") -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


Public = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _public(node: ast.Module | ast.ClassDef) -> list[Public]:
    """The public definitions of a module and of its public classes (an override may inherit its docstring)."""
    found: list[Public] = []
    for child in node.body:
        if not isinstance(child, Public) or child.name.startswith("_"):
            continue
        found.append(child)
        if isinstance(child, ast.ClassDef) and not child.bases:
            found += _public(child)
    return found
