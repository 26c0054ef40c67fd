"""What a server answered to a store request, instance by instance (PS3.18 10.5.3, Table I.1-1)."""

from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

from storage.dicom import dicomxml
from storage.dicom.vr import tag_of
from storage.errors import ArchiveError

REPLACED_ANOTHER = 0xB000
"""Warning Reason of an instance that replaced another: the archive's own way to say it."""

_REASONS = {
    0xA700: "the server is out of resources",
    0xA900: "the data set does not match its SOP class, or a UID is missing",
    0xC000: "the server cannot understand the file",
    0xC122: "the server does not support the transfer syntax",
    0x0110: "the server failed to process the file",
    0x0111: "the server has another instance under this UID",
    0x0122: "the server does not support the SOP class",
    0x0124: "the server does not authorize storing the file",
    0x0272: "the server does not support the transfer syntax",
}
_STORED, _FAILED, _OTHERS, _UID, _REASON, _WARNING, _COMMENT, _TEXT = (
    f"{tag_of(keyword):08X}"
    for keyword in (
        "ReferencedSOPSequence",
        "FailedSOPSequence",
        "OtherFailuresSequence",
        "ReferencedSOPInstanceUID",
        "FailureReason",
        "WarningReason",
        "ErrorComment",
        "TextValue",
    )
)


@dataclass(slots=True)
class Failure:
    """Why an instance was not stored; `again` when it may be another time."""

    reason: str
    again: bool


@dataclass(slots=True)
class Answer:
    """The answer to a store request.

    Attributes
    ----------
    status : int
        HTTP status.
    detail : str
        The whole answer in words.
    told : bool
        Whether it tells about instances.
    empty : bool
        Whether it says nothing but its status.
    stored : Counter of str
        SOP Instance UIDs that are stored now, and how often each is named.
    replaced : set of str
        Those of them that replaced another instance.
    failed : dict of str to Failure
        SOP Instance UIDs that are not stored.
    others : list of Failure
        Failures of files whose UID the server could not tell.
    """

    status: int
    detail: str = ""
    told: bool = False
    empty: bool = False
    stored: Counter[str] = field(default_factory=Counter)
    replaced: set[str] = field(default_factory=set)
    failed: dict[str, Failure] = field(default_factory=dict)
    others: list[Failure] = field(default_factory=list)

    @property
    def success(self) -> bool:
        """Whether its status says that the request succeeded, at least in part."""
        return 200 <= self.status < 300

    def all_stored(self, files: int) -> bool:
        """Whether all of the `files` that were sent are stored.

        A success that says nothing more is believed; one that names instances must name as many as were sent, by
        whatever UIDs. A page of a proxy in place of an answer names none.
        """
        named = self.stored.total()
        believed = self.empty or named == files or named > files == 1
        return self.success and believed and not self.failed and not self.others


def read_answer(status: int, media_type: str, body: bytes) -> Answer:
    """Read an answer, whatever the server made of it; never raises."""
    answer = Answer(status, f"{status} {_phrase(status)}", empty=not body.strip())
    dataset = _dataset(media_type.lower(), body)
    if isinstance(dataset.get("detail"), str):  # a problem document (RFC 9457)
        answer.detail += f": {dataset['detail'][:500]}"
    answer.told = any(isinstance(dataset.get(tag), dict) for tag in (_STORED, _FAILED, _OTHERS))
    for item in _values(dataset, _STORED):
        uid = _text(item, _UID)
        answer.stored[uid] += 1
        if _number(item, _WARNING) == REPLACED_ANOTHER:
            answer.replaced.add(uid)
    answer.failed = {_text(item, _UID): _failure(item) for item in _values(dataset, _FAILED)}
    answer.others = [_failure(item) for item in _values(dataset, _OTHERS)]
    return answer


def _dataset(media_type: str, body: bytes) -> dict[str, Any]:
    try:
        if "json" in media_type:
            parsed: Any = orjson.loads(body)
        elif "xml" in media_type:
            parsed = dicomxml.decode(body)
        else:
            return {}
    except (orjson.JSONDecodeError, ArchiveError):
        return {}
    dataset = parsed[0] if isinstance(parsed, list) and parsed else parsed
    return dataset if isinstance(dataset, dict) else {}


def _failure(item: dict[str, Any]) -> Failure:
    code = _number(item, _REASON)
    words = _text(item, _TEXT) or _text(item, _COMMENT) or _REASONS.get(code or -1, "the server refused the file")
    return Failure(
        words if code is None else f"{words} (failure reason {code:04X})", code is not None and code >> 8 == 0xA7
    )


def _values(dataset: dict[str, Any], tag: str) -> list[Any]:
    attribute = dataset.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return [value for value in values if value is not None] if isinstance(values, list) else []


def _text(item: Any, tag: str) -> str:
    values = _values(item, tag) if isinstance(item, dict) else []
    return str(values[0]) if values else ""


def _number(item: Any, tag: str) -> int | None:
    text = _text(item, tag)
    return int(text) if text.isdecimal() else None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
