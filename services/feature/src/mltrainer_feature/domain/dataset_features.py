"""Which columns a dataset has: those of stored and computed views, single features, and feature services."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mltrainer_features import (
    ON_DEMAND_VIEWS,
    STORED_REFERENCES,
    VIEWS,
    OnDemandFeature,
    OnDemandView,
    on_demand_digest,
    parse_expression,
)

from mltrainer_feature.domain.datasets import ViewRevision, view_revisions
from mltrainer_feature.domain.definitions import DefinitionKind, Definitions
from mltrainer_feature.domain.errors import (
    FeatureListRemovedError,
    FeatureViewRemovedError,
    InvalidDatasetSpecError,
    UnknownFeatureError,
    UnknownFeatureServiceError,
    UnknownFeatureViewError,
    Violation,
)
from mltrainer_feature.domain.views import ViewState, resolve_views

_SERVICES = "featureServices/"
_FIELD = "spec.feature_views"
_OTHER_COLUMNS = frozenset({"symbol", "event_time", "label", "label_end_time"})
_STORED = frozenset(STORED_REFERENCES.values())


@dataclass(frozen=True, slots=True)
class DatasetColumns:
    """What a dataset is asked for by, which states of views enter it, and its features by reference.

    `features` is empty where it has whole stored views alone: their features, by view, in their order.
    """

    asked: tuple[str, ...]
    views: tuple[ViewRevision, ...]
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureCatalogue:
    """What datasets can have: stored views, what was applied, and the services of this release."""

    states: Mapping[str, ViewState]
    definitions: Definitions
    services: Mapping[str, Sequence[str]]

    @classmethod
    def of(
        cls, views: Iterable[ViewState], definitions: Definitions, services: Mapping[str, Sequence[str]]
    ) -> "FeatureCatalogue":
        """Collects what is defined now."""
        return cls({view.name: view for view in views}, definitions, services)

    def columns(self, asked: Sequence[str]) -> DatasetColumns:
        """Finds the columns that `feature_views` of a specification asks for.

        Raises:
            FeatureServiceError: Something is unknown, removed, or can be no column.
        """
        computed_views = on_demand_views(self.definitions)
        if all(_is_stored_view(one, computed_views) for one in asked):
            views = view_revisions(resolve_views(asked, self.states, self._removed_views()))
            return DatasetColumns(tuple(f"{view.name}@{view.version}" for view in views), views)
        features = tuple(dict.fromkeys(one for name in asked for one in self._features(name, computed_views)))
        computed = computed_features(self.definitions)
        self._require_columns(features, computed)
        read = [*features, *(one for name in features if name in computed for one in _inputs(computed[name]))]
        stored = sorted({_view(one) for one in read if one in _STORED})
        revisions = view_revisions(resolve_views(stored, self.states, self._removed_views()))
        used = dict.fromkeys(_view(one) for one in features if one in computed)
        revisions += tuple(on_demand_revision(computed_views[name]) for name in sorted(used))
        return DatasetColumns(tuple(asked), revisions, features)

    def _features(self, name: str, computed_views: Mapping[str, OnDemandView]) -> Sequence[str]:
        if name.startswith(_SERVICES):
            return self._service(name.removeprefix(_SERVICES))
        if ":" in name:
            return [name]
        if _is_stored_view(name, computed_views):
            (view,) = resolve_views([name], self.states, self._removed_views())
            return [f"{view.name}:{feature.name}" for feature in VIEWS[view.name].features]
        bare, _, version = name.partition("@")
        found = computed_views[bare]
        if version not in {"", str(found.version)}:
            raise UnknownFeatureViewError(name, sorted([*self.states, *computed_views]))
        return [f"{found.name}:{feature.name}" for feature in found.features]

    def _service(self, name: str) -> Sequence[str]:
        services = {**self.services, **{one.name: one.features for one in self.definitions.services}}
        if name not in services:
            if name in self.definitions.removed(DefinitionKind.FEATURE_SERVICE):
                raise FeatureListRemovedError(name, ())
            raise UnknownFeatureServiceError(name, sorted(services))
        return services[name]

    def _removed_views(self) -> frozenset[str]:
        return self.definitions.removed(DefinitionKind.STORED_VIEW, DefinitionKind.ON_DEMAND_VIEW)

    def _require_columns(self, features: Sequence[str], computed: Mapping[str, OnDemandFeature]) -> None:
        removed = self._removed_views()
        for reference in features:
            if reference not in _STORED and reference not in computed:
                if _view(reference) in removed:
                    raise FeatureViewRemovedError(_view(reference))
                raise UnknownFeatureError(reference)
        violations = [*_name_violations(features), *_request_violations(features, computed)]
        if violations:
            raise InvalidDatasetSpecError(violations)


def on_demand_views(definitions: Definitions) -> dict[str, OnDemandView]:
    """Returns this release's on-demand views and those that were applied, by name."""
    return {**ON_DEMAND_VIEWS, **{view.name: view for view in definitions.views}}


def computed_features(definitions: Definitions) -> dict[str, OnDemandFeature]:
    """Returns the features of all on-demand views by `view:feature`."""
    views = on_demand_views(definitions).values()
    return {f"{view.name}:{feature.name}": feature for view in views for feature in view.features}


def on_demand_revision(view: OnDemandView) -> ViewRevision:
    """Notes which state of an on-demand view enters a dataset; it has no data of its own to revise."""
    return ViewRevision(view.name, view.version, on_demand_digest(view), 0)


def _is_stored_view(name: str, computed_views: Mapping[str, OnDemandView]) -> bool:
    is_view = not name.startswith(_SERVICES) and ":" not in name
    return is_view and name.partition("@")[0] not in computed_views


def _view(reference: str) -> str:
    return reference.partition(":")[0]


def _inputs(feature: OnDemandFeature) -> list[str]:
    names = parse_expression(feature.expression).names
    return [STORED_REFERENCES[name] for name in names if name in STORED_REFERENCES]


def _name_violations(features: Sequence[str]) -> Iterator[Violation]:
    for name, count in Counter(reference.partition(":")[2] for reference in features).items():
        if count > 1:
            yield Violation(_FIELD, f"two features are called {name}: a dataset has one column of a name")
        if name in _OTHER_COLUMNS:
            yield Violation(_FIELD, f"{name} is another column of every dataset")


def _request_violations(
    features: Sequence[str], computed: Mapping[str, OnDemandFeature]
) -> Iterator[Violation]:
    for reference in features:
        if reference not in computed:
            continue
        fields = [
            name
            for name in parse_expression(computed[reference].expression).names
            if name not in STORED_REFERENCES
        ]
        if fields:
            problem = f"{reference} reads {', '.join(fields)} of a request, which no dataset has"
            yield Violation(_FIELD, f"{problem}: name the other features one by one")
