"""Which stored file took the place of which: noted beside the files, so that they tell it without any database.

Facts to keep:

* `.replaced/<identifier of the new file>` holds a number, the name of the old file and the place (below). It is on disk
  before the row of the new file commits, and goes when the new file does. A note whose new file is gone says nothing:
  that one was never committed, or replaced itself.
* A correction has a number of its own. Numbers grow in the order of the commits to a study, over the loss of a database
  too; times of the clock, of files or of copies of the folder play no part.
* What heals (the same data set for a damaged file, the whole one for a part) corrects nothing: it stands where the old
  file stood, with its number (0 when that corrected nothing either) and its place, the name by which it comes in order.
* A note outlives the old file: what corrects also describes study and series, and an index that is built anew must come
  to the same.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from storage.system.durability import flush
from storage.system.private_path import make_folder, open_file

FOLDER = ".replaced"


@dataclass(frozen=True, slots=True, order=True)
class Replacement:
    """That one file took the place of another, by their blob names.

    Attributes
    ----------
    number : int
        Of the correction; 0 for none.
    new, old : str
        The files.
    place : str
        The file in whose order the new one comes.
    """

    number: int
    new: str
    old: str
    place: str


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

    def note(self, number: int, corrected: Mapping[str, str], healed: Mapping[str, str]) -> None:
        """Bring to disk what new blobs, the keys, take the place of: as a correction of a number, or to heal it."""
        notes = []
        for new, old in corrected.items():
            known = self.of(new)  # found in the folder, and in the index anew
            notes.append(Replacement(known.number if known and known.number else number, new, old, new))
        for new, old in healed.items():
            before = self.of(old)
            inherited = (before.number, before.place) if before else (0, old)
            notes.append(Replacement(inherited[0], new, old, inherited[1]))
        if not self._folder.is_dir():
            make_folder(self._folder)
            flush(self._root)
        made = [(self._making(each), self.path(each.new)) for each in notes]
        for making, path in made:  # all are written by now: the first flush brings most of them to disk
            flush(making)
            making.replace(path)
        flush(self._folder)

    def _making(self, each: Replacement) -> Path:
        making = self._folder / f".{Path(each.new).stem}"
        with os.fdopen(open_file(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w") as file:
            file.write(f"{each.number} {each.new} {each.old} {each.place}\n")
        return making

    def of(self, name: str) -> Replacement | None:
        """Return what a blob took the place of; None when it took none."""
        try:
            return _parse(self.path(name).read_text("utf-8", "replace"))
        except FileNotFoundError:
            return None

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
    own correction has the higher number. Of two that took one place the first was never acknowledged.
    """
    known = sorted(replacements)
    stored = {each.new: each.number for each in known}
    last = {each.old: each.new for each in known}
    gone = {each.old: each.new for each in known if each.number >= stored.get(each.old, -1)}
    return {each.new: last[each.old] for each in known if last[each.old] != each.new} | gone


def _parse(text: str) -> Replacement | None:
    words = text.split()
    return Replacement(int(words[0]), *words[1:]) if len(words) == 4 and words[0].isdecimal() else None
