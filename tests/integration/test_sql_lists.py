"""Lists out of SQL against the same lists out of memory, for random rows, filters and orders."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.sql.lists import SORT_LIMIT
from adapters.sql.reader import SqlRegistryReader
from application.filters import (
    VERSIONS,
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
    parse_order,
)
from application.page_tokens import write_token
from application.ports.registry_reader import Page, PageRequest
from domain.errors import InvalidPageToken
from domain.validation import PolicyName, Validation, Verdict
from domain.values import AliasName, FilePath, ModelName
from domain.version import Manifest
from tests.integration.conftest import Fresh
from tests.support.aio import Loop
from tests.support.registry import (
    EPOCH,
    Registry,
    a_manifest,
    a_model,
    memory_registry,
    point,
    publish,
)

# Few values, so that they meet; a text longer than what is indexed, and texts that LIKE misreads.
LONG = "x" * 199 + "ab" * 3
TEXTS = st.sampled_from(["", "a", "A", "ab", "É", "é", "İ", "ΑΣ", "5", "true", "a%", "a\\", LONG])
LONGER = st.builds(lambda tail: LONG + tail, st.sampled_from(["", "a", "z", "\U0010ffff"]))
PATTERNS = st.text(st.sampled_from("aAéÉ%_\\xΣς5"), max_size=6) | st.just(LONG[:201] + "%")
NUMBERS = st.sampled_from([-1.5, 0, -0.0, 0.5, 1, 2, 5, 5.0, 2**53 + 1, 1e300])
TIMES = st.integers(0, 4).map(lambda hours: EPOCH + timedelta(hours=hours))
KEYS = st.sampled_from(["k", "K", "odd `key` 'x'"])
MODEL_NAMES = st.sampled_from(["ads", "Churn", "churn"])
ALIASES = st.sampled_from(["a", "b", "é"])
STORED = TEXTS | LONGER


def _maps(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(KEYS, values, max_size=2)


FORMATS = st.none() | st.sampled_from(["a", "A", "b", "onnx"])
MANIFESTS = st.lists(st.tuples(st.integers(0, 4), FORMATS), min_size=1, max_size=3).map(
    lambda files: Manifest(
        tuple(
            replace(a_manifest(blob, format=kind).files[0], path=FilePath(f"{index}.bin"))
            for index, (blob, kind) in enumerate(files)
        )
    )
)

Publish = tuple[str, dict[str, Any], list[str]]
"""To which model, what, and under which aliases."""


@st.composite
def publishes(draw: st.DrawFn) -> Publish:
    fields = {
        "tags": draw(_maps(STORED)),
        "metrics": draw(_maps(NUMBERS.map(float))),
        "parameters": draw(_maps(STORED | NUMBERS | st.booleans() | st.none())),
        "facts": draw(_maps(STORED | NUMBERS | st.booleans() | st.lists(STORED, max_size=2))),
        "validation": Validation(draw(st.sampled_from(Verdict)), PolicyName.STANDARD),
        "creator": draw(st.sampled_from(["ada", "Eve"])),
        "created_at": draw(TIMES),
        "manifest": draw(MANIFESTS),
    }
    return draw(MODEL_NAMES), fields, draw(st.lists(ALIASES, max_size=2, unique=True))


ORDERINGS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
LIKES = st.sampled_from(["LIKE", "ILIKE"])


def _on(
    fields: st.SearchStrategy[Field], values: st.SearchStrategy[Any], *, text: bool
) -> st.SearchStrategy[Expression]:
    kinds: list[st.SearchStrategy[Expression]] = [
        st.builds(Comparison, fields, ORDERINGS, values),
        st.builds(In, fields, st.lists(values, min_size=1, max_size=3).map(tuple)),
        st.builds(IsNull, fields),
    ]
    if text:
        kinds.append(st.builds(Comparison, fields, LIKES, PATTERNS))
    return st.one_of(kinds)


def _attribute(name: str) -> st.SearchStrategy[Field]:
    return st.just(Field(Scope.ATTRIBUTE, name))


def _key_of(scope: Scope) -> st.SearchStrategy[Field]:
    return st.builds(Field, st.just(scope), KEYS)


def _filters(leaves: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(Not, inner),
            st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
            st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        ),
        max_leaves=4,
    )


COMMON = (
    _on(_key_of(Scope.TAGS), STORED, text=True),
    _on(st.just(Field(Scope.ALIAS, "")), ALIASES, text=True),
    _on(_attribute("creator"), st.sampled_from(["ada", "eve", "Eve"]), text=True),
    _on(st.one_of(_attribute("created_at"), _attribute("updated_at")), TIMES, text=False),
)
VERSION_FILTERS = _filters(
    st.one_of(
        *COMMON,
        _on(_key_of(Scope.METRICS), NUMBERS, text=False),
        _on(_key_of(Scope.PARAMETERS), STORED | NUMBERS | st.booleans(), text=True),
        _on(_key_of(Scope.FACTS), STORED | NUMBERS | st.booleans(), text=True),
        _on(_attribute("status"), st.sampled_from(["", "quarantined", "ready"]), text=True),
        _on(_attribute("model"), MODEL_NAMES, text=True),
        _on(_attribute("format"), st.sampled_from(["", "a", "b", "onnx"]), text=True),
        _on(st.one_of(_attribute("version"), _attribute("size")), NUMBERS, text=False),
    )
)
MODEL_FILTERS = _filters(st.one_of(*COMMON, _on(_attribute("name"), MODEL_NAMES, text=True)))


def _orders(*fields: st.SearchStrategy[Field]) -> st.SearchStrategy[tuple[OrderTerm, ...]]:
    return st.lists(
        st.builds(OrderTerm, st.one_of(fields), st.booleans()),
        max_size=3,
        unique_by=lambda term: term.field,
    ).map(tuple)


VERSION_ORDERS = _orders(
    _key_of(Scope.METRICS),
    *map(_attribute, ("model", "version", "creator", "created_at", "size", "format", "status")),
)
MODEL_ORDERS = _orders(*map(_attribute, ("name", "creator", "created_at", "updated_at")))


async def _fill(registry: Registry, rows: list[Publish]) -> None:
    models = {
        name: a_model(name, id=f"{index:032x}", tags={"k": name}, creator=name[0])
        for index, name in enumerate(("ads", "churn", "Churn"))
    }
    async with registry.uow() as uow:
        for model in models.values():
            await uow.models.add(replace(model))
        await uow.commit()
    for name, fields, aliases in rows:
        version = await publish(registry, models[name], **fields)
        for alias in aliases:
            found = await registry.reader.model(ModelName(name))
            if found.record.aliases.get(alias) != version.number:
                await point(registry, models[name], AliasName(alias), version.number)


async def _pages(
    read: Callable[[PageRequest], Awaitable[Page[Any]]], request: PageRequest
) -> list[Any]:
    """All records of the list."""
    found: list[Any] = []
    token: str | None = None
    while True:
        page = await read(replace(request, token=token))
        assert len(page.items) <= request.size
        found += page.items
        token = page.next_page_token
        if token is None:
            return found


@pytest.mark.parametrize("order", ["", "created_at", "creator desc", "format", "metrics.k", "size"])
def test_a_token_with_keys_that_no_row_can_have_is_refused(
    loop: Loop, fresh: Fresh, order: str
) -> None:
    _, registry = fresh()
    loop.run(_fill(registry, []))
    terms = parse_order(order, VERSIONS) if order else ()
    scope = ("versions", None, None, terms)
    for keys in product(("x", "\0", "\ud800", 1.5, float("nan"), None), repeat=len(terms) + 1):
        request = PageRequest(order=terms, token=write_token(scope, keys))
        with pytest.raises(InvalidPageToken):
            loop.run(registry.reader.versions(request))


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(rows=st.lists(publishes(), max_size=10), data=st.data())
def test_sql_and_memory_list_the_same_whichever_way_rows_are_found(
    loop: Loop, fresh: Fresh, rows: list[Publish], data: st.DataObject
) -> None:
    database, sql = fresh()
    memory = memory_registry()
    for registry in (memory, sql):
        loop.run(_fill(registry, rows))
    for _ in range(4):
        size = data.draw(st.integers(1, 5))
        request = PageRequest(
            data.draw(st.none() | VERSION_FILTERS), data.draw(VERSION_ORDERS), size
        )
        model = data.draw(st.none() | MODEL_NAMES.map(ModelName))
        expected = loop.run(_pages(partial(memory.reader.versions, model=model), request))
        for limit in (0, 2, SORT_LIMIT):
            reader = SqlRegistryReader(database, sort_limit=limit)
            found = loop.run(_pages(partial(reader.versions, model=model), request))
            assert found == expected, f"sort_limit={limit}"
        request = PageRequest(data.draw(st.none() | MODEL_FILTERS), data.draw(MODEL_ORDERS), size)
        expected = loop.run(_pages(memory.reader.models, request))
        for limit in (0, SORT_LIMIT):
            reader = SqlRegistryReader(database, sort_limit=limit)
            assert loop.run(_pages(reader.models, request)) == expected, f"sort_limit={limit}"
