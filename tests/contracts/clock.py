"""What every clock and every generator of identities must do."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from application.ports import Clock, IdGenerator


class ClockContract:
    @pytest.fixture
    def clock(self) -> Clock:
        raise NotImplementedError

    def test_it_tells_the_time_in_utc(self, clock: Clock) -> None:
        assert clock.now().utcoffset() == timedelta(0)

    def test_it_does_not_run_backwards_by_itself(self, clock: Clock) -> None:
        times = [clock.now() for _ in range(100)]
        assert times == sorted(times)


class IdGeneratorContract:
    @pytest.fixture
    def ids(self) -> IdGenerator:
        raise NotImplementedError

    def test_an_identity_is_32_lower_case_hex_digits(self, ids: IdGenerator) -> None:
        assert all(re.fullmatch("[0-9a-f]{32}", ids.new()) for _ in range(100))

    def test_threads_never_get_the_same_one(self, ids: IdGenerator) -> None:
        with ThreadPoolExecutor(8) as pool:
            batches = pool.map(lambda _: [ids.new() for _ in range(500)], range(8))
        everything = [identity for batch in batches for identity in batch]
        assert len(set(everything)) == len(everything)
