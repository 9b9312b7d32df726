"""Describes views whose features are computed when they are read."""

from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer.feature.v1 import resources_pb2
from mltrainer_features import (
    ON_DEMAND_VIEWS,
    STORED_REFERENCES,
    OnDemandFeature,
    OnDemandView,
    on_demand_digest,
    parse_expression,
)


def on_demand_views() -> service_pb2.ListOnDemandFeatureViewsResponse:
    """Writes every such view."""
    return service_pb2.ListOnDemandFeatureViewsResponse(
        views=[_view(ON_DEMAND_VIEWS[name]) for name in sorted(ON_DEMAND_VIEWS)]
    )


def _view(view: OnDemandView) -> service_pb2.OnDemandFeatureView:
    return service_pb2.OnDemandFeatureView(
        name=view.name,
        version=view.version,
        definition_digest=on_demand_digest(view),
        description=view.description,
        request_fields=[
            resources_pb2.Feature(name=field.name, unit=field.unit.value, description=field.description)
            for field in view.request_fields
        ],
        features=map(_feature, view.features),
    )


def _feature(feature: OnDemandFeature) -> service_pb2.OnDemandFeature:
    names = parse_expression(feature.expression).names
    return service_pb2.OnDemandFeature(
        feature=resources_pb2.Feature(
            name=feature.name, unit=feature.unit.value, description=feature.description
        ),
        expression=feature.expression,
        reads=[STORED_REFERENCES[name] for name in names if name in STORED_REFERENCES],
    )
