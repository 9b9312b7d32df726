"""Takes an MLflow registry in: versions with their files as they are, never loaded, never served."""

import asyncio
import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mltrainer_models import ManifestEntry

from mltrainer_cli.calls import all_pages
from mltrainer_cli.mlflow_source import (
    ForeignModel,
    ForeignVersion,
    MlflowSource,
    UnreadableArtifactError,
    files_of,
    unusable,
)
from mltrainer_cli.model_imports import create_version, imported_training
from mltrainer_cli.model_transfer import SourceFile, upload

if TYPE_CHECKING:
    from mltrainer.registry.v1.resources_pb2 import Model, ModelVersion
    from mltrainer_sdk import Client

FORMAT = "opaque"
FOLDER = "mlflow"
_MAX_TEXT_LENGTH = 1_000
_MAX_TAGS = 60
_ID_LENGTH = 63
_TAG_KEY = re.compile(r"[a-z0-9](?:[a-z0-9_\-/]{0,61}[a-z0-9])?")
_OUTSIDE_PATH = re.compile(r"[^A-Za-z0-9._/-]")
_OUTSIDE_ID = re.compile(r"[^a-z0-9\-_.]+")

Tell = Callable[[str], None]


@dataclass(slots=True)
class Summary:
    """What an import has come to."""

    source: str
    models: int = 0
    imported: int = 0
    present: int = 0
    files: int = 0
    size_bytes: int = 0
    aliases: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)

    def fail(self, subject: str, reason: str) -> None:
        """Takes note of something that was left out."""
        self.failures.append({"subject": subject, "reason": reason})

    def fields(self) -> dict[str, Any]:
        """Returns it as a JSON object."""
        return asdict(self)


def open_source(text: str) -> MlflowSource:
    """Returns the registry that a URL, a database file or a folder holds.

    Raises:
        CliError: It is none of these.
    """
    scheme, separator, rest = text.partition("://")
    if separator and scheme in {"http", "https"}:
        from mltrainer_cli.mlflow_server import MlflowServer

        return MlflowServer(text)
    from mltrainer_cli.mlflow_stores import FileRegistry, SqliteRegistry

    if separator and scheme == "sqlite":
        return SqliteRegistry(Path(rest.removeprefix("/") if rest.startswith("//") else rest.lstrip("/")))
    path = Path(unquote(urlsplit(text).path) if separator else text)
    if path.is_file():
        return SqliteRegistry(path)
    if path.is_dir():
        return FileRegistry(path)
    raise unusable(text, "it is no URL of a server, no database and no folder")


def model_ids(names: Iterable[str]) -> dict[str, str]:
    """Returns an id for every name; names that would share one are told apart by a digest."""
    plain = {name: _to_id(name) for name in names}
    counts: dict[str, int] = {}
    for identity in plain.values():
        counts[identity] = counts.get(identity, 0) + 1
    return {
        name: identity if counts[identity] == 1 else f"{identity[:50]}-{_digest(name)[:8]}"
        for name, identity in plain.items()
    }


def _to_id(name: str) -> str:
    identity = _OUTSIDE_ID.sub("-", name.lower())[:_ID_LENGTH].strip("-_.")
    return identity or f"model-{_digest(name)[:8]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def archived_path(path: str) -> str:
    """Returns the path of a file in the manifest: below `mlflow/`, other characters as `_hex_`."""
    return f"{FOLDER}/" + _OUTSIDE_PATH.sub(lambda match: f"_{ord(match[0]):x}_", path)


@dataclass(frozen=True, slots=True)
class MlflowImport:
    """Takes one registry in; what is here already is left alone.

    Attributes:
        artifacts: Folder that holds what the server names `mlflow-artifacts:` or a path of its own.
        tell: Told in a sentence how far it is.
    """

    source: MlflowSource
    artifacts: Path | None
    tell: Tell

    async def run(self, client: "Client") -> Summary:
        """Returns what it has come to; what cannot be taken in is listed and left out."""
        summary = Summary(self.source.name)
        models = await asyncio.to_thread(self.source.models)
        ids = model_ids(model.name for model in models)
        for model in models:
            summary.models += 1
            await self._take_model(client, model, f"models/{ids[model.name]}", summary)
        return summary

    async def _take_model(self, client: "Client", model: ForeignModel, name: str, summary: Summary) -> None:
        from mltrainer_common.errors import RpcFailure

        known = await _known(client, name, self.source.name)
        for version in model.versions:
            subject = f"models/{model.name}/versions/{version.number}"
            if subject in known:
                summary.present += 1
                continue
            try:
                known[subject] = await self._take_version(client, model, version, name, summary)
            except (UnreadableArtifactError, RpcFailure) as error:
                summary.fail(subject, _reason(error))
                self.tell(f"{subject}: left out, {_reason(error)}")
                continue
            summary.imported += 1
            self.tell(f"{subject} → {known[subject]}")
        await self._describe(client, model, name, known, summary)

    async def _take_version(
        self, client: "Client", model: ForeignModel, version: ForeignVersion, name: str, summary: Summary
    ) -> str:
        subject = f"models/{model.name}/versions/{version.number}"
        with tempfile.TemporaryDirectory() as folder:
            files = await asyncio.to_thread(self._collect, version, Path(folder))
            digest = _manifest_digest(files)
            training = imported_training(self.source.name, subject, digest)
            message = self._message(model, version, subject, training)
            message.manifest.digest = await upload(client, training, name, files, lambda _: None)
            created = await create_version(client, name, message)
        summary.files += len(files)
        summary.size_bytes += sum(file.entry.size_bytes for file in files)
        return created.name

    def _collect(self, version: ForeignVersion, folder: Path) -> list[SourceFile]:
        files: dict[str, SourceFile] = {}
        for number, foreign in enumerate(files_of(self.source, version.uri, self.artifacts)):
            path, target = archived_path(foreign.path), folder / str(number)
            digest, size_bytes = hashlib.sha256(), 0
            with target.open("wb") as file:
                for chunk in foreign.read():
                    digest.update(chunk)
                    size_bytes += len(chunk)
                    file.write(chunk)
            if path in files:
                raise UnreadableArtifactError(f"two of its files would be called {path}")
            files[path] = _stored(ManifestEntry(path, digest.hexdigest(), size_bytes), target)
        if not files:
            raise UnreadableArtifactError(f"{version.uri} holds no files")
        return [files[path] for path in sorted(files)]

    def _message(
        self, model: ForeignModel, version: ForeignVersion, subject: str, training: str
    ) -> "ModelVersion":
        from mltrainer.registry.v1.resources_pb2 import ModelVersion

        message = ModelVersion(training=training, description=version.description[:10_000])
        message.tags.update(_usable(version.tags))
        aliases = sorted(alias for alias, number in model.aliases.items() if number == version.number)
        facts = {
            "model": model.name,
            "run_id": version.run_id,
            "stage": version.stage if version.stage != "None" else "",
            "status": version.status,
            "uri": version.uri,
            "aliases": ", ".join(aliases),
            **{f"tag.{key}": value for key, value in list(version.tags.items())[:_MAX_TAGS]},
        }
        origin = message.origin
        origin.source, origin.version, origin.format = self.source.name, subject, FORMAT
        if version.create_time is not None:
            origin.create_time.FromDatetime(version.create_time)
        origin.attributes.update(
            {key[:_MAX_TEXT_LENGTH]: value[:_MAX_TEXT_LENGTH] for key, value in facts.items() if value}
        )
        return message

    async def _describe(
        self, client: "Client", model: ForeignModel, name: str, known: Mapping[str, str], summary: Summary
    ) -> None:
        from mltrainer_common.errors import RpcFailure

        if not known:
            return
        present = await _get(client, name)
        try:
            await _describe_model(client, present, model)
        except RpcFailure as failure:
            summary.fail(name, _reason(failure))
        pointing = {alias.name for alias in present.aliases}
        for alias, number in sorted(model.aliases.items()):
            target = known.get(f"models/{model.name}/versions/{number}")
            alias_name = f"{name}/aliases/{_to_id(alias)}"
            if target is None or alias_name in pointing:
                continue
            try:
                await _point(client, alias_name, target, self.source.name)
                summary.aliases += 1
            except RpcFailure as failure:
                summary.fail(alias_name, _reason(failure))


def _usable(tags: Mapping[str, str]) -> dict[str, str]:
    """Returns the tags that the registry takes as they are; its origin keeps all of them."""
    return {
        key: value
        for key, value in list(tags.items())[:_MAX_TAGS]
        if _TAG_KEY.fullmatch(key) and len(value) <= 500 and value.isprintable()
    }


def _stored(entry: ManifestEntry, path: Path) -> SourceFile:
    return SourceFile(entry, lambda: path.open("rb"))


def _manifest_digest(files: Sequence[SourceFile]) -> str:
    from mltrainer_models import Manifest

    return Manifest(tuple(file.entry for file in files)).digest


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", error))


async def _known(client: "Client", name: str, source: str) -> dict[str, str]:
    from grpc import StatusCode
    from mltrainer.registry.v1.registry_service_pb2 import ListModelVersionsRequest
    from mltrainer_common.errors import RpcFailure

    async def fetch(size: int, token: str) -> "tuple[list[ModelVersion], str]":
        request = ListModelVersionsRequest(parent=name, page_size=size, page_token=token)
        page = await client.registry.ListModelVersions(request)
        return list(page.model_versions), page.next_page_token

    try:
        versions = await all_pages(fetch, 10**9)
    except RpcFailure as failure:
        if failure.code is not StatusCode.NOT_FOUND:
            raise
        return {}
    return {it.origin.version: it.name for it in versions if it.origin.source == source}


async def _get(client: "Client", name: str) -> "Model":
    from mltrainer.registry.v1.registry_service_pb2 import GetModelRequest

    return await client.registry.GetModel(GetModelRequest(name=name))


async def _describe_model(client: "Client", present: "Model", model: ForeignModel) -> None:
    from google.protobuf.field_mask_pb2 import FieldMask
    from mltrainer.registry.v1.registry_service_pb2 import UpdateModelRequest

    tags = _usable(model.tags)
    if present.description or present.tags or not (model.description or tags):
        return
    described = type(present)(name=present.name, description=model.description[:10_000], tags=tags)
    mask = FieldMask(paths=["description", "tags"])
    await client.registry.UpdateModel(UpdateModelRequest(model=described, update_mask=mask))


async def _point(client: "Client", alias: str, version: str, source: str) -> None:
    from mltrainer.registry.v1.registry_service_pb2 import MoveAliasRequest
    from mltrainer_common.ids import new_id

    reason = f"it pointed there in {source}"
    request = MoveAliasRequest(name=alias, version=version, reason=reason[:1_000], request_id=new_id())
    await client.registry.MoveAlias(request)
