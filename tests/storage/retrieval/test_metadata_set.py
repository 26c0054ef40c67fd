"""The metadata of many instances together, and its entity tag."""

import hashlib

import pytest

from storage.archive import Archive
from storage.dicom import dicomjson
from storage.dicom.part10 import BytesSource, read_header
from storage.retrieval import metadata_set
from tests.builders import ct_slice


async def test_a_newer_encoder_changes_the_entity_tag(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index built anew has the same numbers, but what it answers differs: no stale 304 (RFC 9110 8.8.1)."""
    await archive.store(ct_slice("1.2", "1.3", "1.4"))
    before = (await archive.metadata("1.2")).etag
    assert (await archive.metadata("1.2")).etag == before
    monkeypatch.setattr(metadata_set, "ENCODING_VERSION", metadata_set.ENCODING_VERSION + 1)
    assert (await archive.metadata("1.2")).etag != before


def test_the_version_of_the_encoding_is_raised_when_the_encoding_changes() -> None:
    """This digest and ENCODING_VERSION change together: entity tags of metadata depend on it."""
    file = ct_slice(
        "1.2",
        "1.3",
        "1.4",
        rows=8,
        columns=8,
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Müller^Jörg",
        PatientWeight="70.50",
        WindowCenter=["40", "300"],
        RedPaletteColorLookupTableData=b"\1\2",
        ReferencedImageSequence=[{"ReferencedSOPInstanceUID": "1.2.3"}, {}],
        elements={0x00090010: ("LO", "TEST"), 0x00091001: ("UN", b"\0\1")},
    )
    header, _ = read_header(BytesSource(file))
    dataset = dicomjson.encode(header).dataset
    digest = hashlib.sha256(dicomjson.dumps(dataset)).hexdigest()[:16]
    assert (dicomjson.ENCODING_VERSION, digest) == (2, "d50ae93e0da05d27")
