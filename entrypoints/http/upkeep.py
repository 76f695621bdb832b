"""What the service does by itself now and then: one of all replicas collects the garbage."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta

from application.maintenance import CollectGarbage
from domain.errors import ModelyardError
from entrypoints.container import Container
from entrypoints.http.metrics import record_collection, record_connections

_log = logging.getLogger("modelyard.upkeep")
_LONGEST_PAUSE = 300.0
"""Seconds between two looks at whether it is due: a service that restarts often gets there too."""
_LOOKED = 1.0
"""Seconds between two looks at the connections to the database."""


async def watch_connections(container: Container) -> None:
    """Keeps the metrics of the database's pool; runs until it is cancelled."""
    while True:
        record_connections(*container.database().connections)
        await asyncio.sleep(_LOOKED)


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
                collected = await collect(CollectGarbage(grace))
                record_collection(collected)
                _log.info("collected %s", collected)
        except ModelyardError as error:
            record_collection(error)
            _log.warning("garbage was not collected: %s", error.detail)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be the last one
            record_collection(error)
            _log.exception("garbage was not collected")
