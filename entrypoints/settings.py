"""The service's settings, from the environment or a ``.env`` file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from domain.errors import InvalidSettings
from domain.version import ValidationMode

EMBEDDED_DATABASE = "sqlite:///data/modelyard.db"


def _database(url: str) -> str:
    try:
        backend = make_url(url).get_backend_name()
    except ArgumentError:
        raise ValueError("not a URL such as sqlite:///data/modelyard.db") from None
    if backend != "sqlite":
        raise ValueError(
            f"the database {backend!r} is not supported; use sqlite:///path/to/file.db"
        )
    if not make_url(url).database or make_url(url).database == ":memory:":
        raise ValueError("SQLite needs a file, as in sqlite:///data/modelyard.db")
    return url


class Settings(BaseSettings):
    """Every setting has a default that makes a first start work."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True
    )

    database_url: Annotated[str, AfterValidator(_database)] = Field(
        EMBEDDED_DATABASE, description="where the rows are kept: sqlite:///path/to/file.db"
    )
    model_storage_path: Path = Field(
        Path("data/artifacts"), description="folder for the model files"
    )
    model_storage_method: Literal["local"] = Field(
        "local", description="how the model files are kept: local"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on")
    workers: int = Field(1, ge=1, le=64, description="server processes")
    lock_method: Literal["file", "none"] = Field(
        "file", description="what keeps contending publishes in line: file or none"
    )
    lock_timeout: float = Field(
        30.0, gt=0, le=3600, description="seconds to wait in line before a 503"
    )
    validation: ValidationMode = Field(
        ValidationMode.ENFORCE,
        description="files that are not models: enforce refuses, warn notes, off does not look",
    )
    max_upload_size: int = Field(
        1 << 40, ge=1, description="bytes of one version's files, or of one blob, at most"
    )
    max_metadata_size: int = Field(
        8 << 20, ge=1024, le=1 << 30, description="bytes of a JSON body, at most"
    )
    graceful_timeout: int = Field(
        30, ge=0, le=3600, description="seconds that running transfers get at shutdown"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe log lines to write"
    )

    @property
    def lock_path(self) -> Path:
        """The folder of the file locks, beside the blobs they are about."""
        return self.model_storage_path / "locks"


def load_settings() -> Settings:
    """Reads the settings.

    Raises:
        InvalidSettings: one clear line that names each wrong setting.
    """
    try:
        return Settings()
    except ValidationError as error:
        faults = [
            f"{str(fault['loc'][0]).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_input=False, include_url=False)
        ]
        raise InvalidSettings("; ".join(faults)) from None
