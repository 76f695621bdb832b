"""Harmless imports of pickles in uses that are not."""

from __future__ import annotations

import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.inspection.inspect import inspect_file
from adapters.inspection.streams import Stream
from domain.validation import Judgement, ValidationPolicy, Verdict
from domain.values import FilePath


def judged(data: bytes) -> Judgement:
    path = FilePath("model.pkl")
    return ValidationPolicy().judge({path: inspect_file(Stream.of_bytes(data), path)})


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def name(module: str, what: str) -> bytes:
    return text(module) + text(what) + b"\x93"


def called(function: bytes, *args: bytes) -> bytes:
    return function + b"(" + b"".join(args) + b"tR"


def entries(**values: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


LOAD = name("torch.storage", "_load_from_bytes")
BYTES = b"C\x02hi"
OBJECT = called(name("types", "SimpleNamespace"))
PARAMETERS = called(name("torch.nn.modules.container", "ParameterDict"))
MODEL = name("sklearn.linear_model._base", "LinearRegression")
MUCH = b"\x8a\x06\0\0\0\0\0\x01"

ATTACKS = {
    "a method that the state brings is called by APPEND": (
        OBJECT + entries(append=LOAD) + b"b" + BYTES + b"a",
        "may be a call",
    ),
    "likewise by ADDITEMS": (OBJECT + entries(add=LOAD) + b"b(" + BYTES + b"\x90", "may be a call"),
    "a second state calls what the first one brought": (
        OBJECT + entries(__setstate__=LOAD) + b"b" + BYTES + b"b",
        "a second state",
    ),
    "an entry becomes an attribute": (
        PARAMETERS + text("__setstate__") + LOAD + b"s" + BYTES + b"b",
        "may be a call",
    ),
    "entries as attributes, and APPEND": (
        called(name("sklearn.utils._bunch", "Bunch")) + text("append") + LOAD + b"s" + BYTES + b"a",
        "may be a call",
    ),
    "a function that calls another": (
        called(
            name("torch._tensor", "_rebuild_from_type_v2"),
            LOAD,
            name("torch", "Tensor"),
            b"(" + BYTES + b"t",
            b"N",
        ),
        "hides what torch.storage._load_from_bytes is used for",
    ),
    "a function that somebody else calls later": (
        called(name("functools", "partial"), LOAD, BYTES),
        "hides what torch.storage._load_from_bytes is used for",
    ),
    "a class of the program is taken from a function and changed": (
        called(name("builtins", "min"), b"(" + MODEL + b"t")
        + b"(N"
        + entries(predict=name("builtins", "len"))
        + b"tb",
        "which no pickler does",
    ),
    "likewise by a function that picklers call": (
        called(name("torch.jit._pickle", "build_intlist"), MODEL) + b"(N}tb",
        "for the whole program",
    ),
    "a list of numbers without end": (
        called(name("builtins", "list"), called(name("builtins", "range"), MUCH)),
        "take up all memory",
    ),
    "bytes without end": (called(name("builtins", "bytearray"), MUCH), "take up all memory"),
    "an array without end": (
        called(name("numpy.core.multiarray", "zeros"), b"(" + MUCH + b"t"),
        "take up all memory",
    ),
    "a key that takes forever to be hashed": (b"})" + b"22\x87" * 40 + b"Ns", "a key of more than"),
    "a member of a set likewise": (b"\x8f()" + b"22\x87" * 40 + b"\x90", "a key of more than"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_uses_that_no_pickler_makes_of_an_import_are_refused(attack: str) -> None:
    data, said = ATTACKS[attack]

    judgement = judged(b"\x80\x04" + data + b".")

    assert judgement.verdict is Verdict.REJECT
    assert said in " ".join(finding.message for finding in judgement.findings)


class Named(OrderedDict[str, int]):
    """With entries and a state of its own."""


@pytest.mark.parametrize(
    "value",
    [
        deque([1, 2, 3]),
        OrderedDict(a=1),
        defaultdict(list, a=[1]),
        Counter("abca"),
        SimpleNamespace(append=1, extend=2),
        {("a", ("b", 1)): {(1, 2), (3, 4)}},
        {"functions": [abs, len, max], "type": type(None)},
    ],
    ids=str,
)
@pytest.mark.parametrize("protocol", range(6))
def test_what_pickle_writes_of_such_objects_is_accepted(value: Any, protocol: int) -> None:
    assert judged(pickle.dumps(value, protocol)).verdict is Verdict.ACCEPT


def test_an_object_with_entries_and_a_state_is_no_attack() -> None:
    named = Named(a=1)
    named.version = 2  # type: ignore[attr-defined]

    assert judged(pickle.dumps(named, 4)).verdict is Verdict.REVIEW


def test_a_class_with_its_source_as_pytorch_once_kept_it_is_that_class() -> None:
    module = b"(" + text("module") + name("torch.nn.modules.linear", "Linear")
    data = b"\x80\x02" + module + text("linear.py") + text("class Linear") + b"tQ)\x81}b."

    assert not [each for each in judged(data).findings if "earlier call" in each.message]


@pytest.mark.parametrize(
    ("argument", "right"),
    [
        (text("__import__('os').system('true')"), Verdict.REVIEW),
        (text("/etc/passwd"), Verdict.REVIEW),
        (entries(act=text("eval('1')")), Verdict.REVIEW),
        (text("bilinear"), Verdict.ACCEPT),
        (text("period[M]"), Verdict.ACCEPT),
        (entries(a=b"K\x01"), Verdict.ACCEPT),
    ],
)
def test_texts_that_a_constructor_may_act_on_are_held(argument: bytes, right: Verdict) -> None:
    made = called(name("sklearn.somewhere", "Something"), argument)

    assert judged(b"\x80\x04" + made + b".").verdict is right


def test_models_that_evaluate_their_configuration_are_refused() -> None:
    made = called(name("ultralytics.nn.tasks", "DetectionModel"), entries(activation=text("f()")))

    assert judged(b"\x80\x04" + made + b".").verdict is Verdict.REJECT
