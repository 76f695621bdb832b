"""Pages by key: a page begins after the last row of the one before, whatever was inserted since."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, UnaryExpression, and_, false, or_

from domain.errors import InvalidPageToken


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


def after(keys: Sequence[SortKey], values: Sequence[Any]) -> ColumnElement[bool]:
    """The rows that come after the one with these values."""
    rest: ColumnElement[bool] | None = None
    for key, value in reversed(list(zip(keys, values, strict=True))):
        beyond = key.beyond(value)
        rest = beyond if rest is None else or_(beyond, and_(key.same(value), rest))
    assert rest is not None, "an order has at least one key"
    if len(keys) > 1 and not keys[0].nullable:
        return and_(keys[0].from_here(values[0]), rest)
    return rest


def write_token(scope: object, values: Sequence[Any]) -> str:
    """Says where a page of the list that ``scope`` describes has ended."""
    packed = orjson.dumps([_seal(scope, values), *values])
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def read_token(scope: object, token: str, count: int) -> list[Any]:
    """The ``count`` values of a token that :func:`write_token` made for the same list.

    Raises:
        InvalidPageToken: it is from another list, or nothing that this service gave.
    """
    try:
        packed = base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        content = orjson.loads(packed)
    except ValueError:
        content = None
    seal: object
    values: list[Any]
    seal, *values = content if isinstance(content, list) and content else [None]
    if len(values) != count or seal != _seal(scope, values):
        raise InvalidPageToken(
            "The page_token does not belong to this list; start again without it, and keep filter "
            "and order_by the same from page to page."
        )
    return values


def _seal(scope: object, values: Sequence[Any]) -> str:
    text = repr((scope, list(values)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
