"""Reads the compiled Feast registry: which features can be read online, and how old they may be."""

from pathlib import Path
from typing import Any

from mltrainer_features import VIEWS, view_digest

from mltrainer_feature.domain.online import OnlineFeature, OnlineSchema
from mltrainer_feature.domain.rows import FEATURE_NAMES
from mltrainer_feature.wire.feast_stubs import registry_pb2

REGISTRY_FILE = Path(__file__).with_name("feast_registry.binpb")


class StaleRegistryError(Exception):
    """The compiled registry was made from other definitions than those of this release."""


def read_schema(content: bytes) -> OnlineSchema:
    """Reads the registry's bytes.

    Raises:
        StaleRegistryError: The bytes do not describe this release's views.
    """
    registry = registry_pb2.Registry.FromString(content)
    compiled = {view.spec.name: view.spec.tags["definition_digest"] for view in registry.feature_views}
    if compiled != {name: view_digest(view) for name, view in VIEWS.items()}:
        raise StaleRegistryError(
            f"{REGISTRY_FILE.name} is out of date: run python -m mltrainer_feature.wire.feast_definitions"
        )
    features = {
        f"{view.spec.name}:{feature.name}": OnlineFeature(
            view.spec.name, feature.name, FEATURE_NAMES.index(feature.name), view.spec.ttl.ToTimedelta()
        )
        for view in registry.feature_views
        for feature in view.spec.features
    }
    services = {service.spec.name: _members(service, features) for service in registry.feature_services}
    return OnlineSchema(features, services)


def _members(service: Any, features: dict[str, OnlineFeature]) -> tuple[OnlineFeature, ...]:
    return tuple(
        features[f"{projection.feature_view_name}:{feature.name}"]
        for projection in service.spec.features
        for feature in projection.feature_columns
    )
