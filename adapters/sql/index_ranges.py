"""Ranges of indexes that contain every row a filter can match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    ScalarSelect,
    and_,
    func,
    literal_column,
    or_,
    select,
)

from adapters.sql.filters import (
    Condition,
    Listed,
    as_number,
    as_text,
    compare,
    entry,
    unindexed,
)
from adapters.sql.tables import HEAD, aliases, models, versions
from application.filters import (
    And,
    Comparison,
    Expression,
    Field,
    In,
    IsNull,
    Not,
    Scope,
    Value,
)

INDEXED = frozenset(
    Field(Scope.ATTRIBUTE, name) for name in ("creator", "created_at", "updated_at")
)
"""The fields of versions that have an index across models."""

_NAME = Field(Scope.ATTRIBUTE, "name")


@dataclass(frozen=True, slots=True)
class IndexRange:
    """A range of an index that has every row for which one part of the filter holds.

    Attributes:
        condition: selects the rows of the range.
        source: the index's table, where it is not the list's own, and ``join`` how a row of the
            list is found from it: by expressions that keep a planner from going the other way.
        order: the column by which the range is sorted, if it is.
    """

    condition: Condition
    source: FromClause | None = None
    join: Condition | None = None
    order: ColumnElement[Any] | None = None


def conjuncts(expression: Expression | None) -> tuple[Expression, ...]:
    """The parts that all must hold."""
    if expression is None:
        return ()
    return expression.operands if isinstance(expression, And) else (expression,)


def index_ranges(listed: Listed, expression: Expression | None) -> list[IndexRange]:
    """One for each indexed field that a part of the filter limits."""
    groups: dict[tuple[Field, bool], list[_Limit]] = {}
    for part in conjuncts(expression):
        limited = _limit(part)
        if limited is not None:
            field, limit = limited
            numeric = {as_number(value) is not None for value in limit.values}
            if len(numeric) == 1:
                groups.setdefault((field, numeric.pop()), []).append(limit)
    found = (_by_field(listed, *group, limits) for group, limits in groups.items())
    return [one for one in found if one is not None]


@dataclass(frozen=True, slots=True)
class _Limit:
    operator: str
    values: tuple[Value, ...]

    @property
    def single(self) -> bool:
        """Whether one value passes."""
        return self.operator == "=" and len(self.values) == 1


def _limit(part: Expression) -> tuple[Field, _Limit] | None:
    match part:
        case Comparison(field, operator, value):
            return field, _Limit(operator, (value,))
        case In(field, values):
            return field, _Limit("=", values)
        case Not(IsNull(Field(scope=Scope.TAGS | Scope.PARAMETERS) as field)):
            return field, _Limit("!=", ("",))
        case Not(IsNull(Field(scope=Scope.METRICS) as field)):
            return field, _Limit("!=", (0,))
        case _:
            return None


def size_of(listed: Listed, index_range: IndexRange, most: int) -> ScalarSelect[int]:
    """Counts the rows of the range, up to ``most``."""
    table = listed.table if index_range.source is None else index_range.source
    some = (
        select(literal_column("1", Integer))
        .select_from(table)
        .where(index_range.condition)
        .limit(most)
    )
    return select(func.count()).select_from(some.subquery()).scalar_subquery()


def _by_field(
    listed: Listed, field: Field, numeric: bool, limits: list[_Limit]
) -> IndexRange | None:
    if field.scope is Scope.ATTRIBUTE:
        return _by_attribute(listed, field, limits)
    if field.scope is Scope.ALIAS:
        return _by_alias(listed, limits)
    return _by_label(listed, field, numeric, limits)


def _by_label(listed: Listed, field: Field, numeric: bool, limits: list[_Limit]) -> IndexRange:
    labels = listed.labels.alias("driver")
    column = labels.c.number if numeric else labels.c.value
    bounds: list[Condition] = [column.is_not(None), entry(labels, field)]
    for limit in limits:
        values = [as_number(v) if numeric else as_text(v)[:HEAD] for v in limit.values]
        bounds += _bounds(column, limit.operator, values)
    owner = labels.c[listed.owner]
    return IndexRange(
        and_(*bounds),
        source=labels,
        join=listed.table.c.id == unindexed(owner),
        order=owner if any(limit.single for limit in limits) else None,
    )


def _by_attribute(listed: Listed, field: Field, limits: list[_Limit]) -> IndexRange | None:
    if field != _NAME if listed.table is models else field not in INDEXED:
        return None
    column = listed.attributes[field.key]
    bounds = [bound for x in limits for bound in _bounds(column, x.operator, x.values)]
    if not bounds:
        return None
    if listed.table is models:
        return IndexRange(and_(*bounds), order=column)
    single = any(limit.single for limit in limits)
    return IndexRange(and_(*bounds), order=versions.c.id if single else None)


def _by_alias(listed: Listed, limits: list[_Limit]) -> IndexRange | None:
    names = [limit.values[0] for limit in limits if limit.single]
    if not names:
        return None
    model = unindexed(aliases.c.model_id)
    join = (
        models.c.id == model
        if listed.table is models
        else and_(versions.c.model_id == model, versions.c.number == unindexed(aliases.c.version))
    )
    return IndexRange(aliases.c.name == names[0], source=aliases, join=join)


def _bounds(column: ColumnElement[Any], operator: str, values: Sequence[Any]) -> list[Condition]:
    """Limits of an index's range; they may let through more than the comparison does."""
    match operator:
        case "=":
            return [or_(*(compare(column, "=", value) for value in values))]
        case "<" | "<=" | ">" | ">=":
            # With the end included: of a long text only the first characters are compared here.
            return [compare(column, f"{operator[0]}=", value) for value in values]
        case "LIKE":
            return _prefixed(column, _literal_start(str(values[0])))
        case _:
            return []


def _literal_start(pattern: str) -> str:
    start, characters = "", iter(pattern)
    for character in characters:
        if character in "%_":
            break
        start += next(characters, "\\") if character == "\\" else character
    return start


def _prefixed(column: ColumnElement[Any], start: str) -> list[Condition]:
    bounds = [column >= start] if start else []
    # The next text that does not begin so; a surrogate cannot be one, so it is skipped.
    if start and (last := ord(start[-1])) < 0x10FFFF:
        following = chr(0xE000 if last == 0xD7FF else last + 1)
        bounds.append(column < start[:-1] + following)
    return bounds
