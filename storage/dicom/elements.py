"""The data set as read from a file: raw elements, undecoded, with their places in the file.

The parser (`part10`) makes them, the encoder (`dicomjson`) and the re-encoder (`reencode`) read them.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

Tag = int
"""A tag as one number: (0008,0018) is 0x00080018."""


class Element(NamedTuple):
    """One element of a data set, its value still in the bytes of the file.

    `value` is the raw value field (padding included) for ordinary elements, a list of items for VR SQ, and None when
    the value was left in the file because it is large or is encapsulated pixel data; then `offset` and `length` say
    where it is. `offset` and `length` are in bytes of the (inflated) file; `length` spans the value without the
    sequence delimiter when the length was undefined. `vr` is never one of pydicom's ambiguous VRs.
    """

    tag: Tag
    vr: str
    value: "bytes | list[Dataset] | None"
    offset: int
    length: int
    encapsulated: bool = False


Dataset = dict[Tag, Element]
"""Elements by tag, in ascending order of tag."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the data set (not the file meta information) is written (PS3.5 Annex A).

    `big_endian_words` says that values of VR OW are big endian though all else is little endian.
    """

    explicit_vr: bool = True
    little_endian: bool = True
    deflated: bool = False
    big_endian_words: bool = False

    @property
    def has_big_endian(self) -> bool:
        """Whether some values have to be turned round to be little endian."""
        return self.big_endian_words or not self.little_endian


@dataclass(frozen=True, slots=True)
class Limits:
    """What a hostile file may not exceed (checked while parsing)."""

    max_depth: int = 64
    max_elements: int = 1_000_000
    max_inflated_bytes: int = 8 * 2**30


@dataclass(slots=True)
class Header:
    """Everything of a DICOM file but its large values.

    Attributes
    ----------
    file_meta : Dataset
        Group 0002, empty when the file has none.
    dataset : Dataset
        The data set, without group 0002; group lengths are kept as read.
    transfer_syntax_uid : str
        As stated in the file meta information, or inferred when that is missing or contradicts the bytes.
    encoding : Encoding
        The encoding that was really found.
    has_preamble : bool
        Whether the file starts with the 128-byte preamble and "DICM", has file meta that tells the truth of transfer
        syntax, SOP class and instance, and is regular, so that it can be given out byte for byte.
    dataset_offset : int
        Where the data set starts in the file, in bytes.
    file_length : int
        Length in bytes of the (inflated) stream the offsets refer to.
    warnings : list of str
        What was odd but could be read; safe to show.
    regular : bool
        Whether the data set is written in its encoding throughout: no bytes that are no VR, no elements in between that
        are in Implicit VR, or in Explicit VR where that is not the encoding.
    """

    file_meta: Dataset
    dataset: Dataset
    transfer_syntax_uid: str
    encoding: Encoding
    has_preamble: bool
    dataset_offset: int
    file_length: int
    warnings: list[str] = field(default_factory=list)
    regular: bool = True
