"""Which imports of a pickle are known to be harmless, which are not, and which nobody knows.

The allow-list decides; what is on no list is unknown and a matter for people. Lists of what is
dangerous are never complete, so they only turn "a person has to look" into "refused".
"""

from __future__ import annotations

import re
import unicodedata
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from enum import Enum
from functools import lru_cache

from adapters.inspection.pickles.import_lists import (
    ALLOWED,
    ALLOWED_BELOW,
    CODE_CARRIERS,
    CODE_CARRYING,
    DENIED_PARTS,
    GADGET_NAMES,
    GADGET_PACKAGES,
    HELD,
    ML_CLASSES,
    STANDARD_LIBRARY,
)


class Trust(Enum):
    """What is known of an import: that it is harmless, that it is not, or nothing."""

    ALLOWED = "allowed"
    UNKNOWN = "unknown"
    DANGEROUS = "dangerous"


_ORDER = (Trust.ALLOWED, Trust.UNKNOWN, Trust.DANGEROUS)
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_DUNDER = re.compile(r"__\w*__")
_MAIN = frozenset({"__main__", "__mp_main__"})
# CapWords, perhaps private, perhaps with a suffix as in "Tree_v2"; or a short word in capitals.
_CLASS = re.compile(r"_?(?:[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*|[A-Z][A-Z0-9]{0,7})(?:_\w{1,4})?")
_METHOD = re.compile(r"_?[a-z]\w*")
_ACTIVE_CLASS = re.compile(
    r"(?:File|Reader|Writer|Loader|Saver|Store|Memory|Parallel|Server|Client|Runner|Process|Popen"
    r"|Executor|Thread|Launcher|Downloader|Fetcher|DataSource|Shell|Interpreter|Compiler|Debugger"
    r"|Profiler|Importer|Unpickler|Pickler|Command|Tool|Agent|PytestTester|Retriever|LegacyIndex|MapWrapper"
    r"|Connection|Listener|Directory|Pool|Socket|Session|Ptr|Handle|Dataset|DMatrix"
    r"|Booster|InnerPredictor|GraphModule|Tracer|Visualizer|ArgumentParser|EvalFactor|EvalEnvironment"
    r"|(?:Code|Function|Method|Module|Lambda)Type)"
    r"(?:_\w*)?$"
)
# Functions that are never kept to be called with data: they read, write, run or change something.
_ACTIVE_FUNCTION = re.compile(
    r"(?:\w*_)?(?:open\w*|\w*file|load\w*|save\w*|dump\w*|reads?|write\w*|exec\w*|eval|import\w*"
    r"|\w*memmap|fetch\w*|download\w*|spawn\w*|system|main|tests?|show|register|hook|patch|plugin"
    r"|source|setup|set|seterr\w*|clone|module|newdoc|docstring|builder?)(?:_\w*)?"
    r"|os|sys|subprocess|shutil|importlib|pickle|socket|ctypes|builtins|tempfile|joblib|urllib"
)
_ML_CLASSES = re.compile("|".join(ML_CLASSES))
_ML_PACKAGES = frozenset(
    {pattern.split("\\.")[0].split("(")[0].rstrip("$") for pattern in ML_CLASSES}
    | {"numpy", "joblib", "torch", "skops", "keras", "tensorflow", "jax", "onnx", "pandas"}
)


def today(module: str, name: str) -> tuple[str, str]:
    """Where Python 3 finds a name of Python 2, as unpicklers map them before protocol 3."""
    if (module, name) in NAME_MAPPING:
        return NAME_MAPPING[module, name]
    return IMPORT_MAPPING.get(module, module), name


@lru_cache(maxsize=10_000)
def judge_import(module: str, name: str) -> Trust:
    """What is known of a name, be it one of Python 2 or of Python 3: the worse of both.

    Args:
        module: e.g. "sklearn.tree._classes".
        name: e.g. "DecisionTreeClassifier"; "Outer.Inner" reaches into a class.
    """
    both = _judge(module, name), _judge(*today(module, name))
    return max(both, key=_ORDER.index)


def is_listed(module: str, name: str) -> bool:
    """Whether it is allowed by its own name, not by that of its package."""
    return (module, name) in ALLOWED or today(module, name) in ALLOWED


def _judge(module: str, name: str) -> Trust:
    if (module, name) in ALLOWED:
        return Trust.ALLOWED
    if (module, name) in HELD:
        return Trust.UNKNOWN
    parts = [*module.split("."), *name.split(".")]
    if not all(_IDENTIFIER.fullmatch(part) for part in parts):
        return Trust.DANGEROUS
    if _below(module, name):
        return Trust.ALLOWED
    own = parts[1:] if parts[0] in _MAIN else parts
    if any(_DUNDER.fullmatch(part) for part in own) or _is_gadget(parts):
        return Trust.DANGEROUS
    return _judge_other(module, name, parts[0])


def _judge_other(module: str, name: str, top: str) -> Trust:
    if top in CODE_CARRIERS:
        return Trust.UNKNOWN if name in CODE_CARRYING else Trust.DANGEROUS
    if "." in name:
        nested = all(_CLASS.fullmatch(part) for part in name.split("."))
        return Trust.UNKNOWN if nested or _is_method(module, name) else Trust.DANGEROUS
    return _judge_model_code(module, name) if top in _ML_PACKAGES else Trust.UNKNOWN


def _is_method(module: str, name: str) -> bool:
    """Whether it is a method of a class that is not known to be dangerous, to be named only."""
    owner, _, last = name.rpartition(".")
    if "." in owner or not _METHOD.fullmatch(last):
        return False
    trust = judge_import(module, owner)
    return trust is Trust.ALLOWED or (trust is Trust.UNKNOWN and bool(_CLASS.fullmatch(owner)))


def _below(module: str, name: str) -> bool:
    path = module
    while path:
        pattern = ALLOWED_BELOW.get(path)
        last = name.rpartition(".")[2]
        known = pattern and re.fullmatch(pattern, name) and last not in GADGET_NAMES
        known = known and not _ACTIVE_FUNCTION.fullmatch(last)
        if known and (path == module or not _denied(module)):
            return True
        path = path.rpartition(".")[0]
    return False


def _is_gadget(parts: list[str]) -> bool:
    """Whether it is of the standard library or of a package that runs things, however written, or
    named like what runs things everywhere."""
    top = unicodedata.normalize("NFKC", parts[0]).casefold()
    return top in STANDARD_LIBRARY or top in GADGET_PACKAGES or parts[-1] in GADGET_NAMES


def _denied(module: str) -> bool:
    return not DENIED_PARTS.isdisjoint(module.split(".")[1:])


def _judge_model_code(module: str, name: str) -> Trust:
    if module == "joblib._store_backends" and _CLASS.fullmatch(name):
        return Trust.UNKNOWN  # where a model that was told to cache its steps keeps them
    if _denied(module) or module.startswith("joblib"):
        return Trust.DANGEROUS
    if _ML_CLASSES.match(module) and _CLASS.fullmatch(name) and not _ACTIVE_CLASS.search(name):
        return Trust.ALLOWED
    return Trust.UNKNOWN
