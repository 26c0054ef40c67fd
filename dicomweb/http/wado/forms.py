"""The forms in which stored instances and frames can be had: as stored, decompressed, or compressed otherwise.

Facts this module keeps:

- The stored form is the first: it costs nothing, and is what a wildcard gets (PS3.18 8.7.3.5.2; checklist A-044).
- Without `transfer-syntax` a named media type means its default: Explicit VR Little Endian for DICOM files, decoded
  from whatever is stored (A-042), except that what was stored with loss comes as it is (A-043). Decoded frames come
  under application/octet-stream, whatever was lost, since nobody could read anything else there (A-061).
- What loses information is made for those who name its transfer syntax, and for nobody else (A-049).
- A value above 4 GiB cannot be written uncompressed, so such files come compressed (A-043).
- A file without pixel data is the same in every transfer syntax of compressed pixels: it comes in Explicit VR Little
  Endian whichever is named, so that a report does not keep a client from the images of its study (D-009).
- What can be made is judged from the data set alone; a frame that turns out to be damaged is a 406 later.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from dicomweb.http.message.media_types import (
    DICOM,
    EXPLICIT_VR_LITTLE_ENDIAN,
    OCTET_STREAM,
    MediaRange,
    Offer,
    media_type_of,
)
from dicomweb.http.wado.request import LOSSY, VIDEO, choose, syntax_label
from storage.dicom.transfer_syntax import TRANSFER_SYNTAXES
from storage.pixels.layout import PixelLayout
from storage.pixels.pixel_data import why_not_transcodable

if TYPE_CHECKING:
    from storage.retrieval.instance_file import InstanceFile

__all__ = [
    "LOSSY",
    "VIDEO",
    "Stored",
    "as_stored",
    "choose_form",
    "file_offers",
    "made_forms",
    "pixel_offers",
    "sent_in",
    "stored_form",
    "transcoded_to",
]

_MADE = tuple(uid for uid, syntax in TRANSFER_SYNTAXES.items() if syntax.encode is not None)
_LONGEST_VALUE = 0xFFFFFFFE
_ANY_SYNTAX = {"transfer-syntax": "*"}


class Stored(NamedTuple):
    """What of a stored instance decides the forms it can be had in.

    Attributes
    ----------
    transfer_syntax_uid : str
        Of its pixel data: native pixels in a file that says it is compressed are native. Fit for a header.
    tag : int
        Of its pixel data; 0 when it has none.
    encapsulated : bool
        Whether that is compressed.
    samples, bits_allocated, bits_stored, high_bit, pixel_representation : int
        As in the data set.
    photometric_interpretation : str
        As in the data set.
    fits : bool
        Whether the pixel data can be written uncompressed.
    reversed : bool
        Whether its words are stored in big endian.
    """

    transfer_syntax_uid: str
    tag: int = 0
    encapsulated: bool = False
    samples: int = 1
    bits_allocated: int = 0
    bits_stored: int = 0
    high_bit: int = 0
    pixel_representation: int = 0
    photometric_interpretation: str = ""
    fits: bool = True
    reversed: bool = False


def stored_form(instance: "InstanceFile") -> Stored:
    """Return what decides the forms an instance can be had in."""
    pixel = instance.layout.pixel_data
    if pixel is None:
        return Stored(EXPLICIT_VR_LITTLE_ENDIAN)
    cells = pixel.rows * pixel.columns * pixel.samples * pixel.frames
    return Stored(
        syntax_label(instance.transfer_syntax_uid) if pixel.encapsulated else EXPLICIT_VR_LITTLE_ENDIAN,
        pixel.tag,
        pixel.encapsulated,
        pixel.samples,
        pixel.bits_allocated,
        pixel.bits_stored,
        pixel.high_bit,
        pixel.pixel_representation,
        pixel.photometric_interpretation,
        cells * pixel.bits_allocated <= 8 * _LONGEST_VALUE,
        pixel.word_bytes > 1,
    )


def as_stored(stored: Stored, offer: Offer) -> bool:
    """Whether pixel data in a form are the very bytes of the file, and no build of this program sends others."""
    shifted = stored.bits_allocated == 1  # to where a byte begins
    return offer.transfer_syntax in (None, stored.transfer_syntax_uid) and not stored.reversed and not shifted


@lru_cache(maxsize=1024)
def made_forms(stored: Stored) -> tuple[str, ...]:
    """Return the transfer syntaxes that pixel data can be transcoded to, its own not among them.

    Standard
    --------
    Checklist D-013, D-059.
    """
    uid = stored.transfer_syntax_uid
    if not stored.tag or not stored.bits_allocated or uid in VIDEO:
        return ()
    pixel = PixelLayout(
        tag=stored.tag,
        offset=0,
        length=0,
        encapsulated=stored.encapsulated,
        frames=1,
        frame_bits=0,
        rows=1,
        columns=1,
        samples=stored.samples,
        bits_allocated=stored.bits_allocated,
        bits_stored=stored.bits_stored,
        high_bit=stored.high_bit,
        pixel_representation=stored.pixel_representation,
        planar_configuration=0,
        photometric_interpretation=stored.photometric_interpretation,
    )
    return tuple(made for made in _MADE if made != uid and why_not_transcodable(pixel, uid, made) is None)


def choose_form(ranges: Sequence[MediaRange], stored: Stored, offers: Sequence[Offer]) -> Offer | None:
    """Choose among the forms of a whole file; without pixel data it is as good in any transfer syntax (D-009)."""
    chosen = choose(ranges, offers)
    if chosen is None and not stored.tag:
        chosen = choose([replace(entry, parameters={**entry.parameters, **_ANY_SYNTAX}) for entry in ranges], offers)
    return chosen


def transcoded_to(file: "InstanceFile", form: Offer) -> str | None:
    """Return the transfer syntax a file is transcoded to when it is sent in a form, None when it is not."""
    uid = form.transfer_syntax
    return uid if uid != stored_form(file).transfer_syntax_uid else None


def sent_in(file: "InstanceFile", made: str | None) -> str:
    """Return the transfer syntax that is told in a file transcoded to `made`, or sent as stored (8.7.9)."""
    uid = made
    if uid is None:
        uid = file.transfer_syntax_uid if file.given_out_as_stored else file.retrieved_transfer_syntax_uid
    return syntax_label(uid)


@lru_cache(maxsize=1024)
def file_offers(stored: Stored, *, single: bool) -> tuple[Offer, ...]:
    """Return the forms a stored DICOM file can be had in; the first is what `*/*` gets.

    Parameters
    ----------
    stored : Stored
        What it is.
    single : bool
        Whether the resource is one instance, which may come without multipart.

    Standard
    --------
    PS3.18 Table 10.4.4-1, 8.7.3.4; checklist A-042 to A-049.
    """
    uid = stored.transfer_syntax_uid
    forms = (False, True) if single else (True,)
    as_it_is = uid in LOSSY or not stored.fits
    offers = [Offer(DICOM, multipart, uid, True if as_it_is else None) for multipart in forms]
    for made in made_forms(stored):
        if made == EXPLICIT_VR_LITTLE_ENDIAN and not stored.fits:
            continue
        default = False if as_it_is else None
        offers += [Offer(DICOM, multipart, made, default, made in LOSSY) for multipart in forms]
    return tuple(offers)


@lru_cache(maxsize=1024)
def pixel_offers(
    stored: Stored, *, single: bool, multipart_first: bool = True, one_value: bool = False
) -> tuple[Offer, ...]:
    """Return the forms frames or pixel data can be had in; the first is what `*/*` gets.

    Parameters
    ----------
    stored : Stored
        What they are.
    single : bool
        Whether it is one part, which may come without multipart.
    multipart_first : bool
        What `*/*` gets when both are possible.
    one_value : bool
        Whether they are one part at least when uncompressed (checklist D-074).

    Standard
    --------
    PS3.18 Tables 8.7.3-4, 8.7.3-5, 10.4.4-1; checklist D-043 to D-047, D-058.
    """
    both: tuple[bool, ...] = (True, False) if multipart_first else (False, True)
    forms = both if single else (True,)
    native = [Offer(OCTET_STREAM, multipart, EXPLICIT_VR_LITTLE_ENDIAN) for multipart in (both if one_value else forms)]
    uid = stored.transfer_syntax_uid
    made = made_forms(stored)
    if uid == EXPLICIT_VR_LITTLE_ENDIAN:
        offers = native
    else:
        offers = [Offer(media_type_of(uid), form, uid, True if uid in LOSSY else None) for form in forms]
        # Viewers ask for octet-stream with transfer-syntax=* and read the true type from the part.
        offers += [Offer(OCTET_STREAM, form, uid, False) for form in forms]
        if EXPLICIT_VR_LITTLE_ENDIAN in made:
            offers += native
    for other in made:
        if other != EXPLICIT_VR_LITTLE_ENDIAN:
            offers += [Offer(media_type_of(other), form, other, None, other in LOSSY) for form in forms]
    return tuple(offers)
