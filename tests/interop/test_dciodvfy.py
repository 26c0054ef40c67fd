"""dciodvfy (of dicom3tools) finds nothing wrong with a transcoded object that was not wrong with the stored one.

Facts kept here:

- Every file is decompressed. Of those that are compressed one of a kind is: only what describes the pixels is written
  anew.
- File meta information of our own names the instance as the data set does (PS3.10 7.1). What is wrong with that UID is
  then said twice, which is no new fault.
- dciodvfy gives up on files that are deflated, truncated or mislabelled; what it then finds in ours may be found in the
  stored one as pydicom writes it.
- It knows no HTJ2K. Data sets in it follow the rules for JPEG 2000 (PS3.5 8.2.4, 8.2.14), and are called that.
- It dies of native samples of more than 16 bits: both objects are compared without their Pixel Data.
"""

import io
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pydicom
import pytest

from storage.dicom.part10 import BytesSource, FileSource, read_header
from storage.dicom.transfer_syntax import (
    EXPLICIT_LE,
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from storage.dicom.vr import tag_of
from storage.errors import ArchiveError
from storage.pixels.frame_table import frame_table
from storage.pixels.layout import PixelLayout, layout_of
from storage.writing.transcode import transcode
from tests.builders import part10
from tests.corpus import corpus_files, corpus_folder, wheel_files

pytestmark = pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dciodvfy (Debian package dicom3tools)")

FEWEST = {
    EXPLICIT_LE: 200,
    RLE_LOSSLESS: 60,
    JPEG_LOSSLESS_SV1: 60,
    JPEG_LS_LOSSLESS: 60,
    JPEG_2000_LOSSLESS: 60,
    HTJ2K_LOSSLESS: 60,
    JPEG_BASELINE: 20,
}
"""What is transcoded to, and how many objects must have been compared at least."""

ULTRASOUND_IN_YBR_FULL = {
    "Error - </PhotometricInterpretation(0028,0004)[1]> - Unrecognized enumerated value = <YBR_FULL>": (
        "PS3.3 C.7.6.3.1.2 has YBR_FULL native too, and PS3.5 Tables 8.2.3-1 and 8.2.4-1 in JPEG-LS and JPEG 2000; for "
        "ultrasound dciodvfy takes it in RLE and lossless JPEG only. Samples turned into RGB would not be the same."
    ),
    "Error - </PlanarConfiguration(0028,0006)[1]> - Unrecognized enumerated value = <0>": (
        "PS3.3 C.8.5.6.1.16 wants ultrasound in YBR_FULL by plane, PS3.5 8.2 what is compressed by pixel; the stored "
        "422 samples were by pixel."
    ),
}
EXCEPTIONS = {"ybrFull-RLE.dcm": ULTRASOUND_IN_YBR_FULL, "ybr422-raw.dcm": ULTRASOUND_IN_YBR_FULL}
"""New errors that are none, with reasons, by file."""

GIVEN_UP = ("Dicom dataset read failed", "Assertion")
SOP_COMMON = tag_of("SOPClassUID"), tag_of("SOPInstanceUID")


class Stored(NamedTuple):
    """A file, what is of one kind with it, and whether it has samples of more than 16 bits."""

    path: Path
    kind: tuple[Any, ...]
    is_deep: bool


@cache
def stored_files() -> list[Stored]:
    """Return the files that say which instance of which class they are; the archive takes no others."""
    found = []
    for path in (*(corpus_files() if corpus_folder() else ()), *wheel_files()):
        try:
            header, source = read_header(FileSource(path))
            pixel = layout_of(header, frame_table(source, header)).pixel_data
        except ArchiveError:
            continue
        sop_class, instance = (header.dataset[tag].value if tag in header.dataset else b"" for tag in SOP_COMMON)
        if sop_class and instance:
            kind = (sop_class, header.transfer_syntax_uid, *described(pixel))
            found.append(Stored(path, kind, pixel is not None and pixel.bits_allocated > 16))
    return found


def described(pixel: PixelLayout | None) -> tuple[Any, ...]:
    """Return what an object's definition has rules for in the description of its pixels."""
    if pixel is None:
        return ()
    bits = pixel.bits_allocated, pixel.bits_stored
    return pixel.samples, pixel.photometric_interpretation, pixel.planar_configuration, bits, pixel.encapsulated


def errors(data: bytes) -> set[str]:
    """Return what dciodvfy finds wrong with an object."""
    with tempfile.TemporaryFile() as file:  # it seeks, which a pipe does not let it
        file.write(data)
        file.seek(0)
        ran = subprocess.run(["dciodvfy", "-new"], stdin=file, capture_output=True, check=False)
    lines = (ran.stdout + ran.stderr).decode(errors="replace").splitlines()
    assert lines, "dciodvfy says nothing at all"
    return {
        line.replace("MediaStorageSOPInstanceUID(0002,0003)", "SOPInstanceUID(0008,0018)")
        for line in lines
        if line.startswith("Error") or "Assertion" in line
    }


@cache
def errors_before(stored: Stored) -> set[str]:
    """Return what dciodvfy finds wrong with a stored object."""
    data = stored.path.read_bytes()
    return errors(rewritten(data, pixels=False) if stored.is_deep else data)


def rewritten(data: bytes, *, pixels: bool = True) -> bytes:
    """Return an object as pydicom writes it, in a transfer syntax that dciodvfy knows."""
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    if not pixels:
        dataset.pop("PixelData", None)
    encapsulated = "PixelData" in dataset and dataset["PixelData"].is_undefined_length
    return part10(dataset, transfer_syntax=JPEG_2000_LOSSLESS if encapsulated else EXPLICIT_LE)


def transcoded(stored: Stored, uid: str) -> bytes | None:
    """Return a file in another transfer syntax, None when it cannot be had in this one."""
    try:
        header, source = read_header(BytesSource(stored.path.read_bytes()))
        with transcode(source, header, uid, frames=frame_table(source, header)) as result:
            return b"".join(result.stream())
    except ArchiveError:
        return None


def new_errors(stored: Stored, uid: str) -> set[str] | None:
    """Return what is wrong with an object only since it was transcoded, None when it cannot be."""
    made = transcoded(stored, uid)
    if made is None:
        return None
    if stored.is_deep or uid == HTJ2K_LOSSLESS:
        made = rewritten(made, pixels=not stored.is_deep)
    before = errors_before(stored)
    new = errors(made) - before
    if new and any(words in line for line in before for words in GIVEN_UP):
        new -= errors(rewritten(stored.path.read_bytes()))
    return new


def compare(files: list[Stored], uid: str) -> dict[Path, set[str]]:
    """Return the new errors of each file that can be had in a transfer syntax."""
    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(lambda stored: new_errors(stored, uid), files))
    return {stored.path: new for stored, new in zip(files, found, strict=True) if new is not None}


@pytest.mark.parametrize("uid", FEWEST)
def test_transcoding_brings_no_new_errors(uid: str) -> None:
    """Whatever is transcoded keeps the definition of its object (D-013, D-014; PS3.3 C.7.6.3)."""
    files = stored_files()
    if uid != EXPLICIT_LE:
        files = list({stored.kind: stored for stored in reversed(files)}.values())
    found = compare(files, uid)
    assert len(found) >= FEWEST[uid]
    assert {path: new for path, new in found.items() if new - EXCEPTIONS.get(path.name, {}).keys()} == {}


def test_the_exceptions_are_still_needed() -> None:
    """Nothing is excused that no longer happens."""
    if corpus_folder() is None:
        pytest.skip("no corpus")
    files = [stored for stored in stored_files() if stored.path.name in EXCEPTIONS]
    found = compare(files, JPEG_LS_LOSSLESS)
    assert {path.name: new for path, new in found.items()} == {name: set(new) for name, new in EXCEPTIONS.items()}


def test_a_fault_would_be_seen() -> None:
    """The comparison is worth something: dciodvfy reads what it is given and misses what is not there."""
    stored = next(stored for stored in stored_files() if stored.path.name == "CT_small.dcm")
    made = transcoded(stored, HTJ2K_LOSSLESS)
    assert made is not None
    dataset = pydicom.dcmread(io.BytesIO(made))
    del dataset.PhotometricInterpretation
    lines = errors(rewritten(part10(dataset, transfer_syntax=HTJ2K_LOSSLESS))) - errors_before(stored)
    assert any("PhotometricInterpretation(0028,0004)" in line for line in lines)
