"""The file format of exports.

::

    export.json               what the export holds; written last: without it an export is not whole
    models/<id>.jsonl         a model, its versions by number, its aliases by name, their moves
    retired-names.jsonl       names whose numbering must go on where it stopped
    blobs/<2 hex>/<sha256>    the bytes

Each line is one JSON object with its keys sorted, so that one content gives one sequence of bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TypeVar

from application.exchange_fields import Fields, read_facts, read_validation, short, wrong
from application.ports.folder import PARTIAL, Folder
from domain.alias import Alias, AliasMove
from domain.errors import InvalidExport, ModelyardError
from domain.model import Model, RetiredName
from domain.values import (
    AliasName,
    Digest,
    FilePath,
    ModelName,
    check_actor,
    check_metrics,
    check_parameters,
    check_tags,
    check_text,
)
from domain.version import FileEntry, Manifest, Parent, Version

FORMAT = "modelyard-export"
FORMAT_VERSION = 2
SUMMARY = "export.json"
UNFINISHED = "export.unfinished"
RETIRED_NAMES = "retired-names.jsonl"
UNFINISHED_TEXT = b"This export is not whole; export again.\n"

MODEL_FILE = re.compile(r"models/[0-9a-f]{32}\.jsonl")
_BLOB_FILE = re.compile(r"blobs/([0-9a-f]{2})/\1[0-9a-f]{62}")
_PARTIAL_FILE = re.compile(
    rf"(?:models/|blobs/[0-9a-f]{{2}}/)?{re.escape(PARTIAL)}[0-9a-f]{{16}}", re.ASCII
)
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(?:; ?[\w.+-]+=[\w.+-]+)*", re.ASCII)

_MOST = 1 << 30

Line = Model | Version | Alias | AliasMove | RetiredName
T = TypeVar("T")


def model_file(model_id: str) -> str:
    """The path of a model's file."""
    return f"models/{model_id}.jsonl"


def blob_file(digest: Digest) -> str:
    """The path of a blob."""
    return f"blobs/{digest[:2]}/{digest}"


def is_ours(name: str) -> bool:
    """Whether a file of this name is of an export, or of a broken one."""
    patterns = (MODEL_FILE, _BLOB_FILE, _PARTIAL_FILE)
    return name in {SUMMARY, UNFINISHED, RETIRED_NAMES} or any(p.fullmatch(name) for p in patterns)


def dumps(document: Mapping[str, object]) -> bytes:
    """One line of canonical JSON."""
    text = json.dumps(
        document, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_time
    )
    return text.encode() + b"\n"


def note_blobs(blobs: dict[Digest, int], files: Iterable[FileEntry]) -> None:
    """Adds the files' blobs with their sizes.

    Raises:
        InvalidExport: a blob is named with two sizes.
    """
    for file in files:
        if blobs.setdefault(file.sha256, file.size) != file.size:
            wrong(f"the blob {file.sha256} is named with two sizes")


# --- writing ------------------------------------------------------------------------------------

_KINDS = {
    Model: "model",
    Version: "version",
    Alias: "alias",
    AliasMove: "move",
    RetiredName: "retired_name",
}


def write_line(item: Line) -> bytes:
    """One line of a model's file or of the retired names."""
    return dumps({"kind": _KINDS[type(item)], **asdict(item)})


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


# --- reading ------------------------------------------------------------------------------------


async def whole(folder: Folder, name: str) -> bytes:
    """The content of a file of moderate size.

    Raises:
        InvalidExport: it is larger.
    """
    content = bytearray()
    async for chunk in folder.read(name):
        content += chunk
        if len(content) > _MOST:
            wrong(f"more than {_MOST} bytes")
    return bytes(content)


def parse(text: bytes) -> Fields:
    """Reads one JSON object.

    Raises:
        InvalidExport: it is none.
    """
    try:
        return Fields(json.loads(text))
    except (ValueError, RecursionError):
        raise InvalidExport("not JSON") from None


def is_summary(text: bytes) -> bool:
    """Whether this is a summary of an export, of any version of the format.

    Raises:
        InvalidExport: it is not even an object with a format.
    """
    return parse(text).get("format", str) == FORMAT


def read_line(text: bytes, model_id: str) -> Line:
    """Reads what :func:`write_line` wrote of the model of this id.

    Raises:
        InvalidExport: it is something else, or holds what the registry does not take.
    """
    fields = parse(text)
    try:
        match fields.get("kind", str):
            case "model":
                return _read_model(fields)
            case "version":
                return _read_version(fields, model_id)
            case "alias":
                return _read_alias(fields, model_id)
            case "move":
                return _read_move(fields)
            case "retired_name":
                return RetiredName(
                    ModelName(fields.get("name", str)),
                    fields.get("model_id", str),
                    fields.count("last_version"),
                )
            case kind:
                wrong(f"{kind[:40]!a} is not a kind of line")
    except InvalidExport:
        raise
    except (ModelyardError, ValueError) as error:
        raise InvalidExport(str(error)) from None


def _read_model(fields: Fields) -> Model:
    return Model(
        id=fields.get("id", str),
        name=ModelName(fields.get("name", str)),
        creator=check_actor(fields.get("creator", str)),
        created_at=fields.time("created_at"),
        updated_at=fields.time("updated_at"),
        description=check_text(fields.get("description", str), "/description"),
        tags=check_tags(fields.get("tags", dict)),
        last_version=fields.count("last_version"),
        revision=fields.count("revision"),
    )


def _read_version(fields: Fields, model_id: str) -> Version:
    source = fields.optional("source", str)
    return Version(
        model_id=model_id,
        number=fields.version("number"),
        manifest=Manifest.of(
            map(_read_file, Fields(fields.get("manifest", dict)).objects("files"))
        ),
        creator=check_actor(fields.get("creator", str)),
        created_at=fields.time("created_at"),
        updated_at=fields.time("updated_at"),
        validation=read_validation(Fields(fields.get("validation", dict))),
        facts=read_facts(fields.get("facts", dict)),
        description=check_text(fields.get("description", str), "/description"),
        parameters=check_parameters(fields.get("parameters", dict)),
        metrics=check_metrics(fields.get("metrics", dict)),
        tags=check_tags(fields.get("tags", dict)),
        source=None if source is None else check_text(source, "/source"),
        parents=tuple(
            Parent(ModelName(parent.get("model", str)), parent.version("version"))
            for parent in fields.objects("parents")
        ),
        revision=fields.count("revision"),
    )


def _media_type(text: str) -> str:
    if not _MEDIA_TYPE.fullmatch(text):
        wrong(f"{text[:40]!a} is not a media type")
    return short(text)


def _read_file(fields: Fields) -> FileEntry:
    return FileEntry(
        FilePath(fields.get("path", str)),
        fields.count("size"),
        Digest(fields.get("sha256", str)),
        _media_type(fields.get("media_type", str)),
        fields.optional_short("format"),
    )


def _read_alias(fields: Fields, model_id: str) -> Alias:
    return Alias(
        model_id=model_id,
        name=AliasName(fields.get("name", str)),
        version=fields.version("version"),
        previous_version=fields.optional_version("previous_version"),
        updated_at=fields.time("updated_at"),
        updated_by=check_actor(fields.get("updated_by", str)),
        revision=fields.count("revision"),
    )


def _read_move(fields: Fields) -> AliasMove:
    return AliasMove(
        alias=AliasName(fields.get("alias", str)),
        version=fields.optional_version("version"),
        previous_version=fields.optional_version("previous_version"),
        actor=check_actor(fields.get("actor", str)),
        at=fields.time("at"),
    )
