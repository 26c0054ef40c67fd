"""Sample files for `serve --demo`: those of the installed pydicom package, stored through STOW-RS like any others."""

import secrets
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import pydicom

from storage.system.errors import in_words

SAMPLES = "data/test_files"
TIMEOUT = 300.0
CONFLICT = 0x0111
"""Failure Reason of another file under stored UIDs: pydicom has many images in several transfer syntaxes."""


def load(root: str) -> str:
    """Store the sample files; those that are there already stay as they are. Blocks.

    Parameters
    ----------
    root
        URL of the DICOMweb root.

    Returns
    -------
    str
        What was done, for a person.
    """
    files = sorted((Path(pydicom.__file__).parent / SAMPLES).rglob("*.dcm"))
    boundary = secrets.token_hex(16)
    request = urllib.request.Request(
        f"{root}/studies",
        _body(files, boundary),
        {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            result = orjson.loads(answer.read())
    except urllib.error.HTTPError as error:
        return f"The sample files could not be loaded: the server answered {error.code}."
    except (OSError, ValueError) as error:
        return f"The sample files could not be loaded: {in_words(error)}."
    return summary(len(files), result, root)


def summary(offered: int, result: dict[str, Any], root: str) -> str:
    """Say what became of the sample files, from the response to the store (PS3.18 Table I.1-1)."""
    stored = len(_values(result, "00081199"))
    reasons = [_values(item, "00081197") for item in _values(result, "00081198")]
    versions = reasons.count([CONFLICT])
    return (
        f"Loaded {stored} of {offered} sample files of pydicom: {versions} are other versions of the same images, "
        f"{offered - stored - versions} cannot be stored as instances.\n"
        f"  see them       curl {root}/studies"
    )


def _body(files: list[Path], boundary: str) -> bytes:
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    parts = [head + path.read_bytes() + b"\r\n" for path in files]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


def _values(dataset: dict[str, Any], tag: str) -> list[Any]:
    values: list[Any] = dataset.get(tag, {}).get("Value", [])
    return values
