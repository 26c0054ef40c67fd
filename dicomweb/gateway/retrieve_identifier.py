"""The identifier of a C-MOVE or C-GET request: which instances it asks for; pure.

Facts kept here:

- Query/Retrieve Level and unique keys only; whatever else is there is ignored (PS3.4 C.4.2.2.1; G-093).
- Lists are allowed for UIDs, one value for Patient ID. Nothing is matched by wildcard.
- The unique keys above the level must be there, one value each, unless relational retrieval was negotiated or is
  tolerated (PS3.4 C.4.2.3.2.1; G-107); then one key suffices, at the level or above it. Keys below are ignored.
- Without any unique key nothing is meant, never everything.
"""

from dicomweb.gateway.call import WrongIdentifier
from dicomweb.gateway.identifier import UNIQUE_KEYS, Identifier, name_of
from storage.matching.attributes import Level, Tag8
from storage.retrieval.selection import UniqueKeys


def unique_keys(identifier: Identifier, *, relational: bool) -> UniqueKeys:
    """Return the unique keys of an identifier.

    Parameters
    ----------
    identifier : Identifier
        The request.
    relational : bool
        Whether keys above the level may be left out.

    Raises
    ------
    WrongIdentifier
        A key is missing or has several values.

    Standard
    --------
    PS3.4 C.4.2.2.1, C.4.3.2.1, C.6.1, C.6.2.
    """
    level = identifier.level
    found: dict[Level, list[str]] = {}
    for each in (*identifier.levels_above, level):
        tag = UNIQUE_KEYS[each]
        values = found[each] = _values(identifier, tag)
        if not values and not relational:
            raise WrongIdentifier(f"{name_of(tag)} must be given at level {level.name}.", tag)
        if len(values) > 1 and (each is Level.PATIENT or (each < level and not relational)):
            raise WrongIdentifier(f"{name_of(tag)} must be a single value at level {level.name}.", tag)
    if not any(found.values()):
        tag = UNIQUE_KEYS[level]
        raise WrongIdentifier(f"{name_of(tag)} must be given at level {level.name}.", tag)
    return UniqueKeys(*(tuple(found.get(each, ())) for each in Level))


def _values(identifier: Identifier, tag: Tag8) -> list[str]:
    stripped = (value.strip(" \0") for value in identifier.values(tag))
    return [value for value in stripped if value and "\0" not in value]
