"""An MLflow tracking server, asked over its REST interface."""

import json
import os
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from mltrainer_cli.mlflow_source import (
    ForeignFile,
    ForeignModel,
    ForeignVersion,
    UnreadableArtifactError,
    from_milliseconds,
    unusable,
)

_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_TIMEOUT_S = 60
_MAX_JSON_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class MlflowServer:
    """Sends MLflow's own variables along: `MLFLOW_TRACKING_TOKEN`, or `…_USERNAME` and `…_PASSWORD`."""

    url: str
    may_read_local: bool = False

    @property
    def name(self) -> str:
        """Where it is, without credentials."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return f"mlflow:{urlunsplit((parts.scheme, host, parts.path.rstrip('/'), '', ''))}"

    def models(self) -> Sequence[ForeignModel]:
        """Returns all models with all versions."""
        found = self._pages(f"{_API}/registered-models/search", "registered_models")
        return [self._model(fields) for fields in found]

    def _model(self, fields: dict[str, Any]) -> ForeignModel:
        name = str(fields["name"])
        quoted = name.replace("'", "''")
        rows = self._pages(f"{_API}/model-versions/search", "model_versions", filter=f"name='{quoted}'")
        versions = [_version(row) for row in rows if row.get("name") == name]
        return ForeignModel(
            name=name,
            description=str(fields.get("description") or ""),
            tags=_tags(fields),
            aliases={str(one["alias"]): int(one["version"]) for one in fields.get("aliases", ())},
            versions=tuple(sorted(versions, key=lambda version: version.number)),
        )

    def artifact_uri(self, uri: str) -> str:
        """Resolves `runs:/…` and `models:/m-…`."""
        kind, _, rest = uri.partition(":/")
        identity, _, path = rest.lstrip("/").partition("/")
        if kind == "runs":
            root = self._json(f"{_API}/runs/get", run_id=identity)["run"]["info"]["artifact_uri"]
        elif kind == "models":
            model = self._json(f"{_API}/logged-models/{quote(identity, safe='')}")["model"]
            root = model["info"]["artifact_uri"]
        else:
            return uri
        return "/".join(part for part in (str(root).rstrip("/"), path) if part)

    def proxied(self, path: str) -> Iterator[ForeignFile]:
        """Yields the files below a path of the server's artifacts."""
        yield from self._walk(path, "", 0)

    def _walk(self, root: str, below: str, depth: int) -> Iterator[ForeignFile]:
        if depth > _MAX_DEPTH:
            raise UnreadableArtifactError(f"{root} has folders more than {_MAX_DEPTH} deep")
        folder = f"{root}/{below}".rstrip("/")
        for entry in self._json(_ARTIFACTS, path=folder).get("files", ()):
            # The server names what lies in the folder; nothing it says leads out of it.
            name = str(entry["path"]).rpartition("/")[2]
            path = f"{below}/{name}".lstrip("/")
            if entry.get("is_dir"):
                yield from self._walk(root, path, depth + 1)
            else:
                yield ForeignFile(path, lambda path=path: self._content(f"{root}/{path}"))  # type: ignore[misc]

    def _content(self, path: str) -> Iterator[bytes]:
        with self._open(f"{_ARTIFACTS}/{quote(path)}") as answer:
            while chunk := answer.read(_CHUNK_BYTES):
                yield chunk

    def _pages(self, route: str, field: str, **parameters: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self._json(
                route, **parameters, max_results="200", **({"page_token": token} if token else {})
            )
            found.extend(page.get(field, ()))
            token = page.get("next_page_token") or ""
            if not token:
                return found

    def _json(self, route: str, /, **parameters: str) -> dict[str, Any]:
        query = f"?{urlencode(parameters)}" if parameters else ""
        with self._open(route + query) as answer:
            content = answer.read(_MAX_JSON_BYTES)
        try:
            document = json.loads(content)
        except ValueError as error:
            raise unusable(self.name, f"{route} answers no JSON") from error
        if not isinstance(document, dict):
            raise unusable(self.name, f"{route} answers no object")
        return document

    def _open(self, path: str) -> Any:
        parts = urlsplit(self.url)
        url = (
            urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", "")) + path
        )
        request = urllib.request.Request(url, headers=self._headers())  # noqa: S310 - http and https only
        try:
            return urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 - as above
        except urllib.error.HTTPError as error:
            raise UnreadableArtifactError(f"{path.partition('?')[0]} answers {error.code}") from error
        except OSError as error:
            raise unusable(self.name, str(error)) from error

    def _headers(self) -> dict[str, str]:
        if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
            return {"Authorization": f"Bearer {token}"}
        parts = urlsplit(self.url)
        user = parts.username or os.environ.get("MLFLOW_TRACKING_USERNAME")
        if not user:
            return {}
        password = parts.password or os.environ.get("MLFLOW_TRACKING_PASSWORD") or ""
        return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


def _version(row: dict[str, Any]) -> ForeignVersion:
    return ForeignVersion(
        number=int(row["version"]),
        uri=str(row.get("source") or ""),
        run_id=str(row.get("run_id") or ""),
        stage=str(row.get("current_stage") or ""),
        status=str(row.get("status") or ""),
        description=str(row.get("description") or ""),
        create_time=from_milliseconds(row.get("creation_timestamp")),
        tags=_tags(row),
    )


def _tags(fields: dict[str, Any]) -> dict[str, str]:
    return {str(tag["key"]): str(tag.get("value") or "") for tag in fields.get("tags", ())}
