"""Translates on-demand views and feature services, and what applying them changes."""

from collections.abc import Iterable, Sequence

from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer.feature.v1 import resources_pb2
from mltrainer_features import (
    EVENT_TIMES,
    ON_DEMAND_VIEWS,
    STORED_REFERENCES,
    UNIT_MEANINGS,
    OnDemandFeature,
    OnDemandView,
    on_demand_digest,
    parse_expression,
)
from mltrainer_features.definitions import Unit
from mltrainer_features.on_demand import RequestField

from mltrainer_feature.application.definitions import AppliedDefinitions, ApplyDefinitions
from mltrainer_feature.domain.definitions import DefinitionKind, FeatureList
from mltrainer_feature.domain.errors import InvalidDefinitionsError, Violation

_COLLECTIONS = {
    DefinitionKind.ON_DEMAND_VIEW: "onDemandFeatureViews",
    DefinitionKind.FEATURE_SERVICE: "featureServices",
}


def from_views(applied: Iterable[OnDemandView]) -> service_pb2.ListOnDemandFeatureViewsResponse:
    """Writes this release's views and those that were applied."""
    views = sorted([*ON_DEMAND_VIEWS.values(), *applied], key=lambda view: view.name)
    return service_pb2.ListOnDemandFeatureViewsResponse(views=map(_view, views))


def from_services(services: Iterable[FeatureList]) -> service_pb2.ListFeatureServicesResponse:
    """Writes feature services."""
    return service_pb2.ListFeatureServicesResponse(
        feature_services=[
            service_pb2.FeatureServiceDefinition(
                name=service.name,
                version=service.version,
                description=service.description,
                features=service.features,
            )
            for service in services
        ]
    )


def to_apply(request: service_pb2.ApplyFeatureDefinitionsRequest) -> ApplyDefinitions:
    """Reads what is to be applied.

    Raises:
        InvalidDefinitionsError: A unit is none.
    """
    views = [_to_view(view) for view in request.on_demand_views]
    services = [
        FeatureList(service.name, 0, service.description, tuple(service.features))
        for service in request.feature_services
    ]
    return ApplyDefinitions([*views, *services], request.prune, request.validate_only, request.etag)


def from_applied(applied: AppliedDefinitions) -> service_pb2.ApplyFeatureDefinitionsResponse:
    """Writes what applying has changed."""
    return service_pb2.ApplyFeatureDefinitionsResponse(
        changes=[
            service_pb2.DefinitionChange(
                name=f"{_COLLECTIONS[change.after.kind]}/{change.after.name}",
                action=service_pb2.DefinitionChange.Action.Value(f"ACTION_{change.action.value}"),
                version=change.after.version,
                differences=change.differences,
            )
            for change in applied.changes
        ],
        etag=applied.etag,
    )


def _to_view(view: service_pb2.OnDemandFeatureView) -> OnDemandView:
    fields = [
        RequestField(one.name, _unit(view.name, f"request_fields.{one.name}", one.unit), one.description)
        for one in view.request_fields
    ]
    return OnDemandView(view.name, 0, view.description, tuple(fields), _to_features(view.name, view.features))


def _to_features(view: str, features: Sequence[service_pb2.OnDemandFeature]) -> tuple[OnDemandFeature, ...]:
    return tuple(
        OnDemandFeature(
            one.feature.name,
            one.expression,
            _unit(view, f"features.{one.feature.name}", one.feature.unit),
            one.feature.description,
        )
        for one in features
    )


def _unit(view: str, where: str, text: str) -> Unit:
    try:
        return Unit(text)
    except ValueError:
        problem = f"{text!r} is no unit: use one of {', '.join(Unit)}"
        raise InvalidDefinitionsError([Violation(f"{view}.{where}.unit", problem)]) from None


def _view(view: OnDemandView) -> service_pb2.OnDemandFeatureView:
    return service_pb2.OnDemandFeatureView(
        name=view.name,
        version=view.version,
        definition_digest=on_demand_digest(view),
        description=view.description,
        request_fields=[
            _described(field, "Times are those of the request, in UTC.") for field in view.request_fields
        ],
        features=map(_feature, view.features),
    )


def _feature(feature: OnDemandFeature) -> service_pb2.OnDemandFeature:
    names = parse_expression(feature.expression).names
    return service_pb2.OnDemandFeature(
        feature=_described(feature, EVENT_TIMES),
        expression=feature.expression,
        reads=[STORED_REFERENCES[name] for name in names if name in STORED_REFERENCES],
    )


def _described(one: OnDemandFeature | RequestField, times: str) -> resources_pb2.Feature:
    return resources_pb2.Feature(
        name=one.name,
        unit=one.unit.value,
        description=one.description,
        unit_meaning=UNIT_MEANINGS[one.unit],
        times=times,
    )
