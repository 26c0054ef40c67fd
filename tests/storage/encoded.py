"""Pieces of DICOM files put together byte by byte, as no careful writer would."""

import struct
from typing import Any

from storage.dicom.elements import Header
from storage.dicom.part10 import BytesSource, file_meta_bytes, read_header
from storage.dicom.vr import explicit_element, tag_of
from tests.builders import EXPLICIT_LE

UNDEFINED = 0xFFFFFFFF
SOP_CLASS = explicit_element(tag_of("SOPClassUID"), "UI", b"1.2.840.10008.5.1.4.1.1.7")
SEQUENCE_DELIMITER = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def header_of(data: bytes, **options: Any) -> Header:
    return read_header(BytesSource(data), **options)[0]


def part10(dataset: bytes, transfer_syntax: str = EXPLICIT_LE) -> bytes:
    meta = file_meta_bytes(sop_class_uid="", sop_instance_uid="", transfer_syntax_uid=transfer_syntax)
    return meta + dataset


def item(content: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value
