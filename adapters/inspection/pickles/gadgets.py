"""Known-harmless names that do harm all the same with certain arguments or states."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Protocol

from adapters.inspection.pickles.import_lists import BARE_CLASSES
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
_FORMULA = re.compile(
    r"(?:[\w\s~+\-*:/|^(),=%<>]|(?<=\d)\.(?=\d)|(?<=\bnp)\.(?=[a-z]\w*\()"
    r"|'[\w .-]*'|\"[\w .-]*\"){1,250}+"
)
# What patsy knows itself, and functions of numbers: nothing else may stand before a bracket.
_CALLED = re.compile(r"(?:\bnp\.)?[^\W\d]\w*(?=\s*\()|\)\s*\(|['\"]\s*\(")
_TRANSFORMS = re.compile(
    r"C|I|Q|Treatment|Sum|Poly|Helmert|Diff|bs|cr|cc|te|center|scale|standardize"
    r"|np\.(?:abs|cbrt|ceil|clip|cos|exp|expm1|floor|log|log10|log1p|log2|maximum|minimum|power"
    r"|round|sign|sin|sqrt|square|tan|tanh|where)"
)


def call_rule(module: str, name: str) -> Rule | None:
    """What is to be looked at when this is called."""
    full_name = f"{module}.{name}"
    return _takes_nothing if BARE_CLASSES.fullmatch(full_name) else _CALLS.get(full_name)


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
    """A class of the file. The types of None and its like are pickled as calls of ``type``."""
    only = args[0] if isinstance(args, tuple) and len(args) == 1 else args
    named = isinstance(only, Import) and only.name in {"Ellipsis", "NotImplemented"}
    if only is not None and not named:
        reports.danger(f"it calls type({rendered_arguments(args)})")


def _takes_nothing(reports: Reports, cls: Import, args: Value) -> None:
    if args != ():
        name, shown_args = shown(cls.full_name), rendered_arguments(args)
        reports.danger(f"it calls {name}({shown_args}), which may act on what it is given")


def _compute(reports: Reports, function: Import, _: Value) -> None:
    reports.doubt(f"it puts a text together while it is loaded, by {shown(function.full_name)}")


def _load_from_bytes(reports: Reports, _: Import, args: Value) -> None:
    """Tensors of PyTorch in a plain pickle: each storage is a whole file of PyTorch."""
    reports.loaded.append(_argument(args, 0))


def _rebuild(reports: Reports, function: Import, args: Value) -> None:
    """A subclass of a tensor: PyTorch calls the function that is given, to make the tensor."""
    maker = _argument(args, 0)
    if not isinstance(maker, Import) or not maker.full_name.startswith("torch._utils._rebuild_"):
        reports.danger(f"it calls {shown(function.full_name)}({rendered_arguments(args)})")


def _make_by_base(reports: Reports, function: Import, args: Value) -> None:
    """It calls ``__new__`` and ``__init__`` of what is given as the base."""
    if not isinstance(_argument(args, 1), Import):
        reports.danger(f"it calls {shown(function.full_name)}({rendered_arguments(args)})")


_CALLS: dict[str, Rule] = {
    "copyreg._reconstructor": _make_by_base,
    "torch._tensor._rebuild_from_type_v2": _rebuild,
    "transformers.training_args.TrainingArguments": _read_file,
    "transformers.training_args_seq2seq.Seq2SeqTrainingArguments": _read_file,
    "accelerate.state.PartialState": _read_file,
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
    if cls.module.startswith("scipy.stats.") and cls.name.endswith("_gen"):
        _distribution(reports, cls, state)
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
    called = map(_TRANSFORMS.fullmatch, _CALLED.findall(text))
    harmless = _FORMULA.fullmatch(text) and "__" not in text and all(called)
    if not isinstance(value, str | Cut | Result) or harmless:
        return
    judge = reports.danger if _REACHES_OUT.search(text) else reports.doubt
    judge(f"it may run parts of the formula {rendered(value)} as Python")


def _distribution(reports: Reports, cls: Import, state: Value) -> None:
    """SciPy before 1.6 wrote the arguments of the constructor, and today's reads them still."""
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], Mapping):
        state = state[0] if len({key for key, _ in state[0].entries}) > 2 else None
    if not _plain(state):
        reports.danger(f"it hides the state of {shown(cls.full_name)}, of which a text is run")


# What ``rv_generic`` makes of the names of a distribution's parameters: three functions that
# give back what they are given.
_PARSERS = re.compile(
    r"\s*def _parse_args\(self, (?P<shapes>(?:[A-Za-z]\w*, )*) (?P<given>loc=0(?:, scale=1)?)\):"
    r"\s+return \((?P=shapes)\), (?P<used>loc, (?:scale|1))"
    r"\s+def _parse_args_rvs\(self, (?P=shapes) (?P=given), size=None\):"
    r"\s+return self\._argcheck_rvs\((?P=shapes) (?P=used), size=size\)"
    r"\s+def _parse_args_stats\(self, (?P=shapes) (?P=given), moments='mv'\):"
    r"\s+return \((?P=shapes)\), (?P=used), moments\s*"
)


def _template(reports: Reports, value: Value) -> None:
    """The distributions of SciPy run a text of their state."""
    if not isinstance(value, str) or not _PARSERS.fullmatch(value):
        reports.danger(
            f"it runs {rendered(value)} as Python, as the text of a distribution of SciPy"
        )


WATCHED_KEYS: dict[str, Callable[[Reports, Value], None]] = {
    "_parse_arg_template": _template,
    "parse_arg_template": _template,
    "formula": _formula,
}
