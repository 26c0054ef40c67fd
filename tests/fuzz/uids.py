"""UIDs that depend on the source of chance alone, all of one length."""

import random

from tests.builders import ct_slice, dicom_file

STUDY, SERIES, INSTANCE = "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"


def uid(chance: random.Random) -> str:
    """Return a UID (PS3.5 B.2) that no other source gives."""
    return f"2.25.{chance.randrange(10**38, 3 * 10**38)}"


def uids(chance: random.Random) -> dict[str, str]:
    """Return the three UIDs of an instance by keyword."""
    return {keyword: uid(chance) for keyword in (STUDY, SERIES, INSTANCE)}


def image(chance: random.Random, **attributes: object) -> bytes:
    """Return a small valid CT image of its own study."""
    study, series, instance = (uid(chance) for _ in range(3))
    return ct_slice(study, series, instance, rows=8, columns=8, **attributes)


def file(chance: random.Random, **attributes: object) -> bytes:
    """Return a small file as `builders.dicom_file` makes it, of its own study."""
    return dicom_file(**(uids(chance) | attributes))  # type: ignore[arg-type]
