"""Translates views, datasets, imports and rows of `mltrainer.feature.v1`."""

import math
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer.feature.v1 import resources_pb2
from mltrainer.types.v1 import types_pb2
from mltrainer_features import EVENT_TIMES, UNIT_MEANINGS, TargetKind

from mltrainer_feature.application.collect_datasets import CollectionReport
from mltrainer_feature.application.queries import MAX_AGE, DescribedView, PageRequest, RowsPage, RowsQuery
from mltrainer_feature.domain.bars import KeptRefusal
from mltrainer_feature.domain.datasets import Dataset, DatasetSpec, DatasetState
from mltrainer_feature.domain.errors import InvalidRequestError, Violation
from mltrainer_feature.domain.imports import BarImport, ImportState
from mltrainer_feature.domain.universes import SymbolEdge, Universe
from mltrainer_feature.wire.times import read_time, write_time

_PREFIX = "TARGET_KIND_"
_TARGETS = {types_pb2.TargetKind.Value(_PREFIX + kind.value): kind for kind in TargetKind}
_DATASET_STATES = {
    DatasetState.CREATING: resources_pb2.Dataset.STATE_CREATING,
    DatasetState.ACTIVE: resources_pb2.Dataset.STATE_ACTIVE,
    DatasetState.FAILED: resources_pb2.Dataset.STATE_FAILED,
    DatasetState.CANCELLED: resources_pb2.Dataset.STATE_CANCELLED,
    DatasetState.COLLECTED: resources_pb2.Dataset.STATE_COLLECTED,
}
_IMPORT_STATES = {
    ImportState.RUNNING: resources_pb2.BarImport.STATE_RUNNING,
    ImportState.SUCCEEDED: resources_pb2.BarImport.STATE_SUCCEEDED,
    ImportState.FAILED: resources_pb2.BarImport.STATE_FAILED,
}


def to_spec(message: resources_pb2.DatasetSpec) -> DatasetSpec:
    """Reads a dataset specification; what is missing or unknown stays None for validation to refuse."""
    return DatasetSpec(
        tuple(message.symbols),
        tuple(message.feature_views),
        read_time(message, "as_of"),
        _TARGETS.get(message.target.kind),
        message.target.horizon_bars,
        read_time(message, "start_time"),
    )


def to_page(
    request: service_pb2.ListDatasetsRequest
    | service_pb2.ListFeatureViewsRequest
    | service_pb2.ListRefusedBarsRequest,
) -> PageRequest:
    """Reads which part of a list is asked for."""
    return PageRequest(request.page_size, request.page_token)


def to_rows_query(request: service_pb2.ListFeatureRowsRequest) -> RowsQuery:
    """Reads which rows are asked for.

    Raises:
        InvalidRequestError: A time lies outside the years that exist.
    """
    times = {name: read_time(request, name) for name in ("as_of", "start_time")}
    given = {field.name for field, _ in request.ListFields()}
    invalid = [name for name, moment in times.items() if moment is None and name in given]
    if invalid:
        raise InvalidRequestError(
            [Violation(name, "is no time between the years 1 and 9999") for name in invalid]
        )
    page = PageRequest(request.page_size, request.page_token)
    return RowsQuery(request.parent, request.symbol, times["as_of"], times["start_time"], page)


def from_view(view: DescribedView) -> resources_pb2.FeatureView:
    """Writes a view."""
    message = resources_pb2.FeatureView(
        name=f"featureViews/{view.state.name}",
        version=view.state.version,
        definition_digest=view.state.definition_digest,
        data_revision=view.state.data_revision,
        features=[
            resources_pb2.Feature(
                name=feature.name,
                description=f"{feature.description} {feature.formula}",
                unit=feature.unit.value,
                unit_meaning=UNIT_MEANINGS[feature.unit],
                times=EVENT_TIMES,
            )
            for feature in view.definition.features
        ],
        row_count=view.statistics.row_count,
    )
    message.max_age.FromTimedelta(MAX_AGE)
    if view.statistics.latest_event_time is not None:
        message.latest_event_time.CopyFrom(write_time(view.statistics.latest_event_time))
        message.age.FromTimedelta(view.now - view.statistics.latest_event_time)
    return message


def from_dataset(dataset: Dataset) -> resources_pb2.Dataset:
    """Writes a dataset."""
    return resources_pb2.Dataset(
        name=dataset.name,
        spec=_from_spec(dataset.spec),
        state=_DATASET_STATES[dataset.state],
        uri=dataset.uri,
        sha256=dataset.sha256,
        row_count=dataset.row_count,
        view_revisions=[
            resources_pb2.ViewRevision(
                feature_view=view.name,
                version=view.version,
                definition_digest=view.definition_digest,
                data_revision=view.data_revision,
            )
            for view in dataset.view_revisions
        ],
        feature_names=dataset.feature_names,
        create_time=write_time(dataset.create_time),
        error=dataset.error,
        progress=dataset.progress,
        etag=str(dataset.revision),
        universe=None if dataset.universe is None else _from_universe(dataset.universe),
    )


def from_collection(report: CollectionReport) -> service_pb2.CollectDatasetsResponse:
    """Writes what a collection has found."""
    return service_pb2.CollectDatasetsResponse(
        idle_count=report.idle_count,
        referenced_count=report.referenced_count,
        collected_count=report.collected_count,
        collected_bytes=report.collected_bytes,
        datasets=report.names,
    )


def _from_universe(universe: Universe) -> resources_pb2.Universe:
    return resources_pb2.Universe(
        first_event_time=_optional_time(universe.first_event_time),
        last_event_time=_optional_time(universe.last_event_time),
        began_symbols=map(_from_edge, universe.began),
        ended_symbols=map(_from_edge, universe.ended),
        symbols_without_bars=universe.without_bars,
        unadjusted_symbols=universe.unadjusted,
        statement=universe.statement(),
    )


def _from_edge(edge: SymbolEdge) -> resources_pb2.SymbolEdge:
    return resources_pb2.SymbolEdge(symbol=edge.symbol, event_time=write_time(edge.event_time))


def _optional_time(moment: datetime | None) -> Timestamp | None:
    return None if moment is None else write_time(moment)


def _from_spec(spec: DatasetSpec) -> resources_pb2.DatasetSpec:
    kind = types_pb2.TARGET_KIND_UNSPECIFIED
    if spec.target_kind is not None:
        kind = types_pb2.TargetKind.Value(_PREFIX + spec.target_kind.value)
    message = resources_pb2.DatasetSpec(
        symbols=spec.symbols,
        feature_views=spec.feature_views,
        target=types_pb2.Target(kind=kind, horizon_bars=spec.horizon_bars),
    )
    if spec.as_of is not None:
        message.as_of.CopyFrom(write_time(spec.as_of))
    if spec.start_time is not None:
        message.start_time.CopyFrom(write_time(spec.start_time))
    return message


def from_import(bar_import: BarImport) -> resources_pb2.BarImport:
    """Writes a bulk load."""
    return resources_pb2.BarImport(
        name=bar_import.name,
        sha256=bar_import.sha256,
        state=_IMPORT_STATES[bar_import.state],
        accepted_count=bar_import.accepted_count,
        refused_count=bar_import.refused_count,
        problems=bar_import.problems,
        error=bar_import.error,
        create_time=write_time(bar_import.create_time),
    )


def from_refused(kept: KeptRefusal) -> resources_pb2.RefusedBar:
    """Writes a refused bar; a number that is none is left out."""
    bar = kept.refusal
    message = resources_pb2.RefusedBar(
        name=f"refusedBars/{kept.number}",
        source=kept.source,
        symbol=bar.symbol or "",
        adjusted=bar.adjusted,
        reason=bar.reason,
        field=bar.field,
        refuse_time=write_time(kept.create_time),
    )
    for name in ("event_time", "knowledge_time"):
        if (moment := getattr(bar, name)) is not None:
            getattr(message, name).CopyFrom(write_time(moment))
    for name in ("close", "open", "high", "low", "volume"):
        if (value := getattr(bar, name)) is not None and math.isfinite(value):
            setattr(message, name, value)
    return message


def from_rows(page: RowsPage) -> service_pb2.ListFeatureRowsResponse:
    """Writes rows."""
    values = page.rows.select(page.feature_names).fill_null(float("nan")).to_numpy()
    times = page.rows.select("event_time", "created_time").iter_rows()
    return service_pb2.ListFeatureRowsResponse(
        feature_names=page.feature_names,
        rows=[
            service_pb2.FeatureRow(
                event_time=write_time(event_time), created_time=write_time(created_time), values=line.tolist()
            )
            for (event_time, created_time), line in zip(times, values, strict=True)
        ],
        next_page_token=page.next_token,
    )
