"""What may be done with a known-harmless import: most are there to be called in one way only.

A pickler calls classes and the functions that put an object together again; other functions it
names, as the state of some object. It fills an object before it gives it its state, and gives it
one state. What differs was not written by a pickler: an unpickler looks up ``append``, ``extend``,
``add`` and ``__setstate__`` on the object itself, so that a state can make them anything.

Source: ``save_reduce`` and ``load_build`` of ``pickle``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from adapters.inspection.pickles.arrays import WRAPPERS
from adapters.inspection.pickles.import_lists import ATTRIBUTES, FUNCTIONS
from adapters.inspection.pickles.imports import Trust, is_listed
from adapters.inspection.pickles.values import Cut, Import, Mapping, Result, Value

CALLED_ONLY = WRAPPERS | {
    "torch.storage._load_from_bytes",
    "lightgbm.basic.Booster",
    "xgboost.core.Booster",
}
"""What is looked at where it is called, so that it must not be used in any other way."""

_PUTS_TOGETHER = re.compile(
    r"_*(?:[a-z]*[A-Z]|rebuild_|pyx_unpickle_|new_|[a-z]{3}_(?:matrix|array)$|\w+_gen$)"
)
_OF_THE_CLASS = re.compile(r"_*(?:[A-Z]|reconstruct|mareconstruct|new|pyx_|\w+_ctor|partial|dtype)")
_LISTS = frozenset({"deque", "FrozenList", "list", "set"})
_MAPPINGS = frozenset({"OrderedDict", "defaultdict", "Counter", "Bunch", "dict"})
_SPACIOUS = re.compile(
    r"(?:builtins|__builtin__|_?collections|array|numpy(?:\._?core\.multiarray)?)\."
    r"(?:bytes|bytearray|list|tuple|set|frozenset|deque|Counter|array|zeros|empty|ndarray"
    r"|_reconstruct|concatenate|matrix|recarray)"
    r"|torch\.nn\..*"
)
_MOST_ELEMENTS = 1 << 31
_MOST_ARGUMENTS = 20
_WORD = re.compile(r"[\w .,+\[\]-]{0,64}")
_SPECIAL = re.compile(r"__\w*__")


def is_only_named(function: Import) -> bool:
    """Whether picklers name it and never call it."""
    _, dot, last = function.name.rpartition(".")
    if dot and function.trust is not Trust.DANGEROUS:
        attribute = (function.full_name.removesuffix(f".{last}"), last) in ATTRIBUTES
        return not attribute and not _PUTS_TOGETHER.match(last)
    if function.trust is not Trust.ALLOWED:
        return False
    if is_listed(function.module, function.name):
        return (function.module, function.name) in FUNCTIONS
    own = function.module.startswith("__torch__")
    return not own and not _PUTS_TOGETHER.match(function.name)


def takes_items(target: Result) -> bool:
    """Whether it is a list or a set for all that is known, and still without a state."""
    origin = target.origin
    if target.built:
        return False
    return origin is None or origin.trust is not Trust.ALLOWED or origin.name in _LISTS


def takes_entries(target: Result, keys: Sequence[Value]) -> bool:
    """Likewise whether it may be given entries, rather than attributes that are called later."""
    if target.built:
        return False
    origin = target.origin
    if origin is None or origin.trust is not Trust.ALLOWED or origin.name in _MAPPINGS:
        return True
    return all(isinstance(key, str) and not _SPECIAL.fullmatch(key) for key in keys)


def gives_what_it_got(instance: Result) -> bool:
    """Whether it may be a class or function of the program, handed back by another function."""
    origin, args = instance.origin, instance.args
    if origin is None or origin.trust is not Trust.ALLOWED or not isinstance(args, tuple):
        return False
    return any(isinstance(each, Import) for each in args) and not _OF_THE_CLASS.match(origin.name)


def takes_much_memory(function: Import, args: Value) -> bool:
    """Whether a few bytes make loading take gigabytes."""
    if not _SPACIOUS.fullmatch(function.full_name) or not isinstance(args, tuple):
        return False
    count = 1
    for each in args[:20]:
        if isinstance(each, Result) and each.origin and each.origin.name in {"range", "xrange"}:
            return True
        for number in each[:20] if isinstance(each, tuple) else (each,):
            if type(number) is int and number > 1:
                count = min(count * number, _MOST_ELEMENTS)
    return count >= _MOST_ELEMENTS


def is_given_texts(function: Import, args: Value) -> bool:
    """Whether the constructor of a class gets a path, an expression or a configuration.

    Classes that are known by their package only were not looked at one by one. What is written in
    Python is made without arguments, and what is not with numbers and arrays, so that texts are
    left to enumerations, whose values are single words.
    """
    if function.trust is not Trust.ALLOWED or is_listed(function.module, function.name):
        return False
    last = function.name.rpartition(".")[2].lstrip("_")
    if not last[:1].isupper() or not isinstance(args, tuple):
        return False
    return any(map(_is_text, args[:_MOST_ARGUMENTS]))


def _is_text(value: Value) -> bool:
    if isinstance(value, Mapping):
        return any(isinstance(each, Mapping) or _is_text(each) for _, each in value.entries)
    return isinstance(value, Cut) or (isinstance(value, str) and not _WORD.fullmatch(value))
