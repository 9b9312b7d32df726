"""Reads the registry's changes."""

from mltrainer.registry.v1 import resources_pb2 as registry

from mltrainer_serving.application.ports import AliasChange
from mltrainer_serving.domain.deployment import ArtifactFile, Version


def to_version(message: registry.ModelVersion) -> Version:
    """Translates a model version."""
    files = tuple(ArtifactFile(file.path, file.sha256) for file in message.manifest.files)
    model, number = _split(message.name, "versions")
    return Version(model, int(number), message.manifest.digest, files)


def to_alias_change(alias: registry.Alias, version: Version, traceparent: str) -> AliasChange:
    """Translates an alias that names a version already read."""
    _, name = _split(alias.name, "aliases")
    return AliasChange(name, version, alias.revision, traceparent)


def _split(name: str, collection: str) -> tuple[str, str]:
    parts = name.split("/")
    if len(parts) != 4 or parts[0] != "models" or parts[2] != collection:
        raise ValueError(f"{name!r} is no models/…/{collection}/… name")
    return parts[1], parts[3]
