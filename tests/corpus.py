"""Real DICOM files for the tests: the shared corpus beside the checkout, and what the pydicom wheels carry.

Nothing here downloads anything: files of the wheels are found by looking into the installed packages.
"""

import importlib.util
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
NOT_DICOM = {".py", ".pyc", ".json", ".txt", ".md", ".dump", ".icc", ".gz", ".zip", ".tar", ".xml", ".jpg"}


def corpus_folder() -> Path | None:
    """Where the corpus is: $DICOMWEB_TEST_CORPUS, else `shared/corpus` beside the checkout, else None."""
    named = os.environ.get("DICOMWEB_TEST_CORPUS")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "corpus"
    return folder if (folder / "manifest.json").is_file() else None


@cache
def corpus_manifest() -> dict[str, Any]:
    """The corpus' manifest.json: `files` has one object a file (path, sha256, decode, ...)."""
    folder = corpus_folder()
    if folder is None:
        pytest.skip("no corpus: set DICOMWEB_TEST_CORPUS or put shared/corpus beside it", allow_module_level=True)
    loaded: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return loaded


def corpus_files(group: str = "") -> list[Path]:
    """Return every file of the corpus, or of one group such as "malformed" or "series/mr-ge-fmri-45".

    Skips the test (or the module, at import) with a reason when the corpus is not there.
    """
    entries = corpus_manifest()["files"]
    folder = corpus_folder()
    assert folder is not None
    inside = f"{group}/" if group else ""
    return sorted(folder / entry["path"] for entry in entries if entry["path"].startswith(inside))


@cache
def wheel_files() -> list[Path]:
    """Return every DICOM file inside the installed wheels of pydicom and pydicom-data."""
    files: list[Path] = []
    for package, folders in (
        ("pydicom.data", ("test_files", "charset_files", "palettes")),
        ("data_store", ("",)),
    ):
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or []) if spec else []:
            for folder in folders:
                files += (path for path in (Path(location) / folder).rglob("*") if is_dicom(path))
    return sorted(set(files))


def wheel_file(name: str) -> Path:
    """Return the one file of the wheels with that name, such as "CT_small.dcm"."""
    return next(path for path in wheel_files() if path.name == name)


def is_dicom(path: Path) -> bool:
    """Whether a file of the wheels is meant to be DICOM: called .dcm, or with "DICM" after the preamble."""
    if not path.is_file() or path.suffix.lower() in NOT_DICOM:
        return False
    if path.suffix.lower() == ".dcm":
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
