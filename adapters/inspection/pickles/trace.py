"""What loading a pickle would do: what it imports and calls, and what is to be thought of that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from adapters.inspection.pickles.arrays import code_of, elements
from adapters.inspection.pickles.gadgets import WATCHED_KEYS, call_rule, watch_state
from adapters.inspection.pickles.import_lists import (
    ATTRIBUTES,
    BUILT_IN_TYPES,
    CLASS_MAKERS,
    CODE_CARRIERS,
    FUNCTION_MAKERS,
)
from adapters.inspection.pickles.imports import Trust, judge_import, today
from adapters.inspection.pickles.uses import (
    CALLED_ONLY,
    gives_what_it_got,
    is_given_texts,
    is_only_named,
    takes_entries,
    takes_items,
    takes_much_memory,
)
from adapters.inspection.pickles.values import (
    OPAQUE,
    Import,
    Mapping,
    Opaque,
    Result,
    Value,
    rendered,
    rendered_arguments,
)
from adapters.inspection.report import shown
from adapters.inspection.streams import Budget, LimitExceeded, Malformed

_MOST_IMPORTS = 5000
_MOST_ACTS = 20
_MOST_TYPES = 100
_MOST_TENSORS = 200_000
_VERSION = re.compile(r"\d[\w.+-]{0,40}")

# Functions that make an instance of the class they are given first.
_MAKERS = frozenset({"copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__"})


@dataclass(slots=True)
class Trace:
    """All pickles of one file together.

    Attributes:
        dangers: what loading would do that nobody wants, as sentences to follow the place.
        doubts: what a person has to look at, likewise; an administrator cannot allow it.
        loaded: what is loaded as a file of its own while this is loaded.
        storages: the class of each tensor storage of PyTorch by its key.
        calls: how many were seen, instances included.
        unaligned: whether there are arrays of joblib whose first byte is one of an element, so that
            ``pickle.load`` may take it for an opcode.
        elements: how many there are in NumPy's arrays, by their type.
        tensors: size and class of the tensors of PyTorch, by what tells them apart.
    """

    budget: Budget
    imports: dict[tuple[str, str], Import] = field(default_factory=dict)
    dangers: dict[str, None] = field(default_factory=dict)
    doubts: dict[str, None] = field(default_factory=dict)
    protocol: int = 0
    calls: int = 0
    unaligned: bool = False
    elements: dict[str, int] = field(default_factory=dict)
    array_count: int = 0
    loaded: list[Value] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    storages: dict[str, str] = field(default_factory=dict)
    tensors: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def danger(self, sentence: str) -> None:
        """Notes one that speaks against the file."""
        if len(self.dangers) < _MOST_ACTS:
            self.dangers[sentence] = None

    def doubt(self, sentence: str) -> None:
        """Notes one that a person has to decide about."""
        if len(self.doubts) < _MOST_ACTS:
            self.doubts[sentence] = None

    def close(self) -> None:
        """Notes what only shows when all was read: joblib reads an array wherever an instance of
        its wrapper gets a state, PyTorch reads a file wherever its function is called, and only
        direct uses are followed."""
        for found in self.imports.values():
            if found.full_name in CALLED_ONLY and found.taken != found.cleared:
                self.danger(f"it hides what {found.full_name} is used for")

    # --- what the machine reports ---------------------------------------------------------------

    def imported(self, module: Value, name: Value, *, mapped: bool) -> Import:
        """An import.

        Args:
            mapped: whether Python 3 takes the name for one of Python 2, and its place of today.

        Raises:
            LimitExceeded: no honest file has that many.
        """
        if not isinstance(module, str) or not isinstance(name, str):
            what = rendered(name if isinstance(module, str) else module)
            self.danger(f"it imports a name that is put together while it is loaded ({what})")
            return Import("<computed>", "<computed>", Trust.DANGEROUS, call="")
        known = self.imports.get((module, name))
        if known is None:
            if len(self.imports) >= _MOST_IMPORTS:
                raise LimitExceeded("imports more names than are looked at", bomb=False)
            trust = judge_import(module, name)
            shown_as = today(module, name) if mapped else (module, name)
            known = self.imports[module, name] = Import(*shown_as, trust)
        known.taken += 1
        return known

    def extension(self, code: int) -> Value:
        """An object out of the registry of extensions, which differs from machine to machine."""
        self.danger(f"it loads what is registered as extension {code}, whatever that is")
        return Result(None)

    def persistent(self, pid: Value) -> Value:
        """Something that is kept outside: by PyTorch ("storage", class, key, device, count)."""
        if isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage":
            _, kind, key = pid[:3]
            if isinstance(kind, Import) and isinstance(key, str):
                self.storages.setdefault(key, kind.name)
                return Result(None, pid)
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            # A class with its source, as PyTorch wrote before 1.6.
            return pid[1] if isinstance(pid[1], Import) else OPAQUE
        return OPAQUE

    def called(self, function: Value, args: Value, keywords: Value = None) -> Import | Result:
        """A call, or the making of an instance.

        Raises:
            Malformed: nothing that can be called.
        """
        self.calls += 1
        if isinstance(function, Import):
            return self._called_import(function, args, keywords)
        if not isinstance(function, Result):
            if not isinstance(function, Opaque):
                raise Malformed("calls what cannot be called")
            function = Result(None)
        origin = function.origin
        if origin is None or origin.trust is not Trust.UNKNOWN:
            self.danger(f"it calls what an earlier call returned ({rendered(function)})")
        elif origin.name in FUNCTION_MAKERS:
            self.danger(f"it runs code that it carries ({rendered(function)})")
        return Result(origin, args)

    def _called_import(self, function: Import, args: Value, keywords: Value) -> Import | Result:
        if function.full_name in CALLED_ONLY:
            function.cleared += 1
        harmless = self._attribute(function, args)
        if harmless is not None:
            function.cleared += 1
            return harmless
        if function.call is None:
            named = isinstance(keywords, Mapping) and keywords.entries
            more = f", **{rendered(keywords)}" if named else ""
            arguments = shown(rendered_arguments(args) + more, 200)
            function.call = f"{shown(function.full_name)}({arguments})"
        self._check_call(function, args)
        first = args[0] if isinstance(args, tuple) and args else None
        if function.full_name in _MAKERS:
            return self._made(first, args)
        if function.full_name in {
            "torch._utils._rebuild_tensor_v2",
            "torch._utils._rebuild_tensor_v3",
        }:
            self._note_tensor(args)
        elif function.name == "_frombuffer" and isinstance(args, tuple) and len(args) > 2:
            self.note_array(args[1], args[2])
        return Result(function, args)

    def _check_call(self, function: Import, args: Value) -> None:
        rule = call_rule(function.module, function.name)
        if rule is not None:
            rule(self, function, args)
        if is_only_named(function):
            self.danger(f"it calls {function.call}, which no pickler does")
        elif takes_much_memory(function, args):
            self.danger(f"it would take up all memory by {function.call}")
        elif is_given_texts(function, args):
            self.doubt(f"it calls {function.call}, which may act on what it is given")

    def _attribute(self, function: Import, args: Value) -> Import | Result | None:
        """What the few harmless uses of ``getattr`` and ``setattr`` give."""
        if not isinstance(args, tuple) or len(args) < 2:
            return None
        owner, name = args[:2]
        if function.full_name == "_operator.getitem" and isinstance(owner, Import):
            return Result(owner, built=True) if owner.module == "typing" else None
        if not isinstance(name, str):
            return None
        if function.full_name == "builtins.getattr":
            return self._method(owner, name) if len(args) == 2 else _setter_of_dill(args)
        if function.full_name == "builtins.setattr" and isinstance(owner, Result):
            origin = owner.origin
            filled = name == "cell_contents" and origin and origin.name == "_create_cell"
            if origin and _carries_code(origin) and (filled or origin.name in CLASS_MAKERS):
                return Result(None)
        return None

    def _method(self, owner: Value, name: str) -> Import | None:
        """A method, bound to an instance, or as it stands in the class, or a class within a class,
        as picklers write them before protocol 4."""
        cls = owner.origin if isinstance(owner, Result) else owner
        if not isinstance(cls, Import):
            return None
        if cls is owner and (cls.full_name, name) in ATTRIBUTES:
            return Import(cls.module, f"{cls.name}.{name}", Trust.ALLOWED)
        if judge_import(cls.module, f"{cls.name}.{name}") is Trust.DANGEROUS:
            return None
        return self.imported(cls.module, f"{cls.name}.{name}", mapped=False)

    def _made(self, cls: Value, args: Value) -> Import | Result:
        if not isinstance(cls, Import):
            return self.called(cls, args)
        if cls.full_name in CALLED_ONLY:
            cls.cleared += 1
        return Result(cls)

    def built(self, instance: Value, state: Value) -> None:
        """The state that an instance is given.

        Raises:
            Malformed: nothing that has a state, or one that has it already.
        """
        if isinstance(instance, Import):
            if instance.trust is not Trust.DANGEROUS:
                self.danger(f"it changes {shown(instance.full_name)} itself, for the whole program")
            return
        if not isinstance(instance, Result):
            raise Malformed("gives a state to what has none")
        origin = instance.origin
        if instance.built:
            raise Malformed("gives an object a second state, which may be a call")
        if gives_what_it_got(instance):
            self.danger(f"it changes what {rendered(instance)} gives, for the whole program")
        instance.built = True
        instance.state = state
        array = origin is not None and origin.name == "_reconstruct"
        if array and isinstance(state, tuple) and len(state) == 5:
            self.note_array(state[2], state[1])
        if origin is not None and _gives_what_is_there(origin):
            self.danger(f"it changes what {rendered(instance)} gives, for the whole program")
        elif origin is not None:
            watch_state(self, origin, state)

    def changed(self, target: Value, keys: Sequence[Value] | None = None) -> None:
        """Something is added to what is no plain container: an instance of a known class may take
        it; what was imported must not be changed.

        Args:
            keys: those of the new entries of a mapping; None if items of a list are added.

        Raises:
            Malformed: nothing takes it.
        """
        if isinstance(target, Import):
            self.danger(f"it changes {shown(target.full_name)} itself, for the whole program")
        elif isinstance(target, Result):
            if target.origin is not None and _gives_what_is_there(target.origin):
                self.danger(f"it changes what {rendered(target)} gives, for the whole program")
            fits = takes_items(target) if keys is None else takes_entries(target, keys)
            if not fits:
                self.danger(f"it adds to {rendered(target)}, which may be a call")
        else:
            raise Malformed("adds to what cannot be added to")

    def entry(self, key: Value, value: Value) -> None:
        """An entry of a dict."""
        if key == "_sklearn_version" and isinstance(value, str) and _VERSION.fullmatch(value):
            self.versions.add(value)
        elif isinstance(key, str) and key in WATCHED_KEYS:
            WATCHED_KEYS[key](self, value)

    def note_array(self, dtype: Value, shape: Value) -> None:
        """An array of NumPy, where its type and shape are such."""
        with suppress(Malformed):
            code, count = code_of(dtype), elements(shape)
            if code is not None and len(self.elements) < _MOST_TYPES:
                self.elements[code] = self.elements.get(code, 0) + count
                self.array_count += 1

    def _note_tensor(self, args: Value) -> None:
        """By the arguments: storage, offset, size, strides; the seventh is the type of what has no
        class of storages of its own."""
        if not isinstance(args, tuple) or len(args) < 4 or len(self.tensors) >= _MOST_TENSORS:
            return
        storage, offset, size = args[:3]
        pid = storage.args if isinstance(storage, Result) else None
        if not isinstance(pid, tuple) or len(pid) < 3 or not isinstance(offset, int):
            return
        if not isinstance(size, tuple) or not all(type(n) is int and n >= 0 for n in size):
            return
        count = 1
        for length in size[:16]:
            count = min(count * length, 1 << 62)
        own = args[6] if len(args) > 6 and isinstance(args[6], Import) else pid[1]
        kind = own.name if isinstance(own, Import) else "?"
        self.tensors[str(pid[2])[:64], offset, count] = kind


def _setter_of_dill(args: tuple[Value, ...]) -> Import | None:
    """``setattr``, the default of an attribute that dill lacks where it is as old as Python 2."""
    module, name, default = args[:3]
    if not isinstance(module, Import) or not isinstance(default, Import):
        return None
    if (module.full_name, name, default.full_name) != (
        "dill._dill",
        "_setattr",
        "builtins.setattr",
    ):
        return None
    module.cleared += 1
    default.cleared += 1
    default.taken += 1
    return default


def _carries_code(found: Import) -> bool:
    return found.module.partition(".")[0] in CODE_CARRIERS


def _gives_what_is_there(found: Import) -> bool:
    """Whether a call of it gives a module or a type of the program, rather than a new object."""
    return _carries_code(found) and ("import" in found.name or found.name in BUILT_IN_TYPES)
