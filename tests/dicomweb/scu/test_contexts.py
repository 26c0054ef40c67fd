"""Which presentation contexts are proposed, and what is tried in which order."""

import pytest

from dicomweb.scu.contexts import MOST_CONTEXTS, Kind, plan_associations, syntaxes_to_try
from storage.dicom.transfer_syntax import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    RLE_LOSSLESS,
    TRANSFER_SYNTAXES,
)

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
MPEG = "1.2.840.10008.1.2.4.100"
PRIVATE = "1.2.3.4.5"


@pytest.mark.parametrize(
    ("stored", "preferred", "expected"),
    [
        (EXPLICIT_LE, (), [(EXPLICIT_LE,), (IMPLICIT_LE,)]),
        (IMPLICIT_LE, (), [(IMPLICIT_LE,), (EXPLICIT_LE,)]),
        (EXPLICIT_BE, (), [(EXPLICIT_BE,), (EXPLICIT_LE, IMPLICIT_LE)]),
        (JPEG_BASELINE, (), [(JPEG_BASELINE,), (EXPLICIT_LE, IMPLICIT_LE)]),
        (MPEG, (), [(MPEG,)]),
        (PRIVATE, (), [(PRIVATE,)]),
        (JPEG_2000, (IMPLICIT_LE,), [(IMPLICIT_LE,), (JPEG_2000,), (EXPLICIT_LE,)]),
        (EXPLICIT_LE, (RLE_LOSSLESS,), [(RLE_LOSSLESS,), (EXPLICIT_LE,), (IMPLICIT_LE,)]),
        (EXPLICIT_LE, (JPEG_BASELINE,), [(EXPLICIT_LE,), (IMPLICIT_LE,)]),
        (MPEG, (RLE_LOSSLESS,), [(MPEG,)]),
    ],
)
def test_the_stored_syntax_and_what_everybody_takes_are_proposed(
    stored: str, preferred: tuple[str, ...], expected: list[tuple[str, ...]]
) -> None:
    """Each that matters alone, since the peer chooses within a context; nothing we could not send (G-101)."""
    (plan,) = plan_associations([Kind(CT, stored)], preferred)
    assert list(plan.contexts) == [(CT, uids) for uids in expected]


def test_kinds_of_one_class_share_their_fall_back() -> None:
    """Two stored syntaxes of a class need three contexts, two classes are apart (PS3.8 9.3.2.2)."""
    kinds = [Kind(CT, RLE_LOSSLESS), Kind(MR, EXPLICIT_LE), Kind(CT, JPEG_BASELINE), Kind(CT, RLE_LOSSLESS)]
    (plan,) = plan_associations(kinds)
    assert list(plan.contexts) == [
        (CT, (RLE_LOSSLESS,)),
        (CT, (JPEG_BASELINE,)),
        (CT, (EXPLICIT_LE, IMPLICIT_LE)),
        (MR, (EXPLICIT_LE,)),
        (MR, (IMPLICIT_LE,)),
    ]
    assert plan.kinds == set(kinds)


@pytest.mark.parametrize("preferred", [(), (RLE_LOSSLESS, JPEG_2000_LOSSLESS)])
def test_more_contexts_than_an_association_has_are_spread(preferred: tuple[str, ...]) -> None:
    """At most 128 each, every kind in exactly one, with its own syntax proposed there (G-103)."""
    kinds = [Kind(f"1.2.3.{number}", uid) for number in range(100) for uid in (EXPLICIT_LE, JPEG_BASELINE)]
    kinds += [Kind(CT, uid) for uid in TRANSFER_SYNTAXES] + [Kind(CT, f"1.2.9.{number}") for number in range(200)]
    plans = plan_associations(kinds, preferred)
    assert len(plans) > 2
    assert sorted(kind for plan in plans for kind in plan.kinds) == sorted(kinds)
    for plan in plans:
        assert len(plan.contexts) <= MOST_CONTEXTS
        assert all((kind.sop_class_uid, (kind.transfer_syntax_uid,)) in plan.contexts for kind in plan.kinds)
        assert len(set(plan.contexts)) == len(plan.contexts)


def test_nothing_to_send_needs_no_association() -> None:
    """No instance, no plan."""
    assert plan_associations([]) == []


@pytest.mark.parametrize(
    ("stored", "preferred", "expected"),
    [
        (RLE_LOSSLESS, (), [RLE_LOSSLESS, EXPLICIT_LE, IMPLICIT_LE]),
        (EXPLICIT_LE, (), [EXPLICIT_LE, IMPLICIT_LE]),
        (RLE_LOSSLESS, (IMPLICIT_LE, JPEG_BASELINE), [IMPLICIT_LE, RLE_LOSSLESS, EXPLICIT_LE]),
        (JPEG_BASELINE, (JPEG_BASELINE,), [JPEG_BASELINE, EXPLICIT_LE, IMPLICIT_LE]),
        (PRIVATE, (EXPLICIT_LE,), [PRIVATE]),
    ],
)
def test_what_is_tried_first(stored: str, preferred: tuple[str, ...], expected: list[str]) -> None:
    """The receiver's wishes that lose nothing, then the stored bytes, then little endian (G-101)."""
    assert syntaxes_to_try(stored, preferred) == expected
