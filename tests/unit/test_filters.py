"""The language of ``filter`` and ``order_by``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from application.filters import (
    MAX_COMPARISONS,
    MAX_DEPTH,
    MAX_FILTER,
    MODELS,
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
    Value,
    Vocabulary,
    parse_filter,
    parse_order,
)
from domain.errors import InvalidFilter, InvalidOrder

MODEL = Field(Scope.ATTRIBUTE, "model")
VERSION = Field(Scope.ATTRIBUTE, "version")
CREATED = Field(Scope.ATTRIBUTE, "created_at")
AUC = Field(Scope.METRICS, "auc")
TEAM = Field(Scope.TAGS, "team")
A, B, C = (Comparison(VERSION, "=", number) for number in (1, 2, 3))


# --- what is understood -------------------------------------------------------------------------


@pytest.mark.parametrize("operator", ["=", "!=", "<", "<=", ">", ">="])
def test_a_field_is_compared_with_a_value(operator: str) -> None:
    assert parse_filter(f"version {operator} 3", VERSIONS) == Comparison(VERSION, operator, 3)
    assert parse_filter(f"version{operator}3", VERSIONS) == Comparison(VERSION, operator, 3)


def test_sqls_sign_for_unequal_is_understood() -> None:
    assert parse_filter("version <> 3", VERSIONS) == Comparison(VERSION, "!=", 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model LIKE 'ch%'", Comparison(MODEL, "LIKE", "ch%")),
        ("model ilike 'CH_'", Comparison(MODEL, "ILIKE", "CH_")),
        ("model NOT LIKE 'x'", Not(Comparison(MODEL, "LIKE", "x"))),
        ("tags.team in ('a','b')", In(TEAM, ("a", "b"))),
        ("tags.team NOT IN ('a')", Not(In(TEAM, ("a",)))),
        ("tags.team IS NULL", IsNull(TEAM)),
        ("tags.team is not null", Not(IsNull(TEAM))),
        ("alias = 'champion'", Comparison(Field(Scope.ALIAS, ""), "=", "champion")),
        ("metrics.auc >= -1.5e-3", Comparison(AUC, ">=", -0.0015)),
        ("parameters.flag = TRUE", Comparison(Field(Scope.PARAMETERS, "flag"), "=", True)),
        ("parameters.flag = 'true'", Comparison(Field(Scope.PARAMETERS, "flag"), "=", "true")),
        ("parameters.depth = 6", Comparison(Field(Scope.PARAMETERS, "depth"), "=", 6)),
    ],
)
def test_every_kind_of_comparison_is_understood(text: str, expected: Expression) -> None:
    assert parse_filter(text, VERSIONS) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'it''s'", "it's"),
        ('"it\'s"', "it's"),
        ('"say ""hi"""', 'say "hi"'),
        ("''", ""),
        ("'a AND b)'", "a AND b)"),
        ("'模型'", "模型"),
    ],
)
def test_a_quote_within_a_text_is_doubled(text: str, value: str) -> None:
    assert parse_filter(f"model = {text}", VERSIONS) == Comparison(MODEL, "=", value)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("team", "team"),
        ("max_depth", "max_depth"),
        ("val-auc", "val-auc"),
        ("a.b.c", "a.b.c"),
        ("v1.2.3", "v1.2.3"),
        ("1", "1"),
        ("1.5", "1.5"),
        ("in", "in"),
        ("模型", "模型"),
        ("`two words`", "two words"),
        ("`a``b`", "a`b"),
        ("`a.b/c='d'`", "a.b/c='d'"),
    ],
)
def test_a_key_stands_plain_or_in_backquotes(written: str, key: str) -> None:
    expected = Comparison(Field(Scope.TAGS, key), "=", "x")
    assert parse_filter(f"tags.{written} = 'x'", VERSIONS) == expected


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-11-24T12:00:00Z", datetime(2026, 11, 24, 12, tzinfo=UTC)),
        ("2026-11-24T12:00:00.000001+02:00", datetime(2026, 11, 24, 10, 0, 0, 1, tzinfo=UTC)),
        ("2026-11-24T12:00:00", datetime(2026, 11, 24, 12, tzinfo=UTC)),
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_utc(written: str, moment: datetime) -> None:
    parsed = parse_filter(f"created_at < '{written}'", VERSIONS)
    assert parsed == Comparison(CREATED, "<", moment)
    assert isinstance(parsed, Comparison)
    assert isinstance(parsed.value, datetime)
    assert parsed.value.tzinfo is UTC


def test_a_models_name_and_a_versions_model_answer_to_both_words() -> None:
    assert parse_filter("name = 'a'", VERSIONS) == parse_filter("model = 'a'", VERSIONS)
    assert parse_filter("name = 'a'", MODELS) == parse_filter("model = 'a'", MODELS)


# --- precedence ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a OR b AND c", Or((A, And((B, C))))),
        ("a AND b OR c", Or((And((A, B)), C))),
        ("(a OR b) AND c", And((Or((A, B)), C))),
        ("a AND (b AND c)", And((A, And((B, C))))),
        ("a OR b OR c", Or((A, B, C))),
        ("NOT a AND b", And((Not(A), B))),
        ("NOT (a AND b)", Not(And((A, B)))),
        ("NOT NOT a", Not(Not(A))),
        ("a and not b or c", Or((And((A, Not(B))), C))),
        ("((a))", A),
    ],
)
def test_not_binds_tighter_than_and_and_and_tighter_than_or(
    text: str, expected: Expression
) -> None:
    written = re.sub(r"\b[abc]\b", lambda match: f"version={'_abc'.index(match[0])}", text)
    assert parse_filter(written, VERSIONS) == expected


# --- whatever is written is read ----------------------------------------------------------------

SOUND = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
ATTRIBUTES: dict[type, st.SearchStrategy[Any]] = {
    str: st.text(SOUND, max_size=12),
    int: st.integers(-(10**17), 10**17),
    datetime: st.datetimes(timezones=st.just(UTC)),
}
KEYS = st.text(SOUND, min_size=1, max_size=12)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
IN_SCOPE: dict[Scope, st.SearchStrategy[Any]] = {
    Scope.TAGS: ATTRIBUTES[str],
    Scope.METRICS: FLOATS,
    Scope.PARAMETERS: ATTRIBUTES[str] | st.booleans() | ATTRIBUTES[int] | FLOATS,
    Scope.FACTS: ATTRIBUTES[str] | st.booleans() | ATTRIBUTES[int] | FLOATS,
    Scope.ALIAS: ATTRIBUTES[str],
}


@st.composite
def fields_with_values(draw: st.DrawFn) -> tuple[Field, st.SearchStrategy[Any]]:
    scope = draw(st.sampled_from(Scope))
    if scope is Scope.ATTRIBUTE:
        name = draw(st.sampled_from(sorted(VERSIONS.attributes)))
        return Field(scope, name), ATTRIBUTES[VERSIONS.attributes[name]]
    return Field(scope, "" if scope is Scope.ALIAS else draw(KEYS)), IN_SCOPE[scope]


@st.composite
def comparisons(draw: st.DrawFn) -> Expression:
    field, values = draw(fields_with_values())
    kind = draw(st.sampled_from(["compare", "in", "null", "like"]))
    if kind == "in":
        return In(field, tuple(draw(st.lists(values, min_size=1, max_size=3))))
    if kind == "null":
        return IsNull(field)
    if kind == "like" and field.scope in {Scope.TAGS, Scope.ALIAS, Scope.PARAMETERS}:
        operator = draw(st.sampled_from(["LIKE", "ILIKE"]))
        return Comparison(field, operator, draw(ATTRIBUTES[str]))
    return Comparison(field, draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="])), draw(values))


def _several(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    operands = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.builds(Not, inner) | st.builds(And, operands) | st.builds(Or, operands)


EXPRESSIONS = st.recursive(comparisons(), _several, max_leaves=8)


def written(expression: Expression) -> str:
    """The expression in the language, with parentheses around all that has parts."""
    match expression:
        case And(operands):
            return " AND ".join(_part(operand) for operand in operands)
        case Or(operands):
            return " or ".join(_part(operand) for operand in operands)
        case Not(operand):
            return f"NOT {_part(operand)}"
        case IsNull(field):
            return f"{_field(field)} IS NULL"
        case In(field, values):
            return f"{_field(field)} in ({' , '.join(_value(value) for value in values)})"
        case Comparison(field, operator, value):
            return f"{_field(field)} {operator}\t{_value(value)}"


def _part(expression: Expression) -> str:
    text = written(expression)
    return f"({text})" if isinstance(expression, And | Or) else text


def _field(field: Field) -> str:
    if field.scope is Scope.ATTRIBUTE:
        return field.key
    if field.scope is Scope.ALIAS:
        return "alias"
    return f"{field.scope}.`{field.key.replace('`', '``')}`"


def _value(value: Value) -> str:
    if isinstance(value, datetime):
        return f"'{value.isoformat()}'"
    if isinstance(value, str):
        doubled = value.replace("'", "''")
        return f"'{doubled}'"
    return repr(value)


@given(EXPRESSIONS)
def test_a_filter_that_is_written_out_is_read_back(expression: Expression) -> None:
    assert parse_filter(written(expression), VERSIONS) == expression


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("  ", 2),
        ("model", 5),
        ("model =", 7),
        ("modl = 'x'", 0),
        ("model = 'x", 8),
        ("model = 'x' version = 1", 12),
        ("model = 5", 8),
        ("model == 'x'", 7),
        ("model = x", 8),
        ("version = 'x'", 10),
        ("version = true", 10),
        ("version = 1.2.3", 10),
        ("version = 1e400", 10),
        ("version = --1", 10),
        ("(model = 'x'", 12),
        ("model = 'x')", 11),
        ("()", 1),
        ("model = 'x' AND", 15),
        ("model = 'x' AND OR", 16),
        ("NOT", 3),
        ("tags = 'x'", 5),
        ("tags. = 'x'", 6),
        ("tags.team. = 'x'", 11),
        ("tags.team.`odd` = 'x'", 10),
        ("tags.'team' = 'x'", 5),
        ("tags.`` = 'x'", 5),
        ("tags.team = 1", 12),
        ("metrics.auc = 'x'", 14),
        ("metrics.auc LIKE 'x'", 17),
        ("created_at > 'noon'", 13),
        ("created_at > 2026", 13),
        ("created_at > '0001-01-01T00:00:00+14:00'", 13),
        ("model IN ()", 10),
        ("model IN 'x'", 9),
        ("model IN ('a' 'b')", 14),
        ("model IN ('a',)", 14),
        ("model NOT = 'x'", 10),
        ("model IS 'x'", 9),
        ("model IS NOT 'x'", 13),
        ("model LIKE x", 11),
        ("model = 'x' ; drop", 12),
        ("model = 'a\0b'", 10),
        ("model = 'a\ud800b'", 10),
        ("and = 1", 0),
        ("creator.name = 'x'", 7),
    ],
    ids=ascii,
)
def test_a_mistake_is_told_with_its_position(text: str, position: int) -> None:
    with pytest.raises(InvalidFilter) as refusal:
        parse_filter(text, VERSIONS)
    assert refusal.value.position == position
    assert f"(at position {position})" in refusal.value.detail
    assert [field.pointer for field in refusal.value.errors] == ["/filter"]


def test_an_unknown_field_is_told_with_the_known_ones() -> None:
    with pytest.raises(
        InvalidFilter, match=r"'format' is not a field; there are name, .*tags\.key"
    ):
        parse_filter("format = 'onnx'", MODELS)


@pytest.mark.parametrize(
    "text", ["tags.a/b = 'x'", "tags.a b = 'x'", "tags. = 'x'", "tags.a. = 'x'", "metrics.a b > 1"]
)
def test_a_key_that_is_odd_is_answered_with_how_it_is_written(text: str) -> None:
    with pytest.raises(InvalidFilter, match=r"backquotes: tags\.`a b`"):
        parse_filter(text, VERSIONS)


@pytest.mark.parametrize("text", ["nme", "alias", "tags.a", "parameters.a desc"])
def test_what_cannot_be_ordered_by_is_answered_with_what_can(text: str) -> None:
    fields = "model, version, creator, created_at, updated_at, size, format, status, metrics.key"
    with pytest.raises(InvalidOrder, match=f"cannot be ordered by; there are {fields} "):
        parse_order(text, VERSIONS)
    fields = "name, creator, created_at, updated_at"
    with pytest.raises(InvalidOrder, match=f"cannot be ordered by; there are {fields} "):
        parse_order(text, MODELS)


def test_a_list_of_models_has_no_metrics() -> None:
    with pytest.raises(InvalidFilter) as refusal:
        parse_filter("creator = 'a' AND metrics.auc > 1", MODELS)
    assert refusal.value.position == 18


WORDS = st.sampled_from(
    [
        *("model", "version", "created_at", "alias", "tags", "metrics", ".", "auc", "`", "'", '"'),
        *("AND", "OR", "NOT", "IN", "IS", "NULL", "LIKE", "ilike", "true", "(", ")", ","),
        *("=", "!=", "<", "<=", "<>", "!", "1", "-", "1.5e3", "'x'", "'2026-01-01'", "`k`", " "),
        *("\0", "\ud800", "\u3164", "٣", "\\", "%"),
    ]
)
ANY_TEXT = st.lists(WORDS, max_size=30).map(" ".join) | st.lists(WORDS, max_size=30).map("".join)


@given(
    ANY_TEXT | st.text(st.characters(exclude_categories=())), st.sampled_from([MODELS, VERSIONS])
)
@example("(" * MAX_FILTER, VERSIONS)
@example("NOT " * (MAX_FILTER // 4), VERSIONS)
@example("a" * MAX_FILTER, MODELS)
@example("'" * (MAX_FILTER - 1), MODELS)
def test_any_text_parses_or_is_refused_at_a_position_within_it(
    text: str, vocabulary: Vocabulary
) -> None:
    mistake = mistake_in(text, vocabulary)
    assert mistake is None or 0 <= mistake.position <= len(text)
    assert mistake is None or mistake.detail.encode()


def mistake_in(text: str, vocabulary: Vocabulary) -> InvalidFilter | None:
    try:
        parse_filter(text, vocabulary)
    except InvalidFilter as mistake:
        return mistake
    return None


@given(
    ANY_TEXT | st.text(st.characters(exclude_categories=())), st.sampled_from([MODELS, VERSIONS])
)
def test_any_text_is_an_order_or_refused(text: str, vocabulary: Vocabulary) -> None:
    try:
        terms = parse_order(text, vocabulary)
    except InvalidOrder:
        return
    assert 1 <= len(terms) <= 4
    assert len({term.field for term in terms}) == len(terms)
    assert all(term.field.key.encode() and "\0" not in term.field.key for term in terms)


# --- limits -------------------------------------------------------------------------------------


def _nested(levels: int) -> str:
    return f"{'(' * levels}version=1{')' * levels}"


def _chain(count: int) -> str:
    return " OR ".join(f"version={index}" for index in range(count))


@pytest.mark.parametrize(
    "text",
    [
        _nested(MAX_DEPTH),
        "NOT " * MAX_DEPTH + "version=1",
        _chain(MAX_COMPARISONS),
        f"model='{'x' * (MAX_FILTER - len('model=') - 2)}'",
    ],
    ids=["parentheses", "negations", "comparisons", "length"],
)
def test_a_filter_may_reach_every_limit(text: str) -> None:
    assert mistake_in(text, VERSIONS) is None


@pytest.mark.parametrize(
    ("text", "position", "fault"),
    [
        (_nested(MAX_DEPTH + 1), MAX_DEPTH + 1, "32 levels"),
        ("NOT " * (MAX_DEPTH + 1) + "version=1", 4 * (MAX_DEPTH + 1), "32 levels"),
        (_chain(MAX_COMPARISONS + 1), len(_chain(MAX_COMPARISONS)) + 4, "50 comparisons"),
        (f"model='{'x' * (MAX_FILTER - len('model=') - 1)}'", MAX_FILTER, "4096 characters"),
    ],
    ids=["parentheses", "negations", "comparisons", "length"],
)
def test_a_filter_beyond_a_limit_is_refused(text: str, position: int, fault: str) -> None:
    with pytest.raises(InvalidFilter, match=fault) as refusal:
        parse_filter(text, VERSIONS)
    assert refusal.value.position == position


# --- order --------------------------------------------------------------------------------------


def test_an_order_goes_up_unless_it_says_down() -> None:
    assert parse_order("created_at DESC, model,metrics.auc asc", VERSIONS) == (
        OrderTerm(CREATED, True),
        OrderTerm(MODEL, False),
        OrderTerm(AUC, False),
    )


@pytest.mark.parametrize(
    "text",
    [
        *("", ",", "model,", "model desc asc", "model, model desc", "name,model", "nope"),
        *(
            "alias",
            "tags.team",
            "parameters.depth",
            "metrics",
            "metrics.auc.",
            "metrics.auc.,model",
        ),
        *("model,version,creator,created_at,updated_at", "metrics.`a\0b`", "model;drop", "-model"),
        "m" * (MAX_FILTER + 1),
    ],
    ids=lambda text: ascii(text[:40]),
)
def test_an_order_by_what_cannot_be_ordered_is_refused(text: str) -> None:
    with pytest.raises(InvalidOrder):
        parse_order(text, VERSIONS)
