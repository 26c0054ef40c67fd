"""The answer to a store request: the Store Instances Response module and the status that goes with it.

Facts and clauses this module keeps:

* PS3.18 Table I.1-1: (0008,1199) lists what is stored, (0008,1198) what failed, (0008,119A) the parts that
  no instance could be told from; a sequence that would be empty is left out.
* PS3.18 10.5.3.1: 200 all stored, 202 with warnings or some failures. None stored: 400 when all of it is bad
  syntax, 409 when it is sound and in conflict, or for a mixture of reasons. OHIF looks at nothing but the
  status. A request that broke off keeps its 400 or 413 and lists what was stored before.
* PS3.18 10.5.3.3: one data set: a JSON object, not an array; XML when asked for. What is stored is stored,
  so an Accept header that fits neither gets JSON.
* Each failed item says in words what is wrong: Error Comment (0000,0902), as much as fits its 64
  characters, and Text Value (0040,A160) when that is not all.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.failures import failure_of
from dicomweb.http.message.media_types import DICOM_JSON, DICOM_XML, Offer, available, parse_accept, select
from dicomweb.http.message.warning_header import warning_headers
from dicomweb.http.problems import RETRY_AFTER_SECONDS, RequestRefused
from dicomweb.http.stow.body import BodyError
from dicomweb.http.urls import base_url, instance_url, study_url
from storage.dicom import dicomxml
from storage.dicom.dicomjson import dumps
from storage.errors import ArchiveError

if TYPE_CHECKING:
    from storage.ingest import Outcome

COERCED = 0xB000
"""Warning Reason (Table I.1-1): what is stored is not what was sent or was there before."""

DOES_NOT_MATCH_SOP_CLASS = 0xB007
"""Warning Reason: stored as it is, though something about the data set is wrong."""

_UNREADABLE = 0xC000
_OUT_OF_RESOURCES = 0xA700
_LONGEST_LO = 64
_MOST_WARNING_HEADERS = 4
_MOST_AT_ONCE = 100
"""Outcomes that are written in less time than a thread would take to begin."""
_SAID_OF_ALL = frozenset((400, 413, 503, 507))

_OFFERS = (
    Offer(DICOM_JSON),
    Offer(DICOM_XML),
    Offer(DICOM_JSON, multipart=True),
    Offer(DICOM_XML, multipart=True),
)

Dataset = dict[str, dict[str, Any]]


def response_media_type(request: Request) -> str:
    """Choose JSON or XML, before anything is read.

    Raises
    ------
    RequestRefused
        406 when Accept is missing and the archive requires it.

    Standard
    --------
    PS3.18 Table 10.5.4-1, 8.7.8.1.
    """
    values = request.headers.getlist("accept")
    required = request.app.state.settings.require_accept
    ranges = parse_accept(", ".join(values), request.query_params.get("accept"), required=required)
    if not ranges and required and not values:
        raise RequestRefused(406, "Accept is missing.", available=available(_OFFERS[:2]))
    chosen = select(ranges, _OFFERS)
    return chosen.media_type if chosen else DICOM_JSON


async def store_response(
    request: Request, media_type: str, outcomes: Sequence["Outcome"], interruption: BodyError | None = None
) -> Response:
    """Make the response to a store request.

    Parameters
    ----------
    request : Request
        For the URLs.
    media_type : str
        application/dicom+json or application/dicom+xml.
    outcomes : sequence of Outcome
        One a part, in order.
    interruption : BodyError, optional
        Why the body could not be read to its end.

    Returns
    -------
    Response
        See `status_of`, or the status of the interruption.

    Standard
    --------
    PS3.18 10.5.3, Table I.1-1.
    """
    base = base_url(request)

    def written() -> bytes:
        dataset = response_dataset(base, outcomes, interruption)
        return dicomxml.encode(dataset) if media_type == DICOM_XML else dumps(dataset)

    # A request may have as many parts as the settings allow, and nobody else is to wait for the list of them.
    body = written() if len(outcomes) <= _MOST_AT_ONCE else await asyncio.to_thread(written)
    status = interruption.status if interruption else status_of(outcomes)
    response = Response(body, status, {"Cache-Control": "no-store"}, media_type)
    if status < 300 and (location := _location(base, outcomes)):
        response.headers["Location"] = response.headers["Content-Location"] = location
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    response.raw_headers += warning_headers(base, _warning_texts(outcomes, interruption))
    return response


def status_of(outcomes: Sequence["Outcome"]) -> int:
    """Give the status of a request whose body was read to its end (PS3.18 10.5.3.1).

    When nothing was stored it is what all the failures mean (see `failures`): 400 when nothing could be read as
    an instance, 413 when all was too large, 503 or 507 when the archive cannot store now, so that a client
    knows to come again. It is 409 for conflicts, for a mixture, and for what nobody foresaw.
    """
    failed = [_error(outcome) for outcome in outcomes if outcome.status == "failed"]
    if len(failed) == len(outcomes):
        statuses = {failure_of(error).http_status for error in failed}
        return statuses.pop() if len(statuses) == 1 and statuses <= _SAID_OF_ALL else 409
    return 202 if failed or any(_warning_reason(outcome) for outcome in outcomes) else 200


def response_dataset(base: str, outcomes: Iterable["Outcome"], interruption: BodyError | None = None) -> Dataset:
    """Make the Store Instances Response module as a DICOM JSON object, keys ascending (PS3.18 Table I.1-1).

    Parameters
    ----------
    base : str
        The DICOMweb root, for the Retrieve URLs.
    outcomes : iterable of Outcome
        One a part.
    interruption : BodyError, optional
        Listed as one of the Other Failures.

    Returns
    -------
    dict
        The data set.
    """
    stored: list[Dataset] = []
    failed: list[Dataset] = []
    others: list[Dataset] = []
    failures: dict[tuple[int, str], Dataset] = {}  # many parts fail for one reason
    studies = set()
    for outcome in outcomes:
        if outcome.status != "failed":
            stored.append(_stored_item(base, outcome))
            studies.add(outcome.study_instance_uid)
            continue
        error = _error(outcome)
        why = failure_of(error).stow_reason, str(error)
        if why not in failures:
            failures[why] = _failure(*why)
        failure = failures[why]
        if outcome.sop_instance_uid:
            failed.append(dict(sorted((_identified(outcome) | failure).items())))
        else:
            others.append(failure)
    if interruption:
        reason = _OUT_OF_RESOURCES if interruption.status == 413 else _UNREADABLE
        others.append(_failure(reason, interruption.detail))
    study = studies.pop() if len(studies) == 1 else None
    dataset = _attribute("RetrieveURL", study_url(base, study) if study else None)
    for keyword, items in (
        ("FailedSOPSequence", failed),
        ("ReferencedSOPSequence", stored),
        ("OtherFailuresSequence", others),
    ):
        if items:
            dataset |= _attribute(keyword, *items)
    return dataset


def _error(outcome: "Outcome") -> ArchiveError:
    return outcome.error or ArchiveError("The instance could not be stored.")


def _stored_item(base: str, outcome: "Outcome") -> Dataset:
    item = _identified(outcome)
    if outcome.study_instance_uid and outcome.series_instance_uid and outcome.sop_instance_uid:
        item |= _attribute("RetrieveURL", _instance_location(base, outcome))
    if reason := _warning_reason(outcome):
        item |= _attribute("WarningReason", reason) | _comment(_joined(outcome.warnings) or "replaced another file")
    return dict(sorted(item.items()))


def _identified(outcome: "Outcome") -> Dataset:
    return _attribute("ReferencedSOPClassUID", outcome.sop_class_uid) | _attribute(
        "ReferencedSOPInstanceUID", outcome.sop_instance_uid
    )


def _failure(reason: int, text: str) -> Dataset:
    return dict(sorted((_attribute("FailureReason", reason) | _comment(text)).items()))


def _comment(text: str) -> Dataset:
    if len(text) <= _LONGEST_LO:
        return _attribute("ErrorComment", text or None)
    return _attribute("ErrorComment", text[: _LONGEST_LO - 3].rstrip() + "...") | _attribute("TextValue", text)


def _attribute(keyword: str, *values: Any) -> Dataset:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    attribute: dict[str, Any] = {"vr": dictionary_VR(tag)}
    if present := [value for value in values if value is not None]:
        attribute["Value"] = present
    return {f"{tag:08X}": attribute}


def _warning_reason(outcome: "Outcome") -> int | None:
    if outcome.status == "replaced":
        return COERCED
    return DOES_NOT_MATCH_SOP_CLASS if outcome.warnings else None


def _location(base: str, outcomes: Sequence["Outcome"]) -> str | None:
    """Name the instance when one was stored, the study when all that was stored is of one (10.5.3.2)."""
    stored = [outcome for outcome in outcomes if outcome.status != "failed"]
    if len(stored) == 1:
        return _instance_location(base, stored[0])
    studies = {outcome.study_instance_uid for outcome in stored}
    return study_url(base, studies.pop() or "") if len(studies) == 1 else None


def _instance_location(base: str, outcome: "Outcome") -> str:
    uids = (outcome.study_instance_uid, outcome.series_instance_uid, outcome.sop_instance_uid)
    return instance_url(base, *(uid or "" for uid in uids))


def _warning_texts(outcomes: Iterable["Outcome"], interruption: BodyError | None) -> list[str]:
    """Say what failed in headers too, each kind once: `curl -i` then shows it (10.5.3.2)."""
    texts: dict[str, None] = {}
    for outcome in outcomes:
        if outcome.status == "failed":
            error = _error(outcome)
            texts[f"{failure_of(error).stow_reason:04X} {error}"] = None
        elif reason := _warning_reason(outcome):
            texts[f"{reason:04X} {_joined(outcome.warnings)}"] = None
        if len(texts) == _MOST_WARNING_HEADERS:
            break
    if interruption:
        texts[interruption.detail] = None
    return list(texts)


def _joined(texts: Sequence[str]) -> str:
    """Put texts together: sentences follow each other, phrases are parted by semicolons."""
    return "".join(text + (" " if text.endswith(".") else "; ") for text in texts[:-1]) + "".join(texts[-1:])
