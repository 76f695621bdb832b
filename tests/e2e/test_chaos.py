"""``make chaos`` in short: what was acknowledged while servers failed is there, and no more."""

from __future__ import annotations

import pytest

from benchmarks.chaos.__main__ import main

pytestmark = pytest.mark.timeout(300)


def test_publishing_survives_the_failure_of_each_server() -> None:
    assert main(["--quick", "--seed", "1"]) == 0
