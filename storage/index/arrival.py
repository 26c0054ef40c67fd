"""An instance on its way into the index."""

from dataclasses import dataclass

from storage.blobs.local import Blob
from storage.index.record import Record

Key = tuple[str, str, str]
"""Study, series and SOP Instance UID: what makes an instance one."""


@dataclass(slots=True, eq=False)
class Arrival:
    """An instance that was read and waits to be stored.

    Attributes
    ----------
    corrects : int, optional
        Number of the replacement by which the file took another's place, as its note says
        (`storage/blobs/replacements.py`).
    """

    record: Record
    blob: Blob
    corrects: int | None = None

    @property
    def key(self) -> Key:
        """Study, series and SOP Instance UID: what makes an instance one."""
        record = self.record
        return record.study_instance_uid, record.series_instance_uid, record.sop_instance_uid
