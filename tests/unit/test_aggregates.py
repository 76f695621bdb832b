"""Model, version, manifest, alias, and the policies on them."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.alias import Alias, AliasMove
from domain.errors import (
    AliasHasNoPrevious,
    InvalidManifest,
    InvalidReference,
    InvalidRequest,
    ModelInUse,
    ModelNameRetired,
    VersionInUse,
)
from domain.model import Model, RetiredName
from domain.validation import Validation, Verdict
from domain.values import (
    MAX_DESCRIPTION,
    MAX_VERSION,
    AliasName,
    Digest,
    FilePath,
    ModelName,
    VersionNumber,
)
from domain.version import FileEntry, Manifest, Parent, Version, VersionDetails

START = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(-1_000, 1_000).map(lambda seconds: START + timedelta(seconds=seconds))
NAME, OTHER_NAME = ModelName("churn"), ModelName("churn-eu")
CHAMPION = AliasName("champion")


def later(seconds: int = 1) -> datetime:
    return START + timedelta(seconds=seconds)


def a_model(*, last_version: int = 0) -> Model:
    return Model.register(
        id="0" * 31 + "1", name=NAME, creator="ada", at=START, last_version=last_version
    )


def an_entry(path: str, content: bytes = b"", *, format: str | None = None) -> FileEntry:
    digest = Digest(hashlib.sha256(content).hexdigest())
    return FileEntry(FilePath(path), len(content), digest, "application/octet-stream", format)


def a_version(**details: object) -> Version:
    return VersionDetails(**details).version(  # type: ignore[arg-type]
        model_id="0" * 31 + "1",
        number=VersionNumber(1),
        manifest=Manifest.of([an_entry("model.bin")]),
        validation=Validation(Verdict.UNCHECKED),
        facts={},
        creator="ada",
        at=START,
    )


def an_alias(version: int = 1, *, moves: int = 0) -> Alias:
    alias, _ = Alias.assign(
        model_id="0" * 31 + "1",
        name=CHAMPION,
        version=VersionNumber(version),
        actor="ada",
        at=START,
        moves=moves,
    )
    return alias


# --- allocation ---------------------------------------------------------------------------------


@given(st.integers(0, MAX_VERSION - 50), st.integers(1, 50))
def test_numbers_are_dense_from_wherever_the_model_stands(last: int, publishes: int) -> None:
    model = a_model(last_version=last)
    numbers = [model.allocate(START) for _ in range(publishes)]
    assert numbers == list(range(last + 1, last + 1 + publishes))
    assert model.last_version == numbers[-1]


def test_the_first_version_is_number_one() -> None:
    assert a_model().allocate(START) == 1


def test_a_model_that_has_used_up_its_numbers_refuses_and_stays_as_it_is() -> None:
    model = a_model(last_version=MAX_VERSION)
    etag = model.etag
    with pytest.raises(InvalidReference):
        model.allocate(later())
    assert (model.last_version, model.etag) == (MAX_VERSION, etag)


# --- models -------------------------------------------------------------------------------------

MODEL_CHANGES: list[Callable[[Model, datetime], object]] = [
    lambda model, at: model.describe("other words", at),
    lambda model, at: model.tag({"team": "risk"}, at),
    lambda model, at: model.rename(OTHER_NAME, at, retired=None),
    lambda model, at: model.allocate(at),
    lambda model, at: model.touch(at),
]


@given(st.lists(st.tuples(st.sampled_from(MODEL_CHANGES), MOMENTS), min_size=1, max_size=12))
def test_every_change_of_a_model_gives_an_etag_never_seen_and_time_never_runs_backwards(
    changes: list[tuple[Callable[[Model, datetime], object], datetime]],
) -> None:
    model = a_model()
    etags, times = [model.etag], [model.updated_at]
    for change, moment in changes:
        change(model, moment)
        etags.append(model.etag)
        times.append(model.updated_at)
    assert len(set(etags)) == len(etags)
    assert times == sorted(times)
    assert times[-1] == max(START, *(moment for _, moment in changes))
    assert model.created_at == START


def test_two_models_never_share_an_etag() -> None:
    namesake = Model.register(id="f" * 32, name=NAME, creator="ada", at=START)
    assert a_model().etag != namesake.etag


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.describe("x" * (MAX_DESCRIPTION + 1), later()),
        lambda model: model.describe("a\0b", later()),
        lambda model: model.tag({"k": 1}, later()),
        lambda model: model.tag({"": "x"}, later()),
    ],
)
def test_a_refused_change_leaves_the_model_as_it_is(change: Callable[[Model], None]) -> None:
    model, untouched = a_model(), a_model()
    with pytest.raises(InvalidRequest):
        change(model)
    assert model == untouched


def test_a_model_is_not_registered_with_what_cannot_be_stored() -> None:
    with pytest.raises(InvalidRequest):
        Model.register(id="1", name=NAME, creator="ada", at=START, description="\0")
    with pytest.raises(InvalidRequest):
        Model.register(id="1", name=NAME, creator="ada", at=START, tags={"k": None})


def test_the_tags_given_at_registration_are_copied() -> None:
    tags: dict[str, object] = {"team": "risk"}
    model = Model.register(id="1", name=NAME, creator="ada", at=START, tags=tags)
    tags["team"] = "growth"
    assert model.tags == {"team": "risk"}


def test_a_name_under_which_another_model_published_cannot_be_taken_by_renaming() -> None:
    model, untouched = a_model(last_version=3), a_model(last_version=3)
    with pytest.raises(ModelNameRetired, match="up to 7"):
        model.rename(OTHER_NAME, later(), retired=RetiredName(OTHER_NAME, "f" * 32, 7))
    assert model == untouched


@pytest.mark.parametrize(
    "retired",
    [
        None,
        RetiredName(OTHER_NAME, "f" * 32, 0),
        RetiredName(OTHER_NAME, "0" * 31 + "1", 7),
    ],
    ids=["never borne", "nothing published under it", "its own earlier name"],
)
def test_a_name_without_versions_of_another_model_can_be_taken(retired: RetiredName | None) -> None:
    model = a_model(last_version=9)
    model.rename(OTHER_NAME, later(), retired=retired)
    assert model.name == OTHER_NAME
    assert model.last_version == 9
    assert model.id == a_model().id


def test_a_model_with_aliases_is_deleted_only_by_force() -> None:
    model = a_model()
    model.check_deletable(0, force=False)
    model.check_deletable(2, force=True)
    with pytest.raises(ModelInUse, match=r"2 alias"):
        model.check_deletable(2, force=False)


# --- manifests ----------------------------------------------------------------------------------

CONTENTS = st.dictionaries(
    st.text(st.sampled_from("abzé_.模 "), min_size=1, max_size=8).filter(
        lambda text: text not in {".", ".."}
    ),
    st.binary(max_size=50),
    min_size=1,
    max_size=8,
)


@given(CONTENTS, st.randoms())
def test_a_manifest_does_not_depend_on_the_order_its_files_came_in(
    contents: dict[str, bytes], random: Random
) -> None:
    entries = [an_entry(path, content) for path, content in contents.items()]
    shuffled = entries.copy()
    random.shuffle(shuffled)
    assert Manifest.of(shuffled) == Manifest.of(entries)
    assert Manifest.of(shuffled).digest == Manifest.of(entries).digest
    assert Manifest.of(entries).size == sum(len(content) for content in contents.values())


@pytest.mark.parametrize(
    "contents",
    [
        {"model.bin": b"weights"},
        {"b.bin": b"2", "a.bin": b"1", "empty": b"", "Z": b"upper case sorts first"},
        {"dir/sub/x": b"x", "dir.y": b"a dot sorts before a slash", "模型/权重": b"\0" * 70_000},
        {"with space": b"s", " leading": b"l", "-n": b"an option?", "é": b"e"},
    ],
    ids=["one", "several", "folders", "odd names"],
)
def test_the_digest_of_a_manifest_is_the_hash_of_what_sha256sum_prints(
    contents: dict[str, bytes], tmp_path: Path
) -> None:
    for path, content in contents.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    in_order = sorted(contents, key=str.encode)
    printed = subprocess.run(
        ["sha256sum", "--", *in_order], cwd=tmp_path, check=True, capture_output=True
    ).stdout
    manifest = Manifest.of(an_entry(path, content) for path, content in contents.items())
    assert manifest.digest == hashlib.sha256(printed).hexdigest()


@pytest.mark.parametrize("paths", [[], ["a", "A"], ["a", "a"], ["a", "a/b"]])
def test_files_that_cannot_stand_together_make_no_manifest(paths: list[str]) -> None:
    with pytest.raises(InvalidManifest):
        Manifest.of(an_entry(path) for path in paths)


def test_the_format_of_a_manifest_is_that_of_its_largest_model_file() -> None:
    entries = [
        an_entry("readme.md", b"the largest file of all, and no model"),
        an_entry("model.onnx", b"larger", format="onnx"),
        an_entry("tiny.pkl", b"small", format="pickle"),
    ]
    assert Manifest.of(entries).format == "onnx"
    assert Manifest.of(entries[:1]).format is None


def test_the_digest_changes_with_any_path_or_content() -> None:
    manifests = [
        [an_entry("a", b"1")],
        [an_entry("b", b"1")],
        [an_entry("a", b"2")],
        [an_entry("a", b"1"), an_entry("b", b"1")],
    ]
    assert len({Manifest.of(entries).digest for entries in manifests}) == len(manifests)


# --- versions -----------------------------------------------------------------------------------

VERSION_CHANGES: list[Callable[[Version, datetime], None]] = [
    lambda version, at: version.describe("other words", at),
    lambda version, at: version.tag({"stage": "new"}, at),
    lambda version, at: version.measure({"auc": 0.9}, at),
    lambda version, at: version.touch(at),
]


def test_the_maps_of_a_version_cannot_grow_without_bound_together() -> None:
    large = {f"{number}": "x" * 100_000 for number in range(50)}
    version = a_version(tags=large, parameters=large | {"more": "x" * 50_000})
    with pytest.raises(InvalidRequest, match="/tags"):
        version.tag(large | {"new": "x"}, later())
    with pytest.raises(InvalidRequest, match="/metrics"):
        version.measure({"new": 1}, later())
    assert (version.tags, version.metrics, version.revision) == (large, {}, 1)
    version.tag({"new": "x"}, later())
    version.measure({"new": 1}, later())


def test_the_tags_of_a_model_cannot_grow_without_bound() -> None:
    model = a_model()
    with pytest.raises(InvalidRequest, match="/tags"):
        model.tag({f"{number}": "x" * 100_000 for number in range(85)}, later())


@given(st.lists(st.tuples(st.sampled_from(VERSION_CHANGES), MOMENTS), min_size=1, max_size=12))
def test_every_change_of_a_version_gives_an_etag_never_seen_and_time_never_runs_backwards(
    changes: list[tuple[Callable[[Version, datetime], None], datetime]],
) -> None:
    version = a_version()
    fixed = (version.manifest, version.parameters, version.creator, version.created_at)
    etags, times = [version.etag], [version.updated_at]
    for change, moment in changes:
        change(version, moment)
        etags.append(version.etag)
        times.append(version.updated_at)
    assert len(set(etags)) == len(etags)
    assert times == sorted(times)
    assert (version.manifest, version.parameters, version.creator, version.created_at) == fixed


@pytest.mark.parametrize(
    "change",
    [
        lambda version: version.describe("\ud800", later()),
        lambda version: version.tag({"k": 1}, later()),
        lambda version: version.measure({"auc": float("nan")}, later()),
        lambda version: version.measure({"auc": True}, later()),
    ],
)
def test_a_refused_change_leaves_the_version_as_it_is(change: Callable[[Version], None]) -> None:
    version, untouched = a_version(), a_version()
    with pytest.raises(InvalidRequest):
        change(version)
    assert version == untouched


@pytest.mark.parametrize(
    ("details", "pointer"),
    [
        ({"description": "\0"}, "/description"),
        ({"source": "\ud800"}, "/source"),
        ({"parameters": {"p": [1]}}, "/parameters/p"),
        ({"metrics": {"auc": 10**400}}, "/metrics/auc"),
        ({"tags": {"k": None}}, "/tags/k"),
    ],
)
def test_details_that_cannot_be_stored_are_refused_at_their_field(
    details: dict[str, object], pointer: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        VersionDetails(**details)  # type: ignore[arg-type]
    assert [field.pointer for field in refusal.value.errors] == [pointer]


def test_a_version_has_what_its_details_say() -> None:
    parents = (Parent(NAME, VersionNumber(1)),)
    version = a_version(
        description="d",
        parameters={"depth": 6},
        metrics={"auc": 1},
        tags={"k": "v"},
        source="git:1",
        parents=parents,
    )
    assert version.description == "d"
    assert version.parameters == {"depth": 6}
    assert version.metrics == {"auc": 1.0}
    assert version.tags == {"k": "v"}
    assert version.source == "git:1"
    assert version.parents == parents
    assert (version.created_at, version.updated_at, version.revision) == (START, START, 1)


def test_a_version_that_aliases_point_at_is_deleted_only_by_force() -> None:
    version = a_version()
    version.check_deletable([], force=False)
    version.check_deletable([CHAMPION], force=True)
    with pytest.raises(VersionInUse, match="@champion, @next"):
        version.check_deletable([AliasName("next"), CHAMPION], force=False)


# --- aliases ------------------------------------------------------------------------------------


def test_a_new_alias_has_nothing_to_go_back_to() -> None:
    alias, move = Alias.assign(
        model_id="1", name=CHAMPION, version=VersionNumber(3), actor="ada", at=START
    )
    assert move == AliasMove(CHAMPION, VersionNumber(3), None, "ada", START)
    with pytest.raises(AliasHasNoPrevious):
        alias.roll_back(actor="ada", at=later())
    assert alias.version == 3


def test_moving_an_alias_to_where_it_points_is_no_move() -> None:
    alias, untouched = an_alias(), an_alias()
    assert alias.move(VersionNumber(1), actor="bob", at=later()) is None
    assert alias == untouched


def test_a_move_tells_where_from_where_to_by_whom_and_when() -> None:
    move = an_alias().move(VersionNumber(2), actor="bob", at=later())
    assert move == AliasMove(CHAMPION, VersionNumber(2), VersionNumber(1), "bob", later())


def test_rolling_back_twice_is_doing_nothing() -> None:
    alias = an_alias()
    alias.move(VersionNumber(2), actor="bob", at=later(1))
    first = alias.roll_back(actor="eve", at=later(2))
    assert (first.version, first.previous_version, alias.version) == (1, 2, 1)
    second = alias.roll_back(actor="eve", at=later(3))
    assert (second.version, second.previous_version, alias.version) == (2, 1, 2)


def test_the_last_entry_of_a_history_is_a_move_to_no_version() -> None:
    assert an_alias(3).remove(actor="eve", at=later()) == AliasMove(
        CHAMPION, None, VersionNumber(3), "eve", later()
    )


@given(st.lists(st.tuples(st.integers(1, 4) | st.none(), MOMENTS), max_size=15))
def test_the_moves_of_an_alias_join_up_and_each_gives_an_etag_never_seen(
    steps: list[tuple[int | None, datetime]],
) -> None:
    """A number moves the alias there; None rolls it back."""
    alias = an_alias()
    etags, history = [alias.etag], [AliasMove(CHAMPION, VersionNumber(1), None, "ada", START)]
    for target, moment in steps:
        if target is not None:
            move = alias.move(VersionNumber(target), actor="bob", at=moment)
        elif alias.previous_version is not None:
            move = alias.roll_back(actor="bob", at=moment)
        else:
            continue
        if move is not None:
            history.append(move)
            etags.append(alias.etag)
    for before, after in pairwise(history):
        assert after.previous_version == before.version
        assert after.version != after.previous_version
        assert after.at >= before.at
    assert alias.version == history[-1].version
    assert alias.updated_at == history[-1].at
    assert len(set(etags)) == len(etags) == len(history)


def test_an_alias_assigned_anew_goes_on_counting_so_that_no_etag_comes_back() -> None:
    alias = an_alias()
    alias.move(VersionNumber(2), actor="ada", at=later())
    moves_so_far = 3  # assigned, moved, deleted
    assert an_alias(moves=moves_so_far).etag not in {an_alias().etag, alias.etag}
