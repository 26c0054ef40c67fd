"""Which SOP classes are served, and in which transfer syntax: the table under the settings."""

from collections.abc import Sequence
from typing import Any

import pytest
from pynetdicom import sop_class

from dicomweb.gateway.services import PLAIN, SERVICES, STORAGE, Services
from dicomweb.gateway.storage_classes import STORAGE_SERVICE_CLASS, is_storage
from dicomweb.settings import Settings
from storage.dicom.transfer_syntax import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    HTJ2K,
    IMPLICIT_LE,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    TRANSFER_SYNTAXES,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
PRIVATE = "1.3.12.2.1107.5.9.1"
TOO_NEW = "1.2.840.10008.5.1.4.1.1.99999"
FILM_SESSION = "1.2.840.10008.5.1.1.1"
MPEG4 = "1.2.840.10008.1.2.4.102"
OTHERS = {
    uid
    for name, table in vars(sop_class).items()
    if name.endswith("_CLASSES") and name not in ("_STORAGE_CLASSES", "_NON_PATIENT_OBJECT_CLASSES", "_SERVICE_CLASSES")
    for uid in table.values()
}
"""Every SOP class pynetdicom knows that is not storage."""


def services(**settings: Any) -> Services:
    """The table under some settings."""
    return Services(Settings(**settings))


@pytest.mark.parametrize("uid", sorted(sop_class._STORAGE_CLASSES.values()))
def test_every_standard_storage_class_is_stored(uid: str) -> None:
    """G-040: all of PS3.4 Table B.5-1."""
    assert services(dimse_unknown_sop_classes="refuse").of(uid) is STORAGE


@pytest.mark.parametrize(
    "uid", ["1.2.840.10008.5.1.4.1.1.5", "1.2.840.10008.5.1.1.30", "1.2.840.10008.5.1.4.1.1.77.1", TOO_NEW, PRIVATE]
)
def test_retired_private_and_unknown_storage_classes_are_stored(uid: str) -> None:
    """G-001, G-016: what a modality made is not lost because we never heard of its class."""
    assert services().of(uid) is STORAGE


def test_other_services_are_not_taken_for_storage() -> None:
    """G-001: what nobody sends by C-STORE is refused, whatever a peer says of it."""
    assert len(OTHERS) > 60
    assert not any(is_storage(uid, STORAGE_SERVICE_CLASS) for uid in OTHERS)
    assert services().of(FILM_SESSION) is None
    assert services().of("1.2.840.10008.9.9.9") is None


def test_unknown_classes_can_be_refused_but_for_those_that_are_said_to_be_storage() -> None:
    """G-016, PS3.4 B.3.1.3: common extended negotiation names the service class of a class nobody knows."""
    strict = services(dimse_unknown_sop_classes="refuse")
    assert strict.of(PRIVATE) is None
    assert strict.of(TOO_NEW) is None
    assert strict.of(PRIVATE, STORAGE_SERVICE_CLASS) is STORAGE
    assert services().of(PRIVATE, "1.2.840.10008.4.99") is None
    assert services().of("1.2.840.10008.9.9.9", STORAGE_SERVICE_CLASS) is STORAGE


def test_a_refused_class_is_refused_before_it_is_sent() -> None:
    """G-001: `refused_sop_classes` is abstract syntax not supported, not a failure of each instance."""
    assert services(refused_sop_classes=[CT]).of(CT) is None


def test_no_sop_class_has_two_services() -> None:
    """The table has one row a SOP class, and each row something that can be asked."""
    named = [uid for service in SERVICES for uid in service.sop_classes]
    assert len(named) == len(set(named))
    assert all(service.handlers for service in SERVICES)
    assert not any(is_storage(uid) for uid in named)


@pytest.mark.parametrize(
    ("proposed", "chosen"),
    [
        ([IMPLICIT_LE], IMPLICIT_LE),
        ([IMPLICIT_LE, EXPLICIT_LE], EXPLICIT_LE),
        ([EXPLICIT_LE, JPEG_2000_LOSSLESS, IMPLICIT_LE], EXPLICIT_LE),
        ([JPEG_2000_LOSSLESS, EXPLICIT_LE], JPEG_2000_LOSSLESS),
        ([DEFLATED_LE, IMPLICIT_LE], DEFLATED_LE),
        ([JPEG_BASELINE, IMPLICIT_LE], IMPLICIT_LE),
        ([EXPLICIT_BE, IMPLICIT_LE], IMPLICIT_LE),
        ([JPEG_BASELINE, EXPLICIT_BE], EXPLICIT_BE),
        ([HTJ2K], HTJ2K),
        ([MPEG4], MPEG4),
        (["1.2.3.4", IMPLICIT_LE], IMPLICIT_LE),
        (["1.2.3.4"], None),
        ([], None),
    ],
)
def test_the_first_proposed_transfer_syntax_that_loses_nothing_is_chosen(
    proposed: Sequence[str], chosen: str | None
) -> None:
    """G-003: explicit or lossless as proposed first; Implicit VR, big endian and lossy ones when nothing else is."""
    assert services().transfer_syntax(STORAGE, proposed) == chosen


def test_preferred_and_refused_transfer_syntaxes_are_heeded() -> None:
    """G-003, G-053: the administrator's order goes before the peer's; what is refused is not chosen."""
    ours = services(dimse_preferred_transfer_syntaxes=[JPEG_BASELINE, IMPLICIT_LE], refused_transfer_syntaxes=[MPEG4])
    assert ours.transfer_syntax(STORAGE, [EXPLICIT_LE, JPEG_BASELINE]) == JPEG_BASELINE
    assert ours.transfer_syntax(STORAGE, [EXPLICIT_LE, IMPLICIT_LE]) == IMPLICIT_LE
    assert ours.transfer_syntax(STORAGE, [JPEG_2000_LOSSLESS, EXPLICIT_LE]) == JPEG_2000_LOSSLESS
    assert ours.transfer_syntax(STORAGE, [MPEG4]) is None


def test_storage_takes_every_transfer_syntax_we_know_and_others_only_plain_ones() -> None:
    """G-002, G-053: compressed ones for storage; Implicit and Explicit VR for every abstract syntax."""
    assert all(services().transfer_syntax(STORAGE, [uid]) == uid for uid in TRANSFER_SYNTAXES)
    for service in SERVICES:
        if service is not STORAGE:
            assert all(services().transfer_syntax(service, [uid]) == uid for uid in PLAIN)
            assert services().transfer_syntax(service, [JPEG_BASELINE]) is None
