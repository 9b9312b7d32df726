"""MLflow registries on disk: a SQLite database, or a folder of YAML files. Both are only read."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mltrainer_cli.mlflow_source import (
    ForeignFile,
    ForeignModel,
    ForeignVersion,
    UnreadableArtifactError,
    from_milliseconds,
    unusable,
)

_MAX_YAML_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class SqliteRegistry:
    """The database of `mlflow server --backend-store-uri sqlite:///…`."""

    file: Path
    may_read_local: bool = True

    @property
    def name(self) -> str:
        """Where it is."""
        return f"mlflow:sqlite:///{self.file}"

    def models(self) -> Sequence[ForeignModel]:
        """Returns all models with all versions."""
        models = self._rows("SELECT name, description FROM registered_models ORDER BY name")
        versions = self._rows("SELECT * FROM model_versions ORDER BY name, version")
        tags = self._rows("SELECT name, key, value FROM registered_model_tags")
        version_tags = self._rows("SELECT name, version, key, value FROM model_version_tags")
        aliases = self._rows("SELECT name, alias, version FROM registered_model_aliases")
        return [
            ForeignModel(
                name=model["name"],
                description=model["description"] or "",
                tags={row["key"]: row["value"] or "" for row in tags if row["name"] == model["name"]},
                aliases={
                    row["alias"]: int(row["version"]) for row in aliases if row["name"] == model["name"]
                },
                versions=tuple(
                    _version(
                        row,
                        {
                            tag["key"]: tag["value"] or ""
                            for tag in version_tags
                            if (tag["name"], tag["version"]) == (row["name"], row["version"])
                        },
                    )
                    for row in versions
                    if row["name"] == model["name"]
                ),
            )
            for model in models
        ]

    def artifact_uri(self, uri: str) -> str:
        """Resolves `runs:/…` and `models:/m-…`."""
        kind, _, rest = uri.partition(":/")
        identity, _, path = rest.lstrip("/").partition("/")
        if kind == "runs":
            found = self._rows("SELECT artifact_uri AS uri FROM runs WHERE run_uuid = ?", identity)
        elif kind == "models":
            found = self._rows(
                "SELECT artifact_location AS uri FROM logged_models WHERE model_id = ?", identity
            )
        else:
            return uri
        if not found:
            raise UnreadableArtifactError(f"{uri} is not in the database any more")
        return "/".join(part for part in (found[0]["uri"].rstrip("/"), path) if part)

    def proxied(self, path: str) -> Iterator[ForeignFile]:
        """Only a server could tell."""
        raise _kept_by_a_server(path)

    def _rows(self, statement: str, *values: str) -> list[sqlite3.Row]:
        try:
            with closing(sqlite3.connect(f"{self.file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
                connection.row_factory = sqlite3.Row
                return connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            if "logged_models" in statement:
                return []  # MLflow 2 has no such table
            raise unusable(str(self.file), str(error)) from error


@dataclass(frozen=True, slots=True)
class FileRegistry:
    """The folder of MLflow's file store, `mlruns`."""

    folder: Path
    may_read_local: bool = True

    @property
    def name(self) -> str:
        """Where it is."""
        return f"mlflow:{self.folder.absolute().as_uri()}"

    def models(self) -> Sequence[ForeignModel]:
        """Returns all models with all versions."""
        root = self.folder / "models"
        if not root.is_dir():
            raise unusable(str(self.folder), "it has no folder `models`")
        return [self._model(path) for path in sorted(root.iterdir()) if (path / "meta.yaml").is_file()]

    def _model(self, folder: Path) -> ForeignModel:
        meta = _yaml(folder / "meta.yaml")
        aliases = {name: int(text) for name, text in _texts(folder / "aliases").items() if text.isdigit()}
        versions = [
            _version(_yaml(path / "meta.yaml"), _texts(path / "tags"))
            for path in folder.glob("version-*")
            if (path / "meta.yaml").is_file()
        ]
        return ForeignModel(
            name=str(meta["name"]),
            description=str(meta.get("description") or ""),
            tags=_texts(folder / "tags"),
            aliases=aliases,
            versions=tuple(sorted(versions, key=lambda version: version.number)),
        )

    def artifact_uri(self, uri: str) -> str:
        """Resolves `runs:/…` and `models:/m-…`."""
        kind, _, rest = uri.partition(":/")
        identity, _, path = rest.lstrip("/").partition("/")
        if kind not in {"runs", "models"} or not identity.replace("-", "").isalnum():
            return uri
        pattern = f"*/{identity}" if kind == "runs" else f"*/models/{identity}"
        found = sorted(self.folder.glob(f"{pattern}/meta.yaml"))
        if not found:
            raise UnreadableArtifactError(f"{uri} is not in {self.folder} any more")
        meta = _yaml(found[0])
        root = str(meta.get("artifact_uri") or meta.get("artifact_location") or found[0].parent / "artifacts")
        return "/".join(part for part in (root.rstrip("/"), path) if part)

    def proxied(self, path: str) -> Iterator[ForeignFile]:
        """Only a server could tell."""
        raise _kept_by_a_server(path)


def _version(row: Any, tags: Mapping[str, str]) -> ForeignVersion:
    fields = dict(row)
    return ForeignVersion(
        number=int(fields["version"]),
        uri=str(fields.get("storage_location") or fields.get("source") or ""),
        run_id=str(fields.get("run_id") or ""),
        stage=str(fields.get("current_stage") or ""),
        status=str(fields.get("status") or ""),
        description=str(fields.get("description") or ""),
        create_time=from_milliseconds(fields.get("creation_time") or fields.get("creation_timestamp")),
        tags=dict(tags),
    )


def _yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        with file.open("rb") as content:
            document = yaml.safe_load(content.read(_MAX_YAML_BYTES))
    except (OSError, yaml.YAMLError) as error:
        raise unusable(str(file), str(error).partition("\n")[0]) from error
    if not isinstance(document, dict):
        raise unusable(str(file), "it is no list of fields")
    return document


def _texts(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text(errors="replace") for path in files}


def _kept_by_a_server(path: str) -> UnreadableArtifactError:
    return UnreadableArtifactError(f"mlflow-artifacts:/{path} is kept by a server: name it with --artifacts")
