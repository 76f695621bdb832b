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
    select,
    true,
)

from adapters.sql.filters import (
    FORMAT,
    Condition,
    Listed,
    as_number,
    as_text,
    compare,
    entry,
    one_of,
    unindexed,
)
from adapters.sql.tables import FORMATS, HEAD, aliases, models, version_labels, versions
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
    Field(Scope.ATTRIBUTE, name) for name in ("creator", "created_at", "updated_at", "status")
)
"""The fields of versions that have an index across models."""

_NAME, _MODEL, _VERSION = (Field(Scope.ATTRIBUTE, name) for name in ("name", "model", "version"))


_ONE = literal_column("1", Integer)


@dataclass(frozen=True, slots=True)
class IndexRange:
    """A range of an index that has every row for which one part of the filter holds.

    Attributes:
        condition: selects the rows of the range.
        source: the index's table, where it is not the list's own, and ``join`` how a row of the
            list is found from it: by expressions that keep a planner from going the other way.
        order: the column by which the range is sorted, if it is.
        owner: the column of ``source`` that has the id of a row of the list.
        implied: the parts of the filter that hold for every row of the range.
        weight: how many rows of the list belong to a row of the range.
    """

    condition: Condition
    source: FromClause | None = None
    join: Condition | None = None
    order: ColumnElement[Any] | None = None
    owner: ColumnElement[Any] | None = None
    implied: tuple[Expression, ...] = ()
    weight: ColumnElement[int] = _ONE


def conjuncts(expression: Expression | None) -> tuple[Expression, ...]:
    """The parts that all must hold."""
    if expression is None:
        return ()
    return expression.operands if isinstance(expression, And) else (expression,)


def without(expression: Expression | None, parts: Sequence[Expression]) -> Expression | None:
    """The expression less some of its conjuncts."""
    # Not by equality: 1 and true are not the same value, but equal.
    left = [one for one in conjuncts(expression) if all(one is not part for part in parts)]
    return And(tuple(left)) if len(left) > 1 else left[0] if left else None


def index_ranges(
    listed: Listed, expression: Expression | None, model_id: str | None = None
) -> list[IndexRange]:
    """One for each indexed field that a part of the filter limits.

    Args:
        model_id: the only model whose versions are wanted, where there is one.
    """
    groups: dict[tuple[Field, bool], list[_Limit]] = {}
    for part in conjuncts(expression):
        limited = _limit(part)
        if limited is not None:
            field, limit = limited
            numeric = {as_number(value) is not None for value in limit.values}
            if len(numeric) == 1:
                groups.setdefault((field, numeric.pop()), []).append(limit)
    found = (_by_field(listed, model_id, *group, limits) for group, limits in groups.items())
    return [one for one in found if one is not None]


@dataclass(frozen=True, slots=True)
class _Limit:
    part: Expression
    operator: str
    values: tuple[Value, ...]

    @property
    def exact(self) -> bool:
        """Whether a range can hold exactly what passes: of a text only the head is indexed."""
        short = all(len(as_text(value)) < HEAD for value in self.values)
        return short and self.operator not in {"!=", "LIKE", "ILIKE"}

    @property
    def single(self) -> bool:
        """Whether one value passes."""
        return self.operator == "=" and len(self.values) == 1


def _limit(part: Expression) -> tuple[Field, _Limit] | None:
    match part:
        case Comparison(field, operator, value):
            return field, _Limit(part, operator, (value,))
        case In(field, values):
            return field, _Limit(part, "=", values)
        case Not(IsNull(Field(scope=Scope.TAGS | Scope.PARAMETERS | Scope.FACTS) as field)):
            return field, _Limit(part, "IS NOT NULL", ("",))
        case Not(IsNull(Field(scope=Scope.METRICS) as field)):
            return field, _Limit(part, "IS NOT NULL", (0,))
        case _:
            return None


def size_of(listed: Listed, index_range: IndexRange, most: int) -> ScalarSelect[int]:
    """Counts what belongs to the rows of the range, of which ``most`` are looked at."""
    table = listed.table if index_range.source is None else index_range.source
    weight = index_range.weight.label("weight")
    some = select(weight).select_from(table).where(index_range.condition).limit(most).subquery()
    return select(func.coalesce(func.sum(some.c.weight), 0)).scalar_subquery()


def _by_field(
    listed: Listed, model_id: str | None, field: Field, numeric: bool, limits: list[_Limit]
) -> IndexRange | None:
    if field == _VERSION and model_id is not None:
        return _by_number(model_id, limits)
    if field == _MODEL:
        return _by_model(limits)
    if field == FORMAT:
        return _by_format(limits)
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
        bounds += _bounds(column, limit, values)
    owner = labels.c[listed.owner]
    return IndexRange(
        and_(*bounds),
        source=labels,
        join=listed.table.c.id == unindexed(owner),
        order=owner if any(limit.single for limit in limits) else None,
        owner=owner,
        implied=_implied(limits),
    )


def _by_format(limits: list[_Limit]) -> IndexRange | None:
    limit = next((limit for limit in limits if limit.operator == "=" and limit.exact), None)
    if limit is None:
        return None
    labels = version_labels.alias("driver")
    one_of_them = (one_of(column, limit.values) for column in (labels.c.key, labels.c.value))
    condition = and_(labels.c.scope == FORMATS, *one_of_them, labels.c.key == labels.c.value)
    source: FromClause = labels
    if not limit.single:
        # What has files of several of these formats shall be found once.
        source = select(labels.c.version_id).where(condition).distinct().subquery("of_format")
        condition = true()
    owner = source.c.version_id
    return IndexRange(
        condition,
        source,
        versions.c.id == unindexed(owner),
        order=owner if limit.single else None,
        owner=owner,
        implied=_implied([limit]),
    )


def _by_attribute(listed: Listed, field: Field, limits: list[_Limit]) -> IndexRange | None:
    if field != _NAME if listed.table is models else field not in INDEXED:
        return None
    column = listed.attributes[field.key]
    bounds = _all_bounds(column, limits)
    if not bounds:
        return None
    if listed.table is models:
        return IndexRange(and_(*bounds), order=column, implied=_implied(limits))
    order = versions.c.id if any(limit.single for limit in limits) else None
    return IndexRange(and_(*bounds), order=order, implied=_implied(limits))


def _by_number(model_id: str, limits: list[_Limit]) -> IndexRange | None:
    number = versions.c.number
    bounds = _all_bounds(number, limits)
    if not bounds:
        return None
    condition = and_(versions.c.model_id == model_id, *bounds)
    return IndexRange(condition, order=number, implied=_implied(limits))


def _by_model(limits: list[_Limit]) -> IndexRange | None:
    named = models.alias("driver")
    bounds = _all_bounds(named.c.name, limits)
    if not bounds:
        return None
    join = versions.c.model_id == unindexed(named.c.id)
    return IndexRange(
        and_(*bounds), named, join, implied=_implied(limits), weight=named.c.version_count
    )


def _by_alias(listed: Listed, limits: list[_Limit]) -> IndexRange | None:
    limit = next((limit for limit in limits if limit.operator == "="), None)
    if limit is None:
        return None
    condition = and_(*_bounds(aliases.c.name, limit, limit.values))
    source: FromClause = aliases
    if not limit.single:
        # What has several of these aliases shall be found once.
        pointed = [aliases.c.model_id, aliases.c.version][: 1 if listed.table is models else 2]
        source = select(*pointed).where(condition).distinct().subquery("pointed")
        condition = true()
    model = unindexed(source.c.model_id)
    join = (
        models.c.id == model
        if listed.table is models
        else and_(versions.c.model_id == model, versions.c.number == unindexed(source.c.version))
    )
    return IndexRange(condition, source, join, implied=_implied([limit]))


def _implied(limits: list[_Limit]) -> tuple[Expression, ...]:
    return tuple(limit.part for limit in limits if limit.exact)


def _all_bounds(column: ColumnElement[Any], limits: list[_Limit]) -> list[Condition]:
    return [bound for limit in limits for bound in _bounds(column, limit, limit.values)]


def _bounds(column: ColumnElement[Any], limit: _Limit, values: Sequence[Any]) -> list[Condition]:
    """Limits of an index's range; unless exact they let through more than the comparison does."""
    match limit.operator:
        case "=":
            return [one_of(column, values)]
        case "<" | "<=" | ">" | ">=" as operator:
            # Of a long text only the head is compared here, so the end is included.
            symbol = operator if limit.exact else f"{operator[0]}="
            return [compare(column, symbol, value) for value in values]
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
