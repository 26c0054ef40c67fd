"""A warning that weighs more than others."""


class Loss(str):
    """Something that belongs to the instance did not come with it: values are cut off, or frames missing."""

    __slots__ = ()
