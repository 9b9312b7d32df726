"""Reads Feast registries: which features can be read online, and how old they may be."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mltrainer_features import VIEWS, view_digest

from mltrainer_feature.domain.errors import UnreadableRegistryError
from mltrainer_feature.domain.online import JoinKey, OnlineFeature, OnlineSchema, OnlineView, ValueKind
from mltrainer_feature.wire.feast_stubs import registry_pb2, value_pb2
from mltrainer_feature.wire.online_format import (
    KEY_KINDS,
    feature_field,
    key_prefix,
    key_values,
    time_field,
)

REGISTRY_FILE = Path(__file__).with_name("feast_registry.binpb")
# The name of the entity that Feast gives to views without one.
NO_ENTITY = "__dummy"
NO_ENTITY_KEY = "__dummy_id"
_KEY_OF_NO_ENTITY = key_prefix([NO_ENTITY_KEY]) + key_values(ValueKind.STRING, [""])[0]
_KINDS = {
    value_pb2.ValueType.Enum.Value(kind.name): kind for kind in ValueKind if kind is not ValueKind.OTHER
}


class StaleRegistryError(Exception):
    """The compiled registry was made from other definitions than those of this release."""


def read_schema(content: bytes) -> OnlineSchema:
    """Reads the registry that this release was compiled with.

    Raises:
        StaleRegistryError: The bytes do not describe this release's views.
    """
    registry = registry_pb2.Registry.FromString(content)
    compiled = {view.spec.name: view.spec.tags["definition_digest"] for view in registry.feature_views}
    if compiled != {name: view_digest(view) for name, view in VIEWS.items()}:
        raise StaleRegistryError(
            f"{REGISTRY_FILE.name} is out of date: run python -m mltrainer_feature.wire.feast_definitions"
        )
    return _Registry(registry).schema()


def read_foreign_schema(content: bytes) -> OnlineSchema:
    """Reads a registry that somebody else keeps.

    Raises:
        UnreadableRegistryError: The bytes are no registry, or not one that can be served.
    """
    try:
        registry = registry_pb2.Registry.FromString(content)
        projects = {view.spec.project for view in (*registry.feature_views, *registry.stream_feature_views)}
        if len(projects) > 1:
            raise UnreadableRegistryError(
                f"the registry holds several projects: {', '.join(sorted(projects))}"
            )
        return _Registry(registry).schema()
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableRegistryError(str(error)) from error


def merge(schemas: Iterable[OnlineSchema], revision: int) -> OnlineSchema:
    """Joins schemas into one.

    Raises:
        UnreadableRegistryError: Two of them define the same name.
    """
    features: dict[str, OnlineFeature] = {}
    services: dict[str, tuple[OnlineFeature, ...]] = {}
    join_keys: frozenset[str] = frozenset()
    for schema in schemas:
        twice = sorted({*(features.keys() & schema.features), *(services.keys() & schema.services)})
        if twice:
            raise UnreadableRegistryError(f"{twice[0]} is defined twice")
        features |= schema.features
        services |= schema.services
        join_keys |= schema.join_keys
    return OnlineSchema(features, services, revision, join_keys)


@dataclass(frozen=True, slots=True)
class _Registry:
    message: Any

    def schema(self) -> OnlineSchema:
        entities = {entity.spec.name: entity.spec for entity in self.message.entities}
        definitions = [*self.message.feature_views, *self.message.stream_feature_views]
        views = {view.spec.name: _view(view.spec, entities) for view in definitions if view.spec.online}
        features = {
            f"{view.spec.name}:{feature.name}": _feature(views[view.spec.name], feature)
            for view in definitions
            if view.spec.online
            for feature in view.spec.features
        }
        services = {}
        for service in self.message.feature_services:
            members = _members(service, features)
            if members is not None:
                services[service.spec.name] = members
        keys = frozenset(entity.join_key for entity in entities.values() if entity.join_key != NO_ENTITY_KEY)
        return OnlineSchema(features, services, 0, keys)


def _view(spec: Any, entities: Mapping[str, Any]) -> OnlineView:
    named = [entities[name] for name in spec.entities if name != NO_ENTITY]
    kinds = {column.name: column.value_type for column in spec.entity_columns}
    keys = sorted(
        (
            JoinKey(
                entity.join_key,
                entity.join_key,
                _KINDS.get(kinds.get(entity.join_key, entity.value_type), ValueKind.OTHER),
            )
            for entity in named
        ),
        key=lambda key: key.stored_name,
    )
    for key in keys:
        if key.kind not in KEY_KINDS:
            raise UnreadableRegistryError(f"entity {key.name} has a type that cannot be a key")
    max_age_us = spec.ttl.seconds * 1_000_000 + spec.ttl.nanos // 1_000
    return OnlineView(
        spec.name,
        spec.project,
        tuple(keys),
        max_age_us or None,
        time_field(spec.name),
        key_prefix([key.stored_name for key in keys]) if keys else _KEY_OF_NO_ENTITY,
        spec.project.encode(),
    )


def _feature(view: OnlineView, feature: Any) -> OnlineFeature:
    kind = _KINDS.get(feature.value_type, ValueKind.OTHER)
    return OnlineFeature(view, feature.name, kind, feature_field(view.name, feature.name))


def _members(service: Any, features: Mapping[str, OnlineFeature]) -> tuple[OnlineFeature, ...] | None:
    """Returns the features of a service; None for one with members that are not read online."""
    members = []
    for projection in service.spec.features:
        renamed = dict(projection.join_key_map)
        for column in projection.feature_columns:
            feature = features.get(f"{projection.feature_view_name}:{column.name}")
            if feature is None:
                return None
            members.append(_projected(feature, projection.feature_view_name_alias, renamed))
    return tuple(members)


def _projected(feature: OnlineFeature, alias: str, renamed: Mapping[str, str]) -> OnlineFeature:
    if not alias and not renamed:
        return feature
    keys = tuple(replace(key, name=renamed.get(key.stored_name, key.name)) for key in feature.view.join_keys)
    return replace(feature, view=replace(feature.view, name=alias or feature.view.name, join_keys=keys))
