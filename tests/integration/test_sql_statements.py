"""Every statement of the SQL adapter is one that PostgreSQL understands too."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Dialect, Executable, FromClause, insert, make_url
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.elements import ClauseElement

from adapters.sql import (
    alias_repository,
    blob_references,
    lists,
    reader,
    receipt_repository,
    repositories,
    snapshot,
    tables,
    upload_repository,
)
from adapters.sql.filters import MODELS, VERSIONS, Listed
from adapters.sql.index_ranges import index_ranges, size_of
from adapters.sql.lists import Plan, Scan
from application.filters import Expression, OrderTerm, Scope
from tests.integration.test_sql_lists import (
    MODEL_FILTERS,
    MODEL_ORDERS,
    VERSION_FILTERS,
    VERSION_ORDERS,
)

DIALECTS: list[Dialect] = [
    make_url(url).get_dialect()() for url in ("postgresql+asyncpg://", "sqlite://")
]
WHOLE = [
    pytest.param(statement, id=f"{module.__name__.rsplit('.', 1)[-1]}.{name}")
    for module in (
        alias_repository,
        blob_references,
        lists,
        reader,
        receipt_repository,
        repositories,
        snapshot,
        upload_repository,
    )
    for name, statement in vars(module).items()
    if isinstance(statement, Executable) and not isinstance(statement, FromClause)
]


def compile_for_all(statement: ClauseElement) -> None:
    for dialect in DIALECTS:
        assert str(statement.compile(dialect=dialect))


def test_the_modules_were_found() -> None:
    assert len(WHOLE) > 30


@pytest.mark.parametrize("statement", WHOLE)
def test_a_statement_compiles(statement: ClauseElement) -> None:
    compile_for_all(statement)


POINT_READS = ["MODEL", "MODEL_KEY", "VERSION_BY_NUMBER", "VERSION_LATEST", "VERSION_BY_ALIAS"]


@pytest.mark.parametrize("name", [*POINT_READS, "ALIAS"])
def test_the_text_of_a_point_read_is_made_once(name: str) -> None:
    for dialect in DIALECTS:
        assert "POSTCOMPILE" not in str(getattr(reader, name).compile(dialect=dialect))


def test_the_schema_compiles() -> None:
    for table in tables.metadata.sorted_tables:
        compile_for_all(CreateTable(table))
        compile_for_all(insert(table))
        for index in table.indexes:
            compile_for_all(CreateIndex(index))


def _key(listed: Listed, term: OrderTerm) -> Any:
    """What a page token may have for this term."""
    if term.field.scope is Scope.METRICS:
        return None
    return "x" if listed.attributes[term.field.key].type.python_type is str else 1


def _compile_lists(
    listed: Listed, expression: Expression | None, order: tuple[OrderTerm, ...], all_models: bool
) -> None:
    model_id = None if listed is MODELS or all_models else "a" * 32
    scan = Scan(listed, expression, order, model_id, all_models=all_models)
    values = [_key(listed, term) for term in order]
    last: Any = "x" if listed is MODELS else 1
    for index_range in (None, *index_ranges(listed, expression, model_id)):
        if index_range is not None:
            compile_for_all(size_of(listed, index_range, 10))
        for sort in (True, False):
            for token in (None, [*values, last]):
                compile_for_all(lists.page(scan, Plan(index_range, sort), 10, token))
    if order and order[0].field.scope is Scope.METRICS:
        compile_for_all(lists.measured_page(scan, 10, [0.5, *values[1:], 1]))
        compile_for_all(lists.page(lists.unmeasured(scan), Plan(), 10, [*values[1:], 1]))


@settings(max_examples=50)
@given(st.none() | VERSION_FILTERS, VERSION_ORDERS, st.booleans())
def test_a_list_of_versions_compiles(
    expression: Expression | None, order: tuple[OrderTerm, ...], all_models: bool
) -> None:
    _compile_lists(VERSIONS, expression, order, all_models)


@settings(max_examples=20)
@given(st.none() | MODEL_FILTERS, MODEL_ORDERS)
def test_a_list_of_models_compiles(
    expression: Expression | None, order: tuple[OrderTerm, ...]
) -> None:
    _compile_lists(MODELS, expression, order, True)
