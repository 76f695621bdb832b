"""Examples of replies for the OpenAPI document."""

from __future__ import annotations

from typing import Any

_AT = "2026-11-24T09:30:00Z"

MODEL: dict[str, Any] = {
    "name": "churn",
    "description": "Who leaves next month",
    "tags": {"team": "risk"},
    "creator": "ada",
    "created_at": _AT,
    "updated_at": _AT,
    "latest_version": 1,
    "version_count": 1,
    "aliases": {"champion": 1},
}
FILE: dict[str, Any] = {
    "path": "model.onnx",
    "size": 48213,
    "sha256": "d7c4b743081e6ccdf263598ab3a94f5df38c9f2aec014973c0806819d7762f26",
    "media_type": "application/x-onnx",
    "format": "onnx",
}
VERSION: dict[str, Any] = {
    "model": "churn",
    "version": 1,
    "description": "First try",
    "parameters": {"max_depth": 6},
    "metrics": {"auc": 0.91},
    "tags": {"stage": "new"},
    "aliases": ["champion"],
    "files": [FILE],
    "size": FILE["size"],
    "digest": "92df3962affb50dbeba3fbd1cd025649f6155f96b76f7e06c926c685255612d2",
    "creator": "ada",
    "source": "git:4f2a91c",
    "parents": [],
    "status": "ready",
    "facts": {
        "framework": "onnx",
        "format_version": 14,
        "name": "g",
        "inputs": ["x: float32[1]"],
        "outputs": ["y: float32[1]"],
        "opset": 28,
        "opsets": ["ai.onnx 28"],
        "operators": ["Identity"],
    },
    "validation": {
        "verdict": "accept",
        "policy": "standard",
        "scanner": "modelyard 0.1.0, libmagic 5.46, picklescan 1.0.5",
        "ruleset": "2026-11-24",
        "coverage": "complete",
        "findings": [],
        "checked_at": _AT,
        "reviews": [],
    },
    "created_at": _AT,
    "updated_at": _AT,
}
MANIFEST: dict[str, Any] = {
    "items": [FILE],
    "next_page_token": None,
    "size": VERSION["size"],
    "digest": VERSION["digest"],
}
ALIAS: dict[str, Any] = {
    "model": "churn",
    "alias": "champion",
    "version": 1,
    "updated_at": _AT,
    "updated_by": "ada",
}
MOVE: dict[str, Any] = {"version": 2, "previous_version": 1, "actor": "ada", "at": _AT}


def example(value: object, description: str) -> dict[str, Any]:
    """An OpenAPI response with this example."""
    return {"description": description, "content": {"application/json": {"example": value}}}


def page(*items: dict[str, Any]) -> dict[str, Any]:
    """The example of a list."""
    return {"items": list(items), "next_page_token": None}
