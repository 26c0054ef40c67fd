"""Every way to read an instance over HTTP, and where an answer to STOW says that it is."""

import json
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from tests.fuzz.target import Fault, Target
from tests.fuzz.wire import Answer, exchange, request

FRAMES = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'
FORMS: Sequence[tuple[str, str]] = (
    ("", 'multipart/related; type="application/dicom"; transfer-syntax=*'),
    ("", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1'),
    ("/metadata", "application/dicom+json"),
    ("/metadata", 'multipart/related; type="application/dicom+xml"'),
    ("/frames/1", FRAMES),
    ("/bulkdata", 'multipart/related; type="application/octet-stream"; transfer-syntax=*'),
    ("/rendered", "image/png"),
    ("/rendered?viewport=64,64", "image/jpeg"),
    ("/rendered?window=40,400,linear", "image/gif"),
    ("/rendered", "text/html, text/plain, application/pdf, image/svg+xml, video/mp4"),
    ("/thumbnail", "image/jpeg"),
)
"""Below an instance: a path and what is accepted."""
PICTURES = tuple(form for form in FORMS if form[0].startswith(("/frames", "/rendered", "/thumbnail")))
"""Those that decode frames."""


def paths_in(answer: Answer) -> list[str]:
    """Return the paths of the instances that an answer calls stored."""
    if answer.status not in (200, 202):
        return []
    items = json.loads(answer.body).get("00081199", {}).get("Value", [])
    return [urlsplit(item["00081190"]["Value"][0]).path for item in items]


def read(target: Target, path: str, forms: Sequence[tuple[str, str]] = FORMS) -> Iterator[int]:
    """Ask for an instance in every form and yield the statuses.

    Raises
    ------
    Fault
        One of them was not answered as it should.
    """
    for suffix, accept in forms:
        try:
            yield exchange(target, request("GET", path + suffix, {"Accept": accept}, port=target.port)).status
        except Fault as fault:
            raise Fault(f"{suffix} as {accept[:60]}: {fault}") from None


def search_for(target: Target, path: str) -> None:
    """Search for what is at the path of an instance, with every attribute."""
    instance = path.rpartition("/")[2]
    query = f"/dicom-web/instances?SOPInstanceUID={instance}&includefield=all"
    answer = exchange(target, request("GET", query, {"Accept": "application/dicom+json"}, port=target.port))
    if answer.status == 200:
        json.loads(answer.body)


def stored(target: Target, media_type: str, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    """Store a body by STOW-RS."""
    whole = {"Content-Type": media_type, "Accept": "application/dicom+json"} | (headers or {})
    return exchange(target, request("POST", "/dicom-web/studies", whole, body, port=target.port))


def stored_and_read(target: Target, media_type: str, body: bytes, headers: dict[str, str] | None = None) -> str:
    """Store a body, and read in every form what it is said to have stored; returns what that is counted under."""
    answer = stored(target, media_type, body, headers)
    for path in paths_in(answer)[:2]:
        statuses = list(read(target, path))
        search_for(target, path)
        if statuses[0] != 200:
            raise Fault(f"what was stored is answered {statuses[0]}")
    return answer.outcome
