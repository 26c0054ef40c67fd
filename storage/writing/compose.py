"""Metadata in the DICOM JSON Model plus bulk data parts -> one Part 10 file, as a stream (PS3.18 10.5.1.4).

Facts kept here:

* The metadata has no group 0002; the File Meta Information is made from what the parts are.
* All text is written as ISO_IR 192, that of bulk data parts too. Sequences are written with undefined length.
* A value of 64 KiB and more in a VR with 16 bit length is written as UN (PS3.5 6.2.2).
* Parts are files: nothing here holds a whole one in memory.
* Nothing is left out in silence: what the model does not know is refused, or named in a warning when nothing is lost.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from storage.dicom.charset import RESETS
from storage.dicom.dicomjson import BINARY, SPECIFIC_CHARACTER_SET, UTF_8, Attribute, integer_string, key_of
from storage.dicom.elements import Limits
from storage.dicom.json_attribute import FRAGMENTS, ignored_members, normalised, shown, stated_value, tag_of_key
from storage.dicom.part10 import EXPLICIT_LE, file_meta_bytes
from storage.dicom.value_field import inline_binary, value_field
from storage.dicom.vr import SHORT_VR, padding, tag_of
from storage.errors import InvalidDicom, LimitExceeded, MissingIdentifier
from storage.writing.bulk_parts import BulkPart, Piece, Span, length_of, stream
from storage.writing.data_fragments import fragmented
from storage.writing.image_agreement import disagreements
from storage.writing.pixel_parts import OCTET_STREAM, PixelValue, pixel_value
from storage.writing.text_part import text_in_utf_8

__all__ = ["BulkPart", "Composed", "Resolve", "compose"]

Resolve = Callable[[str], list[BulkPart]]
"""BulkDataURI -> its parts in the order of the message; an empty list when there is none."""

PIXEL_DATA: Final = key_of(tag_of("PixelData"))
OFFSET_TABLES: Final = tuple(key_of(tag_of(f"ExtendedOffsetTable{part}")) for part in ("", "Lengths"))
DOCUMENT: Final = key_of(tag_of("EncapsulatedDocument"))
DOCUMENT_TYPE: Final = key_of(tag_of("MIMETypeOfEncapsulatedDocument"))
DOCUMENT_LENGTH: Final = key_of(tag_of("EncapsulatedDocumentLength"))
BITS_ALLOCATED: Final = key_of(tag_of("BitsAllocated"))
NUMBER_OF_FRAMES: Final = key_of(tag_of("NumberOfFrames"))
TRANSFER_SYNTAX: Final = (key_of(tag_of("TransferSyntaxUID")), key_of(tag_of("AvailableTransferSyntaxUID")))
SOP_CLASS: Final = key_of(tag_of("SOPClassUID"))
SOP_INSTANCE: Final = key_of(tag_of("SOPInstanceUID"))
CHARACTER_SET: Final = key_of(SPECIFIC_CHARACTER_SET)
UNDEFINED: Final = 0xFFFFFFFF
MAX_SHORT: Final = 0xFFFE
ITEM: Final = bytes.fromhex("feff00e0ffffffff")
ITEM_END: Final = bytes.fromhex("feff0de000000000")
SEQUENCE_END: Final = bytes.fromhex("feffdde000000000")
_MOST_NAMES: Final = 20
MAX_DEPTH: Final = Limits().max_depth


@dataclass(slots=True)
class Composed:
    """A Part 10 file about to be streamed.

    Attributes
    ----------
    length : int
        Its exact length in bytes.
    chunks : iterator of bytes
        Its bytes, at most 1 MiB at a time; the files of the parts must stay until it is exhausted.
    transfer_syntax_uid : str
        As its File Meta Information states it.
    warnings : list of str
        What of the metadata was left out or differs from the parts; safe to show.
    """

    length: int
    chunks: Iterator[bytes]
    transfer_syntax_uid: str
    warnings: list[str] = field(default_factory=list)
    _temporary: list[BinaryIO] = field(default_factory=list)

    def close(self) -> None:
        """Let go of decoded pixels and text of parts; to be called whether or not the chunks were read."""
        for file in self._temporary:
            file.close()


def compose(dataset: Mapping[str, Any], resolve: Resolve) -> Composed:
    """Make a Part 10 file of a DICOM JSON object and the bulk data it refers to.

    Parameters
    ----------
    dataset : mapping of str to Attribute
        The metadata of one instance; group lengths in it are ignored, and group 0002 but for Transfer Syntax UID, which
        says what a DataFragment is.
    resolve : callable
        Finds the parts of a BulkDataURI.

    Returns
    -------
    Composed
        Everything was checked when it is returned, except that files may vanish.

    Raises
    ------
    InvalidDicom
        When the object breaks the DICOM JSON Model, has a value under a name the model does not know, a value is not of
        its VR, a reference has no part, or the parts do not fit; the message names the attribute.
    MissingIdentifier
        When SOP Class UID or SOP Instance UID are missing.
    LimitExceeded
        When sequences are nested too deeply or an image is too big to be decoded.

    Standard
    --------
    PS3.18 10.5.1.4 and 10.5.2; PS3.10 7.1.
    """
    attributes = normalised(dataset)
    writer = _Writer(resolve, attributes.get(CHARACTER_SET, {}).get("Value"), _stated_syntaxes(dataset))
    if CHARACTER_SET in attributes or _beyond_ascii(attributes) or _refers_to_text(attributes):
        attributes[CHARACTER_SET] = UTF_8
    try:
        body = writer.dataset(attributes, 0)
        syntax = writer.transfer_syntax_uid
        meta = file_meta_bytes(
            sop_class_uid=_identifier(attributes, SOP_CLASS, "SOP Class UID"),
            sop_instance_uid=_identifier(attributes, SOP_INSTANCE, "SOP Instance UID"),
            transfer_syntax_uid=syntax,
        )
    except BaseException:
        for file in writer.temporary:
            file.close()
        raise
    pieces: list[Piece] = [meta, *body]
    return Composed(length_of(pieces), stream(pieces), syntax, writer.all_warnings(), writer.temporary)


def _stated_syntaxes(dataset: Mapping[str, Any]) -> list[str]:
    """Return the transfer syntaxes that metadata states, that of the file first."""
    stated = {key_of(tag_of_key(name)): attribute for name, attribute in dataset.items()}
    return [str(uid).strip() for key in TRANSFER_SYNTAX if (uid := _first(stated, key)) is not None]


def _beyond_ascii(attributes: dict[str, Attribute]) -> bool:
    try:
        return not orjson.dumps(attributes).isascii()
    except TypeError:  # lone surrogates, integers beyond 64 bits, or nesting without end
        raise InvalidDicom("the metadata cannot be written as JSON (RFC 8259)") from None


def _refers_to_text(dataset: Any) -> bool:
    """Whether some text is in a bulk data part, and may be beyond ASCII there; what is malformed is refused later."""
    for attribute in dataset.values() if isinstance(dataset, Mapping) else ():
        if not isinstance(attribute, Mapping):
            continue
        if attribute.get("BulkDataURI") is not None and str(attribute.get("vr")) not in BINARY:
            return True
        values = attribute.get("Value")
        if attribute.get("vr") == "SQ" and isinstance(values, list) and any(map(_refers_to_text, values)):
            return True
    return False


def _identifier(attributes: dict[str, Attribute], key: str, name: str) -> str:
    uid = _first(attributes, key)
    if not isinstance(uid, str) or not uid.strip():
        raise MissingIdentifier(f"the metadata has no {name} {shown(key)}")
    return uid.strip()


def _first(attributes: dict[str, Attribute], key: str) -> Any:
    values = attributes.get(key, {}).get("Value")
    return values[0] if isinstance(values, list) and values else None


class _Writer:
    """Writes data sets in Explicit VR Little Endian as pieces of a stream."""

    def __init__(self, resolve: Resolve, character_set: Any, stated_syntaxes: list[str]) -> None:
        self._resolve = resolve
        self._character_set = "\\".join(map(str, character_set)) if isinstance(character_set, list) else ""
        self._stated_syntaxes = stated_syntaxes
        self._warnings: list[str] = []
        self._ignored: dict[str, list[str]] = {}
        self.transfer_syntax_uid = EXPLICIT_LE
        self.temporary: list[BinaryIO] = []

    def all_warnings(self) -> list[str]:
        """Return what is to be said of the data sets written; a member that many attributes have is named once."""
        left_out = [
            f'"{member[:40]}" of {shown(keys[0])}{f" and {len(keys) - 1} more" if len(keys) > 1 else ""} was left out.'
            for member, keys in list(self._ignored.items())[:_MOST_NAMES]
        ]
        return [*dict.fromkeys(self._warnings), *left_out]

    def dataset(self, attributes: dict[str, Attribute], depth: int) -> list[Piece]:
        for key, member in ignored_members(attributes):
            self._ignored.setdefault(member, []).append(key)
        pixels = self._pixels(attributes, depth)
        if pixels is not None:
            self._warnings += disagreements(attributes, pixels)
            attributes = _described(attributes, pixels)
        if attributes.get(DOCUMENT, {}).get("BulkDataURI") is not None:
            attributes = self._document(attributes)
        pieces: list[Piece] = []
        for key in sorted(attributes):
            if key == PIXEL_DATA and pixels is not None:
                pieces += _element(key, _pixel_vr(attributes, pixels), pixels.pieces, undefined=pixels.encapsulated)
                continue
            try:
                pieces += self._attribute(key, attributes[key], depth)
            except ValueError as error:
                raise InvalidDicom(f"{shown(key)}: {error}") from None
        return pieces

    def _attribute(self, key: str, attribute: Attribute, depth: int) -> list[Piece]:
        vr, form, value = stated_value(key, attribute)
        if vr == "SQ":
            return self._sequence(key, value, depth)
        if form == "BulkDataURI":
            return _element(key, vr, [self._bulk(key, vr, value)])
        if form == FRAGMENTS:
            raise ValueError(f"{FRAGMENTS} is for Pixel Data only")
        raw = inline_binary(value, vr) if form == "InlineBinary" else value_field(vr, value) if value else b""
        return _element(key, vr, [raw] if raw else [])

    def _sequence(self, key: str, items: list[Any], depth: int) -> list[Piece]:
        if depth >= MAX_DEPTH:
            raise LimitExceeded(f"sequences are nested more than {MAX_DEPTH} levels deep")
        pieces: list[Piece] = []
        for item in items:
            attributes = normalised({} if item is None else item)
            attributes.pop(CHARACTER_SET, None)  # the whole data set is in the character set of its top level
            pieces += [ITEM, *self.dataset(attributes, depth + 1), ITEM_END]
        return _element(key, "SQ", [*pieces, SEQUENCE_END] if items else [], undefined=bool(items))

    def _parts(self, key: str, uri: Any) -> list[BulkPart]:
        if not isinstance(uri, str):
            raise InvalidDicom(f"{shown(key)}: BulkDataURI must be a string (PS3.18 F.2.2)")
        parts = self._resolve(uri)
        if not parts:
            raise InvalidDicom(f"{shown(key)}: the request has no part for its BulkDataURI (PS3.18 10.5.1.4)")
        return parts

    def _bulk(self, key: str, vr: str, uri: Any) -> Piece:
        parts = self._parts(key, uri)
        if len(parts) > 1:
            raise InvalidDicom(f"{shown(key)}: more than one part for its BulkDataURI (PS3.18 10.5.1.4)")
        if vr not in RESETS:
            return Span(parts[0].path, 0, parts[0].length)
        text = text_in_utf_8(parts[0], vr, self._character_set)
        if not isinstance(text.source, Path):
            self.temporary.append(text.source)
        return text

    def _pixels(self, attributes: dict[str, Attribute], depth: int) -> PixelValue | None:
        """Return Pixel Data that comes in parts or in fragments, None for any other."""
        if PIXEL_DATA not in attributes:
            return None
        number = integer_string(str(_first(attributes, NUMBER_OF_FRAMES)).strip())
        frames = number if isinstance(number, int) else None
        try:
            _, form, value = stated_value(PIXEL_DATA, {"vr": "OW"} | attributes[PIXEL_DATA])
            if form == FRAGMENTS:
                pixels = fragmented(self._fragments(value), self._stated_syntaxes, frames)
            elif form == "BulkDataURI":
                pixels = pixel_value(self._parts(PIXEL_DATA, value), frames)
            else:
                return None
        except OSError:
            raise InvalidDicom(f"{shown(PIXEL_DATA)}: a part cannot be read") from None
        except ValueError as error:
            raise InvalidDicom(f"{shown(PIXEL_DATA)}: {error}") from None
        for piece in pixels.pieces:
            if isinstance(piece, Span) and not isinstance(piece.source, Path):
                self.temporary.append(piece.source)
        if pixels.encapsulated or depth == 0:
            if self.transfer_syntax_uid not in (EXPLICIT_LE, pixels.transfer_syntax_uid):
                raise InvalidDicom(f"{shown(PIXEL_DATA)}: images of one instance differ in transfer syntax")
            self.transfer_syntax_uid = pixels.transfer_syntax_uid
        return pixels

    def _fragments(self, items: Any) -> list[list[Piece]]:
        """Return the pieces of each item of DataFragment; raises ValueError when one is no such item."""
        if not isinstance(items, list):
            raise ValueError(f"{FRAGMENTS} must be an array")
        fragments: list[list[Piece]] = []
        for item in items:
            if not isinstance(item, dict | None):
                raise ValueError(f"the items of {FRAGMENTS} are objects or null")
            _, form, value = stated_value(PIXEL_DATA, {"vr": "OB"} | (item or {}))
            if form == "BulkDataURI":
                fragments.append([self._bulk(PIXEL_DATA, "OB", value)])
            elif form == "InlineBinary":
                fragments.append([inline_binary(value, "OB")])
            elif value:
                raise ValueError(f"the items of {FRAGMENTS} have InlineBinary or BulkDataURI")
            else:
                fragments.append([])
        return fragments

    def _document(self, attributes: dict[str, Attribute]) -> dict[str, Attribute]:
        """Fill in media type and unpadded length of an Encapsulated Document when the metadata does not state them."""
        parts = self._parts(DOCUMENT, attributes[DOCUMENT]["BulkDataURI"])
        told: dict[str, Attribute] = {DOCUMENT_LENGTH: {"vr": "UL", "Value": [parts[0].length]}}
        if parts[0].essence not in OCTET_STREAM:
            told[DOCUMENT_TYPE] = {"vr": "LO", "Value": [parts[0].essence]}
        return attributes | {key: value for key, value in told.items() if not attributes.get(key, {}).get("Value")}


def _described(attributes: dict[str, Attribute], pixels: PixelValue) -> dict[str, Attribute]:
    """Fill in what the pixels tell and the metadata does not; offset tables of another encoding go."""
    kept = () if FRAGMENTS in attributes[PIXEL_DATA] else OFFSET_TABLES
    described = {key: attribute for key, attribute in attributes.items() if key not in kept}
    for key, attribute in pixels.description.items():
        if pixels.certain or not described.get(key, {}).get("Value"):
            described[key] = attribute
    return described


def _pixel_vr(attributes: dict[str, Attribute], pixels: PixelValue) -> str:
    """Return OB for encapsulated and OW for deep native pixels (PS3.5 A.2 and A.4)."""
    if pixels.encapsulated:
        return "OB"
    bits = _first(attributes, BITS_ALLOCATED)
    stated = attributes[PIXEL_DATA].get("vr")
    return "OW" if (isinstance(bits, int) and bits > 8) or stated not in ("OB", "OW") else str(stated)


def _element(key: str, vr: str, value: list[Piece], *, undefined: bool = False) -> list[Piece]:
    length = length_of(value)
    if length % 2:
        value, length = [*value, padding(vr)], length + 1
    if length >= UNDEFINED and not undefined:
        raise InvalidDicom(f"{shown(key)}: a value of 4 GiB and more must be compressed (PS3.5 7.1.1)")
    if vr.encode() in SHORT_VR:
        if length <= MAX_SHORT:
            return [_head(key, vr) + length.to_bytes(2, "little"), *value]
        vr = "UN"
    field_length = UNDEFINED if undefined else length
    return [_head(key, vr) + b"\0\0" + field_length.to_bytes(4, "little"), *value]


def _head(key: str, vr: str) -> bytes:
    tag = int(key, 16)
    return (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr.encode()
