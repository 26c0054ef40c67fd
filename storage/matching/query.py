"""What a search asks for, as QIDO-RS and C-FIND both express it."""

from dataclasses import dataclass

from storage.matching.attributes import Level, Tag8
from storage.matching.match_kinds import Kinds, Match, any_of, kind_of, split_values
from storage.matching.search_text import SPACE_OR_PLUS, readings


@dataclass(frozen=True, slots=True)
class Key:
    """A matching key.

    Attributes
    ----------
    path : tuple of str
        Tags from the outermost sequence inwards.
    values : tuple of str
        The decoded values; none at all is universal matching. `SPACE_OR_PLUS` in them is either.
    name : str
        What the requester called it, for messages; the path when empty.
    creator : str or None
        Of a private key: the private creator.
    """

    path: tuple[Tag8, ...]
    values: tuple[str, ...] = ()
    name: str = ""
    creator: str | None = None

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.name or ".".join(self.path)

    @property
    def is_universal(self) -> bool:
        """Whether it matches everything."""
        return all(not value.strip("* " + SPACE_OR_PLUS) for value in self.values)

    def alternatives(self, vr: str) -> list[list[str]]:
        """Return the values, blank ones left out; of each, what it may mean."""
        parts = [part for value in self.values for part in split_values(vr, value)]
        return [readings(part) for part in parts if part.strip(" " + SPACE_OR_PLUS)]

    def matches(self, kinds: Kinds, vr: str) -> list[Match]:
        """Return a match for each value, and one for all of a list of UIDs; raises InvalidQuery."""
        kind = kind_of(vr)
        assert kind is not None, "keys of other VRs were left out"
        values = self.alternatives(vr)
        if vr == "UI" and len(values) > 1:
            return [kinds.uid_list(self.label, [uid for meant in values for uid in meant])]
        return [any_of([kind(kinds, vr, self.label, text) for text in meant]) for meant in values]


@dataclass(frozen=True, slots=True)
class Include:
    """An attribute to return as well; `creator` is the private creator of a private one."""

    path: tuple[Tag8, ...]
    creator: str | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A search, as QIDO-RS and C-FIND both express it.

    Attributes
    ----------
    level : Level
        What the rows are.
    keys : tuple of Key
        What must hold; keys of a level that is not searched are left out with a warning (C-019).
    study_instance_uid, series_instance_uid : str or None
        The entity to search in; None searches all, makes keys of that level matter and its attributes come along.
    include, include_all
        Attributes to return as well; all that the levels have.
    defaults : bool
        Whether to return what PS3.18 Tables 10.6.3-3 to 10.6.3-5 list (C-FIND returns what was asked for only).
    limit, offset : int
        Rows at most; rows to skip.
    cursor : str or None
        Where an earlier page ended (`Page.next_cursor`).
    order_by : tuple of str
        Keywords, a leading hyphen for descending; the default order follows.
    fuzzy, empty_value, multiple_value : bool
        `fuzzymatching`, `emptyvaluematching`, `multiplevaluematching` (PS3.18 8.3.4.2, 8.3.4.5, 8.3.4.6).
    ignore_case : bool
        Whether texts other than codes match whatever their case, beyond the Standard.
    text : str
        What must be found in the patient's name or ID or in the accession number, beyond the Standard; "" is nothing.
    combined_datetime : bool
        Whether date and time ranges are one range (always in QIDO-RS, negotiated in C-FIND).
    count_total, count_remaining : bool
        Whether to count all matches; those after the page.
    """

    level: Level
    keys: tuple[Key, ...] = ()
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    include: tuple[Include, ...] = ()
    include_all: bool = False
    defaults: bool = True
    limit: int = 5000
    offset: int = 0
    cursor: str | None = None
    order_by: tuple[str, ...] = ()
    fuzzy: bool = False
    empty_value: bool = False
    multiple_value: bool = False
    ignore_case: bool = False
    text: str = ""
    combined_datetime: bool = True
    count_total: bool = False
    count_remaining: bool = True
