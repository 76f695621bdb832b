"""How many elements a tensor has, as files of any format may claim."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from adapters.inspection.streams import Malformed


def elements(shape: Sequence[int], *, most: int = 1 << 62, sides: int = 64) -> int:
    """How many elements a tensor of this shape has.

    Args:
        shape: a side of 2 ** 63 or more is a negative one, read as the unsigned number it is
            written as.

    Raises:
        Malformed: a side is negative, there are more than ``sides`` of them, or ``most`` elements.
    """
    if any(not 0 <= side < 1 << 63 for side in shape):
        raise Malformed("has a tensor with a negative dimension")
    if len(shape) > sides or (count := prod(shape)) > most:
        raise Malformed("has a tensor that is larger than anything can be")
    return count
