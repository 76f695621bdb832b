"""Any sequence of units of work, committed or not, against a model made of dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from adapters.sql.postgres import PostgresDatabase
from application.ports.registry_reader import PageRequest
from domain.alias import Alias
from domain.errors import AliasNotFound, ModelExists
from domain.values import AliasName, ModelName, VersionNumber
from tests.support.aio import Loop
from tests.support.registry import (
    EPOCH,
    Registry,
    a_manifest,
    a_model,
    a_version,
    empty,
    memory_registry,
    postgres_registry,
    retired_names,
    sqlite_database,
    sqlite_registry,
)

NAMES = st.sampled_from(["ads", "churn", "spam"]).map(ModelName)
ALIASES = st.sampled_from(["a", "b"]).map(AliasName)
PICK = st.integers(0, 10)


@dataclass
class Known:
    """What should be true of one model."""

    id: str
    last: int
    versions: dict[int, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    moves: list[tuple[str, int | None]] = field(default_factory=list)

    def pick(self, index: int) -> int:
        return sorted(self.versions)[index % len(self.versions)]


class RegistryMachine(RuleBasedStateMachine):
    """``commit`` is drawn for every rule: what is not committed must leave no trace."""

    registry: Registry

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.models: dict[str, Known] = {}
        self.retired: dict[str, tuple[str, int]] = {}

    def teardown(self) -> None:
        self.loop.close()

    def _retire(self, name: str, known: Known) -> None:
        if name not in self.retired or known.last > self.retired[name][1]:
            self.retired[name] = known.id, known.last

    @rule(name=NAMES, commit=st.booleans())
    def register(self, name: ModelName, commit: bool) -> None:
        async def work() -> None:
            async with self.registry.uow() as uow:
                retired = await uow.models.retired(name)
                expected = self.retired.get(name)
                assert (retired and (retired.model_id, retired.last_version)) == expected
                model = a_model(name, id=uuid4().hex, last_version=expected[1] if expected else 0)
                try:
                    await uow.models.add(model)
                except ModelExists:
                    assert name in self.models
                    return
                assert name not in self.models
                if commit:
                    await uow.commit()
                    self.models[name] = Known(model.id, model.last_version)

        self.loop.run(work())

    @precondition(lambda self: self.models)
    @rule(name=NAMES, new=NAMES, commit=st.booleans())
    def rename(self, name: ModelName, new: ModelName, commit: bool) -> None:
        if name not in self.models:
            return

        async def work() -> None:
            async with self.registry.uow() as uow:
                model = await uow.models.get(name)
                model.rename(new, EPOCH, retired=None)
                try:
                    await uow.models.save(model)
                except ModelExists:
                    assert new in self.models
                    assert new != name
                    return
                if commit:
                    await uow.commit()
                    known = self.models.pop(name)
                    if new != name:
                        self._retire(name, known)
                    self.models[new] = known

        self.loop.run(work())

    @precondition(lambda self: self.models)
    @rule(name=NAMES, commit=st.booleans())
    def delete(self, name: ModelName, commit: bool) -> None:
        if name not in self.models:
            return

        async def work() -> None:
            async with self.registry.uow() as uow:
                await uow.models.remove(await uow.models.get(name))
                if commit:
                    await uow.commit()
                    self._retire(name, self.models.pop(name))

        self.loop.run(work())

    @precondition(lambda self: self.models)
    @rule(name=NAMES, tag=st.sampled_from("xy"), blob=st.integers(0, 3), commit=st.booleans())
    def publish(self, name: ModelName, tag: str, blob: int, commit: bool) -> None:
        if name not in self.models:
            return
        known = self.models[name]

        async def work() -> None:
            async with self.registry.uow() as uow:
                model = await uow.models.get(name)
                number = await uow.models.allocate(model, EPOCH)
                assert number == known.last + 1
                manifest = a_manifest(blob)
                await uow.versions.add(a_version(model, number, tags={"t": tag}, manifest=manifest))
                if commit:
                    await uow.commit()
                    known.last = number
                    known.versions[number] = tag

        self.loop.run(work())

    def _with_versions(self, name: ModelName) -> Known | None:
        known = self.models.get(name)
        return known if known and known.versions else None

    @rule(name=NAMES, index=PICK, tag=st.sampled_from("xy"), commit=st.booleans())
    def retag(self, name: ModelName, index: int, tag: str, commit: bool) -> None:
        known = self._with_versions(name)
        if known is None:
            return
        number = known.pick(index)

        async def work() -> None:
            async with self.registry.uow() as uow:
                model = await uow.models.get(name)
                version = await uow.versions.get(model, VersionNumber(number))
                version.tag({"t": tag}, EPOCH)
                await uow.versions.save(version)
                if commit:
                    await uow.commit()
                    known.versions[number] = tag

        self.loop.run(work())

    @rule(name=NAMES, index=PICK, commit=st.booleans())
    def remove_version(self, name: ModelName, index: int, commit: bool) -> None:
        known = self._with_versions(name)
        if known is None:
            return
        number = known.pick(index)

        async def work() -> None:
            async with self.registry.uow() as uow:
                model = await uow.models.get(name)
                version = await uow.versions.get(model, VersionNumber(number))
                dropped = await uow.aliases.pointing_at(model, version.number)
                for alias in dropped:
                    await uow.aliases.remove(alias, alias.remove(actor="eve", at=EPOCH))
                await uow.versions.remove(version)
                if commit:
                    await uow.commit()
                    del known.versions[number]
                    for alias in dropped:
                        del known.aliases[alias.name]
                        known.moves.append((alias.name, None))

        self.loop.run(work())

    @rule(name=NAMES, alias_name=ALIASES, index=PICK, commit=st.booleans())
    def point(self, name: ModelName, alias_name: AliasName, index: int, commit: bool) -> None:
        known = self._with_versions(name)
        if known is None:
            return
        number = VersionNumber(known.pick(index))

        async def work() -> None:
            async with self.registry.uow() as uow:
                model = await uow.models.get(name)
                try:
                    alias = await uow.aliases.get(model, alias_name)
                    assert alias.version == known.aliases[alias_name]
                    move = alias.move(number, actor="bob", at=EPOCH)
                except AliasNotFound:
                    assert alias_name not in known.aliases
                    moves = await uow.aliases.moves(model, alias_name)
                    alias, move = Alias.assign(
                        model_id=model.id,
                        name=alias_name,
                        version=number,
                        actor="bob",
                        at=EPOCH,
                        moves=moves,
                    )
                assert alias.revision == sum(of == alias_name for of, _ in known.moves) + bool(move)
                if move is None:
                    return
                await uow.aliases.put(alias, move)
                if commit:
                    await uow.commit()
                    known.aliases[alias_name] = number
                    known.moves.append((alias_name, number))

        self.loop.run(work())

    @invariant()
    def everything_is_as_known(self) -> None:
        self.loop.run(self._check())

    async def _check(self) -> None:
        reader = self.registry.reader
        listed = {model.name: model for model in (await reader.models(PageRequest())).items}
        assert sorted(listed) == sorted(self.models)
        for name, known in self.models.items():
            record = listed[name]
            assert record.version_count == len(known.versions)
            assert record.latest_version == max(known.versions, default=None)
            assert record.aliases == known.aliases
            page = await reader.versions(PageRequest(), model=ModelName(name))
            found: dict[int, Any] = {item.version: item for item in page.items}
            assert {number: item.tags["t"] for number, item in found.items()} == known.versions
            for number, item in found.items():
                pointing = sorted(a for a, at in known.aliases.items() if at == number)
                assert item.aliases == pointing
        retired = await retired_names(self.registry)
        assert {r.name: (r.model_id, r.last_version) for r in retired} == self.retired
        async with self.registry.snapshot() as snapshot:
            async for model in snapshot.models():
                moves = [(move.alias, move.version) async for move in snapshot.moves(model)]
                assert moves == self.models[model.name].moves


class SqliteRegistryMachine(RegistryMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.opened = sqlite_database(Path(self.folder.name, "rows.db"))
        self.registry = sqlite_registry(self.opened.__enter__())

    def teardown(self) -> None:
        self.opened.__exit__(None, None, None)
        self.folder.cleanup()
        super().teardown()


class PostgresRegistryMachine(RegistryMachine):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.database = PostgresDatabase(url)
        self.loop.run(empty(self.database))
        self.registry = postgres_registry(url, self.database)

    def teardown(self) -> None:
        self.loop.run(self.database.close())
        super().teardown()


class MemoryRegistryMachine(RegistryMachine):
    def __init__(self) -> None:
        super().__init__()
        self.registry = memory_registry()


RUNS = settings(max_examples=25, stateful_step_count=25)
SqliteRegistryMachine.TestCase.settings = RUNS
MemoryRegistryMachine.TestCase.settings = RUNS
TestSqliteRegistry = SqliteRegistryMachine.TestCase
TestMemoryRegistry = MemoryRegistryMachine.TestCase


def test_postgres_registry(migrated_postgres_url: str) -> None:
    run_state_machine_as_test(
        partial(PostgresRegistryMachine, migrated_postgres_url),  # type: ignore[arg-type]
        settings=RUNS,
    )
