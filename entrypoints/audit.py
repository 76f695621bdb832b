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
        name = type(event).__name__
        told = {field.name: _plain(getattr(event, field.name)) for field in fields(event)}
        audit = {"event": name, **told}
        _log.info("%s %s", name, json.dumps(told, default=str), extra={"audit": audit})


def _plain(value: object) -> object:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
