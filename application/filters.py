"""The language of ``filter`` and ``order_by``: one grammar for every list.

::

    expression = term {"OR" term}            value = number | 'text' | "text" | true | false
    term       = factor {"AND" factor}       field = word ["." (word | `any key`)]
    factor     = "NOT" factor | "(" expression ")" | comparison
    comparison = field (= | != | < | <= | > | >=) value
               | field ["NOT"] (LIKE | ILIKE) 'pattern with % and _, \\ escapes'
               | field ["NOT"] IN "(" value {"," value} ")"
               | field IS ["NOT"] NULL

Logic is two-valued: a comparison with something absent is false, so ``tags.team != 'x'`` holds
only where the tag is there, and ``NOT tags.team = 'x'`` also where it is not.

``alias`` and ``format`` have several values: one for each alias, one for each file with a model
format. A comparison holds where it does for any of them, and IS NULL where there is none.
``order_by=format`` goes by the format of the largest such file. A fact that is a list compares as
the text of its entries, joined by ", ".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from domain.errors import InvalidFilter, InvalidOrder

MAX_FILTER = 4_096
MAX_DEPTH = 32
MAX_COMPARISONS = 50


class Scope(StrEnum):
    """What a field belongs to. ATTRIBUTE: the record's own; the others: maps."""

    ATTRIBUTE = "attribute"
    ALIAS = "alias"
    TAGS = "tags"
    METRICS = "metrics"
    PARAMETERS = "parameters"
    FACTS = "facts"


@dataclass(frozen=True, slots=True)
class Field:
    scope: Scope
    key: str


Value = str | int | float | bool | datetime


@dataclass(frozen=True, slots=True)
class Comparison:
    """``operator`` is one of = != < <= > >= LIKE ILIKE."""

    field: Field
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    field: Field
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class IsNull:
    field: Field


@dataclass(frozen=True, slots=True)
class Not:
    operand: Expression


@dataclass(frozen=True, slots=True)
class And:
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    operands: tuple[Expression, ...]


Expression = Comparison | In | IsNull | Not | And | Or


@dataclass(frozen=True, slots=True)
class OrderTerm:
    field: Field
    descending: bool


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Which fields a kind of record has: attributes by type, and map scopes."""

    attributes: Mapping[str, type]
    scopes: frozenset[Scope]
    synonyms: Mapping[str, str]


MODELS = Vocabulary(
    attributes={"name": str, "creator": str, "created_at": datetime, "updated_at": datetime},
    scopes=frozenset({Scope.TAGS}),
    synonyms={"model": "name"},
)
VERSIONS = Vocabulary(
    attributes={
        "model": str,
        "version": int,
        "creator": str,
        "created_at": datetime,
        "updated_at": datetime,
        "size": int,
        "format": str,
        "status": str,
    },
    scopes=frozenset({Scope.TAGS, Scope.METRICS, Scope.PARAMETERS, Scope.FACTS}),
    synonyms={"name": "model"},
)

_ORDERED = frozenset({Scope.METRICS})
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?![\w.])
    | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<quoted>`(?:[^`]|``)+`)
    | (?P<operator><=|>=|!=|<>|=|<|>|\(|\)|,|\.)
    | (?P<word>[^\W\d][\w-]*|[\w-]+)
    )""",
    re.VERBOSE,
)
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_COMPARISONS = frozenset({"=", "!=", "<", "<=", ">", ">="})
_ODD_KEYS = "(keys with odd characters stand in backquotes: tags.`a b`)"
_KEYWORDS = frozenset({"AND", "OR", "NOT", "IN", "IS", "NULL", "LIKE", "ILIKE"})


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text.upper() in words


def _tokens(text: str) -> list[_Token]:
    if strange := _UNSTORABLE.search(text):
        raise InvalidFilter(f"{strange[0]!a} is not allowed", position=strange.start())
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            fault = f"{text[start : start + 20]!a} is not understood {_ODD_KEYS}"
            raise InvalidFilter(fault, position=start)
        tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        position = match.end()
    tokens.append(_Token("end", "", len(text)))
    return tokens


class _Parser:
    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self._tokens = _tokens(text)
        self._vocabulary = vocabulary
        self._index = 0
        self._comparisons = 0

    @property
    def _here(self) -> _Token:
        return self._tokens[self._index]

    def _take(self) -> _Token:
        token = self._here
        self._index += token.kind != "end"
        return token

    def _accept(self, *words: str) -> bool:
        found = self._here.is_word(*words) or (
            self._here.kind == "operator" and self._here.text in words
        )
        if found:
            self._index += 1
        return found

    def _expect(self, symbol: str) -> None:
        if not self._accept(symbol):
            raise self._wrong(f"expected {symbol!r}")

    def _wrong(self, message: str) -> InvalidFilter:
        found = self._here.text[:40]
        return InvalidFilter(
            f"{message}, found {found!a}" if found else f"{message}, found the end",
            position=self._here.position,
        )

    def whole(self) -> Expression:
        expression = self._or(0)
        if self._here.kind != "end":
            raise self._wrong("expected AND, OR or the end")
        return expression

    def order(self) -> tuple[OrderTerm, ...]:
        terms = []
        while True:
            field = self.field(ordered=True)
            descending = self._accept("DESC")
            if not descending:
                self._accept("ASC")
            terms.append(OrderTerm(field, descending))
            if self._here.kind == "end":
                return tuple(terms)
            self._expect(",")

    def _or(self, depth: int) -> Expression:
        operands = [self._and(depth)]
        while self._accept("OR"):
            operands.append(self._and(depth))
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def _and(self, depth: int) -> Expression:
        operands = [self._not(depth)]
        while self._accept("AND"):
            operands.append(self._not(depth))
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def _not(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise self._wrong(f"more than {MAX_DEPTH} levels deep")
        if self._accept("NOT"):
            return Not(self._not(depth + 1))
        if self._accept("("):
            inner = self._or(depth + 1)
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Expression:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise self._wrong(f"more than {MAX_COMPARISONS} comparisons")
        field = self.field()
        if self._accept("IS"):
            negated = self._accept("NOT")
            self._expect("NULL")
            return Not(IsNull(field)) if negated else IsNull(field)
        if self._accept("NOT"):
            return Not(self._listed(field))
        if self._here.is_word("IN", "LIKE", "ILIKE"):
            return self._listed(field)
        token = self._take()
        operator = "!=" if token.text == "<>" else token.text
        if token.kind != "operator" or operator not in _COMPARISONS:
            self._index -= token.kind != "end"
            expected = "expected =, !=, <, <=, >, >=, LIKE, ILIKE, IN or IS"
            plain = field.scope in {Scope.ATTRIBUTE, Scope.ALIAS}
            raise self._wrong(expected if plain else f"{expected} {_ODD_KEYS}")
        return Comparison(field, operator, self._value(field))

    def _listed(self, field: Field) -> Expression:
        if self._accept("IN"):
            self._expect("(")
            values = [self._value(field)]
            while self._accept(","):
                values.append(self._value(field))
            self._expect(")")
            return In(field, tuple(values))
        operator = self._here.text.upper()
        if not self._accept("LIKE", "ILIKE"):
            raise self._wrong("expected IN, LIKE or ILIKE")
        textual = field.scope in {Scope.TAGS, Scope.PARAMETERS, Scope.FACTS, Scope.ALIAS} or (
            field.scope is Scope.ATTRIBUTE and self._vocabulary.attributes[field.key] is str
        )
        if self._here.kind != "text" or not textual:
            raise self._wrong(f"{operator} compares texts")
        return Comparison(field, operator, self._text(self._take()))

    @staticmethod
    def _text(token: _Token) -> str:
        quote = token.text[0]
        return token.text[1:-1].replace(quote * 2, quote)

    def field(self, *, ordered: bool = False) -> Field:
        token = self._take()
        if token.kind != "word" or token.text.upper() in _KEYWORDS:
            self._index -= token.kind != "end"
            raise self._wrong("expected a field")
        name = self._vocabulary.synonyms.get(token.text, token.text)
        scopes = self._vocabulary.scopes & _ORDERED if ordered else self._vocabulary.scopes
        if name == "alias" and not ordered:
            return Field(Scope.ALIAS, "")
        if name in self._vocabulary.attributes:
            return Field(Scope.ATTRIBUTE, name)
        if name in {scope.value for scope in scopes}:
            self._expect(".")
            key = self._take()
            if key.kind == "quoted":
                return Field(Scope(name), key.text[1:-1].replace("``", "`"))
            if key.kind in {"word", "number"}:
                return Field(Scope(name), self._dotted(key.text))
            self._index -= key.kind != "end"
            raise self._wrong(f"expected a key after '{name}.' {_ODD_KEYS}")
        maps = (f"{scope}.key" for scope in sorted(scopes))
        fields = [*self._vocabulary.attributes, *([] if ordered else ["alias"]), *maps]
        fault = "cannot be ordered by" if ordered else "is not a field"
        raise InvalidFilter(
            f"{token.text[:40]!a} {fault}; there are {', '.join(fields)}", position=token.position
        )

    def _dotted(self, key: str) -> str:
        while self._accept("."):
            if self._here.kind not in {"word", "number"}:
                raise self._wrong(f"expected the rest of a key {_ODD_KEYS}")
            key += "." + self._take().text
        return key

    def _value(self, field: Field) -> Value:
        token = self._take()
        expected: type | None = None
        if field.scope is Scope.ATTRIBUTE:
            expected = self._vocabulary.attributes[field.key]
        elif field.scope is Scope.METRICS:
            expected = float
        elif field.scope in {Scope.TAGS, Scope.ALIAS}:
            expected = str
        value = self._literal(token, expected)
        if value is None:
            self._index -= token.kind != "end"
            names = {str: "a text in quotes", datetime: "a time such as '2026-11-24T12:00:00Z'"}
            raise self._wrong(f"expected {names.get(expected or object, 'a number')}")
        return value

    def _literal(self, token: _Token, expected: type | None) -> Value | None:
        if token.kind == "text":
            text = self._text(token)
            if expected is datetime:
                return _moment(text)
            return text if expected in {str, None} else None
        if token.kind == "number" and expected in {int, float, None}:
            if re.fullmatch(r"[-+]?\d{1,18}", token.text):
                return int(token.text)
            number = float(token.text)
            return number if math.isfinite(number) else None
        if expected is None and token.is_word("TRUE", "FALSE"):
            return token.text.upper() == "TRUE"
        return None


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_filter(text: str, vocabulary: Vocabulary) -> Expression:
    """Reads a filter.

    Raises:
        InvalidFilter: with the position (in characters, from 0) of the mistake.
    """
    if len(text) > MAX_FILTER:
        raise InvalidFilter(f"longer than {MAX_FILTER} characters", position=MAX_FILTER)
    return _Parser(text, vocabulary).whole()


def parse_order(text: str, vocabulary: Vocabulary) -> tuple[OrderTerm, ...]:
    """Reads an order such as ``created_at desc,metrics.auc``.

    Raises:
        InvalidOrder: a field is unknown, is named twice, or cannot be ordered by.
    """
    if len(text) > MAX_FILTER:
        raise InvalidOrder(f"order_by is longer than {MAX_FILTER} characters.")
    try:
        terms = _Parser(text, vocabulary).order()
    except InvalidFilter as error:
        raise InvalidOrder(error.detail) from None
    fields = [term.field for term in terms]
    if len(set(fields)) < len(fields) or len(fields) > 4:
        raise InvalidOrder("order_by takes up to four different fields.")
    return terms
