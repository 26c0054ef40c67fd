"""What comes under the UIDs of a stored file: what it is to that file.

Two files are the same instance when their data sets are, byte for byte and in the same transfer syntax. What precedes
a data set tells who wrote the file and who sent it (PS3.10 7.1): it differs when an instance comes once by STOW-RS and
once by C-STORE, or from two senders, and is no reason to refuse either.

A data set that was cut off on its way is the beginning of the whole one. Whichever of the two comes later, the whole
one is kept; nothing is lost by that, for it holds every byte of the other.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from storage.blobs.reader import CHUNK
from storage.dicom.loss import has_loss
from storage.dicom.part10 import FileSource
from storage.errors import ArchiveError
from storage.index.record import read_record
from storage.policy import Policy

Resending = Literal["same", "completing", "cut off", "different"]
"""The same data set; the whole one of which a part is stored; a part of the one that is stored; another one."""

DataSetAt = tuple[Path, int, int]
"""A file, where its data set begins, and the length of that in bytes."""


def compare(stored: DataSetAt, sent: DataSetAt, warnings: Sequence[str], policy: Policy) -> Resending:
    """Say what the file that was sent is to the stored one; both are of one transfer syntax.

    `warnings` are those of the file that was sent. A file that cannot be read is like no other.
    """
    if not _begin_alike(stored, sent):
        return "different"
    more = sent[2] - stored[2]
    if more == 0:
        return "same"
    if more < 0:
        return "cut off" if has_loss(warnings) else "different"
    return "completing" if not has_loss(warnings) and _is_cut_off(stored[0], policy) else "different"


def _begin_alike(one: DataSetAt, other: DataSetAt) -> bool:
    """Whether the shorter of two data sets is the beginning of the other."""
    left = min(one[2], other[2])
    try:
        with one[0].open("rb") as first, other[0].open("rb") as second:
            first.seek(one[1])
            second.seek(other[1])
            while left > 0:
                pieces = [file.read(min(CHUNK, left)) for file in (first, second)]
                if pieces[0] != pieces[1] or not pieces[0]:
                    return False
                left -= len(pieces[0])
            return True
    except OSError:
        return False


def _is_cut_off(path: Path, policy: Policy) -> bool:
    try:
        with FileSource(path) as source:
            return has_loss(read_record(source, policy).warnings)
    except (ArchiveError, OSError):
        return False
