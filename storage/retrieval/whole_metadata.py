"""The metadata of an instance with its long values in place, for readers that need them at once.

Facts kept here:

- Stored metadata names a long value by its path (`dicomjson`). Bytes are read there by position; texts and numbers are
  not only bytes: the character set of their item and the byte order of the file rule them. They are read by the same
  parser and encoder as at ingest, once more, with room for them.
- What is beyond the room, and what JSON has no form for (NaN), stays a path.
- Only instances that have such a value are read again.
"""

import re
from typing import Final

from storage.dicom import dicomjson
from storage.dicom.part10 import Source, read_header
from storage.dicom.vr import AMBIGUOUS, standard_vr
from storage.index.record import instance_attributes
from storage.policy import Policy

_KEPT_ANYWAY: Final = 1 << 16
_ELSEWHERE: Final = re.compile(rb'","BulkDataURI":"')
_BYTES: Final = dicomjson.BINARY | AMBIGUOUS | {"SQ", None}


def has_long_values(metadata: bytes) -> bool:
    """Whether texts or numbers are left out of stored metadata; one of an unknown VR counts by the data dictionary.

    Parameters
    ----------
    metadata : bytes
        As `dicomjson.dumps` wrote it: `"0040A160":{"vr":"UT","BulkDataURI":"..."}`.
    """
    for found in _ELSEWHERE.finditer(metadata):
        vr = metadata[found.start() - 2 : found.start()].decode("ascii")
        key = metadata[found.start() - 19 : found.start() - 11].decode("ascii")
        if (standard_vr(int(key, 16)) if vr == "UN" else vr) not in _BYTES:
            return True
    return False


def whole_metadata(source: Source, policy: Policy, room: int) -> bytes:
    """Return the metadata of a file in the DICOM JSON Model, texts and numbers of any length in place.

    Parameters
    ----------
    source : Source
        The file.
    policy : Policy
        As it was stored under.
    room : int
        Bytes such values may have together, beyond what is in place anyway.

    Raises
    ------
    InvalidDicom, LimitExceeded
        It is not what was stored any more.

    Standard
    --------
    PS3.18 F.2.
    """
    header, _ = read_header(source, policy.limits, keep=_KEPT_ANYWAY + room)
    encoded = dicomjson.encode(header, bulk_threshold=policy.bulk_threshold, room=room)
    return dicomjson.dumps(instance_attributes(header, encoded.dataset))
