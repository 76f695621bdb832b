"""Known-harmless names that do harm all the same with certain arguments or states."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Protocol

from adapters.inspection.pickles.values import (
    Cut,
    Import,
    Mapping,
    Result,
    Value,
    rendered,
    rendered_arguments,
)
from adapters.inspection.report import shown


class Reports(Protocol):
    """Where rules report to."""

    loaded: list[Value]

    def danger(self, sentence: str) -> None: ...
    def doubt(self, sentence: str) -> None: ...
    def imported(self, module: Value, name: Value, *, mapped: bool) -> Import: ...


Rule = Callable[[Reports, Import, Value], None]

_LATIN = frozenset({"latin1", "latin-1", "iso-8859-1"})
_REACHES_OUT = re.compile(
    r"__|\b(?:eval|exec|compile|open|getattr|globals|locals|vars|lambda|import\w*|input|breakpoint)\b"
    r"|\b(?:os|sys|subprocess|builtins|importlib|pickle|shutil|socket|pathlib|ctypes)\s*\."
)
_PLAIN_FORMULA = re.compile(r"[\w\s~+\-*:/|^]{1,250}")


def call_rule(module: str, name: str) -> Rule | None:
    """What is to be looked at when this is called."""
    return _CALLS.get(f"{module}.{name}")


def _argument(args: Value, index: int) -> Value:
    return args[index] if isinstance(args, tuple) and len(args) > index else None


def _encode(reports: Reports, _: Import, args: Value) -> None:
    """How pickles before protocol 3 write bytes."""
    if _argument(args, 1) not in _LATIN:
        reports.doubt(f"it converts a text by the codec {rendered(_argument(args, 1))}")


def _import_by_name(reports: Reports, _: Import, args: Value) -> None:
    reports.imported(_argument(args, 0), _argument(args, 1), mapped=False)


def _import_module(reports: Reports, _: Import, args: Value) -> None:
    """cloudpickle names the modules that the functions it carries use."""
    name = _argument(args, 0)
    if name not in _HARMLESS_MODULES if isinstance(name, str) else True:
        reports.doubt(f"the code that it carries uses the module {rendered(name)}")


def _import_attribute(reports: Reports, function: Import, args: Value) -> None:
    """dill names a module, or what is in one."""
    name = _argument(args, 0)
    if isinstance(name, str) and "." in name and name not in _HARMLESS_MODULES:
        module, _, last = name.rpartition(".")
        reports.imported(module, last, mapped=False)
    else:
        _import_module(reports, function, args)


def _read_file(reports: Reports, function: Import, args: Value) -> None:
    """Boosters read a file where they get arguments; their pickles give them none."""
    if args != ():
        name, shown_args = shown(function.full_name), rendered_arguments(args)
        reports.doubt(f"it calls {name}({shown_args}), which may read another file")


def _make_class(reports: Reports, _: Import, args: Value) -> None:
    """Picklers write the type of None like this, and of two more that have no name."""
    only = args[0] if isinstance(args, tuple) and len(args) == 1 else args
    named = isinstance(only, Import) and only.name in {"Ellipsis", "NotImplemented"}
    if only is not None and not named:
        reports.danger(f"it calls type({rendered_arguments(args)})")


def _compute(reports: Reports, function: Import, _: Value) -> None:
    reports.doubt(f"it puts a text together while it is loaded, by {shown(function.full_name)}")


def _load_from_bytes(reports: Reports, _: Import, args: Value) -> None:
    """Tensors of PyTorch in a plain pickle: each storage is a whole file of PyTorch."""
    reports.loaded.append(_argument(args, 0))


_CALLS: dict[str, Rule] = {
    "_codecs.encode": _encode,
    "builtins.str": _compute,
    "numpy._core._ufunc_reconstruct": _import_by_name,
    "numpy.core._ufunc_reconstruct": _import_by_name,
    "cloudpickle.cloudpickle.subimport": _import_module,
    "cloudpickle.cloudpickle_fast.subimport": _import_module,
    "cloudpickle.subimport": _import_module,
    "lightgbm.basic.Booster": _read_file,
    "xgboost.core.Booster": _read_file,
    "builtins.type": _make_class,
    "dill._dill._import_module": _import_attribute,
    "torch.storage._load_from_bytes": _load_from_bytes,
}
_HARMLESS_MODULES = frozenset(
    {
        *(
            "os.path",
            "json",
            "re",
            "math",
            "datetime",
            "time",
            "typing",
            "collections",
            "itertools",
        ),
        *("functools", "dataclasses", "warnings", "copy", "random", "enum", "string"),
        *("statistics", "decimal", "fractions", "abc", "hashlib", "base64", "uuid"),
        *("numpy", "pandas", "sklearn", "scipy", "torch", "xgboost", "lightgbm", "catboost"),
    }
)


def watch_state(reports: Reports, cls: Import, state: Value) -> None:
    """What is to be looked at when an instance of this class gets its state."""
    if cls.module.startswith("statsmodels.base.data") and not _plain(state):
        reports.danger(f"it hides the state of {shown(cls.full_name)}, which may hold a formula")
    if cls.name in {"NDArrayWrapper", "ZNDArrayWrapper"} and "joblib" in cls.module:
        _other_file(reports, state)


def _plain(state: Value) -> bool:
    return isinstance(state, Mapping) and not state.odd


def _other_file(reports: Reports, state: Value) -> None:
    """joblib before 0.10 wrote arrays into files of their own, and loads those by any path."""
    name = state.get("filename") if isinstance(state, Mapping) else None
    if not isinstance(name, str):
        reports.danger("it loads another file whose name it hides")
        return
    inside = not (PurePosixPath(name).name != name or PureWindowsPath(name).name != name)
    if inside:
        reports.doubt(f"it loads another file beside it, {rendered(name)}")
    else:
        reports.danger(f"it loads another file, {rendered(name)}")


def _formula(reports: Reports, value: Value) -> None:
    """statsmodels runs parts of the formula of a model as Python when it loads the model."""
    text = value if isinstance(value, str) else ""
    harmless = _PLAIN_FORMULA.fullmatch(text) and "__" not in text
    if not isinstance(value, str | Cut | Result) or harmless:
        return
    judge = reports.danger if _REACHES_OUT.search(text) else reports.doubt
    judge(f"it may run parts of the formula {rendered(value)} as Python")


def _template(reports: Reports, value: Value) -> None:
    """The distributions of SciPy run a text of their state."""
    text = value.head if isinstance(value, Cut) else value
    if isinstance(text, str) and text.lstrip().startswith("def _parse_args(self, "):
        reports.doubt("it has a distribution of SciPy, which runs a text of the file as Python")
    else:
        reports.danger(
            f"it runs {rendered(value)} as Python, as the text of a distribution of SciPy"
        )


WATCHED_KEYS: dict[str, Callable[[Reports, Value], None]] = {
    "_parse_arg_template": _template,
    "parse_arg_template": _template,
    "formula": _formula,
}
