"""A port exists where there are two real implementations, and says so in both."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

import adapters
import application.ports


def modules_of(package: object) -> Iterator[object]:
    path, name = package.__path__, package.__name__  # type: ignore[attr-defined]
    for module in pkgutil.walk_packages(path, f"{name}."):
        yield importlib.import_module(module.name)


PORTS = [
    kind
    for module in modules_of(application.ports)
    for kind in vars(module).values()
    if inspect.isclass(kind)
    and getattr(kind, "_is_protocol", False)
    and kind.__module__ == module.__name__  # type: ignore[attr-defined]
]
ADAPTERS = {
    kind
    for module in modules_of(adapters)
    for kind in vars(module).values()
    if inspect.isclass(kind) and kind.__module__.startswith("adapters.")
}

each_port = pytest.mark.parametrize("port", PORTS, ids=lambda port: port.__name__)


def test_the_ports_are_found() -> None:
    names = {port.__name__ for port in PORTS}
    assert {"ArtifactStore", "LockManager", "UnitOfWork", "Clock"} <= names


@each_port
def test_a_port_is_inherited_by_at_least_two_adapters(port: type) -> None:
    inheriting = sorted(kind.__qualname__ for kind in ADAPTERS if port in kind.__mro__)
    assert len(inheriting) >= 2, f"{port.__name__} is inherited by {inheriting or 'nobody'} alone"


@each_port
def test_an_adapter_answers_every_method_of_its_port_itself(port: type) -> None:
    """A protocol's own methods return None without a word; none of them may be left standing."""
    methods = [name for name, member in vars(port).items() if inspect.isfunction(member)]
    methods += [name for name, member in vars(port).items() if isinstance(member, property)]
    for adapter in ADAPTERS:
        if port in adapter.__mro__:
            left = [
                name
                for name in methods
                if name != "__init__"
                and not name.startswith(("_abc", "__subclasshook__", "__class"))
                and inspect.getattr_static(adapter, name) is vars(port)[name]
            ]
            assert not left, f"{adapter.__qualname__} lacks {left} of {port.__name__}"


@each_port
def test_a_port_is_documented(port: type) -> None:
    module = importlib.import_module(port.__module__)
    assert module.__doc__
    assert port.__name__ in application.ports.__all__
