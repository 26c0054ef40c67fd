"""Values of a DICOM JSON object, taken and cleaned without ever raising."""

import math
import re
from collections.abc import Mapping
from typing import Any

_ODD = re.compile("[\x00\ud800-\udfff]")


def without_nul(text: str) -> str:
    """Return `text` without what PostgreSQL cannot hold: NUL and lone surrogates."""
    return _ODD.sub("", text) if _ODD.search(text) else text


_DEEPEST = 96  # dicts and lists; orjson and PostgreSQL take more, nobody needs it at study or series level


def values_of(element: object) -> list[Any]:
    """Return the values of an element of the DICOM JSON Model, nulls and empty texts left out.

    Parameters
    ----------
    element : object
        An element such as `{"vr": "LO", "Value": ["a"]}`; anything else has no values.
    """
    values = element.get("Value") if isinstance(element, Mapping) else None
    return [value for value in values if value is not None and value != ""] if isinstance(values, list) else []


def clean(value: Any, depth: int = 0) -> Any:
    """Return a copy that a jsonb column can hold.

    NUL characters and lone surrogates go, numbers JSON does not know become null, integers over 64 bits become text,
    and elements whose value is stored elsewhere (BulkDataURI) are left out, since at study and series level nobody
    could say of which instance they are.
    """
    if depth > _DEEPEST:
        return None
    if isinstance(value, str):
        return without_nul(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {
            without_nul(str(key)): clean(entry, depth + 1)
            for key, entry in value.items()
            if not (isinstance(entry, Mapping) and "BulkDataURI" in entry)
        }
    if isinstance(value, list | tuple):
        return [clean(entry, depth + 1) for entry in value]
    return None
