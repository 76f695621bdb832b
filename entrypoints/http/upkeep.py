"""What the service does by itself now and then: one of all replicas collects the garbage."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta

from application.maintenance import CollectGarbage
from domain.errors import ModelyardError
from entrypoints.container import Container

_log = logging.getLogger("modelyard.upkeep")
_LONGEST_PAUSE = 300.0
"""Seconds between two looks at whether it is due: a service that restarts often gets there too."""


async def collect_regularly(container: Container) -> None:
    """Runs until it is cancelled; what goes wrong is logged, and tried again when it is due."""
    settings = container.settings()
    every, grace = timedelta(seconds=settings.gc_interval), timedelta(seconds=settings.gc_grace)
    pause = min(settings.gc_interval, _LONGEST_PAUSE)
    while every:
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - so that replicas differ
        collect = container.collect_garbage()
        try:
            if await collect.take_turn(every):
                _log.info("collected %s", await collect(CollectGarbage(grace)))
        except ModelyardError as error:
            _log.warning("garbage was not collected: %s", error.detail)
        except Exception:  # noqa: BLE001 - whatever it is, it must not be the last collection
            _log.exception("garbage was not collected")
