"""Page tokens: only keys in the right number and of storable kinds come back out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.page_tokens import Key, read_token, write_token
from domain.errors import InvalidPageToken

KEYS = (
    st.none()
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.lists(KEYS, min_size=1, max_size=5))
def test_a_token_gives_back_the_keys_it_was_made_of(keys: list[Key]) -> None:
    assert read_token("list", write_token("list", keys), len(keys)) == keys


@pytest.mark.parametrize("count", [1, 3])
def test_a_forged_token_with_another_number_of_keys_is_refused(count: int) -> None:
    with pytest.raises(InvalidPageToken):
        read_token("list", write_token("list", [1, 2]), count)


@pytest.mark.parametrize("key", [[1], {"a": 1}, True, 2**63, "\0", "\ud800", math.nan, math.inf])
def test_a_forged_token_with_something_that_is_no_key_is_refused(key: object) -> None:
    with pytest.raises(InvalidPageToken):
        read_token("list", write_token("list", [key]), 1)  # type: ignore[list-item]
