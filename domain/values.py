"""Value objects: names, references, paths, digests and the maps a version carries.

Names are ``str`` subclasses and numbers ``int`` subclasses: building one validates and normalises
it, after which it travels as the plain value it is.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, cast

from domain.errors import (
    FieldError,
    InvalidAliasName,
    InvalidDigest,
    InvalidFilePath,
    InvalidModelName,
    InvalidReference,
    InvalidRequest,
    ModelyardError,
    invalid_field,
    pointer_to,
)

JsonScalar = str | int | float | bool | None

MAX_NAME = 250
MAX_PATH = 512
MAX_VALUE = 100_000
MAX_DESCRIPTION = 100_000
MAX_REASON = 10_000
MAX_REVIEWS = 1_000
MAX_ENTRIES = 1_000
MAX_MAPS = 8 << 20
MAX_FILES = 1_000
MAX_ALIASES_PER_PUBLISH = 100
MAX_VERSION = 2**31 - 1
MAX_INTEGER = 2**63 - 1

_MODEL_PUNCTUATION = " ._-()+"
_ALIAS_PUNCTUATION = "._-"
# Letters and marks of Unicode that nobody can see (Default_Ignorable_Code_Point, UAX #44).
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
# Bidirectional controls make a path read as another one (Trojan Source, CVE-2021-42574).
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_DRIVE = re.compile(".:")  # Windows takes any character for a drive
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DIGITS = re.compile(r"[1-9][0-9]{0,9}")
_RESERVED_ALIAS = re.compile(r"latest|v\d+|[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)


def composed(text: str, most: int) -> str:
    """The text in Unicode NFC, or as it is where that cannot have ``most`` characters or fewer.

    NFC makes one of four characters at most, and its time is quadratic in runs of marks.
    """
    return unicodedata.normalize("NFC", text) if len(text) <= 4 * most else text


def _name_fault(name: str, punctuation: str) -> str | None:
    if not 1 <= len(name) <= MAX_NAME:
        return f"it has {len(name)} characters; 1 to {MAX_NAME} are allowed"
    if name in {".", ".."}:
        return "it is '.' or '..', which no URL path can carry"
    for character in name:
        category = unicodedata.category(character)
        if character not in punctuation and category[0] not in "LM" and category != "Nd":
            return f"the character {character!a} is not allowed"
    if invisible := _INVISIBLE.search(name):
        return f"the character {invisible[0]!a} is invisible"
    return None


class ModelName(str):
    """1 to 250 letters, digits, spaces and ``._-()+`` in Unicode NFC, no space at either end.

    Raises:
        InvalidModelName: saying which rule the text breaks.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        name = composed(text, MAX_NAME)
        fault = _name_fault(name, _MODEL_PUNCTUATION)
        if fault is None and name != name.strip(" "):
            fault = "it begins or ends with a space"
        if fault is not None:
            raise InvalidModelName(
                f"A model name has letters, digits, spaces and the characters ._-()+; {fault}.",
                errors=[FieldError("/name", fault)],
            )
        return super().__new__(cls, name)


class AliasName(str):
    """1 to 250 letters, digits and ``._-`` in Unicode NFC that cannot be taken for a version.

    Raises:
        InvalidAliasName: saying which rule the text breaks.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        name = composed(text, MAX_NAME)
        fault = _name_fault(name, _ALIAS_PUNCTUATION)
        if fault is None and name.isdecimal():
            fault = "digits alone are a version number"
        if fault is None and _RESERVED_ALIAS.fullmatch(name):
            fault = "'latest', 'v' and digits, and 40 or 64 hex digits are reserved"
        if fault is not None:
            raise InvalidAliasName(
                f"An alias has letters, digits and the characters ._-; {fault}.",
                errors=[FieldError("/alias", fault)],
            )
        return super().__new__(cls, name)


class VersionNumber(int):
    """The number of a version: 1, 2, 3 ... within its model.

    Raises:
        InvalidReference: below 1 or above 2**31 - 1.
    """

    __slots__ = ()

    def __new__(cls, number: int) -> Self:
        if not 1 <= number <= MAX_VERSION:
            raise InvalidReference(f"A version number lies between 1 and {MAX_VERSION}.")
        return super().__new__(cls, number)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads decimal digits without sign or leading zero.

        Raises:
            InvalidReference: for anything else.
        """
        if not _DIGITS.fullmatch(text):
            raise InvalidReference(
                f"Expected a version number such as 3 here, not {text[:80]!a}.",
                errors=[FieldError("/version", "a number from 1 is expected")],
            )
        return cls(int(text))

    @classmethod
    def after(cls, last: int) -> Self:
        """The version-allocation policy.

        ``last`` is the highest number the model ever handed out to a successful publish, 0 for
        none; it is kept when versions, and the model itself, are deleted. The next publish gets
        the number after it, so numbers are dense for successful publishes and never used twice.
        """
        return cls(last + 1)


class Latest(str):
    """The highest number of a model that still exists."""

    __slots__ = ()

    def __new__(cls) -> Self:
        return super().__new__(cls, "latest")


Reference = VersionNumber | AliasName | Latest


def parse_reference(text: str) -> Reference:
    """Reads ``3``, ``latest`` or ``@alias``.

    Raises:
        InvalidReference: it is none of the three.
        InvalidAliasName: what follows the ``@`` is not an alias.
    """
    if text == "latest":
        return Latest()
    if text.startswith("@"):
        return AliasName(text[1:])
    if _DIGITS.fullmatch(text):
        return VersionNumber(int(text))
    raise InvalidReference(
        f"A version is named by its number (3), 'latest' or '@alias', not by {text[:80]!a}."
    )


class Digest(str):
    """A sha256 digest as 64 lower-case hex digits.

    Raises:
        InvalidDigest: for anything else.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _DIGEST.fullmatch(text):
            raise InvalidDigest(
                "A digest is a sha256 of 64 lower-case hex digits.",
                errors=[FieldError("/sha256", "64 lower-case hex digits are expected")],
            )
        return super().__new__(cls, text)


def _path_fault(path: str) -> str | None:
    if not 1 <= len(path) <= MAX_PATH:
        return f"it has {len(path)} characters; 1 to {MAX_PATH} are allowed"
    if "\\" in path:
        return "it has a backslash; folders are separated by '/'"
    if path.startswith("/") or _DRIVE.match(path):
        return "it is absolute; a path inside the version is relative"
    for character in path:
        if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or _BIDI.match(character):
            return f"the character {character!a} is not allowed"
    faults = (_segment_fault(segment) for segment in path.split("/"))
    return next((fault for fault in faults if fault), None)


def _segment_fault(segment: str) -> str | None:
    if segment in {"", ".", ".."}:
        return f"the segment {segment!a} is not allowed"
    if len(segment.encode()) > 255:
        return "one of its segments is longer than 255 bytes, which no file system takes"
    return None


class FilePath(str):
    """Where a file lies inside its version: relative, ``/``-separated, NFC, at most 512 characters.

    Raises:
        InvalidFilePath: saying which rule the text breaks.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        path = composed(text, MAX_PATH)
        fault = _path_fault(path)
        if fault is not None:
            raise InvalidFilePath(
                f"The file path {path[:100]!a} cannot be stored: {fault}.",
                errors=[FieldError("/files", fault)],
            )
        return super().__new__(cls, path)

    @property
    def folded(self) -> str:
        """The path as a case-insensitive file system would see it."""
        return unicodedata.normalize("NFC", self.casefold())

    @property
    def name(self) -> str:
        """The last segment."""
        return self.rsplit("/", 1)[-1]


# --- texts and maps -----------------------------------------------------------------------------


def check_text(text: str, pointer: str, *, most: int = MAX_DESCRIPTION) -> str:
    """Returns the text if it can be stored everywhere.

    Raises:
        InvalidRequest: longer than ``most`` characters, a NUL, or half of a surrogate pair.
    """
    fault = None
    if len(text) > most:
        fault = f"it has {len(text)} characters; at most {most} are allowed"
    elif "\0" in text:
        fault = "it has a NUL character"
    elif not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        fault = "it has half of a surrogate pair"
    if fault is not None:
        raise invalid_field(pointer, fault)
    return text


def check_actor(text: str) -> str:
    """Returns the name of a user if it is valid: 1 to 250 visible characters.

    Raises:
        InvalidRequest: it is empty, too long, or has control characters.
    """
    if not text.strip() or any(unicodedata.category(c)[0] == "C" for c in text):
        raise InvalidRequest(
            "The name of the user is empty or has control characters.",
            errors=[FieldError("/creator", "1 to 250 visible characters are expected")],
        )
    return check_text(text, "/creator", most=MAX_NAME)


def _check_map(raw: Mapping[str, object], pointer: str) -> list[tuple[str, object, str]]:
    if len(raw) > MAX_ENTRIES:
        fault = f"it has {len(raw)} entries; at most {MAX_ENTRIES} are allowed"
        raise invalid_field(pointer, fault)
    entries = []
    for key, value in raw.items():
        here = pointer_to(pointer, key)
        if not key:
            raise invalid_field(here, "a key that is not empty is expected")
        entries.append((check_text(key, here, most=MAX_NAME), value, here))
    return entries


def check_tags(raw: Mapping[str, object]) -> dict[str, str]:
    """Tags: string to string.

    Raises:
        InvalidRequest: pointing at the entry at fault.
    """
    tags = {}
    for key, value, here in _check_map(raw, "/tags"):
        if not isinstance(value, str):
            raise invalid_field(here, "a string is expected")
        tags[key] = check_text(value, here, most=MAX_VALUE)
    return tags


def check_growth(pointer: str, before: list[Mapping[str, Any]], *after: Mapping[str, Any]) -> None:
    """Raises InvalidRequest where maps grow beyond MAX_MAPS bytes of JSON together."""
    if (size := _json_size(after)) > MAX_MAPS and size > _json_size(before):
        raise invalid_field(pointer, f"with it the maps would have more than {MAX_MAPS} bytes")


def _json_size(maps: Iterable[Mapping[str, Any]]) -> int:
    return sum(len(json.dumps(each, ensure_ascii=False).encode()) for each in maps)


def check_metrics(raw: Mapping[str, object]) -> dict[str, float]:
    """Metrics: string to finite IEEE 754 double.

    Raises:
        InvalidRequest: pointing at the entry at fault.
    """
    metrics = {}
    for key, value, here in _check_map(raw, "/metrics"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid_field(here, "a number is expected")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise invalid_field(here, "a finite number is expected")
        metrics[key] = number
    return metrics


def _is_64_bit(value: object) -> bool:
    if isinstance(value, int):
        return -MAX_INTEGER - 1 <= value <= MAX_INTEGER
    return isinstance(value, float) and math.isfinite(value)


def check_parameters(raw: Mapping[str, object]) -> dict[str, JsonScalar]:
    """Parameters: string to JSON scalar.

    Raises:
        InvalidRequest: pointing at the entry at fault.
    """
    parameters: dict[str, JsonScalar] = {}
    for key, value, here in _check_map(raw, "/parameters"):
        if isinstance(value, str):
            parameters[key] = check_text(value, here, most=MAX_VALUE)
        elif value is None or isinstance(value, bool) or _is_64_bit(value):
            parameters[key] = cast(JsonScalar, value)
        else:
            raise invalid_field(
                here, "a string, a boolean, null or a number of 64 bits is expected"
            )
    return parameters


def relocated(pointer: str, error: ModelyardError) -> ModelyardError:
    """The same error, with ``pointer`` as the field at fault."""
    moved = [FieldError(pointer, error.errors[0].message if error.errors else error.detail)]
    return type(error)(error.detail, errors=moved)


def unique(items: Sequence[str], pointer: str) -> None:
    """Refuses a list that names something twice.

    Raises:
        InvalidRequest: pointing at the second occurrence.
    """
    for index, item in enumerate(items):
        if item in items[:index]:
            raise invalid_field(f"{pointer}/{index}", f"{item[:80]!a} is named twice")
