"""The character set that rendered text is written in (PS3.18 8.8).

Facts this module keeps:

- What names one goes in this order: the `charset` parameter of the accepted media type, the query parameter `charset`,
  Accept-Charset; nobody names one: every one is acceptable, and it is UTF-8 (A-142, A-144).
- Known are the character sets of DICOM that need no escape sequences, by IANA name or Defined Term (A-141, A-145);
  others are ignored (A-143). UTF-7 and its like are none of them: a browser could read markup out of escaped text.
- Pure: no I/O.
"""

import codecs
import re
from collections.abc import Sequence
from typing import Final

from dicomweb.http.message.media_types import MediaRange
from storage.dicom.charset import RIGHT_HALF, STAND_ALONE

UTF_8: Final = "utf-8"

_ASCII = {"6": "ascii"}
_DEFINED_TERM = re.compile(r"ISO(?:_IR| 2022 IR) ([0-9]{1,3})")
_CODECS = frozenset(codecs.lookup(name).name for name in (*(RIGHT_HALF | STAND_ALONE).values(), *_ASCII.values()))
_IANA_NAMES = {"ascii": "us-ascii", "euc_kr": "euc-kr"}
_MOST = 32


def charsets(ranges: Sequence[MediaRange], media_type: str, query: str | None, header: str | None) -> tuple[str, ...]:
    """Say what text may be written in, the best first.

    Parameters
    ----------
    ranges : sequence of MediaRange
        What is accepted.
    media_type : str
        The one that was chosen.
    query, header : str or None
        The query parameter `charset`, and Accept-Charset.

    Returns
    -------
    tuple of str
        IANA names, which Python knows too; never empty.

    Standard
    --------
    PS3.18 8.3.3.2, 8.8.5; checklist A-141 to A-145, D-114.
    """
    named = [entry for entry in ranges if entry.content == media_type and entry.q > 0 and "charset" in entry.parameters]
    of_media_type = [entry.parameters["charset"] for entry in sorted(named, key=lambda entry: -entry.q)]
    for names in (of_media_type, _weighed(query), _weighed(header)):
        if known := tuple(dict.fromkeys(found for name in names if (found := _known(name)))):
            return known
    return (UTF_8,)


def _weighed(text: str | None) -> list[str]:
    """Return the names of a list with weights (RFC 9110 12.5.2), the best first, without what is refused."""
    weighed = []
    for part in (text or "").split(",")[:_MOST]:
        name, _, parameter = part.partition(";")
        weighed.append((_weight(parameter), name.strip().strip('"')))
    return [name for q, name in sorted(weighed, key=lambda pair: -pair[0]) if q > 0]


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 1.0


def _known(name: str) -> str | None:
    if name == "*":
        return UTF_8
    if term := _DEFINED_TERM.fullmatch(name):
        name = (RIGHT_HALF | STAND_ALONE | _ASCII).get(term[1], "")
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError, UnicodeError):
        return None
    return _IANA_NAMES.get(found, found.replace("iso8859", "iso-8859")) if found in _CODECS else None
