"""The directory of DICOM media, the file DICOMDIR: which files it names and where they are (PS3.10 8, PS3.3 F.3).

File systems of old discs know capital letters only, are mounted in small ones, and may add a dot or a version
number; a name is therefore found in any of these spellings.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from storage.dicom.elements import Element, Limits
from storage.dicom.part10 import FileSource, read_header
from storage.dicom.vr import tag_of

_RECORDS = tag_of("DirectoryRecordSequence")
_FILE_ID = tag_of("ReferencedFileID")
_LIMITS = Limits(max_elements=50_000_000)
_DECORATION = re.compile(r"\.?(;\d+)?$")


def is_directory_name(name: str) -> bool:
    """Whether a file of this name is the directory of a medium."""
    return _plain(name) == "dicomdir"


def referenced_files(path: Path) -> Iterator[tuple[str, Path | None]]:
    """Yield the files a DICOMDIR names, each as it names it and where it is; None when it is not there.

    Parameters
    ----------
    path : Path
        The DICOMDIR.

    Raises
    ------
    ArchiveError
        It is not DICOM.
    OSError
        It cannot be read.

    Standard
    --------
    PS3.3 F.3.2.2, Referenced File ID.
    """
    with FileSource(path) as source:
        header, _ = read_header(source, _LIMITS)
    records = header.dataset.get(_RECORDS)
    listings: dict[Path, dict[str, str]] = {}
    for record in records.value if records and isinstance(records.value, list) else ():
        if components := _components(record.get(_FILE_ID)):
            yield "/".join(components), _find(path.parent, components, listings)


def _components(element: Element | None) -> list[str]:
    if element is None or not isinstance(element.value, bytes):
        return []
    components = element.value.decode("latin-1").rstrip(" \0").split("\\")
    return [component.strip(" ") for component in components] if components != [""] else []


def _find(folder: Path, components: list[str], listings: dict[Path, dict[str, str]]) -> Path | None:
    """Go down from the folder of the DICOMDIR, never out of it."""
    for component in components:
        if component in ("", ".", "..") or "/" in component or "\0" in component:
            return None
        if folder not in listings:
            names = (entry.name for entry in folder.iterdir()) if folder.is_dir() else ()
            listings[folder] = {_plain(name): name for name in names}
        name = listings[folder].get(_plain(component))
        if name is None:
            return None
        folder = folder / name
    return folder if folder.is_file() else None


def _plain(name: str) -> str:
    return _DECORATION.sub("", name).casefold()
