"""The Warning headers of a response: a few short lines, whatever there is to be said (PS3.18 8.3.4; checklist A-112).

What is said may be of what a client sent or a file holds, thousands of times over: clients and proxies refuse heads of
more than some KiB, and then nobody sees the answer.
"""

import re
from collections.abc import Iterable
from itertools import islice
from typing import Final

MOST: Final = 16
"""Warnings in one response, before the one that says that there are more."""
LONGEST: Final = 300
"""Characters of each."""

_UNQUOTABLE = re.compile(r"[^ !#-\[\]-~]")
_MORE = "There are further warnings, which are left out"


def warning_headers(base: str, texts: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """Return a Warning header for each text, the same one once; quotes and what is not ASCII cannot occur in it.

    Parameters
    ----------
    base : str
        The DICOMweb root, which says who warns.
    texts : iterable of str
        The most important first.
    """
    said = list(dict.fromkeys(islice(texts, 64 * MOST)))
    if len(said) > MOST:
        said[MOST:] = [_MORE]
    return [(b"warning", f'299 {base} "{_UNQUOTABLE.sub("?", text[:LONGEST]).rstrip()}"'.encode()) for text in said]
