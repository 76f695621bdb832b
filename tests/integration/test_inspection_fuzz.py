"""Broken files of the corpus: each is judged, none crashes, hangs or bloats what reads it."""

from __future__ import annotations

import pytest

from tests.support.mutations import Breeder, fuzz

pytestmark = pytest.mark.anyio


async def test_whatever_is_broken_is_judged() -> None:
    outcome = await fuzz(range(300), seed=4)
    assert outcome.verdicts.total() == 300
    assert not outcome.failures, outcome
    assert not outcome.surprises, outcome
    assert outcome.verdicts["critical"] > 30


def test_a_seed_and_a_number_make_the_same_file_again() -> None:
    once, again, other = Breeder(1), Breeder(1), Breeder(2)
    for number in range(0, 200, 10):
        assert once.mutant(number) == again.mutant(number)
    assert [once.mutant(n).content for n in range(20)] != [
        other.mutant(n).content for n in range(20)
    ]
