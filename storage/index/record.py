"""One instance as the index keeps it, made from its file once, at ingest."""

import re
from dataclasses import dataclass
from typing import Any

from storage.blobs.checksums import frame_checksums
from storage.dicom import dicomjson
from storage.dicom.elements import Header
from storage.dicom.loss import has_loss
from storage.dicom.part10 import Source, compressed_syntax, read_header
from storage.dicom.transfer_syntax import decodable
from storage.dicom.vr import PIXEL_DATA
from storage.errors import InvalidDicom, MissingIdentifier, SopClassRefused, TransferSyntaxRefused
from storage.matching import attributes
from storage.matching.conditions import Level
from storage.pixels.frame_table import frame_table, is_video
from storage.pixels.layout import layout_of
from storage.policy import Policy

UID = re.compile(r"(?!\.+\Z)[0-9.]{1,64}")
"""Any UID the archive can keep; PS3.5 9.1 is stricter (see `STRICT_UID`). Dots alone would climb in a URL."""

STRICT_UID = re.compile(r"(?=.{1,64}\Z)(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
"""A UID as PS3.5 9.1 wants it."""

_IDENTIFIERS = {
    "SOPClassUID": "00080016",
    "SOPInstanceUID": "00080018",
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
}

_ABOVE_INSTANCE = [tag for level in (Level.PATIENT, Level.STUDY, Level.SERIES) for tag in attributes.BY_LEVEL[level]]


@dataclass(slots=True)
class Record:
    """The index rows of one instance.

    Attributes
    ----------
    levels : dict
        The patient, study and series attributes as DICOM JSON; the rows of study and series are made of them only when
        there are none yet, see `row`.
    instance : dict
        Column values of the instance, `attributes`, `layout`, `frame_table`, `frame_checksums`, `bulk_data`, `metadata`
        and `transfer_syntax_uid` included.
    warnings : list of str
        What was odd in the file; safe to show.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    levels: dict[str, Any]
    instance: dict[str, Any]
    warnings: list[str]

    def row(self, level: Level) -> dict[str, Any]:
        """Return the column values of the study or the series, `attributes` included."""
        return _level_row(level, self.levels)


def read_record(source: Source, policy: Policy) -> Record:
    """Read a DICOM file into the rows of the index.

    Raises
    ------
    InvalidDicom, LimitExceeded
        The bytes cannot be read.
    MissingIdentifier, SopClassRefused, TransferSyntaxRefused
        They can, and are not accepted.
    """
    header, source = read_header(source, policy.limits)
    encoded = dicomjson.encode(header, bulk_threshold=policy.bulk_threshold)
    dataset = encoded.dataset
    uids = [_identifier(dataset, keyword, tag, policy) for keyword, tag in _IDENTIFIERS.items()]
    sop_class, instance_uid, study_uid, series_uid = uids
    if sop_class in policy.refused_sop_classes:
        raise SopClassRefused(f"This archive does not take SOP class {sop_class}.")
    if not UID.fullmatch(header.transfer_syntax_uid):
        raise InvalidDicom("Transfer Syntax UID (0002,0010) is not a UID (1 to 64 digits and dots).")
    if header.transfer_syntax_uid in policy.refused_transfer_syntaxes:
        raise TransferSyntaxRefused(f"This archive does not take transfer syntax {header.transfer_syntax_uid}.")
    dataset = instance_attributes(header, dataset)
    table = frame_table(source, header)
    warnings = [*header.warnings, *encoded.warnings, *(table.warnings if table else [])]
    warnings += [f"UID {uid} breaks the rules of PS3.5 9.1." for uid in uids if not STRICT_UID.fullmatch(uid)]
    warnings += _decoder_warnings(header, source)
    layout = layout_of(header, table, cut_off=has_loss(warnings))
    frames = table.table if table else None
    return Record(
        sop_class,
        instance_uid,
        study_uid,
        series_uid,
        {tag: dataset[tag] for tag in _ABOVE_INSTANCE if tag in dataset},
        _level_row(Level.IMAGE, dataset)
        | {
            "transfer_syntax_uid": header.transfer_syntax_uid,
            "layout": layout.to_json(),
            "frame_table": frames,
            "frame_checksums": frame_checksums(source, layout, frames),
            "bulk_data": encoded.bulk or None,
            "metadata": dicomjson.dumps(dataset),
        },
        warnings,
    )


def instance_attributes(header: Header, dataset: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of an instance: its data set, and Available Transfer Syntax UID (PS3.4 C.6.1.1.5.2)."""
    return dict(sorted((dataset | {"00083002": {"vr": "UI", "Value": [header.transfer_syntax_uid]}}).items()))


def _level_row(level: Level, dataset: dict[str, Any]) -> dict[str, Any]:
    return attributes.columns(level, dataset) | {"attributes": attributes.select(level, dataset)}


def _identifier(dataset: dict[str, Any], keyword: str, tag: str, policy: Policy) -> str:
    values = dataset.get(tag, {}).get("Value") or [None]
    uid = values[0]
    if not isinstance(uid, str) or not uid:
        raise MissingIdentifier(f"{keyword} ({tag[:4]},{tag[4:]}) is missing or empty.")
    if len(values) > 1 or not UID.fullmatch(uid):
        raise MissingIdentifier(f"{keyword} ({tag[:4]},{tag[4:]}) is not a UID (1 to 64 digits and dots).")
    if policy.strict_uids and not STRICT_UID.fullmatch(uid):
        raise MissingIdentifier(f"{keyword} ({tag[:4]},{tag[4:]}) breaks the rules of PS3.5 9.1.")
    return uid


def _decoder_warnings(header: Header, source: Source) -> list[str]:
    """Warn of pixel data that can be had as it came, and in no other way."""
    uid, pixels = header.transfer_syntax_uid, header.dataset.get(PIXEL_DATA)
    if pixels is None or not pixels.encapsulated or decodable(uid) or is_video(uid):
        return []
    if compressed_syntax(source, pixels) is not None:  # what is really there is decoded
        return []
    return [f"There is no decoder for transfer syntax {uid}: the pixel data is kept, and given out as it came only."]
