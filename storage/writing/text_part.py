"""The text of a bulk data part, in UTF-8 as the composed file is.

Facts kept here:
- PS3.18 F.2: metadata and what it refers to are UTF-8. A part may tell another character set by the `charset` parameter
  of its Content-Type; what is no UTF-8, or has escape sequences, is in the Specific Character Set of the metadata where
  that is another one: some writers keep it, and send the bytes of the data set.
- What is in none of these is refused: it would be stored as characters that nobody wrote.
"""

import codecs
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from storage.dicom.charset import ESCAPE, CharacterSet, character_set
from storage.dicom.utf_8 import Utf8Writer
from storage.errors import OutOfSpace
from storage.writing.bulk_parts import BulkPart, Span, stream

_ASCII: Final = bytes(range(128)).decode("ascii")
_UNREADABLE: Final = "\ufffd".encode()
"""What bytes become that are nothing in their character set."""


def text_in_utf_8(part: BulkPart, vr: str, declared: str) -> Span:
    """Return where the text of a part lies in UTF-8: the part itself, or a temporary file, which the caller closes.

    Parameters
    ----------
    part : BulkPart
        The part.
    vr : str
        One of `charset.RESETS`.
    declared : str
        Specific Character Set of the metadata.

    Raises
    ------
    ValueError
        It is in no character set that was told.
    OutOfSpace
        There is no room for the temporary file.
    """
    whole = Span(part.path, 0, part.length)
    characters = _named(part.charset) if part.charset else character_set(declared.encode("latin-1", "replace"))
    is_utf_8, has_escapes = _looked_through(stream([whole]))
    obeys_escapes = has_escapes and characters.extensible and characters.declared != ""
    is_meant = characters.codec == "utf_8" if part.charset else not obeys_escapes
    if is_utf_8 and is_meant:
        return whole
    if characters.codec == "utf_8" or (characters.codec is None and not obeys_escapes):
        raise ValueError("the text of its part is not UTF-8; name its charset in the Content-Type of the part")
    return _written(whole, Utf8Writer(vr, characters), part.path.parent)


def _named(charset: str) -> CharacterSet:
    """Return the character set of an IANA name."""
    try:
        codec = codecs.lookup(charset)
        usable = codec.decode(_ASCII.encode(), "strict")[0] == _ASCII
    except (LookupError, ValueError, TypeError):
        usable = False
    if not usable:
        raise ValueError("the charset of its part is not known")
    return CharacterSet(codec.name.replace("-", "_"), extensible=False)


def _looked_through(chunks: Iterator[bytes]) -> tuple[bool, bool]:
    """Say whether a text is UTF-8, and whether it has escape sequences."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf_8, has_escapes = True, False
    for chunk in chunks:
        has_escapes = has_escapes or ESCAPE in chunk
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError:
            is_utf_8 = False
            decoder.reset()
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        is_utf_8 = False
    return is_utf_8, has_escapes


def _written(text: Span, writer: Utf8Writer, folder: Path) -> Span:
    file = cast(BinaryIO, tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - the caller closes it
    try:
        for piece in _pieces(text, writer):
            if _UNREADABLE in piece:
                raise ValueError("the text of its part is not in the character set that was told")
            file.write(piece)
        file.flush()
        return Span(file, 0, file.tell())
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            raise OutOfSpace("there is no room left for the text of a part") from None
        raise


def _pieces(text: Span, writer: Utf8Writer) -> Iterator[bytes]:
    yield from map(writer.write, stream([text]))
    yield writer.rest()
