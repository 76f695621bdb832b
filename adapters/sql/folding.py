"""Lower case by Unicode, letter by letter, so that a pattern and a text meet in any context.

On both databases ``ILIKE`` means that. PostgreSQL's own would follow the collation: with "C" it
knows the letters of ASCII only, with others a sigma becomes another one at the end of a word.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

# The capital letters whose small form is more than one character, or depends on what follows.
_AHEAD = {"\u0130": "i\u0307", "\u03a3": "\u03c3"}
_BY_CHARACTER = "pg_c_utf8"
_BY_ICU = "und-x-icu"
"""Collations of PostgreSQL from version 17, and of those before it."""


def fold(text: str) -> str:
    """The text in lower case."""
    return text.lower() if text.isascii() else "".join(map(str.lower, text))


class folded(FunctionElement[str]):  # noqa: N801 - as SQLAlchemy's functions are called
    """A column in lower case."""

    type = Text()
    inherit_cache = True

    def __init__(self, column: ColumnElement[str]) -> None:
        super().__init__(column)


@compiles(folded)
def _by_function(element: folded, compiler: SQLCompiler, **options: Any) -> str:
    return f"lower({compiler.process(element.clauses, **options)})"


@compiles(folded, "postgresql")
def _by_collation(element: folded, compiler: SQLCompiler, **options: Any) -> str:
    text = compiler.process(element.clauses, **options)
    for capital, small in _AHEAD.items():
        text = f"replace({text}, '{capital}', '{small}')"
    version = getattr(compiler.dialect, "server_version_info", None) or (17,)
    return f'lower({text} COLLATE "{_BY_CHARACTER if version >= (17,) else _BY_ICU}")'
