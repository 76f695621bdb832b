"""The log: an event a line on stderr, as text or as JSON, with the id of the request it is of."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter as AnyJsonFormatter

_subject: ContextVar[Mapping[str, str]] = ContextVar("subject")
_NOT_TOLD = [*RESERVED_ATTRS, "color_message"]  # which uvicorn has for terminals
_RENAMED = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "stack"}


def set_subject(**fields: str) -> None:
    """Names the request that this task, and what it starts, works on from now on.

    Args:
        fields: ``request_id`` and, where there is one, ``trace_id``.
    """
    _subject.set(fields)


def logging_config(level: str, style: str) -> dict[str, Any]:
    """For ``logging.config.dictConfig``; uvicorn tells of its comings and goings at ``debug``.

    Args:
        style: ``text`` or ``json``.
    """
    formatter = {"text": TextFormatter, "json": JsonFormatter}[style]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": f"{__name__}.{formatter.__name__}"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "modelyard": {"level": level.upper()},
            "uvicorn": {"level": "DEBUG" if level == "debug" else "WARNING"},
        },
    }


class _UtcTimes(logging.Formatter):
    """Times in RFC 3339, in UTC whatever the machine thinks of them."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


class TextFormatter(_UtcTimes):
    """For people, who find a request by ``id=``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Without the stack of an exception, which follows."""
        line = super().formatMessage(record)
        request_id = vars(record).get("request_id") or _subject.get({}).get("request_id")
        return f"{line} id={request_id}" if request_id else line


class JsonFormatter(_UtcTimes, AnyJsonFormatter):
    """For machines: one object, in ASCII, with the fields that an event brings along."""

    def __init__(self) -> None:
        fields = ("asctime", "levelname", "name", "message")
        AnyJsonFormatter.__init__(self, fields, rename_fields=_RENAMED, reserved_attrs=_NOT_TOLD)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Adds the request that it is about."""
        return {**log_data, **_subject.get({})}
