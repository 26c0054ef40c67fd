"""DICOMDIR: the directory of DICOM files on media, written record by record.

Facts kept here:

* It is a DICOM file in Explicit VR Little Endian of the class Media Storage Directory Storage; its SOP Instance UID is
  the File-set UID (PS3.10 8.6). That follows from the records: the same files are the same File-set.
* PATIENT > STUDY > SERIES > instances, depth first. Offsets count from the first byte of the file; records of one
  level are chained by them, 0 ends a chain (PS3.3 F.3.2.2).
* A File ID is 1 to 8 components of 1 to 8 capital letters, digits and underscores, without a dot (PS3.10 8.2, 8.5).
* Text beyond ASCII is in ISO_IR 100, which every reader of discs knows, where that has all of it, else in ISO_IR 192;
  the record then says so (F.5). The files keep their own.
* Only the end of a chain is known late: one offset a series is written afterwards, so memory is constant.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hashlib import blake2b
from typing import IO, Any, Final, NamedTuple

from storage.dicom.data_set import encode
from storage.dicom.part10 import EXPLICIT_LE, file_meta_bytes
from storage.dicom.vr import explicit_element
from storage.errors import ArchiveError, LimitExceeded
from storage.writing.directory_records import (
    PRIVATE_RECORD_UID,
    Dataset,
    instance_keys,
    patient_keys,
    record_type,
    series_keys,
    study_keys,
)

NAME: Final = "DICOMDIR"
FILE_SET_ID: Final = b"DICOMWEB"
MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
CHARACTER_SET: Final = "ISO_IR 100"

_FOLDER: Final = "DICOM"
_MOST: Final = 9_999_999
_ACTIVE: Final = 0xFFFF
_LAST_OFFSET: Final = 0xFFFFFFFE
_CHUNK: Final = 1 << 20
_NO_UID: Final = "2.25." + "0" * 39
_ITEM: Final = struct.Struct("<HHL")
_OFFSET: Final = struct.Struct("<L")
_NEXT_OFFSET_AT: Final = _ITEM.size + 8
"""Where in a record the value of (0004,1400) stands: after the item's and the element's tag, VR and length."""


class Leaf(NamedTuple):
    """An instance on the media.

    Attributes
    ----------
    file_id : str
        Its File ID, components separated by slashes.
    sop_class_uid, sop_instance_uid : str
        Of the instance.
    transfer_syntax_uid : str
        Of the file.
    has_pixel_data : bool
        Whether it is an image, if the table of classes does not know.
    """

    file_id: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    has_pixel_data: bool


def file_id(series: int, instance: int) -> str:
    """Return the File ID of an instance by the places, counted from 1, of its series and of itself in that.

    Raises
    ------
    LimitExceeded
        There are more than eight characters can count.

    Standard
    --------
    PS3.10 8.2, 8.5; checklist H-003, H-021.
    """
    if max(series, instance) > _MOST:
        raise LimitExceeded(f"A DICOMDIR of this archive names at most {_MOST} series or instances of one.")
    return f"{_FOLDER}/S{series:07}/I{instance:07}"


def file_ids(series_instance_uids: Iterable[str]) -> Iterator[str]:
    """Yield the File ID of every instance, given the series of each; those of one series come together."""
    places = (0, 0)
    last: str | None = None
    for uid in series_instance_uids:
        places = (places[0], places[1] + 1) if uid == last else (places[0] + 1, 1)
        last = uid
        yield file_id(*places)


class DicomdirWriter:
    """Writes the directory of one study.

    Call `begin_series`, then `add` for each of its instances, and again for the next series; in the end `finish`.

    Parameters
    ----------
    file : binary file
        Empty, readable and seekable.
    study_instance_uid : str
        The study.
    attributes : DICOM JSON object
        What is known of the patient and the study.

    Standard
    --------
    PS3.10 8.6; PS3.3 F.3.2, F.4; checklist H-005 to H-009.
    """

    def __init__(self, file: IO[bytes], study_instance_uid: str, attributes: Dataset) -> None:
        self._file = file
        self._series = 0
        self._series_at = 0
        self._instances = 0
        self._instance_at = 0
        file.write(_meta(_NO_UID))
        first = file.tell() + len(_directory(0, 0))
        file.write(_directory(first, 0))
        self._records_at = first
        self._record("PATIENT", partial(patient_keys, study_instance_uid), attributes, has_lower=True)
        self._record("STUDY", partial(study_keys, study_instance_uid), attributes, has_lower=True)

    def begin_series(self, series_instance_uid: str, attributes: Dataset) -> None:
        """Write the record of the next series; instances follow."""
        self._end_instances()
        if self._series:
            self._patch(self._series_at + _NEXT_OFFSET_AT, _OFFSET.pack(self._file.tell()))
        self._series += 1
        self._instances = 0
        keys = partial(series_keys, series_instance_uid, place=self._series)
        self._series_at = self._record("SERIES", keys, attributes, has_lower=True)

    def add(self, leaf: Leaf, dataset: Dataset) -> None:
        """Write the record of the next instance of the series.

        Raises
        ------
        LimitExceeded
            The directory would exceed 4 GiB.
        """
        self._instances += 1
        kind = record_type(leaf.sop_class_uid, has_pixel_data=leaf.has_pixel_data)
        keys = partial(instance_keys, kind, place=self._instances)
        self._instance_at = self._record(kind, keys, dataset, _reference(leaf))

    def finish(self) -> str:
        """Write what is known only now; return the File-set UID."""
        self._end_instances()
        length = self._file.tell() - self._records_at
        self._patch(self._records_at - _OFFSET.size, _OFFSET.pack(length))
        uid = self._file_set_uid()
        self._patch(0, _meta(uid))
        return uid

    def _record(
        self,
        kind: str,
        keys: Callable[[Dataset], dict[str, Any]],
        dataset: Dataset,
        reference: bytes = b"",
        *,
        has_lower: bool = False,
    ) -> int:
        """Write a record and return where it is; an instance says that another follows."""
        body = reference + _encoded(keys, dataset)
        at = self._file.tell()
        head = len(_head(kind, 0, 0))
        end = at + _ITEM.size + head + len(body)
        if end > _LAST_OFFSET:
            raise LimitExceeded("The DICOMDIR would exceed 4 GiB.")
        written = _head(kind, 0 if has_lower else end, end if has_lower else 0) + body
        self._file.write(_ITEM.pack(0xFFFE, 0xE000, len(written)) + written)
        return at

    def _end_instances(self) -> None:
        if self._instances:
            self._patch(self._instance_at + _NEXT_OFFSET_AT, _OFFSET.pack(0))

    def _patch(self, at: int, data: bytes) -> None:
        end = self._file.tell()
        self._file.seek(at)
        self._file.write(data)
        self._file.seek(end)

    def _file_set_uid(self) -> str:
        """Return a UID made of the hash of the directory (PS3.5 B.2); always of the same length."""
        end = self._file.tell()
        self._file.seek(0)
        digest = blake2b(digest_size=16)
        while chunk := self._file.read(_CHUNK):
            digest.update(chunk)
        self._file.seek(end)
        number = int.from_bytes(digest.digest(), "big") | 1 << 127
        number = number & ~(0xF << 76) | 8 << 76  # UUID version 8: the bits mean what their maker says (RFC 9562)
        number = number & ~(3 << 62) | 2 << 62
        return f"2.25.{number}"


def _meta(uid: str) -> bytes:
    return file_meta_bytes(sop_class_uid=MEDIA_STORAGE_DIRECTORY, sop_instance_uid=uid, transfer_syntax_uid=EXPLICIT_LE)


def _directory(first: int, length: int) -> bytes:
    """Return what precedes the records: there is one in the root, the patient's."""
    return b"".join(
        (
            explicit_element(0x00041130, "CS", FILE_SET_ID),
            explicit_element(0x00041200, "UL", _OFFSET.pack(first)),
            explicit_element(0x00041202, "UL", _OFFSET.pack(first)),
            explicit_element(0x00041212, "US", bytes(2)),
            struct.pack("<HH2sHL", 0x0004, 0x1220, b"SQ", 0, length),
        )
    )


def _head(kind: str, following: int, lower: int) -> bytes:
    private = explicit_element(0x00041432, "UI", PRIVATE_RECORD_UID.encode()) if kind == "PRIVATE" else b""
    return b"".join(
        (
            explicit_element(0x00041400, "UL", _OFFSET.pack(following)),
            explicit_element(0x00041410, "US", struct.pack("<H", _ACTIVE)),
            explicit_element(0x00041420, "UL", _OFFSET.pack(lower)),
            explicit_element(0x00041430, "CS", kind.encode()),
            private,
        )
    )


def _reference(leaf: Leaf) -> bytes:
    return b"".join(
        (
            explicit_element(0x00041500, "CS", leaf.file_id.replace("/", "\\").encode()),
            explicit_element(0x00041510, "UI", leaf.sop_class_uid.encode()),
            explicit_element(0x00041511, "UI", leaf.sop_instance_uid.encode()),
            explicit_element(0x00041512, "UI", leaf.transfer_syntax_uid.encode()),
        )
    )


def _encoded(keys: Callable[[Dataset], dict[str, Any]], dataset: Dataset) -> bytes:
    """Return the keys of a record; what cannot be written counts as if it were not there."""
    chosen = keys(dataset)
    try:
        return encode(chosen, EXPLICIT_LE, character_set=CHARACTER_SET)
    except ArchiveError:
        refused = {tag for tag in chosen if not _is_writable(tag, chosen[tag])}
        dataset = {tag: attribute for tag, attribute in dataset.items() if tag not in refused}
        return encode(keys(dataset), EXPLICIT_LE, character_set=CHARACTER_SET)


def _is_writable(tag: str, attribute: Any) -> bool:
    try:
        encode({tag: attribute}, EXPLICIT_LE)
    except ArchiveError:
        return False
    return True
