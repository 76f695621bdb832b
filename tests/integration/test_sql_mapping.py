"""Aggregates through rows and back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from adapters.sql.mapping import to_move
from adapters.sql.tables import alias_moves
from adapters.sql.unit_of_work import SqlUnitOfWork
from application.ports.unit_of_work import Receipt
from application.times import micros, moment
from domain.alias import Alias, AliasMove
from domain.model import Model
from domain.upload import Segment, Upload, UploadMetadata
from domain.validation import (
    Coverage,
    Decision,
    Finding,
    PolicyName,
    Review,
    Severity,
    Validation,
    Verdict,
)
from domain.values import AliasName, Digest, FilePath, ModelName, VersionNumber
from domain.version import FileEntry, Manifest, Parent, Version
from tests.integration.conftest import Fresh
from tests.support.aio import Loop
from tests.support.registry import Registry

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)
KEYS = TEXTS.map(lambda text: text[:250] or "k")
WORDS = st.text("abcdefghij\u00e9", min_size=1, max_size=20)
TIMES = st.datetimes().map(lambda time: time.replace(tzinfo=UTC, fold=0))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63 - 1), 2**63 - 1) | FLOATS | TEXTS
NUMBERS = st.integers(1, 2**31 - 1).map(VersionNumber)
DIGESTS = st.integers(0, 2**256 - 1).map(lambda number: Digest(f"{number:064x}"))
PATHS = WORDS.map(FilePath)
TAGS = st.dictionaries(KEYS, TEXTS, max_size=4)
SIZES = st.integers(0, 2**45)

FILES = st.builds(FileEntry, PATHS, SIZES, DIGESTS, WORDS, st.none() | WORDS)
MANIFESTS = st.lists(FILES, min_size=1, max_size=4, unique_by=lambda f: f.path).map(Manifest.of)
OPTIONAL = st.none() | TEXTS
FINDINGS = st.builds(Finding, WORDS, st.sampled_from(Severity), TEXTS, PATHS, OPTIONAL, OPTIONAL)
REVIEWS = st.builds(
    Review, st.sampled_from(Verdict), st.sampled_from(Decision), TEXTS, WORDS, TIMES
)
VALIDATIONS = st.builds(
    Validation,
    st.sampled_from(Verdict),
    st.none() | st.sampled_from(PolicyName),
    OPTIONAL,
    OPTIONAL,
    st.sampled_from(Coverage),
    st.lists(FINDINGS, max_size=2).map(tuple),
    st.none() | TIMES,
    st.lists(REVIEWS, max_size=2).map(tuple),
)
FACTS = st.dictionaries(
    KEYS,
    st.booleans() | st.integers(-(2**63 - 1), 2**63 - 1) | FLOATS | TEXTS | st.lists(TEXTS),
    max_size=4,
)
PARENTS = st.lists(st.builds(Parent, WORDS.map(ModelName), NUMBERS), max_size=2).map(tuple)
MODELS = st.builds(
    Model,
    id=st.uuids().map(lambda uuid: uuid.hex),
    name=WORDS.map(ModelName),
    creator=TEXTS,
    created_at=TIMES,
    updated_at=TIMES,
    description=TEXTS,
    tags=TAGS,
    last_version=st.integers(0, 2**31 - 1),
    revision=st.integers(1, 2**31),
)


def versions_of(model: Model) -> st.SearchStrategy[Version]:
    return st.builds(
        Version,
        model_id=st.just(model.id),
        number=NUMBERS,
        manifest=MANIFESTS,
        creator=TEXTS,
        created_at=TIMES,
        updated_at=TIMES,
        validation=VALIDATIONS,
        facts=FACTS,
        description=TEXTS,
        parameters=st.dictionaries(KEYS, SCALARS, max_size=4),
        metrics=st.dictionaries(KEYS, FLOATS, max_size=4),
        tags=TAGS,
        source=st.none() | TEXTS,
        parents=PARENTS,
        revision=st.integers(1, 2**31),
    )


@pytest.fixture(scope="module")
def registry(fresh: Fresh) -> Registry:
    return fresh()[1]


@given(TIMES)
def test_times_come_back_to_the_microsecond(time: datetime) -> None:
    assert moment(micros(time)) == time


@settings(max_examples=60)
@given(model=MODELS, data=st.data())
def test_aggregates_come_back_as_they_were(
    loop: Loop, registry: Registry, model: Model, data: st.DataObject
) -> None:
    version = data.draw(versions_of(model))
    alias = Alias(
        model.id,
        AliasName("champion"),
        version.number,
        data.draw(st.none() | NUMBERS),
        data.draw(TIMES),
        data.draw(TEXTS),
        data.draw(st.integers(1, 2**31)),
    )
    move = data.draw(
        st.builds(
            AliasMove, st.just(alias.name), st.none() | NUMBERS, st.none() | NUMBERS, TEXTS, TIMES
        )
    )
    receipt = data.draw(
        st.builds(Receipt, st.just(model.id), TEXTS, DIGESTS, st.just(model.id), NUMBERS, TIMES)
    )

    async def through() -> None:
        async with registry.uow() as uow:
            await uow.models.add(model)
            await uow.versions.add(version)
            await uow.aliases.put(alias, move)
            await uow.receipts.add(receipt)
            _same(await uow.models.get(model.name), model)
            _same(await uow.versions.get(model, version.number), version)
            _same(await uow.aliases.get(model, alias.name), alias)
            assert isinstance(uow, SqlUnitOfWork)
            rows = await uow._begun.run(lambda db: db.execute(select(alias_moves)).all())
            assert [to_move(row) for row in rows] == [move]
            assert await uow.receipts.get(receipt.actor, receipt.key) == receipt

    loop.run(through())


UPLOADS = st.builds(
    Upload,
    id=st.uuids().map(lambda uuid: uuid.hex),
    creator=TEXTS,
    created_at=TIMES,
    expires_at=TIMES,
    length=st.none() | SIZES,
    metadata=st.sampled_from(["", "filename bW9kZWwub25ueA==,draft"]).map(UploadMetadata),
    concat=st.sampled_from(["", "partial", "final;/uploads/a /uploads/b"]),
    received=SIZES,
    sha256=st.none() | DIGESTS,
)


@settings(max_examples=30)
@given(upload=UPLOADS, segment=st.builds(Segment, SIZES, SIZES, WORDS))
def test_an_upload_comes_back_as_it_was(
    loop: Loop, registry: Registry, upload: Upload, segment: Segment
) -> None:
    async def through() -> None:
        async with registry.uow() as uow:
            await uow.uploads.add(upload)
            _same(await uow.uploads.get(upload.id), upload)
            if upload.sha256 is None:
                further = replace(upload, received=upload.received + segment.size)
                await uow.uploads.move(further, [segment], before=upload.received)
                _same(await uow.uploads.get(upload.id), further)
                _same(await uow.uploads.segments(upload.id), [segment])

    loop.run(through())


def _same(found: Any, expected: Any) -> None:
    """Equal, and of equal types: 1, 1.0 and True are not the same parameter."""
    assert found == expected
    assert repr(found) == repr(expected)
