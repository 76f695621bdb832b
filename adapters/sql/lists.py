"""How a filtered and ordered list finds its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, FromClause, Select, and_, bindparam, select

from adapters.sql.filters import MODELS, Condition, Listed, condition, entry, unindexed
from adapters.sql.index_ranges import (
    INDEXED,
    IndexRange,
    conjuncts,
    index_ranges,
    size_of,
    without,
)
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

SORT_LIMIT = 4_000
"""Up to this many matching rows, sorting them is faster than walking an index in order."""

MODEL_KEY = select(models.c.id, models.c.version_count).where(models.c.name == bindparam("name"))
_MODEL = Field(Scope.ATTRIBUTE, "model")


@dataclass(frozen=True, slots=True)
class Scan:
    """A list, and what is known about it.

    Attributes:
        model_id: the only model whose versions can match, where there is one.
        all_models: whether the list is across models, even if the filter leaves only one.
        most: an upper bound of the number of rows, where one is known.
        sort_limit: up to so many matches are collected and sorted rather than walked past.
    """

    listed: Listed
    filter: Expression | None = None
    order: tuple[OrderTerm, ...] = ()
    model_id: str | None = None
    all_models: bool = True
    most: int | None = None
    sort_limit: int = SORT_LIMIT

    @property
    def tie_break(self) -> SortKey:
        """The default order: models by name, versions from the newest."""
        if self.listed is MODELS:
            return SortKey(models.c.name, descending=False)
        return SortKey(versions.c.id if self.all_models else versions.c.number, descending=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which index range to read, if any, and whether its rows are sorted afterwards."""

    index_range: IndexRange | None = None
    sort: bool = False


RowKey = tuple[Any, tuple[Any, ...]]
"""The id of a row and its keys in the order of the list."""


def find(db: Connection, scan: Scan, size: int, values: Sequence[Any] | None) -> list[RowKey]:
    """Up to ``size`` rows after the one with these values.

    There are two strategies. Sort: where few rows can match, collect them through the index that
    selects them, and sort them. Walk: where many match, read the index of the requested order and
    probe each row; the page is soon full. To choose, every index range that a part of the filter
    allows is counted, up to ``sort_limit``: the smallest is sorted if it stays within the limit.
    Otherwise the order is walked; in default order across all models, a range with a single value
    (of a tag, a parameter, the creator) is in that order too, and is walked instead of the table.
    The worst case: many rows match, but the wanted ones come late; a walk then costs one probe for
    each row before them.

    An order by a metric walks the metric's index first, then the rows without that metric.
    """
    narrowed = _narrow(db, scan)
    if narrowed is None:
        return []
    plan = choose(db, narrowed)
    if plan.sort or not scan.order or scan.order[0].field.scope is not Scope.METRICS:
        return _row_keys(db, page(narrowed, plan, size, values))
    found: list[RowKey] = []
    if values is None or values[0] is not None:
        found = _row_keys(db, measured_page(narrowed, size, values))
        values = None
    if len(found) < size:
        rest = unmeasured(narrowed)
        left = None if values is None else values[1:]
        more = _row_keys(db, page(rest, Plan(), size - len(found), left))
        found += [(this, (None, *keys)) for this, keys in more]
    return found


def _row_keys(db: Connection, statement: Select[Any]) -> list[RowKey]:
    return [(row[0], tuple(row[1:])) for row in db.execute(statement)]


def _narrow(db: Connection, scan: Scan) -> Scan | None:
    """The scan limited to the model that the filter names, if it does; None if that is absent."""
    if scan.model_id is not None or scan.listed is MODELS:
        return scan
    for part in conjuncts(scan.filter):
        match part:
            case Comparison(field, "=", name) if field == _MODEL:
                model = db.execute(MODEL_KEY, {"name": name}).first()
                if model is None:
                    return None
                left = without(scan.filter, [part])
                return replace(scan, filter=left, model_id=model.id, most=model.version_count)
    return scan


def choose(db: Connection, scan: Scan) -> Plan:
    """Chooses between sorting and walking; see :func:`find`."""
    candidates = index_ranges(scan.listed, scan.filter, scan.model_id)
    if scan.most is not None and scan.most <= scan.sort_limit:
        of_model = (one for one in candidates if one.order is versions.c.number)
        return Plan(next(of_model, None), sort=True)
    in_order = next((one for one in candidates if _in_order(scan, one)), None)
    if not candidates or (in_order is not None and len(candidates) == 1):
        return Plan(in_order)
    sizes = db.execute(
        select(*(size_of(scan.listed, one, scan.sort_limit + 1) for one in candidates))
    ).one()
    size, smallest = min(zip(sizes, candidates, strict=True), key=lambda counted: counted[0])
    if size <= scan.sort_limit:
        return Plan(smallest, sort=not _in_order(scan, smallest))
    return Plan(in_order)


def _in_order(scan: Scan, index_range: IndexRange) -> bool:
    """Whether walking the range is walking the list."""
    if scan.order or index_range.order is None:
        return False
    if scan.listed is MODELS:
        return index_range.source is None
    return scan.all_models is (index_range.order is not versions.c.number)


def page(scan: Scan, plan: Plan, size: int, values: Sequence[Any] | None) -> Select[Any]:
    """Selects a page through the plan's index range, or by walking the order."""
    index_range, tie_break = plan.index_range, scan.tie_break
    table: FromClause = scan.listed.table
    conditions: list[Condition] = []
    if index_range is not None:
        scan = replace(scan, filter=without(scan.filter, index_range.implied))
        if _covers(index_range, scan):
            return _covered(index_range, plan, size, values)
        conditions.append(index_range.condition)
        if index_range.source is not None:
            table = index_range.source.join(table, index_range.join)
        if not plan.sort and index_range.order is not None:
            tie_break = replace(tie_break, column=index_range.order)
    if scan.model_id is not None:
        direct = index_range is None and (
            plan.sort or not (scan.all_models or _in_index_order(scan))
        )
        conditions.append(_of_model(scan.model_id, direct=direct))
    table, keys = _keys(scan, table, scan.order)
    keys.append(tie_break)
    if plan.sort:
        # To be sorted: no planner shall walk the table instead because it lies in this order.
        keys[0] = replace(keys[0], column=unindexed(keys[0].column))
    statement = _ordered(scan, table, keys, values)
    return statement.where(*conditions).limit(size)


def _covers(index_range: IndexRange, scan: Scan) -> bool:
    """Whether the index has all that is asked for; then rows of versions need not be read."""
    every = scan.listed is not MODELS and scan.model_id is None and scan.all_models
    return every and not scan.order and scan.filter is None and index_range.owner is not None


def _covered(
    index_range: IndexRange, plan: Plan, size: int, values: Sequence[Any] | None
) -> Select[Any]:
    assert index_range.owner is not None
    owner = unindexed(index_range.owner) if plan.sort else index_range.owner
    key = SortKey(owner, descending=True)
    statement = select(index_range.owner, owner.label("k0")).order_by(*key.terms()).limit(size)
    if values is not None:
        statement = statement.where(after([key], values))
    return statement.where(index_range.condition)


def _in_index_order(scan: Scan) -> bool:
    return bool(scan.order) and scan.order[0].field in INDEXED


def measured_page(scan: Scan, size: int, values: Sequence[Any] | None) -> Select[Any]:
    """The rows that have the metric which comes first in the order, in the order of its index."""
    first, *others = scan.order
    metric = version_labels.alias("metric")
    table: FromClause = metric.join(versions, versions.c.id == unindexed(metric.c.version_id))
    table, keys = _keys(scan, table, others)
    tie_break = scan.tie_break
    if scan.all_models and first.descending:
        tie_break = replace(tie_break, column=metric.c.version_id)
    keys = [SortKey(metric.c.number, first.descending), *keys, tie_break]
    statement = _ordered(scan, table, keys, values)
    if scan.model_id is not None:
        statement = statement.where(_of_model(scan.model_id, direct=False))
    return statement.where(entry(metric, first.field), metric.c.number.is_not(None)).limit(size)


def unmeasured(scan: Scan) -> Scan:
    """The scan of the rows without that metric, in the order of the remaining terms."""
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
