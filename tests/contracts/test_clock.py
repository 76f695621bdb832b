"""Clocks and generators of identities against their contracts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from adapters.memory.clock import FixedClock, SequentialIds
from adapters.system import RandomIds, SystemClock
from tests.contracts.clock import ClockContract, IdGeneratorContract


class TestSystemClock(ClockContract):
    @pytest.fixture
    def clock(self) -> SystemClock:
        return SystemClock()


class TestFixedClock(ClockContract):
    @pytest.fixture
    def clock(self) -> FixedClock:
        return FixedClock(datetime(2026, 6, 1, 14, tzinfo=timezone(timedelta(hours=2))))

    def test_it_moves_only_when_it_is_advanced(self, clock: FixedClock) -> None:
        assert clock.now() == clock.now() == datetime(2026, 6, 1, 12, tzinfo=UTC)
        assert clock.advance(timedelta(seconds=1)) == clock.now()
        assert clock.now() == datetime(2026, 6, 1, 12, 0, 1, tzinfo=UTC)


class TestRandomIds(IdGeneratorContract):
    @pytest.fixture
    def ids(self) -> RandomIds:
        return RandomIds()


class TestSequentialIds(IdGeneratorContract):
    @pytest.fixture
    def ids(self) -> SequentialIds:
        return SequentialIds()
