"""What is in parsed JSON or YAML, however deep: all of it, without recursion."""

from __future__ import annotations

from collections.abc import Iterator

from adapters.inspection.streams import Malformed


def parts_of(value: object, most: int) -> Iterator[object]:
    """The value and everything in it: objects and lists, and what is in them. An object's keys are
    not given.

    Raises:
        Malformed: there are more than ``most`` parts.
    """
    waiting = [value]
    while waiting:
        most -= 1
        if most < 0:
            raise Malformed("has more parts than any honest one")
        part = waiting.pop()
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
        yield part


def objects_in(value: object, most: int) -> Iterator[dict[str, object]]:
    """Only the objects; otherwise as :func:`parts_of`."""
    return (part for part in parts_of(value, most) if isinstance(part, dict))
