"""Chat templates: Jinja that whoever serves a model renders.

A sandbox stops most of what templates can do, but not every program that renders them has one
(CVE-2024-34359 in llama-cpp-python). So one that reaches for Python's insides is held. Names can
be put together in endless ways; the usual ones are seen through, and what builds the name of an
attribute at all is held too: no honest template does.

Source: Jinja's template designer documentation and its lexer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from adapters.inspection.report import Notes, shown

CODE = "template.reaches_python"
MOST = 1 << 20
"""Characters of a template that are looked at; the longest in use have some 20,000."""

_NAMES = (
    "class|bases?|mro|subclasses|globals|builtins?|import|init|dict|code|closure|func|self|reduce"
    "|reduce_ex|getattribute|getattr|getitem|call|module|loader|spec|new|doc|name|qualname|wrapped"
    "|defaults|kwdefaults|enter|exit|del|set|get|format|str|repr|add|file|weakref|annotations"
)
_INSIDE = re.compile(rf"__(?:{_NAMES})__")
_FRAMES = re.compile(
    r"\b(?:gi|cr|ag)_(?:frame|code)\b|\b[ft]b?_(?:globals|locals|builtins|frame|back)\b"
    r"|\bfunc_(?:globals|code)\b|\bim_func\b"
)
_GADGETS = frozenset(
    {"attr", "cycler", "joiner", "lipsum", "popen", "subprocess", "importlib", "builtins", "posix"}
    | {"__import__", "eval", "exec", "mro", "url_for", "get_flashed_messages", "_TemplateReference"}
)
_MODULES = frozenset({"os", "sys", "pty", "socket", "shutil", "ctypes", "codecs", "config"})
_LITERALS = frozenset({"popen", "subprocess", "importlib", "builtins", "posix", "os", "mro"})
# Names of Python's insides and parts of them, in whatever decoration is taken off or put on later.
_PARTS = re.compile(
    r"[^A-Za-z]*(?:class|subclasses|globals|builtins|getattribute|mro|init)[^A-Za-z]*"
    r"|(?=\w{,24}$)\w*(?:__[A-Za-z]|[A-Za-z]__)\w*",
    re.IGNORECASE,
)
_BY_ATTRIBUTE = frozenset({("attribute", "=")})
_ATTRIBUTE_FILTERS = frozenset({"selectattr", "rejectattr", "groupby"})
_LOADING = frozenset({"import", "from", "include", "extends"})
_OPENING = re.compile(r"\{\{|\{%|\{#")
_TOKEN = re.compile(
    r"""
      "(?:[^"\\]|\\.)*+"? | '(?:[^'\\]|\\.)*+'?
    | [A-Za-z_]\w*+ | \d++ | [%}]\} | \s++ | .
    """,
    re.DOTALL | re.VERBOSE,
)
_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_OPERATORS = frozenset({"and", "or", "not", "in", "is", "if", "else", "elif", "set", "for", "+"})
_QUOTES = frozenset("'\"")
_DEEPEST = 50
_COUNTING = frozenset({"length", "count", "int", "abs", "first", "last", "min", "max", "sum"})


def check_template(text: str, notes: Notes, where: str) -> None:
    """Holds a template that reaches into Python, in these or other words.

    Args:
        where: what it is, to begin a sentence with: "the chat template".
    """
    if len(text) > MOST:
        notes.hold(CODE, f"{notes.place}: {where} is too long to be judged.")
        return
    if reached := next(_reached(text), None):
        message = f"{notes.place}: {where} reaches into Python by {shown(reached)}."
        notes.hold(CODE, message)


def _reached(text: str) -> Iterator[str]:
    for pattern in (_INSIDE, _FRAMES):
        if found := pattern.search(text):
            yield found[0]
    literals: list[str] = []
    for block in _blocks(text):
        yield from _block(block, literals)
    built = "".join(literals)
    for each in (built, built[::-1]):
        if found := _INSIDE.search(each):
            yield found[0]


def _blocks(text: str) -> Iterator[list[str]]:
    """The tokens of every expression and statement, the first of them "{{" or "{%".

    As in Jinja, a block does not end inside a text or while a bracket is open.
    """
    at = 0
    while opening := _OPENING.search(text, at):
        at = opening.end()
        if opening[0] == "{#":
            end = text.find("#}", at)
            at = len(text) if end < 0 else end + 2
            continue
        tokens, depth = [opening[0]], 0
        while (found := _TOKEN.match(text, at)) is not None:
            token = found[0]
            if depth <= 0 and token in {"}}", "%}"}:
                at = found.end()
                break
            if token in {"}}", "%}"}:
                token = token[0]
            at += len(token)
            depth += _BRACKETS.get(token, 0)
            if not token.isspace():
                tokens.append(token)
        yield tokens


def _block(words: list[str], literals: list[str]) -> Iterator[str]:
    first = [word for word in words[1:3] if word not in "+-"]
    if words[0] == "{%" and first and first[0] in _LOADING:
        yield f"{{% {first[0]} %}}"
    brackets: list[bool] = []
    previous = words[0]
    for word, following in zip(words[1:], [*words[2:], ""], strict=False):
        if word[0] in _QUOTES:
            literals.append(_value(word))
        elif word in "([{":
            brackets.append(word == "[" and _indexes(previous))
            if len(brackets) > _DEEPEST:
                yield "brackets nested too deep"
        elif word in ")]}" and brackets:
            brackets.pop()
        if _reaches(previous, word, following) or (
            any(brackets) and _builds_a_name(previous, word)
        ):
            yield f"{previous} {word} {following}".strip()
        previous = word


def _reaches(previous: str, word: str, following: str) -> bool:
    if word[0] in _QUOTES:
        literal = _value(word)
        return literal in _LITERALS or "%c" in literal or bool(_PARTS.fullmatch(literal))
    if previous == "." and word.startswith("_"):
        return True  # no sandbox of Jinja gives such an attribute
    if (previous, word) in _BY_ATTRIBUTE or (word == "(" and previous in _ATTRIBUTE_FILTERS):
        return following[:1] not in _QUOTES and not following.isdigit()
    if word == "*":
        return any(each[:1] in _QUOTES and "_" in each for each in (previous, following) if each)
    return word in _GADGETS or (word in _MODULES and following == "." and previous != ".")


def _builds_a_name(previous: str, word: str) -> bool:
    """Whether the name of an attribute is put together, within a bracket that indexes."""
    return word == "~" or (previous == "|" and word not in _COUNTING)


def _indexes(previous: str) -> bool:
    """Whether a bracket after this token takes something out of it, and begins no list."""
    ends = previous[-1] in ")]'\"}" or previous[-1].isalnum() or previous[-1] == "_"
    return ends and previous not in _OPERATORS


def _value(literal: str) -> str:
    """What Jinja makes of a text in quotes."""
    inside = literal[1:-1] if len(literal) > 1 else ""
    try:
        return inside.encode("ascii", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError:
        return inside
