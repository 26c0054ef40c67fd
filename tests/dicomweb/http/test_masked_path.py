"""What of a path may be logged."""

from typing import cast

import pytest

from dicomweb.http.app import create_app
from dicomweb.http.masked_path import masked_path
from dicomweb.settings import Settings
from storage.archive import Archive

APP = create_app(cast(Archive, None), Settings())
INSTANCE = "/dicom-web/studies/1.2/series/1.3/instances/1.4"


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/", "/"),
        ("/health/ready", "/health/ready"),
        ("/dicom-web/studies", "/dicom-web/studies"),
        ("/studies/SMITH^JOHN", "/studies/*"),
        ("/SECRETNAME/x", "/*/*"),
        ("/dicom-web/studies/SMITH JOHN/metadata", "/dicom-web/studies/*/metadata"),
        ("/dicom-web/studies/Studies", "/dicom-web/studies/*"),
        ("/dicom-web/studies/{study}", "/dicom-web/studies/*"),
        ("/dicom-web/studies/" + "1" * 65, "/dicom-web/studies/*"),
        ("/dicom-web/studies/1.2\n", "/dicom-web/studies/*"),
        (f"{INSTANCE}/frames/1", f"{INSTANCE}/frames/1"),
        (f"{INSTANCE}/bulkdata/30060039/1/7FE00010", f"{INSTANCE}/bulkdata/30060039/1/7FE00010"),
        (f"{INSTANCE}/bulkdata/SMITH/1", f"{INSTANCE}/bulkdata/*/1"),
        (f"{INSTANCE}/DEADBEEF", f"{INSTANCE}/*"),
    ],
)
def test_only_uids_words_of_ours_and_tags_are_shown(path: str, logged: str) -> None:
    """Every other segment is a star, whether a resource is there or not (PS3.18 8.5: no patient data)."""
    assert masked_path(path, APP) == logged


def test_without_a_route_table_only_uids_are_shown() -> None:
    """A request that never reached the application has no words of ours."""
    assert masked_path("/studies/1.2", None) == "/*/1.2"
