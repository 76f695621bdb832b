"""Conditional requests (If-Match) and JSON merge patches."""

from __future__ import annotations

from collections.abc import Mapping

from domain.errors import (
    FieldError,
    InvalidRequest,
    PreconditionFailed,
    invalid_field,
    pointer_to,
)

IfMatch = frozenset[str] | None
"""Entity tags without quotes, one of which must match; ``*`` matches any, None is no condition."""


def check_match(if_match: IfMatch, etag: str) -> None:
    """Refuses a change unless the current entity tag matches (RFC 9110, 13.1.1).

    Raises:
        PreconditionFailed: none of the tags is the current one.
    """
    if if_match is not None and "*" not in if_match and etag not in if_match:
        raise PreconditionFailed(
            f'The resource has changed: its ETag is now "{etag}". Read it again and retry.'
        )


def merged(present: Mapping[str, object], patch: object, pointer: str) -> dict[str, object]:
    """A map after a JSON merge patch (RFC 7396): null removes a key, null for the map empties it.

    Raises:
        InvalidRequest: the patch is not an object.
    """
    if patch is None:
        return {}
    if not isinstance(patch, Mapping):
        raise invalid_field(pointer, "an object is expected")
    both = {**present, **patch}
    return {key: value for key, value in both.items() if value is not None}


def text_or_empty(value: object, pointer: str) -> str:
    """The text of a patch; null, which removes it, is the empty text.

    Raises:
        InvalidRequest: it is neither.
    """
    if value is not None and not isinstance(value, str):
        raise invalid_field(pointer, "a string is expected")
    return value or ""


def check_members(patch: Mapping[str, object], allowed: frozenset[str]) -> None:
    """Refuses members that a patch cannot have.

    Raises:
        InvalidRequest: naming them and the allowed ones.
    """
    if strange := sorted(patch.keys() - allowed):
        message = f"unknown; there are {', '.join(sorted(allowed))}"
        raise InvalidRequest(
            f"The patch has unknown members: {', '.join(repr(key[:80]) for key in strange[:5])}.",
            errors=[FieldError(pointer_to("", key), message) for key in strange[:5]],
        )
