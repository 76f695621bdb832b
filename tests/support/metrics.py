"""What a service counts, read as Prometheus does."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families


def value(client: httpx.Client, name: str, **labels: str) -> float:
    """The sum of the samples of this name, without ``modelyard_``, that have these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == f"modelyard_{name}"
        if labels.items() <= sample.labels.items()
    )
