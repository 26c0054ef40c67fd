"""A memory of what was made, bounded in bytes: what was not asked for longest is forgotten first."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")
_LARGEST_SHARE = 4


class ByteCache(Generic[_Value]):
    """Values by key, as many as fit into a number of bytes.

    Parameters
    ----------
    capacity : int
        In bytes; 0 keeps nothing. A value larger than a quarter of it is not kept, so that one does not push out all.

    Attributes
    ----------
    held : int
        Bytes of what is kept.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        self._entries: OrderedDict[Hashable, tuple[_Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> _Value | None:
        """Return what is kept under `key`, None when there is nothing."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Hashable, value: _Value, size: int) -> None:
        """Keep a value of `size` bytes, if it is not too large."""
        if size * _LARGEST_SHARE > self.capacity:
            return
        previous = self._entries.pop(key, None)
        self.held += size - (previous[1] if previous else 0)
        self._entries[key] = value, size
        while self.held > self.capacity:
            _, (_, dropped) = self._entries.popitem(last=False)
            self.held -= dropped
