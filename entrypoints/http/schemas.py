"""JSON that comes in: strict models, which also write the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from application.publishing import PublishDetails, UploadedFile
from domain.errors import ModelyardError
from domain.values import (
    MAX_ALIASES_PER_PUBLISH,
    MAX_DESCRIPTION,
    MAX_ENTRIES,
    MAX_FILES,
    MAX_NAME,
    MAX_PATH,
    MAX_REASON,
    AliasName,
    Digest,
    FilePath,
    JsonScalar,
    ModelName,
    VersionNumber,
    relocated,
)
from domain.version import Parent, VersionDetails

N = TypeVar("N", ModelName, AliasName, FilePath, Digest)
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

# What the document tells of rules that the domain holds, and words better than a pattern could.
NAME_SCHEMA: dict[str, Any] = {"minLength": 1, "maxLength": MAX_NAME}
DIGEST_SCHEMA: dict[str, Any] = {"pattern": "^[0-9a-f]{64}$"}
_PATH_SCHEMA: dict[str, Any] = {"minLength": 1, "maxLength": MAX_PATH}
_TEXT_SCHEMA: dict[str, Any] = {"maxLength": MAX_DESCRIPTION}
_MAP_SCHEMA: dict[str, Any] = {
    "maxProperties": MAX_ENTRIES,
    "propertyNames": {"minLength": 1, "maxLength": MAX_NAME},
}


_FEW = 3


def _at_most(entries: int) -> BeforeValidator:
    """Refuses longer maps and lists before their items are looked at, each for an error."""

    def check(value: object) -> object:
        if isinstance(value, dict | list) and len(value) > entries:
            raise ValueError(f"it has {len(value)} entries; at most {entries} are allowed")
        return value

    return BeforeValidator(check)


class _Object(BaseModel):
    @model_validator(mode="before")
    @classmethod
    def _is_object(cls, value: object) -> object:
        if isinstance(value, dict):
            return value
        fields = cls.model_fields.items()
        shown = [name for name, field in fields if field.is_required()] or cls.model_fields
        shape = ", ".join(f'"{name}": ...' for name in shown)
        raise ValueError(f"an object is expected: {{{shape}}}")


class _Strict(_Object):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _is_known(cls, value: object) -> object:
        if isinstance(value, dict) and (unknown := value.keys() - cls.model_fields.keys()):
            known = ", ".join(cls.model_fields)
            fault = PydanticCustomError("unknown_member", f"unknown; there are {known}")
            shown = sorted(unknown)[:_FEW]
            faults = [InitErrorDetails(type=fault, loc=(name,), input=None) for name in shown]
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return value


_Map = _at_most(MAX_ENTRIES)
_MapPatch = _at_most(2 * MAX_ENTRIES)  # all may be replaced by others
Tags = Annotated[dict[str, str], _Map]
TagsPatch = Annotated[dict[str, str | None] | None, _MapPatch]


class NewModel(_Strict):
    """A model to register."""

    name: str = Field(
        description="1 to 250 letters, digits, spaces and ._-()+",
        examples=["churn"],
        json_schema_extra=NAME_SCHEMA,
    )
    description: str = Field(
        "",
        description="Markdown",
        examples=["Who leaves next month"],
        json_schema_extra=_TEXT_SCHEMA,
    )
    tags: Tags = Field(
        default_factory=dict, examples=[{"team": "risk"}], json_schema_extra=_MAP_SCHEMA
    )


class _Patch(_Object):
    # What else a patch names reaches the use case, which knows immutable members from unknown ones.
    # None of it is documented: Swagger UI would offer a member that is then refused.
    model_config = ConfigDict(
        strict=True,
        extra="allow",
        frozen=True,
        json_schema_extra={"additionalProperties": False},
    )

    def members(self) -> dict[str, object]:
        """What the patch names."""
        return self.model_dump(exclude_unset=True)


class ModelPatch(_Patch):
    """A JSON merge patch (RFC 7396): null removes."""

    # The example of the whole has no name: who only tries it does not rename anything.
    model_config = ConfigDict(
        json_schema_extra={
            "additionalProperties": False,
            "examples": [{"description": "Who leaves next month, EU only", "tags": {"old": None}}],
        }
    )

    name: str = Field("", description="Another name", examples=["churn-eu"])
    description: str | None = Field(None, examples=["Who leaves next month, EU only"])
    tags: TagsPatch = Field(None, examples=[{"team": "growth", "stale": None}])


class VersionPatch(_Patch):
    """A JSON merge patch (RFC 7396): null removes. Files, parameters and creator cannot change."""

    description: str | None = Field(None, examples=["Retrained on May"])
    tags: TagsPatch = Field(None, examples=[{"stage": "checked"}])
    metrics: Annotated[dict[str, float | None] | None, _MapPatch] = Field(
        None, examples=[{"auc": 0.93}]
    )


def _scalar(value: object) -> object:
    # One sentence for the value at fault, where a union has one for each of its members.
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError("a string, a number, a boolean or null is expected")


Parameter = Annotated[JsonScalar, BeforeValidator(_scalar)]


class ParentReference(_Strict):
    """A version this one was made from; it must exist."""

    model: str = Field(examples=["churn"], json_schema_extra=NAME_SCHEMA)
    version: int = Field(ge=1, le=2**31 - 1, examples=[1])


class PublishMetadata(_Strict):
    """What is said about a version as it is published."""

    description: str = Field(
        "", description="Markdown", examples=["First try"], json_schema_extra=_TEXT_SCHEMA
    )
    parameters: Annotated[dict[str, Parameter], _Map] = Field(
        default_factory=dict, examples=[{"max_depth": 6}], json_schema_extra=_MAP_SCHEMA
    )
    metrics: Annotated[dict[str, float], _Map] = Field(
        default_factory=dict, examples=[{"auc": 0.91}], json_schema_extra=_MAP_SCHEMA
    )
    tags: Tags = Field(
        default_factory=dict, examples=[{"stage": "new"}], json_schema_extra=_MAP_SCHEMA
    )
    aliases: Annotated[list[str], _at_most(MAX_ALIASES_PER_PUBLISH)] = Field(
        default_factory=list, description="Aliases to point here: `champion`", examples=[[]]
    )
    source: str | None = Field(None, description="What made it", examples=["git:4f2a91c"])
    parents: Annotated[list[ParentReference], _at_most(MAX_ENTRIES)] = Field(
        default_factory=list, max_length=MAX_ENTRIES, examples=[[]]
    )
    create_model: bool = Field(False, description="Register the model if it is not there")

    def details(self) -> PublishDetails:
        """The same for the use case.

        Raises:
            InvalidRequest, InvalidAliasName, InvalidModelName: pointing at the field.
        """
        return PublishDetails(
            version=VersionDetails(
                description=self.description,
                parameters=self.parameters,
                metrics=self.metrics,
                tags=self.tags,
                source=self.source,
                parents=tuple(
                    Parent(
                        _named(ModelName, p.model, f"/parents/{i}/model"), VersionNumber(p.version)
                    )
                    for i, p in enumerate(self.parents)
                ),
            ),
            aliases=tuple(
                _named(AliasName, alias, f"/aliases/{i}") for i, alias in enumerate(self.aliases)
            ),
            create_model=self.create_model,
        )


def _named(kind: type[N], text: str, pointer: str) -> N:
    try:
        return kind(text)
    except ModelyardError as error:
        raise relocated(pointer, error) from None


class UploadedFileReference(_Strict):
    """A file of the version whose bytes were PUT to /blobs before."""

    path: str = Field(
        description="Path inside the version",
        examples=["model.onnx"],
        json_schema_extra=_PATH_SCHEMA,
    )
    sha256: str = Field(
        description="Digest of the blob", examples=[SHA256], json_schema_extra=DIGEST_SCHEMA
    )


class PublishBody(PublishMetadata):
    """A version made of blobs that are in the store already."""

    files: Annotated[list[UploadedFileReference], _at_most(MAX_FILES)] = Field(
        min_length=1, max_length=MAX_FILES
    )

    def uploaded(self) -> list[UploadedFile]:
        """The files for the use case.

        Raises:
            InvalidFilePath, InvalidDigest: pointing at the field.
        """
        return [
            UploadedFile(
                _named(FilePath, file.path, f"/files/{i}/path"),
                _named(Digest, file.sha256, f"/files/{i}/sha256"),
            )
            for i, file in enumerate(self.files)
        ]


class AliasTarget(_Strict):
    """Where an alias should point."""

    version: int = Field(ge=1, le=2**31 - 1, examples=[1])


class NewReview(_Strict):
    """What a person decides about a version that is held."""

    decision: Literal["accept", "reject"] = Field(examples=["accept"])
    reason: str = Field(
        min_length=1,
        description="Why, for whoever asks later",
        examples=["The class is ours, and its code was read."],
        json_schema_extra={**_TEXT_SCHEMA, "maxLength": MAX_REASON},
    )


class NewDirectUpload(_Strict):
    """A blob to upload straight to the object store."""

    size: int = Field(ge=0, le=1 << 50, description="In bytes", examples=[7])


class FinishedParts(_Strict):
    """A direct upload whose parts have all been PUT."""

    upload_id: str = Field(
        min_length=1, max_length=2000, description="From its beginning", examples=["4f5c"]
    )
    size: int = Field(ge=0, le=1 << 50, description="In bytes", examples=[7])
    etags: Annotated[list[str], _at_most(10_000)] = Field(
        default_factory=list,
        max_length=10_000,
        description="What the store answered to each part, in order; else it is asked",
        examples=[["9a0364b9e99bb480dd25e1f0284c8555"]],
    )
