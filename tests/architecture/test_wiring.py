"""The container gives everything it promises, for every setting there is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

import application
from entrypoints.container import Container, build_container
from entrypoints.settings import Settings

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
    "AZURE_STORAGE_ACCOUNT_NAME": "account",
    "AZURE_STORAGE_ACCOUNT_KEY": "a2V5",
    "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
}
ROOT = Path(__file__).resolve().parents[2]


def settings_in(folder: Path, **others: Any) -> Settings:
    places = {
        "database_url": f"sqlite:///{folder / 'rows.db'}",
        "model_storage_path": folder / "artifacts",
    }
    return Settings(_env_file=None, **{**places, **others})


@pytest.fixture(params=["file", "none"])
def container(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Container]:
    container = build_container(settings_in(tmp_path, lock_method=request.param))
    yield container
    container.database().dispose()


def everything(container: Container, tmp_path: Path) -> dict[str, Any]:
    asked_with = {"folder": (tmp_path,)}
    return {
        name: provider(*asked_with.get(name, ())) for name, provider in container.providers.items()
    }


def test_everything_the_container_promises_can_be_had(container: Container, tmp_path: Path) -> None:
    had = everything(container, tmp_path)
    assert len(had) > 20
    for name, thing in had.items():
        assert thing is not None, name
        if is_dataclass(thing):
            missing = [field.name for field in fields(thing) if getattr(thing, field.name) is None]
            assert not missing, f"{name} has no {missing}"


def test_what_is_shared_is_one_and_what_is_per_command_is_new(container: Container) -> None:
    for name in ("clock", "ids", "database", "store", "locks", "validator", "reader"):
        provider = container.providers[name]
        assert provider() is provider()
    assert container.uow() is not container.uow()
    assert container.publish_version().uow() is not container.publish_version().uow()


def test_every_use_case_is_wired(container: Container, tmp_path: Path) -> None:
    handlers = {
        kind
        for module in pkgutil.iter_modules(application.__path__, "application.")
        for name, kind in vars(importlib.import_module(module.name)).items()
        if inspect.isclass(kind) and name.endswith("Handler") and kind.__module__ == module.name
    }
    wired = {type(thing) for thing in everything(container, tmp_path).values()}
    assert len(handlers) > 10
    assert handlers <= wired


def test_building_a_container_touches_nothing(tmp_path: Path) -> None:
    build_container(settings_in(tmp_path))
    assert list(tmp_path.iterdir()) == []


# --- settings -----------------------------------------------------------------------------------


def test_the_table_in_the_readme_is_the_settings() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("<!-- settings -->", 1)[1]
    rows = re.findall(r"^\| `([A-Z_]+)` \| `(.*?)` \| (.*?) \|$", table, re.MULTILINE)
    declared = [
        (name.upper(), str(getattr(field.default, "value", field.default)), field.description)
        for name, field in Settings.model_fields.items()
    ]
    assert rows == declared


def test_every_setting_has_a_default_and_a_description() -> None:
    for name, field in Settings.model_fields.items():
        assert not field.is_required(), name
        assert field.description, name


def _settings(folder: Path, **chosen: str) -> Settings:
    """What a choice needs besides."""
    paths = {"s3": "s3://bucket/a", "gcs": "gs://bucket/a", "azure": "az://container/a"}
    others: dict[str, Any] = {}
    if path := paths.get(chosen.get("model_storage_method", "")):
        others["model_storage_path"] = path
    if chosen.get("lock_method") == "postgres":
        others["database_url"] = "postgresql://nobody@127.0.0.1/nothing"
    return settings_in(folder, **{**chosen, **others})


def test_every_method_of_storage_and_locking_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for name in ("lock_method", "model_storage_method"):
        for choice in _choices(name):
            container = build_container(_settings(tmp_path, **{name: choice}))
            assert container.locks() is not None
            assert container.store() is not None


def _choices(name: str) -> tuple[str, ...]:
    annotation = Settings.model_fields[name].annotation
    assert getattr(annotation, "__origin__", None) is Literal
    return tuple(annotation.__args__)  # type: ignore[union-attr]
