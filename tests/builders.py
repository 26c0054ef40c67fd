"""Small DICOM files made by pydicom for the tests: valid unless asked otherwise, the same in every run."""

import io
import itertools
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
)

EXPLICIT_LE: Final = str(ExplicitVRLittleEndian)
IMPLICIT_LE: Final = str(ImplicitVRLittleEndian)
BIG_ENDIAN: Final = str(ExplicitVRBigEndian)
DEFLATED: Final = str(DeflatedExplicitVRLittleEndian)
JPEG_BASELINE: Final = str(JPEGBaseline8Bit)

ABSENT: Final = object()
"""Given as an attribute's value: leave the attribute out (None writes it with zero length)."""

Pixels = bytes | Sequence[bytes] | Sequence[Sequence[bytes]]
OffsetTable = Literal["basic", "empty", "extended"]

_numbers = itertools.count(1)


def new_uid() -> str:
    """Return a UID not given out before in this process; the sequence is the same in every run."""
    return f"1.2.826.0.1.3680043.10.1561.{next(_numbers)}"


def dicom_file(
    *,
    transfer_syntax: str = EXPLICIT_LE,
    pixels: Pixels | None = None,
    offset_table: OffsetTable = "basic",
    elements: Mapping[int, tuple[str, Any]] | None = None,
    file_meta: Mapping[str, Any] | None = None,
    **attributes: Any,
) -> bytes:
    """Return a small valid Part 10 file: a secondary capture, with everything but the overrides filled in.

    Parameters
    ----------
    transfer_syntax : str
        Any of the uncompressed or deflated ones, or an encapsulated one together with fragments in `pixels`.
    pixels : bytes or sequence of bytes or sequence of sequences of bytes, optional
        Native Pixel Data; or one fragment a frame; or the fragments of each frame. No codec is involved.
    offset_table : {"basic", "empty", "extended"}
        What encapsulated Pixel Data has to find its frames (PS3.5 A.4).
    elements : mapping of tag to (VR, value), optional
        Elements without a keyword, private ones first of all: `{0x00091001: ("LO", "private")}`.
    file_meta : mapping of keyword to value, optional
        Overrides in the file meta information.
    **attributes
        Values by keyword, on top of the defaults; ABSENT leaves one out, None writes it empty, a sequence is
        given as a list of dicts: `ReferencedSeriesSequence=[{"SeriesInstanceUID": "1.2.3"}]`.
    """
    dataset = dataset_of(_defaults(pixels) | attributes)
    for tag, (vr, value) in (elements or {}).items():
        dataset.add_new(tag, vr, value)
    if pixels is not None:
        _set_pixels(dataset, pixels, UID(transfer_syntax), offset_table)
    return part10(dataset, transfer_syntax=transfer_syntax, file_meta=file_meta)


def ct_slice(
    study: str | None = None,
    series: str | None = None,
    instance: str | None = None,
    *,
    rows: int = 64,
    columns: int = 64,
    instance_number: int = 1,
    transfer_syntax: str = EXPLICIT_LE,
    **attributes: Any,
) -> bytes:
    """Return one CT image of rows x columns 16 bit samples whose picture depends on the instance number."""
    ramp = (np.arange(rows * columns, dtype=np.uint32) * (2 * instance_number + 1) % 4096).astype("<u2")
    order = ramp.byteswap() if transfer_syntax == BIG_ENDIAN else ramp
    return dicom_file(
        transfer_syntax=transfer_syntax,
        **{
            "pixels": order.tobytes(),
            "SOPClassUID": str(CTImageStorage),
            "StudyInstanceUID": study or new_uid(),
            "SeriesInstanceUID": series or new_uid(),
            "SOPInstanceUID": instance or new_uid(),
            "Modality": "CT",
            "InstanceNumber": instance_number,
            "Rows": rows,
            "Columns": columns,
            "BitsAllocated": 16,
            "BitsStored": 12,
            "HighBit": 11,
            "PixelSpacing": [0.5, 0.5],
            "ImagePositionPatient": [0, 0, 2.5 * instance_number],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "RescaleIntercept": -1024,
            "RescaleSlope": 1,
            "WindowCenter": 40,
            "WindowWidth": 400,
        }
        | attributes,
    )


def multi_frame(frames: int = 4, *, rows: int = 16, columns: int = 16, bits: int = 16, **attributes: Any) -> bytes:
    """Return a native multi-frame image; every sample of frame n (from 1) is n; bits is 1, 8 or 16."""
    if bits == 1:
        samples = np.repeat(np.arange(1, frames + 1) % 2, rows * columns).astype(np.uint8)
        pixels = np.packbits(samples, bitorder="little").tobytes()
    else:
        swapped = attributes.get("transfer_syntax") == BIG_ENDIAN
        kind = {8: "u1", 16: ">u2" if swapped else "<u2"}[bits]
        pixels = np.repeat(np.arange(1, frames + 1), rows * columns).astype(kind).tobytes()
    described = {
        "SOPClassUID": str(EnhancedCTImageStorage),
        "Modality": "CT",
        "NumberOfFrames": frames,
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
    }
    return dicom_file(**{"pixels": pixels} | described | attributes)


def encapsulated(
    frames: Sequence[bytes] | Sequence[Sequence[bytes]] = (b"\xff\xd8one\xff\xd9", b"\xff\xd8two\xff\xd9"),
    *,
    transfer_syntax: str = JPEG_BASELINE,
    offset_table: OffsetTable = "basic",
    **attributes: Any,
) -> bytes:
    """Return an encapsulated multi-frame image of the given frames, or of the fragments of each frame."""
    return dicom_file(
        transfer_syntax=transfer_syntax,
        pixels=frames,
        offset_table=offset_table,
        **{"NumberOfFrames": len(frames)} | attributes,
    )


def big_sequence(items: int = 1000, *, depth: int = 1, **attributes: Any) -> bytes:
    """Return a file with a sequence of many items, each nested `depth` levels deep."""
    inner: dict[str, Any] = {
        "CodeValue": "113691",
        "CodingSchemeDesignator": "DCM",
        "CodeMeaning": "IEC Head",
    }
    for _ in range(depth - 1):
        inner = {"ConceptNameCodeSequence": [inner]}
    return dicom_file(
        ContentSequence=[inner | {"TextValue": f"item {number}"} for number in range(items)], **attributes
    )


def dataset_of(attributes: Mapping[str, Any]) -> Dataset:
    """Return a data set with the attributes; lists of dicts become sequences."""
    dataset = Dataset()
    for keyword, value in attributes.items():
        if value is ABSENT:
            continue
        if dictionary_VR(keyword) == "SQ":
            value = [dataset_of(item) for item in value or []]
        setattr(dataset, keyword, value)
    return dataset


def part10(
    dataset: Dataset, *, transfer_syntax: str = EXPLICIT_LE, file_meta: Mapping[str, Any] | None = None
) -> bytes:
    """Return the data set as a Part 10 file, with preamble and file meta information (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or "2.25.1"
    for keyword, value in (file_meta or {}).items():
        setattr(meta, keyword, value)
    dataset.file_meta = meta  # type: ignore[assignment]
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def without_preamble(part10_file: bytes) -> bytes:
    """Return the same file from its file meta information on, as some senders write it."""
    return part10_file[132:]


def dataset_only(part10_file: bytes) -> bytes:
    """Return the data set alone, without preamble and file meta information."""
    (length,) = struct.unpack_from("<L", part10_file, 140)
    return part10_file[144 + length :]


def sop_instance_uid(part10_file: bytes) -> str:
    """Return the SOP Instance UID as the file meta information states it."""
    start = part10_file.index(b"\x02\x00\x03\x00UI") + 8
    (length,) = struct.unpack_from("<H", part10_file, start - 2)
    return part10_file[start : start + length].rstrip(b"\0").decode()


def _defaults(pixels: Pixels | None) -> dict[str, Any]:
    image = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 8,
        "Columns": 8,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
    }
    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": str(SecondaryCaptureImageStorage),
        "SOPInstanceUID": new_uid(),
        "StudyDate": "20240115",
        "StudyTime": "101530",
        "AccessionNumber": "A1",
        "Modality": "OT",
        "ConversionType": "WSD",
        "ReferringPhysicianName": "Refer^Rita",
        "StudyDescription": "Phantom",
        "SeriesDescription": "Axial",
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "PatientBirthDate": "19700203",
        "PatientSex": "F",
        "StudyInstanceUID": new_uid(),
        "SeriesInstanceUID": new_uid(),
        "StudyID": "S1",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
    } | (image if pixels is not None else {})


def _set_pixels(dataset: Dataset, pixels: Pixels, syntax: UID, offset_table: OffsetTable) -> None:
    if isinstance(pixels, bytes):
        wide = int(dataset.get("BitsAllocated") or 8) > 8
        dataset.add_new(tag_for_keyword("PixelData"), "OW" if wide else "OB", pixels + b"\0" * (len(pixels) % 2))
        return
    frames = [[frame] if isinstance(frame, bytes) else list(frame) for frame in pixels]
    items = [b"".join(_item(fragment) for fragment in frame) for frame in frames]
    starts = list(itertools.accumulate((len(item) for item in items[:-1]), initial=0))
    if offset_table == "extended":
        lengths = [len(item) - 8 for item in items]
        dataset.ExtendedOffsetTable = struct.pack(f"<{len(starts)}Q", *starts)
        dataset.ExtendedOffsetTableLengths = struct.pack(f"<{len(lengths)}Q", *lengths)
    basic = struct.pack(f"<{len(starts)}L", *starts) if offset_table == "basic" else b""
    # pydicom appends the sequence delimiter itself when the length is undefined
    dataset.add_new(tag_for_keyword("PixelData"), "OB", _item(basic) + b"".join(items))
    dataset["PixelData"].is_undefined_length = syntax.is_encapsulated


def _item(value: bytes) -> bytes:
    """One item of encapsulated pixel data, padded to even length (PS3.5 A.4)."""
    padded = value + b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(padded)) + padded
