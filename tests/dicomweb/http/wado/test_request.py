"""The choice between what a client accepts and what is stored."""

from typing import Any

import pytest

from dicomweb.http.message.target import accepted
from dicomweb.http.wado.forms import Stored, file_offers, made_forms, pixel_offers
from dicomweb.http.wado.request import NATIVE, choose, pixel_content_type

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LOSSLESS_57 = "1.2.840.10008.1.2.4.57"
JLS = "1.2.840.10008.1.2.4.80"
J2K = "1.2.840.10008.1.2.4.90"
J2K_LOSSY = "1.2.840.10008.1.2.4.91"
HTJ2K = "1.2.840.10008.1.2.4.202"
RLE = "1.2.840.10008.1.2.5"
VIDEO = "1.2.840.10008.1.2.4.102"

OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"
QUOTED = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
OCTETS = f"application/octet-stream; transfer-syntax={EXPLICIT}"


def form_of(stored: str, **attributes: Any) -> Stored:
    """Grey images of 12 bits stored in a transfer syntax."""
    native = stored in NATIVE
    grey = {"tag": 0x7FE00010, "bits_allocated": 16, "bits_stored": 12, "high_bit": 11}
    known = {"photometric_interpretation": "MONOCHROME2", "encapsulated": not native}
    return Stored(EXPLICIT if native else stored, **(grey | known | attributes))


# stored syntax, Accept of the request, content type of the part, multipart; None: 406
FRAMES = [
    (EXPLICIT, OHIF, OCTETS, True),
    (IMPLICIT, OHIF, OCTETS, True),
    (EXPLICIT, None, OCTETS, True),
    (EXPLICIT, "*/*", OCTETS, True),
    (EXPLICIT, "application/octet-stream", OCTETS, False),
    (EXPLICIT, 'multipart/related; type="application/octet-stream"', OCTETS, True),
    (EXPLICIT, 'multipart/related; type="*/*"', OCTETS, True),
    (EXPLICIT, "image/jpeg", f"image/jpeg; transfer-syntax={JPEG_LOSSLESS}", False),
    (EXPLICIT, f"image/jpeg; transfer-syntax={JPEG}", None, False),
    (EXPLICIT, f"image/jphc; transfer-syntax={HTJ2K}", f"image/jphc; transfer-syntax={HTJ2K}", False),
    (EXPLICIT, "image/jphc", "image/jphc; transfer-syntax=1.2.840.10008.1.2.4.201", False),
    (EXPLICIT, "image/jxl", None, False),
    (EXPLICIT, "image/jls, */*", f"image/jls; transfer-syntax={JLS}", False),
    (EXPLICIT, "image/jls; q=0.5, */*", OCTETS, True),
    (JLS, OHIF, f"image/jls; transfer-syntax={JLS}", True),
    (
        JLS,
        QUOTED,
        f"image/jls; transfer-syntax={JLS}",
        True,
    ),
    (JLS, "application/octet-stream; transfer-syntax=*", f"image/jls; transfer-syntax={JLS}", False),
    (JLS, None, f"image/jls; transfer-syntax={JLS}", True),
    (JLS, 'multipart/related; type="*/*"', f"image/jls; transfer-syntax={JLS}", True),
    (JLS, "image/jls", f"image/jls; transfer-syntax={JLS}", False),
    (JLS, "image/x-jls", f"image/jls; transfer-syntax={JLS}", False),
    (JLS, "multipart/related; type=image/*", f"image/jls; transfer-syntax={JLS}", True),
    (JLS, 'multipart/related; type="application/octet-stream"', OCTETS, True),
    (JLS, f'multipart/related; type="application/octet-stream"; transfer-syntax={EXPLICIT}', OCTETS, True),
    (JLS, "image/jp2", f"image/jp2; transfer-syntax={J2K}", False),
    (HTJ2K, OHIF, f"image/jphc; transfer-syntax={HTJ2K}", True),
    (HTJ2K, f"image/jphc; transfer-syntax={HTJ2K}", f"image/jphc; transfer-syntax={HTJ2K}", False),
    (RLE, OHIF, f"image/dicom-rle; transfer-syntax={RLE}", True),
    (JPEG, "image/jpeg", f"image/jpeg; transfer-syntax={JPEG}", False),
    (JPEG_LOSSLESS, "image/jpeg", f"image/jpeg; transfer-syntax={JPEG_LOSSLESS}", False),
    (JPEG, "application/octet-stream", OCTETS, False),
    (JPEG, f"image/jpeg; transfer-syntax={JPEG_LOSSLESS}", f"image/jpeg; transfer-syntax={JPEG_LOSSLESS}", False),
    (JPEG_LOSSLESS_57, "image/jpeg", f"image/jpeg; transfer-syntax={JPEG_LOSSLESS}", False),
    (JPEG_LOSSLESS_57, "image/*", f"image/jpeg; transfer-syntax={JPEG_LOSSLESS_57}", False),
    (VIDEO, "application/octet-stream", None, False),
    (VIDEO, "video/mp4", f"video/mp4; transfer-syntax={VIDEO}", False),
    (JLS, "image/jp2; q=0.1, image/jls; q=0.9", f"image/jls; transfer-syntax={JLS}", False),
    (JLS, "image/jls;q=0, */*;q=0", None, False),
    ("1.2.3.4", OHIF, "application/octet-stream; transfer-syntax=1.2.3.4", True),
]


@pytest.mark.parametrize(("stored", "accept", "expected", "multipart"), FRAMES)
def test_frames_come_in_a_form_the_client_takes(
    stored: str, accept: str | None, expected: str | None, multipart: bool
) -> None:
    """Stored bytes under `*`, defaults otherwise, 406 for what nobody can make (D-043 to D-047, D-058, D-059)."""
    offer = choose(accepted(accept, None, False), pixel_offers(form_of(stored), single=True))
    assert (offer and pixel_content_type(offer)) == expected
    if offer is not None:
        assert offer.multipart is multipart


DICOM = "application/dicom"
FILES = [
    (EXPLICIT, None, (False, EXPLICIT)),
    (EXPLICIT, "*/*", (False, EXPLICIT)),
    (EXPLICIT, DICOM, (False, EXPLICIT)),
    (EXPLICIT, 'multipart/related; type="application/dicom"', (True, EXPLICIT)),
    (EXPLICIT, "multipart/related;type=application/dicom", (True, EXPLICIT)),
    (EXPLICIT, f"multipart/related; type={DICOM}; transfer-syntax=*", (True, EXPLICIT)),
    (JLS, None, (False, JLS)),
    (JLS, DICOM, (False, EXPLICIT)),
    (JLS, f"{DICOM}; transfer-syntax=*", (False, JLS)),
    (JLS, f"{DICOM}; transfer-syntax={JLS}", (False, JLS)),
    (JLS, f"{DICOM}; transfer-syntax={HTJ2K}", (False, HTJ2K)),
    (JLS, f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.4.103", None),
    (JLS, f"{DICOM}; transfer-syntax={IMPLICIT}", None),
    (EXPLICIT, f"{DICOM}; transfer-syntax={RLE}", (False, RLE)),
    (EXPLICIT, f"{DICOM}; transfer-syntax={J2K_LOSSY}", (False, J2K_LOSSY)),
    (JLS, f'multipart/related; type="{DICOM}"; transfer-syntax=*', (True, JLS)),
    (JPEG, DICOM, (False, JPEG)),
    (JPEG, f"{DICOM}; transfer-syntax={EXPLICIT}", (False, EXPLICIT)),
    (VIDEO, DICOM, (False, VIDEO)),
    (VIDEO, f"{DICOM}; transfer-syntax={EXPLICIT}", None),
    (EXPLICIT, "text/html", None),
]


@pytest.mark.parametrize(("stored", "accept", "expected"), FILES)
def test_an_instance_comes_in_a_form_the_client_takes(
    stored: str, accept: str | None, expected: tuple[bool, str] | None
) -> None:
    """`*/*` gets the stored file, a named type its default, the only lossy copy as it is (A-042 to A-044, D-004)."""
    offer = choose(accepted(accept, None, False), file_offers(form_of(stored), single=True))
    assert (offer and (offer.multipart, offer.transfer_syntax)) == expected


def test_a_study_never_comes_without_multipart() -> None:
    """Single part is for one instance only (A-033, D-003)."""
    offers = file_offers(form_of(EXPLICIT), single=False)
    assert choose(accepted(DICOM, None, False), offers) is None
    chosen = choose(accepted("*/*", None, False), offers)
    assert chosen is not None and chosen.multipart


def test_the_accept_parameter_goes_before_the_header() -> None:
    """`?accept=` chooses within what the header allows (A-027, A-029)."""
    offers = pixel_offers(form_of(JLS), single=True)
    offer = choose(accepted("*/*", "image/jls", False), offers)
    assert offer is not None and not offer.multipart


def test_a_missing_accept_header_may_be_refused() -> None:
    """The switch of A-021 turned to what the Standard says (A-020)."""
    assert choose(accepted(None, None, True), pixel_offers(form_of(EXPLICIT), single=True)) is None


@pytest.mark.parametrize("accept", ["image/*", "image/jpeg; transfer-syntax=*", "*/*", 'multipart/related; type="*/*"'])
def test_nothing_is_lost_unless_the_lossy_syntax_is_named(accept: str) -> None:
    """Wildcards never select a lossy encoding that would have to be made (A-049)."""
    for form in (form_of(EXPLICIT), form_of(JLS), form_of(EXPLICIT, bits_allocated=8, bits_stored=8, high_bit=7)):
        offer = choose(accepted(accept, None, False), pixel_offers(form, single=True))
        assert offer is not None and not offer.named_only, offer


def test_what_cannot_be_made_is_not_offered() -> None:
    """32-bit and float samples, palettes and videos have no encoder for everything (D-059)."""
    deep = made_forms(form_of(EXPLICIT, bits_allocated=32, bits_stored=32, high_bit=31))
    assert RLE in deep and JLS not in deep
    assert JPEG not in made_forms(form_of(EXPLICIT, bits_allocated=8, photometric_interpretation="PALETTE COLOR"))
    assert JLS not in made_forms(form_of(EXPLICIT, tag=0x7FE00008, bits_allocated=32))
    assert made_forms(form_of(VIDEO)) == ()
    assert made_forms(Stored(EXPLICIT)) == ()


def test_what_would_not_fit_comes_compressed() -> None:
    """A value above 4 GiB cannot be written uncompressed (A-043)."""
    offers = file_offers(form_of(JLS, fits=False), single=True)
    chosen = choose(accepted(DICOM, None, False), offers)
    assert chosen is not None and chosen.transfer_syntax == JLS
    assert choose(accepted(f"{DICOM}; transfer-syntax={EXPLICIT}", None, False), offers) is None
