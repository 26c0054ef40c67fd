"""The answer to a store request, made from outcomes of every kind."""

import json

import pytest
from pydicom.dataset import Dataset

from dicomweb.http.stow.body import BodyError
from dicomweb.http.stow.response import response_dataset, status_of
from storage.dicom.dicomjson import dumps
from storage.errors import (
    ArchiveError,
    ConflictingInstance,
    ContradictoryPixelData,
    InvalidDicom,
    LimitExceeded,
    MissingIdentifier,
    OutOfSpace,
    SopClassRefused,
    StudyMismatch,
    TransferSyntaxRefused,
    Unavailable,
)
from storage.ingest import Outcome

BASE = "http://archive.test/dicom-web"


def good(study: str = "1.1", *, warnings: tuple[str, ...] = (), replaced: bool = False) -> Outcome:
    status = "replaced" if replaced else "stored"
    return Outcome("1.2", "1.5", study, "1.4", status, None, list(warnings))  # type: ignore[arg-type]


def bad(error: ArchiveError | None, *, identified: bool = True) -> Outcome:
    return Outcome("1.2", "1.5", "1.1", "1.4", "failed", error) if identified else Outcome(error=error)


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([good()], 200),
        ([good(warnings=("odd",))], 202),
        ([good(replaced=True)], 202),
        ([good(), bad(InvalidDicom("x"))], 202),
        ([bad(InvalidDicom("x")), bad(ConflictingInstance("y"))], 409),
        ([bad(ConflictingInstance("x")), bad(StudyMismatch("y")), bad(SopClassRefused("z"))], 409),
        ([bad(TransferSyntaxRefused("x"))], 409),
        ([bad(ContradictoryPixelData("x"))], 409),
        ([bad(InvalidDicom("x")), bad(MissingIdentifier("y"), identified=False)], 400),
        ([bad(LimitExceeded("x"), identified=False)], 413),
        ([bad(LimitExceeded("x")), bad(InvalidDicom("y"))], 409),
        ([bad(Unavailable("x")), bad(Unavailable("y"))], 503),
        ([bad(OutOfSpace("x"))], 507),
        ([bad(Unavailable("x")), bad(InvalidDicom("y"))], 409),
        ([bad(Unavailable("x")), bad(OutOfSpace("y"))], 409),
        ([bad(None)], 409),
    ],
)
def test_statuses(outcomes: list[Outcome], status: int) -> None:
    """The status follows from the outcomes; an archive that cannot store now says so (B-058 to B-062)."""
    assert status_of(outcomes) == status


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MissingIdentifier("x"), 0xA900),
        (StudyMismatch("x"), 0xA901),
        (SopClassRefused("x"), 290),
        (TransferSyntaxRefused("x"), 49442),
        (OutOfSpace("x"), 0xA700),
        (InvalidDicom("x"), 0xC000),
        (ConflictingInstance("x"), 273),
        (ArchiveError("x"), 272),
        (None, 272),
    ],
)
def test_failure_reasons(error: ArchiveError | None, reason: int) -> None:
    """Each failure has the one code that fits, as an unsigned short (B-030 to B-036, B-053, B-065)."""
    dataset = response_dataset(BASE, [bad(error)])
    (item,) = dataset["00081198"]["Value"]
    assert item["00081197"] == {"vr": "US", "Value": [reason]}
    assert item["00081155"] == {"vr": "UI", "Value": ["1.5"]}
    assert "00081199" not in dataset
    assert "0008119A" not in dataset


def test_warnings() -> None:
    """A warned instance is listed as stored, with its reason and what was odd (B-040, B-043, B-052)."""
    dataset = response_dataset(BASE, [good(warnings=("odd", "strange")), good(replaced=True)])
    first, second = dataset["00081199"]["Value"]
    assert first["00081196"] == {"vr": "US", "Value": [0xB007]}
    assert first["00000902"]["Value"] == ["odd; strange"]
    assert second["00081196"] == {"vr": "US", "Value": [0xB000]}
    assert list(first) == sorted(first)


@pytest.mark.parametrize(
    ("warnings", "said"),
    [
        (("It breaks 9.1.", "This is odd."), "It breaks 9.1. This is odd."),
        (("odd", "It is so.", "strange"), "odd; It is so. strange"),
        (("Alone.",), "Alone."),
    ],
)
def test_warnings_are_put_together_as_they_are_written(warnings: tuple[str, ...], said: str) -> None:
    """No full stop is followed by a semicolon (B-052)."""
    (item,) = response_dataset(BASE, [good(warnings=warnings)])["00081199"]["Value"]
    assert item["00000902"]["Value"] == [said]


def test_what_cannot_be_identified() -> None:
    """Parts without instance, and what broke the request off, are Other Failures (B-056)."""
    dataset = response_dataset(BASE, [bad(InvalidDicom("x"), identified=False)], BodyError(413, "too large"))
    reasons = [item["00081197"]["Value"] for item in dataset["0008119A"]["Value"]]
    assert reasons == [[0xC000], [0xA700]]
    assert dataset["00081190"] == {"vr": "UR"}


def test_long_explanations_stay_whole() -> None:
    """Error Comment keeps to its 64 characters; the whole sentence stands in Text Value (B-057)."""
    text = "The instance belongs to another study than the one in the path of the request, so it was refused."
    (item,) = response_dataset(BASE, [bad(StudyMismatch(text))])["00081198"]["Value"]
    assert len(item["00000902"]["Value"][0]) == 64
    assert item["0040A160"] == {"vr": "UT", "Value": [text]}
    assert list(item) == sorted(item)


def test_the_response_is_a_data_set_for_pydicom() -> None:
    """A client that reads the response with pydicom gets every item (B-050)."""
    outcomes = [good(), good("1.9"), bad(InvalidDicom("x")), bad(InvalidDicom("x" * 90), identified=False)]
    dataset = Dataset.from_json(json.loads(dumps(response_dataset(BASE, outcomes))))
    assert len(dataset.ReferencedSOPSequence) == 2
    assert dataset.FailedSOPSequence[0].FailureReason == 0xC000
    assert len(dataset.OtherFailuresSequence) == 1
    assert dataset.RetrieveURL in ("", None)
