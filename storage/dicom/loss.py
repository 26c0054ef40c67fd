"""A warning that weighs more than others."""

from collections.abc import Iterable


class Loss(str):
    """Something that belongs to the instance did not come with it: values are cut off, or frames missing."""

    __slots__ = ()


def has_loss(warnings: Iterable[str]) -> bool:
    """Whether something of the instance did not come with it."""
    return any(isinstance(warning, Loss) for warning in warnings)
