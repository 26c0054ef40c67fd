"""Encapsulated Pixel Data given in the metadata itself, fragment by fragment: the member DataFragment.

Facts kept here:

* It is none of the DICOM JSON Model. dcm4che's tools write it, in XML too: an array of the Basic Offset Table and the
  fragments behind it (PS3.5 A.4), each with InlineBinary or BulkDataURI; an empty table is null.
* They are written as they are, so offset tables, extended ones too, stay true.
* The transfer syntax is what the metadata states, (0002,0010) or Available Transfer Syntax UID, when that is one of
  encapsulated pixel data, else what the first fragment is coded in.
"""

import struct
from collections.abc import Sequence
from typing import Final

from storage.dicom.codestream import family, rle_segments, transfer_syntax_of
from storage.dicom.part10 import is_encapsulated
from storage.errors import ContradictoryPixelData, InvalidDicom
from storage.pixels.frame_table import is_video
from storage.pixels.image_header import HEADER_BYTES, image_header
from storage.writing.bulk_parts import Piece, length_of, start_of
from storage.writing.pixel_parts import SEQUENCE_END, PixelValue, described_by, item_of

_OFFSET: Final = struct.Struct("<L")


def fragmented(fragments: Sequence[list[Piece]], stated: Sequence[str], number_of_frames: int | None) -> PixelValue:
    """Return the Pixel Data that fragments are.

    Parameters
    ----------
    fragments : sequence of lists of bytes and spans
        The Basic Offset Table, which may be empty, and the fragments.
    stated : sequence of str
        Transfer syntaxes that the metadata states, the most trustworthy first.
    number_of_frames : int or None
        What the metadata says.

    Raises
    ------
    InvalidDicom
        There is no fragment or an empty one, the first item is no offset table, or nothing tells the transfer syntax.
    ContradictoryPixelData
        There are fewer fragments than frames; those of a video share its fragments.

    Standard
    --------
    PS3.5 A.4.
    """
    table, *data = fragments or [[]]
    if not data or not all(map(length_of, data)):
        raise InvalidDicom("DataFragment is the offset table, or null, and fragments behind it, none of them empty")
    _check_table(start_of(table, length_of(table)), len(data))
    start = start_of(data[0], HEADER_BYTES)
    syntax = next(filter(is_encapsulated, stated), None) or transfer_syntax_of(start)
    if syntax is None:
        raise InvalidDicom("neither (0002,0010) nor the first fragment tells the transfer syntax")
    if (number_of_frames or 1) > len(data) and not is_video(syntax):
        raise ContradictoryPixelData(f"Number of Frames is {number_of_frames}, but the fragments are {len(data)}")
    header = image_header(start)
    pieces = [piece for fragment in fragments for piece in item_of(fragment)]
    headers = {header: 1} if header else {}
    segments = {rle_segments(start): 1} if family(start) == "rle" else {}
    value = [*pieces, SEQUENCE_END]
    return PixelValue(value, True, syntax, described_by(header), headers=headers, segments=segments)


def _check_table(table: bytes, fragments: int) -> None:
    """Raise InvalidDicom unless the first item can be a Basic Offset Table: ascending offsets from 0, or nothing."""
    whole = len(table) - len(table) % 4
    offsets = [offset for (offset,) in _OFFSET.iter_unpack(table[:whole])]
    ascending = not offsets or (offsets[0] == 0 and offsets == sorted(set(offsets)))
    if whole != len(table) or len(offsets) > fragments or not ascending:
        raise InvalidDicom("the first item of DataFragment is no Basic Offset Table (PS3.5 A.4); null stands for none")
