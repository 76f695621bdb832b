"""What every test shares."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Machines differ: no test fails for being slow, only for being wrong.
settings.register_profile("modelyard", deadline=None)
settings.load_profile("modelyard")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop the service runs on."""
    return "asyncio"
