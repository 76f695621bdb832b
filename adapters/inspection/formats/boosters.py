"""To be written."""

from __future__ import annotations

from adapters.inspection.report import Notes
from adapters.inspection.streams import Stream


def check_catboost_cbm(stream: Stream, notes: Notes) -> None:
    """To be written."""


def check_catboost_json(stream: Stream, notes: Notes) -> None:
    """To be written."""


def check_lightgbm(stream: Stream, notes: Notes) -> None:
    """To be written."""


def check_xgboost_binary(stream: Stream, notes: Notes) -> None:
    """To be written."""


def check_xgboost_json(stream: Stream, notes: Notes) -> None:
    """To be written."""


def check_xgboost_ubj(stream: Stream, notes: Notes) -> None:
    """To be written."""
