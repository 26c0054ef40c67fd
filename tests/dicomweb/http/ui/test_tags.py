"""The tags that the pages' modules name (PS3.6)."""

import re

from pydicom.datadict import tag_for_keyword

from dicomweb.http.ui.assets import FOLDER


def test_tags_are_those_of_the_dictionary() -> None:
    """Each keyword that a page reads stands beside its own tag."""
    table = re.search(r"export const TAG = \{(.*?)\};", (FOLDER / "dicom.js").read_text("utf-8"), re.DOTALL)
    assert table
    named = re.findall(r'(\w+): "([0-9A-F]{8})"', table[1])
    assert len(named) > 50
    assert [(keyword, tag) for keyword, tag in named if tag_for_keyword(keyword) != int(tag, 16)] == []
