"""To be written."""

from __future__ import annotations

from adapters.inspection.report import Notes
from adapters.inspection.streams import Stream


def check_joblib(stream: Stream, notes: Notes) -> None:
    """To be written."""


def check_pickle(stream: Stream, notes: Notes) -> None:
    """To be written."""


def check_torch_legacy(stream: Stream, notes: Notes) -> None:
    """To be written."""
