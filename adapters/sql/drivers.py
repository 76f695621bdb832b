"""Which ranges of which indexes hold everything that a filter can match."""

from __future__ import annotations

from collections.abc import Iterator
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

_INDEXED = {
    models.name: frozenset({"name"}),
    versions.name: frozenset({"creator", "created_at", "updated_at"}),
}


@dataclass(frozen=True, slots=True)
class Driver:
    """A range of an index that has every row for which one part of the filter holds.

    Attributes:
        source: the index's table, where it is not the list's own, and ``join`` how a row of the
            list is found from it: by expressions that keep a planner from going the other way.
        order: the column that the range is in order of.
    """

    range: Condition
    source: FromClause | None = None
    join: Condition | None = None
    order: ColumnElement[Any] | None = None


def conjuncts(expression: Expression | None) -> tuple[Expression, ...]:
    """The parts that all must hold."""
    if expression is None:
        return ()
    return expression.operands if isinstance(expression, And) else (expression,)


def drivers(listed: Listed, expression: Expression | None) -> Iterator[Driver]:
    """One for each part of the filter that an index knows about."""
    for part in conjuncts(expression):
        match part:
            case Comparison(field, operator, value):
                driver = _driver(listed, field, operator, (value,))
            case In(field, values):
                driver = _driver(listed, field, "=", values)
            case Not(IsNull(Field(scope=Scope.TAGS | Scope.PARAMETERS) as field)):
                driver = _driver(listed, field, "!=", ("",))
            case Not(IsNull(Field(scope=Scope.METRICS) as field)):
                driver = _driver(listed, field, "!=", (0,))
            case _:
                driver = None
        if driver is not None:
            yield driver


def size_of(listed: Listed, driver: Driver, most: int) -> ScalarSelect[int]:
    """Counts the rows of the range, up to ``most``."""
    table = listed.table if driver.source is None else driver.source
    some = select(literal_column("1", Integer)).select_from(table).where(driver.range).limit(most)
    return select(func.count()).select_from(some.subquery()).scalar_subquery()


def _driver(
    listed: Listed, field: Field, operator: str, values: tuple[Value, ...]
) -> Driver | None:
    if field.scope is Scope.ATTRIBUTE:
        return _by_attribute(listed, field, operator, values)
    if field.scope is Scope.ALIAS:
        return _by_alias(listed, operator, values)
    numeric = [as_number(value) is not None for value in values]
    if any(numeric) and not all(numeric):
        return None
    labels = listed.labels.alias("driver")
    column = labels.c.number if any(numeric) else labels.c.value
    sought = [as_number(value) if any(numeric) else as_text(value)[:HEAD] for value in values]
    owner = labels.c[listed.owner]
    return Driver(
        and_(column.is_not(None), entry(labels, field), *_bounds(column, operator, sought)),
        source=labels,
        join=listed.table.c.id == unindexed(owner),
        order=owner if operator == "=" and len(values) == 1 else None,
    )


def _by_attribute(
    listed: Listed, field: Field, operator: str, values: tuple[Value, ...]
) -> Driver | None:
    if field.key not in _INDEXED[listed.table.name]:
        return None
    column = listed.attributes[field.key]
    bounds = _bounds(column, operator, values)
    if not bounds:
        return None
    if listed.table is models:
        return Driver(and_(*bounds), order=column)
    single = operator == "=" and len(values) == 1
    return Driver(and_(*bounds), order=versions.c.id if single else None)


def _by_alias(listed: Listed, operator: str, values: tuple[Value, ...]) -> Driver | None:
    if operator != "=" or len(values) > 1:
        return None
    model = unindexed(aliases.c.model_id)
    join = (
        models.c.id == model
        if listed.table is models
        else and_(versions.c.model_id == model, versions.c.number == unindexed(aliases.c.version))
    )
    return Driver(aliases.c.name == values[0], source=aliases, join=join)


def _bounds(column: ColumnElement[Any], operator: str, values: Any) -> list[Condition]:
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
