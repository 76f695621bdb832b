"""Byte ranges of a file (RFC 9110, section 14)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import RangeNotSatisfiable
from entrypoints.http.ranges import parse_range

SIZES = st.integers(1, 1 << 50)


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ("bytes=0-0", 10, (0, 1)),
        ("bytes=0-9", 10, (0, 10)),
        ("bytes=3-5", 10, (3, 6)),
        ("bytes=9-9", 10, (9, 10)),
        ("bytes=3-", 10, (3, 10)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=5-99999999999999999999", 10, (5, 10)),
        ("bytes=-99999999999999999999", 10, (0, 10)),
        ("BYTES=0-1", 10, (0, 2)),
        (" bytes= 0-1 ", 10, (0, 2)),
    ],
)
def test_a_range_within_the_file_is_cut_to_it(
    header: str, size: int, expected: tuple[int, int]
) -> None:
    assert parse_range(header, size) == expected


@pytest.mark.parametrize(
    "header",
    [
        *("", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1", "bytes=--1", "bytes=1--2"),
        *("bytes=5-3", "items=0-1", "bytes=0-1,3-4", "bytes=0-1,", "bytes 0-1", "bytes=0x1-2"),
        *("bytes=٣-٤", "bytes=+1-2", "bytes=1 - 2", f"bytes=0-{'9' * 100}"),
    ],
    ids=ascii,
)
def test_the_whole_file_answers_what_is_no_single_range_of_bytes(header: str) -> None:
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "size"),
    [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=0-0", 0)],
)
def test_a_range_outside_the_file_is_refused_with_its_size(header: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable) as refusal:
        parse_range(header, size)
    assert refusal.value.size == size


def test_the_last_bytes_of_an_empty_file_are_the_empty_file() -> None:
    # RFC 9110, 14.1.2: a suffix range is satisfiable if its length is not zero; a 206 could not
    # say which bytes it holds, so the whole is sent.
    assert parse_range("bytes=-5", 0) is None


@given(size=SIZES, data=st.data())
def test_first_and_last_position_name_exactly_those_bytes(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, size - 1))
    assert parse_range(f"bytes={first}-{last}", size) == (first, last + 1)
    assert parse_range(f"bytes={first}-", size) == (first, size)
    assert parse_range(f"bytes=-{size - first}", size) == (first, size)


@given(
    st.text(max_size=30)
    | st.lists(st.sampled_from(["bytes", "=", "-", "0", "7", "99", ",", " "])).map("".join),
    st.integers(0, 100),
)
def test_any_header_gives_a_part_of_the_file_the_whole_or_a_refusal(header: str, size: int) -> None:
    try:
        span = parse_range(header, size)
    except RangeNotSatisfiable:
        return
    start, stop = span or (0, size)
    assert 0 <= start <= stop <= size
    assert span is None or start < stop
