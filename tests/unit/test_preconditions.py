"""Conditions on a change, and JSON merge patches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.preconditions import check_match, check_members, merged, text_or_empty
from domain.errors import FieldError, InvalidRequest, PreconditionFailed


@pytest.mark.parametrize(
    "if_match", [None, frozenset({"*"}), frozenset({"a-1"}), frozenset({"a-0", "a-1"})]
)
def test_a_change_meant_for_the_present_state_goes_through(if_match: frozenset[str] | None) -> None:
    check_match(if_match, "a-1")


@pytest.mark.parametrize("if_match", [frozenset(), frozenset({"a-0"}), frozenset({"A-1", '"a-1"'})])
def test_a_change_meant_for_another_state_is_refused_with_the_present_one(
    if_match: frozenset[str],
) -> None:
    with pytest.raises(PreconditionFailed, match='"a-1"'):
        check_match(if_match, "a-1")


KEYS = st.sampled_from("abcdef")
MAPS = st.dictionaries(KEYS, st.integers() | st.booleans())
PATCHES = st.dictionaries(KEYS, st.none() | st.integers())


@given(MAPS, PATCHES)
def test_a_merge_patch_sets_what_it_names_and_removes_what_it_nulls(
    present: dict[str, Any], patch: dict[str, Any]
) -> None:
    before = dict(present)
    result = merged(present, patch, "/tags")
    for key in present.keys() | patch.keys():
        wanted = patch[key] if key in patch else present[key]
        assert result.get(key) == wanted
        assert (key in result) == (wanted is not None)
    assert result.keys() <= present.keys() | patch.keys()
    assert merged(result, patch, "/tags") == result
    assert present == before


def test_null_for_a_map_empties_it() -> None:
    assert merged({"a": 1}, None, "/tags") == {}


@pytest.mark.parametrize("patch", ["x", 1, True, [], ["a"]])
def test_a_patch_of_a_map_that_is_no_object_is_refused(patch: object) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        merged({"a": 1}, patch, "/tags")
    assert refusal.value.errors == (FieldError("/tags", "an object is expected"),)


def test_null_for_a_text_is_the_empty_text() -> None:
    assert text_or_empty(None, "/description") == ""
    assert text_or_empty("x", "/description") == "x"


@pytest.mark.parametrize("value", [1, True, [], {}])
def test_a_text_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        text_or_empty(value, "/description")
    assert refusal.value.errors == (FieldError("/description", "a string is expected"),)


def test_a_patch_may_name_some_of_the_members_there_are() -> None:
    check_members({}, frozenset({"a"}))
    check_members({"a": 1}, frozenset({"a", "b"}))


def test_unknown_members_of_a_patch_are_pointed_at_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_members({"a": 1, "c/d": 1, "\ud800": 1}, frozenset({"a", "b"}))
    message = "unknown; there are a, b"
    assert refusal.value.errors == (
        FieldError("/c~1d", message),
        FieldError("/\\ud800", message),
    )
    assert refusal.value.detail.encode()
