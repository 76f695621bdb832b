"""Pages by key: a page begins after the last row of the one before, whatever was inserted since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, UnaryExpression, and_, false, or_

from application.page_tokens import of_another_list


@dataclass(frozen=True, slots=True)
class SortKey:
    """One term of a total order.

    Attributes:
        nullable: rows without a value come last, whichever the direction.
    """

    column: ColumnElement[Any]
    descending: bool
    nullable: bool = False

    def terms(self) -> list[UnaryExpression[Any]]:
        """For ORDER BY."""
        term = self.column.desc() if self.descending else self.column.asc()
        return [self.column.is_(None).asc(), term] if self.nullable else [term]

    def beyond(self, value: Any) -> ColumnElement[bool]:
        """The rows whose key comes after this value."""
        if value is None:
            return false()
        after: ColumnElement[bool]
        after = self.column < value if self.descending else self.column > value
        return or_(after, self.column.is_(None)) if self.nullable else after

    def same(self, value: Any) -> ColumnElement[bool]:
        """The rows whose key is this value."""
        return self.column.is_(None) if value is None else self.column == value

    def from_here(self, value: Any) -> ColumnElement[bool]:
        """A range that an index can find and that loses no row to come."""
        reached: ColumnElement[bool]
        reached = self.column <= value if self.descending else self.column >= value
        return reached


def check_key(column: ColumnElement[Any], value: Any) -> Any:
    """The value of a page token, if a row can have it in this column.

    Raises:
        InvalidPageToken
    """
    kind = column.type.python_type
    if isinstance(value, kind) or (kind is float and isinstance(value, int)):
        return value
    raise of_another_list()


def after(keys: Sequence[SortKey], values: Sequence[Any]) -> ColumnElement[bool]:
    """The rows that come after the one with these values.

    Raises:
        InvalidPageToken: these are not values of such keys.
    """
    for key, value in zip(keys, values, strict=True):
        if value is not None or not key.nullable:
            check_key(key.column, value)
    rest: ColumnElement[bool] | None = None
    for key, value in reversed(list(zip(keys, values, strict=True))):
        beyond = key.beyond(value)
        rest = beyond if rest is None else or_(beyond, and_(key.same(value), rest))
    assert rest is not None, "an order has at least one key"
    if len(keys) > 1 and not keys[0].nullable:
        return and_(keys[0].from_here(values[0]), rest)
    return rest
