"""The service's settings, from the environment or a ``.env`` file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from domain.errors import InvalidSettings
from domain.validation import PolicyName, ValidationPolicy

EMBEDDED_DATABASE = "sqlite:///data/modelyard.db"
# Classes below their modules, operators as "domain::name"; not all of them: that is a policy.
_NAME = re.compile(r"[^\W\d][\w.:*-]*[.:][\w.:*-]+")
_SCHEMES = {"s3": "s3", "gcs": "gs", "azure": "az"}


def _database(url: str) -> str:
    if url.partition("://")[0].partition("+")[0] in {"postgresql", "postgres"}:
        return url  # the adapter understands more spellings than SQLAlchemy
    try:
        backend = make_url(url).get_backend_name()
    except ArgumentError:
        raise ValueError("not a URL such as sqlite:///data/modelyard.db") from None
    if backend != "sqlite":
        raise ValueError(
            f"the database {backend!r} is not supported; use sqlite:///path/to/file.db or "
            "postgresql://user:password@host/database"
        )
    if not make_url(url).database or make_url(url).database == ":memory:":
        raise ValueError("SQLite needs a file, as in sqlite:///data/modelyard.db")
    return url


def _redis(url: str) -> str:
    if urlsplit(url).scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("not a URL such as redis://host:6379/0")
    return url


def _names(text: str) -> str:
    for name in _split(text):
        if not _NAME.fullmatch(name):
            raise ValueError("names such as mycompany.models.* are expected, separated by commas")
    return text


def _split(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


class Settings(BaseSettings):
    """Every setting has a default that makes a first start work."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True
    )

    database_url: Annotated[str, AfterValidator(_database)] = Field(
        EMBEDDED_DATABASE,
        description="where the rows are kept: sqlite:///path/to/file.db, or "
        "postgresql://user:password@host/database",
        repr=False,
    )
    database_pool_size: int = Field(
        10, ge=3, le=1000, description="connections to PostgreSQL at most, of one server process"
    )
    model_storage_path: Annotated[str, BeforeValidator(str)] = Field(
        "data/artifacts",
        description="where the model files are kept: a folder, s3://bucket/prefix, "
        "gs://bucket/prefix or az://container/prefix",
    )
    model_storage_method: Literal["local", "s3", "gcs", "azure"] = Field(
        "local", description="how the model files are kept: local, s3, gcs or azure"
    )
    model_storage_public_url: str = Field(
        "",
        description="address of the object store for clients, where it is not the service's own",
    )
    downloads: Literal["proxy", "redirect"] = Field(
        "proxy",
        description="how files are fetched: proxy streams them through the service, redirect sends "
        "clients to the object store",
    )
    link_lifetime: int = Field(
        300, ge=10, le=604_800, description="seconds that the URL of a redirect is good for"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on")
    workers: int = Field(1, ge=1, le=64, description="server processes")
    lock_method: Literal["auto", "file", "postgres", "redis", "none"] = Field(
        "auto",
        description="what keeps contending publishes in line: file, postgres, redis or none; auto "
        "is postgres beside PostgreSQL, else file",
    )
    lock_timeout: float = Field(
        30.0, gt=0, le=3600, description="seconds to wait in line before a 503"
    )
    lock_lease: float = Field(
        15.0, ge=1, le=3600, description="seconds after which Redis frees the lock of a dead holder"
    )
    redis_url: Annotated[str, AfterValidator(_redis)] = Field(
        "redis://127.0.0.1:6379/0",
        description="for LOCK_METHOD=redis: redis://:password@host:6379/0",
        repr=False,
    )
    validation_policy: PolicyName = Field(
        PolicyName.STANDARD,
        description="what may enter: strict takes only formats that cannot carry code, standard "
        "holds what a person has to look at, report lets everything in and notes what it found",
    )
    validation_allow: Annotated[str, AfterValidator(_names)] = Field(
        "",
        description="imports and classes to trust besides the known ones, separated by commas: "
        "mycompany.models.*",
    )
    validation_workers: int = Field(
        2, ge=1, le=64, description="processes that read files at once, of one server process"
    )
    validation_timeout: float = Field(
        60.0, gt=0, le=86_400, description="seconds to read a file in, and one more for each 20 MB"
    )
    validation_memory: int = Field(
        1 << 30, ge=256 << 20, description="bytes of address space that reading a file may take"
    )
    max_upload_size: int = Field(
        1 << 40, ge=1, description="bytes of one version's files, or of one blob, at most"
    )
    max_metadata_size: int = Field(
        8 << 20, ge=1024, le=1 << 30, description="bytes of a JSON body, at most"
    )
    upload_expiry: int = Field(
        86_400, ge=60, description="seconds after which an upload that stands still is given up"
    )
    gc_interval: int = Field(
        3600, ge=0, description="seconds between two garbage collections of the service; 0: none"
    )
    gc_grace: int = Field(
        86_400, ge=0, description="seconds for which they spare what no version names"
    )
    graceful_timeout: int = Field(
        30, ge=0, le=3600, description="seconds that running transfers get at shutdown"
    )
    drain_seconds: int = Field(
        0,
        ge=0,
        le=3600,
        description="seconds at shutdown in which it still serves, and says it is not ready",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe log lines to write"
    )
    log_format: Literal["text", "json"] = Field("text", description="log lines: text or json")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        scheme, _, rest = self.model_storage_path.partition("://")
        wanted = _SCHEMES.get(self.model_storage_method)
        if wanted and (scheme != wanted or not rest.strip("/")):
            raise ValueError(
                f"MODEL_STORAGE_PATH: with MODEL_STORAGE_METHOD={self.model_storage_method} it is "
                f"{wanted}://bucket/prefix"
            )
        if not wanted and rest:
            raise ValueError(
                "MODEL_STORAGE_METHOD: local keeps files in a folder; for a MODEL_STORAGE_PATH "
                "with :// it is s3, gcs or azure"
            )
        if self.lock_method == "postgres" and self.embedded:
            raise ValueError("LOCK_METHOD: postgres needs a DATABASE_URL of PostgreSQL")
        return self

    @property
    def embedded(self) -> bool:
        """Whether the rows are in SQLite."""
        return self.database_url.startswith("sqlite")

    @property
    def locking(self) -> str:
        """The method of locking, where the setting leaves the choice."""
        if self.lock_method != "auto":
            return self.lock_method
        return "file" if self.embedded else "postgres"

    @property
    def policy(self) -> ValidationPolicy:
        """The rules by which files may enter."""
        return ValidationPolicy(self.validation_policy, _split(self.validation_allow))

    @property
    def lock_path(self) -> Path:
        """The folder of the file locks: beside the blobs they are about, where those are files."""
        local = self.model_storage_method == "local"
        return Path(self.model_storage_path if local else "data") / "locks"


def load_settings(**chosen: object) -> Settings:
    """Reads the settings; those that are chosen here are not read.

    Raises:
        InvalidSettings: one clear line that names each wrong setting.
    """
    try:
        return Settings(**chosen)  # type: ignore[arg-type]
    except ValidationError as error:
        raise InvalidSettings(
            "; ".join(map(_fault, error.errors(include_input=False, include_url=False)))
        ) from None


def _fault(fault: object) -> str:
    """What pydantic says against a setting, without its value, which may hold a password."""
    assert isinstance(fault, dict)
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{str(fault['loc'][0]).upper()}: {message}" if fault["loc"] else message
