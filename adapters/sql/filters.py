"""Filters as SQL conditions.

Every condition here is true or false, never NULL, which is what makes NOT mean what
:mod:`application.filters` says. A number is compared with numeric entries only; a text or a
boolean with the text of any entry. An alias satisfies a comparison where one of the aliases does,
a format where that of one of the files does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    FromClause,
    Table,
    and_,
    exists,
    literal,
    not_,
    or_,
)

from adapters.sql.folding import fold, folded
from adapters.sql.tables import (
    FORMATS,
    HEAD,
    aliases,
    model_labels,
    models,
    version_labels,
    versions,
)
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
from application.times import micros

Condition = ColumnElement[bool]
FORMAT = Field(Scope.ATTRIBUTE, "format")


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list is made of.

    Attributes:
        table, labels, owner: the records, their search index and its column that names a record.
        attributes: the columns behind the fields; a column of ``models`` needs a join.
        alias_of: the condition that a row of ``aliases`` (or a synonym of it) is of the record.
    """

    table: Table
    labels: Table
    owner: str
    attributes: Mapping[str, ColumnElement[Any]]
    alias_of: Callable[[FromClause], Condition]


MODELS = Listed(
    table=models,
    labels=model_labels,
    owner="model_id",
    attributes={name: models.c[name] for name in ("name", "creator", "created_at", "updated_at")},
    alias_of=lambda named: named.c.model_id == models.c.id,
)
VERSIONS = Listed(
    table=versions,
    labels=version_labels,
    owner="version_id",
    attributes={
        "model": models.c.name,
        "version": versions.c.number,
        **{
            name: versions.c[name]
            for name in ("creator", "created_at", "updated_at", "size", "format", "status")
        },
    },
    alias_of=lambda named: and_(
        named.c.model_id == versions.c.model_id, named.c.version == versions.c.number
    ),
)


def condition(listed: Listed, expression: Expression) -> Condition:
    """The expression as a condition on a row of the list."""
    match expression:
        case And(operands):
            return and_(*(condition(listed, operand) for operand in operands))
        case Or(operands):
            return or_(*(condition(listed, operand) for operand in operands))
        case Not(operand):
            return not_(condition(listed, operand))
        case Comparison(field, operator, value):
            return _holds(listed, field, lambda column: column(operator, value))
        case In(field, values):
            return _holds(
                listed, field, lambda column: or_(*(column("=", value) for value in values))
            )
        case IsNull(field):
            return _absent(listed, field)


_Test = Callable[[Callable[[str, Value], Condition]], Condition]


def _holds(listed: Listed, field: Field, test: _Test) -> Condition:
    if field.scope is Scope.ATTRIBUTE and field != FORMAT:
        column = listed.attributes[field.key]
        # Without an index of its own: which index to walk is chosen in adapters.sql.lists.
        return test(lambda operator, value: compare(unindexed(column), operator, value))
    if field.scope is Scope.ALIAS:
        named = aliases.alias()
        return exists().where(
            listed.alias_of(named),
            test(lambda operator, value: compare(named.c.name, operator, value)),
        )
    labels = listed.labels.alias()
    return exists().where(
        labels.c[listed.owner] == listed.table.c.id,
        entry(labels, field),
        test(lambda operator, value: compare_entry(labels, operator, value)),
    )


def _absent(listed: Listed, field: Field) -> Condition:
    if field.scope is Scope.ATTRIBUTE and field != FORMAT:
        return listed.attributes[field.key].is_(None)
    if field.scope is Scope.ALIAS:
        return ~exists().where(listed.alias_of(aliases.alias()))
    labels = listed.labels.alias()
    return ~exists().where(labels.c[listed.owner] == listed.table.c.id, entry(labels, field))


def entry(labels: FromClause, field: Field) -> Condition:
    """The rows of a search index that are about this field."""
    if field == FORMAT:
        return labels.c.scope == FORMATS
    return and_(labels.c.scope == field.scope.value, labels.c.key == field.key)


def unindexed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The same value, but no planner looks for it in an index."""
    return column.concat("") if column.type.python_type is str else column + literal(0)


def compare(column: ColumnElement[Any], operator: str, value: Value) -> Condition:
    """Compares a column, which must not be NULL, with a value of its type."""
    match operator:
        case "LIKE":
            return column.like(_pattern(str(value)), escape="\\")
        case "ILIKE":
            return folded(column).like(fold(_pattern(str(value))), escape="\\")
    bound = _bound(value)
    comparisons: dict[str, Callable[[], Condition]] = {
        "=": lambda: column == bound,
        "!=": lambda: column != bound,
        "<": lambda: column < bound,
        "<=": lambda: column <= bound,
        ">": lambda: column > bound,
        ">=": lambda: column >= bound,
    }
    return comparisons[operator]()


def one_of(column: ColumnElement[Any], values: Sequence[Value]) -> Condition:
    """Whether the column has one of these values; by IN, which every planner finds in an index."""
    if len(values) > 1 and len({type(value) for value in values}) == 1:
        return column.in_([_bound(value) for value in values])
    return or_(*(compare(column, "=", value) for value in values))


def _bound(value: Value) -> ColumnElement[Any]:
    if isinstance(value, datetime):
        value = micros(value)
    return literal(value, Double) if isinstance(value, float) else literal(value)


def compare_entry(labels: FromClause, operator: str, value: Value) -> Condition:
    """Compares an entry of a search index; one that has no number, or no text, fails."""
    number = as_number(value)
    if number is not None:
        column = labels.c.number
        return and_(column.is_not(None), compare(column, operator, number))
    return and_(labels.c.value.is_not(None), _compare_text(labels, operator, as_text(value)))


def as_number(value: Value) -> float | None:
    """What a value is compared with among numbers; None if it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def as_text(value: Value) -> str:
    """What a value is compared with among texts: booleans are written as JSON has them."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _compare_text(labels: FromClause, operator: str, text: str) -> Condition:
    """As on the whole text, which is split into ``value`` and ``rest``."""
    value, rest = labels.c.value, labels.c.rest
    head, tail = literal(text[:HEAD]), literal(text[HEAD:])
    same_head = value == head
    match operator:
        case "=":
            return and_(same_head, rest == tail)
        case "!=":
            return or_(value != head, rest != tail)
        case "<" | "<=" | ">" | ">=":
            strictly = value < head if operator[0] == "<" else value > head
            return or_(strictly, and_(same_head, compare(rest, operator, text[HEAD:])))
        case _:
            return compare(value.concat(rest), operator, text)


def _pattern(pattern: str) -> str:
    """The pattern with a lone backslash at its end doubled: PostgreSQL would refuse it."""
    backslashes = len(pattern) - len(pattern.rstrip("\\"))
    return pattern + "\\" if backslashes % 2 else pattern
