"""Exports and imports, on real SQLite and a real disk."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.local_folder import LocalFolder
from application.aliases import DeleteAlias, SetAlias
from application.exchange_format import UNFINISHED_TEXT
from application.exporting import Export, Exported
from application.importing import Import, Imported
from application.models import DeleteModel, RegisterModel, UpdateModel
from application.ports import PageRequest
from application.ports.folder import PARTIAL
from application.publishing import IncomingFile, PublishDetails, PublishVersion
from application.rescanning import Rescan
from application.versions import DeleteVersion, UpdateVersion
from domain.errors import (
    BlobCorrupt,
    InvalidExport,
    ModelExists,
    ModelNameRetired,
    ModelNotFound,
    ModelyardError,
    StoreUnavailable,
)
from domain.validation import PolicyName
from domain.values import AliasName, FilePath, ModelName, VersionNumber, parse_reference
from domain.version import Parent, VersionDetails
from entrypoints.container import Container, build_container, migrate
from entrypoints.settings import Settings
from tests.support.server import environment_for

T = TypeVar("T")


@functools.cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        container = _container(Path(folder))
        migrate.prepare(container.database())
        anyio.run(container.database().close)
        return Path(folder, "modelyard.db").read_bytes()


def _container(root: Path) -> Container:
    return build_container(
        Settings(
            _env_file=None,
            database_url=f"sqlite:///{root / 'modelyard.db'}",
            model_storage_path=root / "artifacts",
            validation_policy=PolicyName.REPORT,
        )
    )


def registry(root: Path) -> Container:
    """An empty registry, or the one that is there."""
    root.mkdir(exist_ok=True)
    if not (root / "modelyard.db").exists():
        (root / "modelyard.db").write_bytes(_empty_database())
    return _container(root)


def run(container: Container, work: Callable[[], Awaitable[T]]) -> T:
    async def scoped() -> T:
        try:
            return await work()
        finally:
            await container.sandbox().close()
            await container.database().close()

    return anyio.run(scoped)


async def publish(
    container: Container, name: str, files: dict[str, bytes], *aliases: str, **details: object
) -> int:
    async def parts() -> AsyncIterator[IncomingFile | PublishDetails]:
        yield PublishDetails(
            VersionDetails(**details),  # type: ignore[arg-type]
            tuple(map(AliasName, aliases)),
            create_model=True,
        )
        for path, content in files.items():
            yield IncomingFile(FilePath(path), _once(content))

    command = PublishVersion(ModelName(name), "ann", parts())
    return (await container.publish_version()(command)).version.record.version


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def populate(container: Container) -> None:
    """A registry with every feature that an export has to carry."""
    name = ModelName("chürn (v1)")
    tags = {"team": "risk", "empty": ""}
    await container.register_model()(RegisterModel(name, "ann", "# Text\n", tags))
    details = {
        "description": "first",
        "parameters": {"depth": 3, "rate": 0.1, "big": 2**63 - 1, "on": True, "none": None},
        "metrics": {"auc": 0.1 + 0.2, "zero": -0.0, "tiny": 5e-324},
        "tags": {"z": "1", "a": "2"},
        "source": "s3://bucket/run",
    }
    await publish(
        container, name, {"model.bin": b"one", "sub/é.txt": b"same"}, "champion", **details
    )
    await publish(container, name, {"model.bin": b"two", "sub/é.txt": b"same"}, "canary")
    await publish(container, name, {"model.bin": b""}, "champion")
    await container.set_alias()(SetAlias(name, AliasName("canary"), VersionNumber(3), "bob"))
    await container.delete_alias()(DeleteAlias(name, AliasName("canary"), "bob"))
    await container.set_alias()(SetAlias(name, AliasName("canary"), VersionNumber(1), "eve"))
    await container.delete_version()(DeleteVersion(name, VersionNumber(2), "ann"))
    await container.update_version()(
        UpdateVersion(name, VersionNumber(1), "eve", {"metrics": {"f1": 0.5}, "tags": {"z": None}})
    )
    await publish(container, "child", {"a": b"child"}, parents=(Parent(name, VersionNumber(1)),))
    await container.update_model()(UpdateModel(ModelName("child"), "ann", {"name": "grown"}))
    await publish(container, "gone", {"a": b"gone"})
    await container.delete_model()(DeleteModel(ModelName("gone"), "ann"))
    await publish(container, "gone", {"a": b"back"})
    await container.register_model()(RegisterModel(ModelName("empty"), "ann"))


def export(container: Container, folder: Path, model: str | None = None) -> Exported:
    name = None if model is None else ModelName(model)
    return run(
        container, lambda: container.export_registry()(Export(container.folder(folder), name))
    )


def import_(container: Container, folder: Path, *, skip: bool = False) -> Imported:
    return run(
        container, lambda: container.import_registry()(Import(container.folder(folder), skip))
    )


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry in ``full`` and an export of it in ``export``, which tests copy."""
    root = tmp_path_factory.mktemp("originals")
    container = registry(root / "full")
    run(container, lambda: populate(container))
    export(container, root / "export")
    return root


@pytest.fixture
def full(originals: Path, tmp_path: Path) -> Container:
    return registry(shutil.copytree(originals / "full", tmp_path / "full"))


@pytest.fixture
def exported(originals: Path, tmp_path: Path) -> Path:
    return shutil.copytree(originals / "export", tmp_path / "export")


# --- round trip ---------------------------------------------------------------------------------


def test_what_was_imported_exports_to_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    other = registry(tmp_path / "other")
    imported = import_(other, exported)
    assert (imported.models, imported.versions) == (4, 4)
    export(other, tmp_path / "again")
    assert content(tmp_path / "again") == content(exported)


def test_verdicts_of_strangers_are_not_believed(exported: Path, tmp_path: Path) -> None:
    other = registry(tmp_path / "other")
    run(other, lambda: other.import_registry()(Import(other.folder(exported), distrust=True)))

    async def statuses() -> set[tuple[str, str]]:
        records = (await other.reader().versions(PageRequest())).items
        return {(record.status, record.validation.verdict) for record in records}

    assert run(other, statuses) == {("quarantined", "review")}
    again = registry(tmp_path / "other")
    rescanned = run(again, lambda: again.rescan()(Rescan("root")))
    assert (rescanned.versions, rescanned.unreadable) == (4, [])
    assert {change.status for change in rescanned.changes} == {"ready"}  # of the report policy


def test_an_imported_registry_answers_as_the_first_did(
    full: Container, exported: Path, tmp_path: Path
) -> None:
    other = registry(tmp_path / "other")
    import_(other, exported)
    name = ModelName("chürn (v1)")

    async def answers(container: Container) -> list[object]:
        reader = container.reader()
        found: list[object] = [await reader.stats()]
        for model in (await reader.models(PageRequest())).items:
            versions = await reader.versions(PageRequest(), model=ModelName(model.name))
            found += [model, *versions.items]
        for alias in ("champion", "canary"):
            history = await reader.alias_history(name, AliasName(alias), PageRequest())
            found += [await reader.alias(name, AliasName(alias)), *history.items]
        found.append(await reader.version(name, parse_reference("latest")))
        found.append((await reader.versions(PageRequest(order=()), model=name)).items)
        return found

    assert run(other, lambda: answers(other)) == run(full, lambda: answers(full))
    assert run(other, other.verify()).clean


def test_numbering_goes_on_where_it_stopped(exported: Path, tmp_path: Path) -> None:
    other = registry(tmp_path / "other")
    import_(other, exported)

    async def work() -> list[int]:
        await other.delete_model()(DeleteModel(ModelName("gone"), "ann"))
        names = ("chürn (v1)", "grown", "gone", "child")
        return [await publish(other, name, {"a": b"next"}) for name in names]

    assert run(other, work) == [4, 2, 3, 2]


def test_one_model_is_exported_alone_and_twice_is_the_same(full: Container, tmp_path: Path) -> None:
    first = export(full, tmp_path / "one", "grown")
    assert (first.models, first.versions, first.blobs, first.kept) == (1, 1, 1, 0)
    before = content(tmp_path / "one")
    again = export(full, tmp_path / "one", "grown")
    assert (again.blobs, again.kept) == (1, 1)
    assert content(tmp_path / "one") == before
    assert b'"child"' in before["retired-names.jsonl"]
    assert b'"gone"' not in before["retired-names.jsonl"]
    with pytest.raises(ModelNotFound):
        export(full, tmp_path / "none", "absent")


def test_an_older_export_is_brought_up_to_date(full: Container, exported: Path) -> None:
    async def change() -> None:
        await full.delete_model()(DeleteModel(ModelName("grown"), "ann"))
        await publish(full, "new", {"a": b"new"})

    run(full, change)
    export(full, exported)
    fresh = exported.with_name("fresh")
    export(full, fresh)
    assert content(exported) == content(fresh)
    digest = hashlib.sha256(b"child").hexdigest()
    assert not (exported / "blobs" / digest[:2] / digest).exists()


def test_names_of_files_do_not_come_from_names_of_models(exported: Path) -> None:
    models = {path.stem for path in (exported / "models").iterdir()}
    assert all(len(stem) == 32 and set(stem) <= set("0123456789abcdef") for stem in models)


_names = st.sampled_from(["a", "b", "ünï cødé", "x (1)"])
_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
_scalars = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | _texts
_numbers = st.floats(allow_nan=False, allow_infinity=False)
_keys = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5)
_steps = st.one_of(
    st.tuples(
        st.just("publish"),
        _names,
        st.dictionaries(st.sampled_from(["m.bin", "d/é"]), st.binary(max_size=4), min_size=1),
        st.fixed_dictionaries(
            {
                "description": _texts,
                "parameters": st.dictionaries(_keys, _scalars | _numbers, max_size=3),
                "metrics": st.dictionaries(_keys, _numbers, max_size=3),
                "tags": st.dictionaries(_keys, _texts, max_size=3),
                "source": st.none() | _texts,
            }
        ),
    ),
    st.tuples(st.just("alias"), _names, st.sampled_from(["p", "ß"]), st.integers(1, 3)),
    st.tuples(st.just("unalias"), _names, st.sampled_from(["p", "ß"])),
    st.tuples(st.just("rename"), _names, _names),
    st.tuples(st.just("delete"), _names),
    st.tuples(st.just("delete version"), _names, st.integers(1, 3)),
)


async def _apply(container: Container, step: tuple[object, ...]) -> None:
    what, name, *more = step
    model = ModelName(str(name))
    match what, more:
        case "publish", [dict() as files, dict() as details]:
            await publish(container, model, files, **details)
        case "alias", [str() as alias, int() as number]:
            await container.set_alias()(
                SetAlias(model, AliasName(alias), VersionNumber(number), "bob")
            )
        case "unalias", [str() as alias]:
            await container.delete_alias()(DeleteAlias(model, AliasName(alias), "bob"))
        case "rename", [str() as other]:
            await container.update_model()(UpdateModel(model, "bob", {"name": other}))
        case "delete", []:
            await container.delete_model()(DeleteModel(model, "bob", force=True))
        case "delete version", [int() as number]:
            await container.delete_version()(
                DeleteVersion(model, VersionNumber(number), "bob", force=True)
            )


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(_steps, max_size=8))
def test_any_registry_survives_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]]
) -> None:
    root = tmp_path_factory.mktemp("round-trip")
    first, second = registry(root / "first"), registry(root / "second")

    async def apply() -> None:
        for step in steps:
            try:
                await _apply(first, step)
            except ModelyardError:
                continue

    run(first, apply)
    export(first, root / "one")
    import_(second, root / "one")
    export(second, root / "two")
    assert content(root / "two") == content(root / "one")
    shutil.rmtree(root)


# --- into a registry that is not empty ----------------------------------------------------------


def test_importing_once_more_changes_nothing(exported: Path, tmp_path: Path) -> None:
    other = registry(tmp_path / "other")
    import_(other, exported)
    again = import_(other, exported)
    assert (again.models, again.versions, again.blobs, again.present) == (0, 0, 0, 4)
    export(other, tmp_path / "again")
    assert content(tmp_path / "again") == content(exported)


def test_a_model_of_the_same_name_is_refused_or_skipped(exported: Path, tmp_path: Path) -> None:
    other = registry(tmp_path / "other")
    run(other, lambda: publish(other, "grown", {"a": b"mine"}))
    with pytest.raises(ModelExists):
        import_(other, exported)
    assert run(other, lambda: other.reader().stats()).models == 1
    imported = import_(other, exported, skip=True)
    assert (imported.models, imported.skipped) == (3, ("grown",))


def test_a_model_that_was_renamed_since_is_refused_or_skipped(
    full: Container, exported: Path
) -> None:
    name = ModelName("grown")

    async def rename_and_delete() -> None:
        await full.update_model()(UpdateModel(name, "bob", {"name": "great"}))
        await full.delete_model()(DeleteModel(ModelName("empty"), "ann"))

    run(full, rename_and_delete)
    with pytest.raises(ModelExists, match="'great'"):
        import_(full, exported)
    assert run(full, lambda: full.reader().stats()).models == 3
    imported = import_(full, exported, skip=True)
    assert (imported.models, imported.skipped) == (1, ("grown",))


def test_a_blob_that_is_collected_while_importing_fails_it(exported: Path, tmp_path: Path) -> None:
    other = registry(tmp_path / "other")
    digest = hashlib.sha256(b"child").hexdigest()

    class Collected(LocalFolder):
        """A model's lines are read once more after its blobs were brought."""

        async def read(self, name: str) -> AsyncGenerator[bytes, None]:
            for stored in (tmp_path / "other" / "artifacts").rglob(digest):
                stored.unlink()
            async for chunk in super().read(name):
                yield chunk

    with pytest.raises(StoreUnavailable, match=digest):
        run(other, lambda: other.import_registry()(Import(Collected(exported))))
    assert import_(other, exported).versions > 0
    assert run(other, other.verify()).clean


def test_numbers_of_a_model_that_is_gone_get_no_second_meaning(
    exported: Path, tmp_path: Path
) -> None:
    other = registry(tmp_path / "other")

    async def bear_and_delete() -> None:
        await publish(other, "grown", {"a": b"mine"})
        await other.delete_model()(DeleteModel(ModelName("grown"), "ann"))

    run(other, bear_and_delete)
    with pytest.raises(ModelNameRetired):
        import_(other, exported)
    assert run(other, lambda: other.reader().stats()).models == 0


def test_a_deleted_model_comes_back_and_numbering_goes_on(full: Container, exported: Path) -> None:
    async def publish_and_delete() -> None:
        await publish(full, "grown", {"a": b"two"})
        await full.delete_model()(DeleteModel(ModelName("grown"), "ann"))

    run(full, publish_and_delete)
    assert import_(full, exported).models == 1
    assert import_(full, exported).present == 4
    assert run(full, lambda: publish(full, "grown", {"a": b"three"})) == 3


# --- damage -------------------------------------------------------------------------------------


def _edit(path: Path, before: bytes, after: bytes) -> None:
    text = path.read_bytes()
    assert before in text
    path.write_bytes(text.replace(before, after))


def _seal(folder: Path, name: str) -> None:
    """Makes the summary agree with an edited file, as a forger would."""
    text = (folder / name).read_bytes()
    summary = json.loads((folder / "export.json").read_bytes())
    summary["files"][name] = {"size": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    (folder / "export.json").write_text(json.dumps(summary))


def _model_with(folder: Path, text: bytes) -> Path:
    return next(path for path in (folder / "models").iterdir() if text in path.read_bytes())


def _blob(folder: Path, text: bytes) -> Path:
    digest = hashlib.sha256(text).hexdigest()
    return folder / "blobs" / digest[:2] / digest


def _folder_for_file(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _forge(before: bytes, after: bytes) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        path = _model_with(folder, before)
        _edit(path, before, after)
        _seal(folder, f"models/{path.name}")

    return forge


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no summary": lambda f: (f / "export.json").unlink(),
    "summary cut short": lambda f: os.truncate(f / "export.json", 40),
    "summary of another format": lambda f: _edit(f / "export.json", b"modelyard-export", b"tar"),
    "summary from the future": lambda f: _edit(
        f / "export.json", b'"format_version":2', b'"format_version":3'
    ),
    "summary that names another file": lambda f: _edit(
        f / "export.json", b'"models/', b'"../models/'
    ),
    "summary with a model too many": lambda f: _edit(
        f / "export.json", b'"models":4', b'"models":5'
    ),
    "model file missing": lambda f: _model_with(f, b"grown").unlink(),
    "model file changed": lambda f: _edit(_model_with(f, b"grown"), b"ann", b"bob"),
    "model file cut short": lambda f: os.truncate(_model_with(f, b"grown"), 100),
    "retired names missing": lambda f: (f / "retired-names.jsonl").unlink(),
    "blob missing": lambda f: _blob(f, b"child").unlink(),
    "blob changed": lambda f: _blob(f, b"child").write_bytes(b"chile"),
    "blob cut short": lambda f: _blob(f, b"child").write_bytes(b"chil"),
    "blob is a folder": lambda f: _folder_for_file(_blob(f, b"child")),
    "wrong JSON": _forge(b'{"created_at"', b'{created_at"'),
    "a list for a line": _forge(b'{"created_at"', b'[]\n{"created_at"'),
    "a time without a zone": _forge(b'Z","creator"', b'","creator"'),
    "a path that leaves the folder": _forge(b'"path":"a"', b'"path":"../a"'),
    "a name that is none": _forge(b'"name":"grown"', b'"name":"gr/own"'),
    "a metric that is no number": _forge(b'"f1":0.5', b'"f1":1e999'),
    "a number beyond the last": _forge(b'"number":1', b'"number":2000000000'),
    "a size that is negative": _forge(b'"size":5', b'"size":-5'),
    "a media type that breaks a header": _forge(
        b'"media_type":"text/plain"', b'"media_type":"a/b\\r\\nX-Evil: 1"'
    ),
    "a media type that no header carries": _forge(
        b'"media_type":"text/plain"', '"media_type":"a/日"'.encode()
    ),
    "a format with a control character": _forge(b'"format":null', b'"format":"onnx\\u0007"'),
    "half of a surrogate pair": _forge(b'"source":null', b'"source":"\\ud800"'),
    "an unknown kind": _forge(b'"kind":"model"', b'"kind":"user"'),
    "an alias with another history": _forge(
        b'"updated_by":"eve","version":1}', b'"updated_by":"eve","version":3}'
    ),
    "two models of one name": _forge(b'"name":"grown"', b'"name":"empty"'),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_export_is_refused_before_anything_changes(
    exported: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    damage(exported)
    other = registry(tmp_path / "other")
    with pytest.raises(InvalidExport):
        import_(other, exported)
    assert run(other, lambda: other.reader().stats()).models == 0
    assert content(tmp_path / "other" / "artifacts") == {}


def test_a_folder_with_other_things_is_left_alone(full: Container, tmp_path: Path) -> None:
    (tmp_path / "mine" / "models").mkdir(parents=True)
    (tmp_path / "mine" / "models" / "precious.txt").write_text("mine")
    with pytest.raises(InvalidExport):
        export(full, tmp_path / "mine")
    assert content(tmp_path / "mine") == {"models/precious.txt": b"mine"}


FOREIGN = {
    "export.json": (b"[]", b'{"format": "figma"}', b'{"format": 1}', b"", b"\xff" * 100),
    "export.unfinished": (b"", b"remember to finish", UNFINISHED_TEXT + b"\n"),
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in FOREIGN.items() for text in texts]
)
def test_a_folder_with_a_mark_of_somebody_else_is_left_alone(
    full: Container, tmp_path: Path, name: str, text: bytes
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_bytes(text)
    (tmp_path / "mine" / "thesis.txt").write_bytes(b"mine")
    with pytest.raises(InvalidExport, match="no export"):
        export(full, tmp_path / "mine")
    assert content(tmp_path / "mine") == {name: text, "thesis.txt": b"mine"}


def test_a_mark_of_somebody_else_is_not_overwritten_in_a_broken_export(
    full: Container, exported: Path
) -> None:
    (exported / "export.unfinished").write_bytes(UNFINISHED_TEXT)
    (exported / "export.json").write_bytes(b"mine")
    with pytest.raises(InvalidExport):
        export(full, exported)
    assert (exported / "export.json").read_bytes() == b"mine"


def test_what_others_put_into_an_export_stays_there(full: Container, exported: Path) -> None:
    digest = "0" * 64
    theirs = ["README", "models/notes.jsonl", "blobs/ab/thesis.txt", f"blobs/ab/{digest}", ".env"]
    ours = [f"models/{'a' * 32}.jsonl", f"blobs/00/{digest}", f"blobs/00/{PARTIAL}{'0' * 16}"]
    before = content(exported)
    for name in (*theirs, *ours):
        (exported / name).parent.mkdir(parents=True, exist_ok=True)
        (exported / name).write_bytes(b"text")
    export(full, exported)
    assert content(exported) == before | dict.fromkeys(theirs, b"text")


def test_a_link_out_of_the_folder_is_not_followed(full: Container, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "export.unfinished").write_bytes(UNFINISHED_TEXT)
    (tmp_path / "export" / "models").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        export(full, tmp_path / "export")
    assert content(tmp_path / "elsewhere") == {}


def test_a_blob_that_the_store_lost_or_changed_is_not_exported(
    full: Container, exported: Path, tmp_path: Path
) -> None:
    stored = next((tmp_path / "full" / "artifacts").rglob(hashlib.sha256(b"child").hexdigest()))
    stored.chmod(0o644)
    stored.write_bytes(b"chile")
    with pytest.raises(BlobCorrupt):
        export(full, tmp_path / "changed")
    stored.unlink()
    with pytest.raises(BlobCorrupt):
        export(full, tmp_path / "lost")
    for folder in ("changed", "lost"):
        assert not (tmp_path / folder / "export.json").exists()


# --- broken off ---------------------------------------------------------------------------------

_DYING = """
import os, signal, sys
from pathlib import Path
import anyio
from adapters.local_folder import LocalFolder
from application.exporting import Export
from application.importing import Import
from entrypoints.container import build_container, migrate
from entrypoints.settings import load_settings

what, folder, steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
container = build_container(load_settings())
migrate.prepare(container.database())

def die():
    global steps
    steps -= 1
    if steps < 0:
        os.kill(os.getpid(), signal.SIGKILL)

class Dying(LocalFolder):
    async def write(self, name, chunks):
        async def until():
            async for chunk in chunks:
                yield chunk
                die()
        await super().write(name, until())

    async def read(self, name):
        async for chunk in super().read(name):
            die()
            yield chunk

if what == "export":
    anyio.run(container.export_registry(), Export(Dying(folder)))
else:
    anyio.run(container.import_registry(), Import(Dying(folder)))
"""


def _die(root: Path, what: str, folder: Path, steps: int) -> bool:
    """Runs it in a process that is killed after so many chunks; False when it came to its end."""
    done = subprocess.run(
        [sys.executable, "-c", _DYING, what, folder, str(steps)],
        env=environment_for(root),
        cwd=root,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode in {0, -signal.SIGKILL}
    return done.returncode != 0


@pytest.mark.parametrize("steps", [0, 8])
def test_a_killed_export_is_not_whole_and_the_next_one_goes_on(
    full: Container, exported: Path, tmp_path: Path, steps: int
) -> None:
    broken = tmp_path / "broken"
    assert _die(tmp_path / "full", "export", broken, steps)
    other = registry(tmp_path / "other")
    with pytest.raises(InvalidExport):
        import_(other, broken)
    export(full, broken)
    assert content(broken) == content(exported)


@pytest.mark.parametrize("steps", [13, 17])
def test_a_killed_import_is_completed_by_the_next_one(
    exported: Path, tmp_path: Path, steps: int
) -> None:
    other = registry(tmp_path / "other")
    assert _die(tmp_path / "other", "import", exported, steps)
    imported = import_(other, exported)
    assert imported.models + imported.present == 4
    export(other, tmp_path / "again")
    assert content(tmp_path / "again") == content(exported)
    assert run(other, other.verify()).clean
