"""Filters evaluated on what is in memory; see :mod:`application.filters` for their meaning."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from application.filters import (
    And,
    Comparison,
    Expression,
    Field,
    In,
    IsNull,
    Not,
    Or,
    Scope,
    Value,
)

Lookup = Callable[[Field], Sequence[Any]]
"""The values of a field: none where it is absent, several for aliases and formats."""

_ORDERINGS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def holds(expression: Expression, lookup: Lookup) -> bool:
    """Whether the expression is true of the record."""
    match expression:
        case And(operands):
            return all(holds(operand, lookup) for operand in operands)
        case Or(operands):
            return any(holds(operand, lookup) for operand in operands)
        case Not(operand):
            return not holds(operand, lookup)
        case Comparison(field, symbol, value):
            return any(_compare(field, stored, symbol, value) for stored in lookup(field))
        case In(field, values):
            return any(_compare(field, s, "=", value) for s in lookup(field) for value in values)
        case IsNull(field):
            return not lookup(field)


def _compare(field: Field, stored: Any, symbol: str, value: Value) -> bool:
    if isinstance(value, str | bool):
        left, right = _text(stored), _text(value)
        if symbol == "LIKE":
            return bool(_like(right).fullmatch(left))
        if symbol == "ILIKE":
            return bool(_like(_lower(right)).fullmatch(_lower(left)))
        return _ORDERINGS[symbol](left, right)
    if isinstance(stored, str | bool):
        return False
    if field.scope is not Scope.ATTRIBUTE:
        stored, value = float(stored), float(value)  # type: ignore[arg-type]
    return _ORDERINGS[symbol](stored, value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _lower(text: str) -> str:
    return "".join(map(str.lower, text))


def _like(pattern: str) -> re.Pattern[str]:
    parts, characters = [], iter(pattern)
    for character in characters:
        if character == "%":
            parts.append(".*")
        elif character == "_":
            parts.append(".")
        else:
            parts.append(re.escape(next(characters, "\\") if character == "\\" else character))
    return re.compile("".join(parts), re.DOTALL)
