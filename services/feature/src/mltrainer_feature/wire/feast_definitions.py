"""Declares the views to Feast, from the definitions of `mltrainer_features`, and compiles them.

`python -m mltrainer_feature.wire.feast_definitions` writes the compiled registry that the service reads;
a test fails when it is out of date. Importing Feast takes seconds, so only that command and tests import
this module.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, Project, ValueType
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.types import Float64
from mltrainer_features import VIEWS, full_description, view_digest

PROJECT = "mltrainer"
# Friday's bar is young enough until Wednesday's close: a weekend and a holiday lie between two bars at most.
MAX_AGE = timedelta(days=5)
SERVICES = {
    "daily_market_v1": tuple(VIEWS),
    "volatility_v1": ("market_volatility", "market_returns"),
}
REGISTRY_FILE = Path(__file__).with_name("feast_registry.binpb")
_SCHEMA_VERSION = "1"
_TIMES = frozenset({"created_timestamp", "last_updated_timestamp"})


def declare() -> tuple[Entity, FileSource, list[FeatureView], list[FeatureService]]:
    """Makes Feast's objects for every view of this release."""
    symbol = Entity(
        name="symbol", join_keys=["symbol"], value_type=ValueType.STRING, description="A traded instrument."
    )
    source = FileSource(
        name="feature_rows",
        path="feature_rows.parquet",
        timestamp_field="event_time",
        created_timestamp_column="created_time",
        description="Datasets of the feature service; rows as known at decision time.",
    )
    views = {name: _declare_view(name, symbol, source) for name in VIEWS}
    services = [
        FeatureService(name=name, features=[views[view] for view in members])
        for name, members in SERVICES.items()
    ]
    return symbol, source, list(views.values()), services


def _declare_view(name: str, symbol: Entity, source: FileSource) -> FeatureView:
    view = VIEWS[name]
    return FeatureView(
        name=name,
        description=view.description,
        entities=[symbol],
        ttl=MAX_AGE,
        schema=[
            Field(name=feature.name, dtype=Float64, description=full_description(feature))
            for feature in view.features
        ],
        source=source,
        tags={"version": str(view.version), "definition_digest": view_digest(view)},
    )


def compile_registry() -> bytes:
    """Returns Feast's registry of all views, free of times, so that equal definitions give equal bytes."""
    symbol, source, views, services = declare()
    registry: Any = Registry(registry_schema_version=_SCHEMA_VERSION)
    registry.projects.append(Project(name=PROJECT).to_proto())
    registry.entities.append(symbol.to_proto())
    registry.data_sources.append(source.to_proto())
    registry.feature_views.extend(view.to_proto() for view in views)
    registry.feature_services.extend(service.to_proto() for service in services)
    for data_source in registry.data_sources:
        data_source.project = PROJECT
    for item in (*registry.entities, *registry.feature_views, *registry.feature_services):
        item.spec.project = PROJECT
    _forget_times(registry)
    return bytes(registry.SerializeToString(deterministic=True))


def _forget_times(message: Any) -> None:
    for field, value in message.ListFields():
        if field.name in _TIMES:
            message.ClearField(field.name)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for item in value if field.is_repeated else (value,):
                _forget_times(item)


if __name__ == "__main__":
    REGISTRY_FILE.write_bytes(compile_registry())
