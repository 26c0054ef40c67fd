"""Which stored file took the place of which: noted beside the files, so that they tell it without any database.

Facts to keep:

* `.replaced/<identifier of the new file>` holds the number of the replacement and the name of the old file. It is on
  disk before the row of the new file commits, and goes when the new file does. A note whose new file is gone says
  nothing: that one was never committed, or replaced itself.
* Numbers grow in the order of the commits to a study; times of the clock, of files or of copies of the folder play no
  part.
* A note outlives the old file: what takes a place also corrects what was known of its study and series, and an index
  that is built anew must come to the same.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from storage.private_path import make_folder, open_file

FOLDER = ".replaced"


@dataclass(frozen=True, slots=True, order=True)
class Replacement:
    """That one file took the place of another, by their blob names."""

    number: int
    new: str
    old: str


class Replacements:
    """The notes in one blob folder. All methods block.

    Parameters
    ----------
    root : Path
        The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / FOLDER

    def note(self, number: int, olds: Mapping[str, str]) -> None:
        """Bring to disk, under one number, what the blobs that are the keys of `olds` take the place of."""
        if not self._folder.is_dir():
            make_folder(self._folder)
            fsync_folder(self._root)
        for new, old in olds.items():
            making = self._folder / f".{Path(new).stem}"
            with os.fdopen(open_file(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w") as file:
                file.write(f"{number} {new} {old}\n")
                file.flush()
                os.fsync(file.fileno())
            making.replace(self.path(new))
        fsync_folder(self._folder)

    def read(self) -> list[Replacement]:
        """Return the replacements whose new file is there, in their order."""
        try:
            notes = [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        except FileNotFoundError:
            return []
        found = (_parse(path.read_text("utf-8", "replace")) for path in notes)
        return sorted(each for each in found if each is not None and (self._root / each.new).exists())

    def path(self, name: str) -> Path:
        """Return where the note of a blob lies, if it has one."""
        return self._folder / Path(name).stem


def superseded(replacements: Iterable[Replacement]) -> dict[str, str]:
    """Return the files that others took the place of, with the name of that other.

    A file that was replaced and then stored again by the same commit, whose answer had been lost, is the newest: its
    own replacement has the higher number.
    """
    known = list(replacements)
    stored = {each.new: each.number for each in known}
    return {each.old: each.new for each in known if each.number > stored.get(each.old, -1)}


def _parse(text: str) -> Replacement | None:
    words = text.split()
    return Replacement(int(words[0]), *words[1:]) if len(words) == 3 and words[0].isdecimal() else None


def fsync_folder(folder: Path) -> None:
    """Bring the entries of a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
