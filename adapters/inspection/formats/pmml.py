"""To be written."""

from __future__ import annotations

from adapters.inspection.report import Notes
from adapters.inspection.streams import Stream


def check_pmml(stream: Stream, notes: Notes) -> None:
    """To be written."""


def check_openvino(stream: Stream, notes: Notes) -> None:
    """To be written."""
