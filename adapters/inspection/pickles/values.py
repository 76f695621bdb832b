"""What stands for the objects of a pickle: what it imports and would call is never touched.

Only what is asked for later is kept, and nothing of a file is ever hashed, compared or printed as
a whole: objects may share their parts, so that a few bytes describe one of astronomical size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from adapters.inspection.pickles.imports import Trust
from adapters.inspection.report import shown

Value = object
"""One of the classes here, or None, a bool, a short int, a float, a short str or bytes, a tuple."""

MOST_KEYS = 200
_SHOWN_ITEMS = 4
_SHOWN_DEPTH = 3
_SHOWN_TEXT = 80


@dataclass(slots=True, eq=False)
class Import:
    """A name that loading imports.

    Attributes:
        call: how the file calls it first, for people; None if it does not.
        taken: how often it is put onto the stack.
        cleared: how often it is taken from there for a call that is known to be harmless.
    """

    module: str
    name: str
    trust: Trust
    call: str | None = None
    taken: int = 0
    cleared: int = 0

    @property
    def dangerous(self) -> bool:
        """Whether there is any use of it that is not known to be harmless."""
        return self.trust is Trust.DANGEROUS and self.taken != self.cleared

    @property
    def full_name(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Result:
    """What a call returns.

    Attributes:
        origin: what was called, or the class of the instance; None if it is nothing that is known.
    """

    origin: Import | None
    args: Value = ()
    state: Value = None
    built: bool = False


@dataclass(slots=True, eq=False)
class Items:
    """A list or a set, of which some items are kept."""

    kept: list[Value] = field(default_factory=list)
    count: int = 0

    def add(self, values: Sequence[Value], most: int = _SHOWN_ITEMS) -> None:
        """Keeps at most ``most`` of all."""
        self.count += len(values)
        if len(self.kept) < most:
            self.kept.extend(values[: most - len(self.kept)])


@dataclass(slots=True, eq=False)
class Mapping:
    """A dict, of which the first entries with short texts as keys are kept.

    Attributes:
        odd: whether there are entries that are not kept.
    """

    entries: list[tuple[str, Value]] = field(default_factory=list)
    odd: bool = False

    def put(self, key: Value, value: Value) -> None:
        """One more entry; one of the same key is not looked for."""
        if isinstance(key, str) and len(self.entries) < MOST_KEYS:
            self.entries.append((key, value))
        else:
            self.odd = True

    def get(self, key: str, default: Value = None) -> Value:
        """The last value of the key."""
        return next((value for name, value in reversed(self.entries) if name == key), default)


@dataclass(slots=True, eq=False)
class Cut:
    """The beginning of a text, of bytes or of a number that is too long to be kept.

    Attributes:
        at: where in the stream it begins.
    """

    head: str | bytes
    count: int
    at: int = 0


class Opaque:
    """Something that is not asked for later."""

    __slots__ = ()


OPAQUE = Opaque()


def parts_of(value: Value, most: int) -> int:
    """How many parts a tuple has, those in its tuples included, each as often as it occurs; not
    counted to the end where they are more than ``most``."""
    waiting, count = [value], 0
    while waiting and count <= most:
        part = waiting.pop()
        if isinstance(part, tuple):
            count += len(part)
            waiting.extend(part)
    return count


def rendered(value: Value, depth: int = 0) -> str:
    """The value as Python would write it, short and printable."""
    if isinstance(value, str | bytes):
        cut = value[:_SHOWN_TEXT]
        return shown(repr(cut), 2 * _SHOWN_TEXT) + ("..." if len(cut) < len(value) else "")
    if isinstance(value, Cut):
        return shown(repr(value.head[:_SHOWN_TEXT]), 2 * _SHOWN_TEXT) + "..."
    if isinstance(value, int | float | None):
        return repr(value)
    if isinstance(value, Import):
        return shown(value.full_name)
    if depth >= _SHOWN_DEPTH:
        return "..."
    return _rendered_parts(value, depth + 1)


def _rendered_parts(value: Value, depth: int) -> str:
    if isinstance(value, tuple):
        comma = "," if len(value) == 1 else ""
        return f"({rendered_items(value, depth)}{comma})"
    if isinstance(value, Items):
        more = ", ..." if value.count > len(value.kept[:_SHOWN_ITEMS]) else ""
        return f"[{rendered_items(value.kept[:_SHOWN_ITEMS], depth)}{more}]"
    if isinstance(value, Mapping):
        pairs = (f"{rendered(k)}: {rendered(v, depth)}" for k, v in value.entries[:_SHOWN_ITEMS])
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, Result) and value.origin is not None:
        return f"{shown(value.origin.full_name)}({rendered_arguments(value.args, depth)})"
    return "..."


def rendered_arguments(args: Value, depth: int = 0) -> str:
    """The arguments of a call, without the brackets."""
    return rendered_items(args, depth) if isinstance(args, tuple) else f"*{rendered(args, depth)}"


def rendered_items(values: Sequence[Value], depth: int) -> str:
    """Some of the values, with commas."""
    parts: Iterable[str] = (rendered(value, depth) for value in values[:_SHOWN_ITEMS])
    more = ", ..." if len(values) > _SHOWN_ITEMS else ""
    return ", ".join(parts) + more
