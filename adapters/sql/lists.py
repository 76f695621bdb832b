"""How a filtered and ordered list finds its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, FromClause, Select, and_, bindparam, select

from adapters.sql.drivers import INDEXED, Driver, conjuncts, drivers, size_of
from adapters.sql.filters import MODELS, Condition, Listed, condition, entry, unindexed
from adapters.sql.paging import SortKey, after
from adapters.sql.tables import models, version_labels, versions
from application.filters import (
    And,
    Comparison,
    Expression,
    Field,
    In,
    IsNull,
    Not,
    Or,
    OrderTerm,
    Scope,
)

FEW = 4_000
"""So many rows are collected and sorted in the time that a walk past as many others takes."""

MODEL_KEY = select(models.c.id, models.c.version_count).where(models.c.name == bindparam("name"))
_MODEL = Field(Scope.ATTRIBUTE, "model")


@dataclass(frozen=True, slots=True)
class Scan:
    """A list, and what is known about it.

    Attributes:
        model_id: of the one model whose versions are listed, or can match.
        across: whether the list is one across models, also if only one can match.
        most: how many rows there are at most, where that is known.
        few: so many rows are rather sorted than walked past.
    """

    listed: Listed
    filter: Expression | None = None
    order: tuple[OrderTerm, ...] = ()
    model_id: str | None = None
    across: bool = True
    most: int | None = None
    few: int = FEW

    @property
    def tie_break(self) -> SortKey:
        """The default order: models by name, versions from the newest."""
        if self.listed is MODELS:
            return SortKey(models.c.name, descending=False)
        return SortKey(versions.c.id if self.across else versions.c.number, descending=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which range to drive from, if any, and whether few rows are left to be sorted."""

    driver: Driver | None = None
    few: bool = False


Spot = tuple[Any, tuple[Any, ...]]
"""The id of a row and its keys in the order of the list."""


def find(db: Connection, scan: Scan, size: int, values: Sequence[Any] | None) -> list[Spot]:
    """Up to ``size`` rows after the one with these values.

    There are two good ways to a page. Where few rows can match, they are collected through the
    index that knows them, and sorted. Where many match, the index of the order is walked, each row
    is probed, and the page is soon full. Which way is better nobody knows in advance, so the
    ranges of indexes that the parts of the filter allow are counted, each up to ``few``. If none is
    that small, but one is a single value (of a tag, a parameter, the creator) in a list across
    models, then it lies in default order already and is walked in place of the table. Where many
    rows match but the wanted ones lie far back, a walk costs one probe for each row before them.

    An order by a metric is walked in the metric's index first, then over the rows without it.
    """
    narrowed = _narrow(db, scan)
    if narrowed is None:
        return []
    plan = choose(db, narrowed)
    if plan.few or not scan.order or scan.order[0].field.scope is not Scope.METRICS:
        return _spots(db, page(narrowed, plan, size, values))
    spots: list[Spot] = []
    if values is None or values[0] is not None:
        spots = _spots(db, measured_page(narrowed, size, values))
        values = None
    if len(spots) < size:
        rest = unmeasured(narrowed)
        left = None if values is None else values[1:]
        more = _spots(db, page(rest, Plan(), size - len(spots), left))
        spots += [(this, (None, *keys)) for this, keys in more]
    return spots


def _spots(db: Connection, statement: Select[Any]) -> list[Spot]:
    return [(row[0], tuple(row[1:])) for row in db.execute(statement)]


def _narrow(db: Connection, scan: Scan) -> Scan | None:
    """With what is known about the model, where the filter names one; None if there is none."""
    if scan.model_id is not None or scan.listed is MODELS:
        return scan
    for part in conjuncts(scan.filter):
        match part:
            case Comparison(field, "=", name) if field == _MODEL:
                model = db.execute(MODEL_KEY, {"name": name}).first()
                if model is None:
                    return None
                return replace(scan, model_id=model.id, most=model.version_count)
    return scan


def choose(db: Connection, scan: Scan) -> Plan:
    """The way to a page; see :func:`find`."""
    if scan.most is not None and scan.most <= scan.few:
        return Plan(few=True)
    candidates = drivers(scan.listed, scan.filter)
    if not candidates:
        return Plan()
    sizes = db.execute(select(*(size_of(scan.listed, d, scan.few + 1) for d in candidates))).one()
    size, driver = min(zip(sizes, candidates, strict=True), key=lambda counted: counted[0])
    if size <= scan.few:
        return Plan(driver, few=True)
    if scan.order or not scan.across:
        return Plan()
    own = [d for d in candidates if d.order is not None and _in_order(scan, d)]
    return Plan(own[0] if own else None)


def _in_order(scan: Scan, driver: Driver) -> bool:
    return scan.listed is not MODELS or driver.source is None


def page(scan: Scan, plan: Plan, size: int, values: Sequence[Any] | None) -> Select[Any]:
    """The rows by way of the driver, or of the order."""
    driver, tie_break = plan.driver, scan.tie_break
    table: FromClause = scan.listed.table
    conditions: list[Condition] = []
    if driver is not None:
        conditions.append(driver.range)
        if driver.source is not None:
            table = driver.source.join(table, driver.join)
        if not plan.few and driver.order is not None:
            tie_break = replace(tie_break, column=driver.order)
    if scan.model_id is not None:
        direct = driver is None and (plan.few or not (scan.across or _in_index_order(scan)))
        conditions.append(_of_model(scan.model_id, direct=direct))
    table, keys = _keys(scan, table, scan.order)
    keys.append(tie_break)
    if plan.few:
        # To be sorted: no planner shall walk the table instead because it lies in this order.
        keys[0] = replace(keys[0], column=unindexed(keys[0].column))
    statement = _ordered(scan, table, keys, values)
    return statement.where(*conditions).limit(size)


def _in_index_order(scan: Scan) -> bool:
    return bool(scan.order) and scan.order[0].field in INDEXED


def measured_page(scan: Scan, size: int, values: Sequence[Any] | None) -> Select[Any]:
    """The rows that have the metric which comes first in the order, in the order of its index."""
    first, *others = scan.order
    metric = version_labels.alias("metric")
    table: FromClause = metric.join(versions, versions.c.id == unindexed(metric.c.version_id))
    table, keys = _keys(scan, table, others)
    tie_break = scan.tie_break
    if scan.across and first.descending:
        tie_break = replace(tie_break, column=metric.c.version_id)
    keys = [SortKey(metric.c.number, first.descending), *keys, tie_break]
    statement = _ordered(scan, table, keys, values)
    if scan.model_id is not None:
        statement = statement.where(_of_model(scan.model_id, direct=False))
    return statement.where(entry(metric, first.field), metric.c.number.is_not(None)).limit(size)


def unmeasured(scan: Scan) -> Scan:
    """The list of those without that metric, in the order of the terms that follow."""
    without = IsNull(scan.order[0].field)
    both = without if scan.filter is None else And((without, scan.filter))
    return replace(scan, filter=both, order=scan.order[1:])


def _keys(
    scan: Scan, table: FromClause, order: Sequence[OrderTerm]
) -> tuple[FromClause, list[SortKey]]:
    keys = []
    for index, term in enumerate(order):
        if term.field.scope is Scope.ATTRIBUTE:
            column = scan.listed.attributes[term.field.key]
            keys.append(SortKey(column, term.descending, nullable=column.key == "format"))
            continue
        labels = scan.listed.labels.alias(f"order_{index}")
        of_row = labels.c[scan.listed.owner] == scan.listed.table.c.id
        table = table.outerjoin(labels, and_(of_row, entry(labels, term.field)))
        keys.append(SortKey(labels.c.number, term.descending, nullable=True))
    return table, keys


def _of_model(model_id: str, *, direct: bool) -> Condition:
    return (versions.c.model_id if direct else unindexed(versions.c.model_id)) == model_id


def _ordered(
    scan: Scan, table: FromClause, keys: Sequence[SortKey], values: Sequence[Any] | None
) -> Select[Any]:
    if scan.listed is not MODELS and _names_model(scan):
        table = table.join(models, models.c.id == versions.c.model_id)
    columns = (key.column.label(f"k{index}") for index, key in enumerate(keys))
    statement = (
        select(scan.listed.table.c.id, *columns)
        .select_from(table)
        .order_by(*(term for key in keys for term in key.terms()))
    )
    if scan.filter is not None:
        statement = statement.where(condition(scan.listed, scan.filter))
    return statement if values is None else statement.where(after(keys, values))


def _names_model(scan: Scan) -> bool:
    fields = {term.field for term in scan.order}
    return _MODEL in fields or (scan.filter is not None and _MODEL in _fields(scan.filter))


def _fields(expression: Expression) -> set[Field]:
    match expression:
        case And(operands) | Or(operands):
            return set().union(*map(_fields, operands))
        case Not(operand):
            return _fields(operand)
        case Comparison(field=field) | In(field=field) | IsNull(field=field):
            return {field}
