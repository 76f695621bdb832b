"""The audit trail: what was changed, in which model, by whom and when."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

from domain.events import Event

_log = logging.getLogger("modelyard.audit")


def tell(events: Sequence[Event]) -> None:
    """One line a change, once it is committed; as JSON in ASCII, which no name can break out of."""
    for event in events:
        told = {field.name: getattr(event, field.name) for field in fields(event)}
        _log.info("%s %s", type(event).__name__, json.dumps(told, default=_plain))


def _plain(value: object) -> str:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
