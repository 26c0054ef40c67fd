"""What the archive accepts and how it keeps it: the choices an administrator makes."""

from dataclasses import dataclass, field
from typing import Literal

from storage.dicom.elements import Limits


@dataclass(frozen=True, slots=True)
class Policy:
    """Choices of the administrator about what is stored.

    Attributes
    ----------
    duplicates : "keep-first" or "replace"
        What happens to a different data set under a stored key. The same one is always a success without a write.
    max_instance_bytes : int
        Largest file taken in, in bytes.
    min_free_bytes : int
        Nothing is taken in when less than this is free on the disk, so that the database always finds room.
    bulk_threshold : int
        Longest binary value, in bytes, that stays inline in the metadata; other values stay up to 16 times that.
    strict_uids : bool
        Refuse UIDs that break PS3.5 9.1 in form only (leading zeros); else they are stored with a warning.
    refused_sop_classes, refused_transfer_syntaxes : frozenset of str
        UIDs that are refused; every other one, private and unknown ones included, is stored (PS3.4 B.4.1.1).
    limits : Limits
        What a hostile file may not exceed.
    """

    duplicates: Literal["keep-first", "replace"] = "keep-first"
    max_instance_bytes: int = 16 * 2**30
    min_free_bytes: int = 256 * 2**20
    bulk_threshold: int = 4096
    strict_uids: bool = False
    refused_sop_classes: frozenset[str] = frozenset()
    refused_transfer_syntaxes: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)
