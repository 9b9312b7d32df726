"""Answers `mltrainer.feature.v1.FeatureService`."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from grpc.aio import ServicerContext
from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer.feature.v1 import resources_pb2
from mltrainer.feature.v1.feature_service_pb2_grpc import FeatureServiceServicer

from mltrainer_feature.application.collect_datasets import CollectDatasetsHandler
from mltrainer_feature.application.datasets import CancelDatasetHandler, CreateDatasetHandler
from mltrainer_feature.application.definitions import ApplyDefinitionsHandler, DefinitionQueries
from mltrainer_feature.application.import_bars import ImportBarsHandler
from mltrainer_feature.application.queries import Queries
from mltrainer_feature.application.refused_bars import ListRefusedBarsHandler, ReplayRefusedBarsHandler
from mltrainer_feature.application.skew import CompareServedVectorsHandler
from mltrainer_feature.wire.on_demand import from_applied, from_services, from_views, to_apply
from mltrainer_feature.wire.resources import (
    from_collection,
    from_dataset,
    from_import,
    from_refused,
    from_rows,
    from_view,
    to_page,
    to_rows_query,
    to_spec,
)
from mltrainer_feature.wire.skew import from_skew

_Context: TypeAlias = "ServicerContext[Any, Any]"


@dataclass(frozen=True, slots=True)
class FeatureUseCases:
    """What the calls lead to."""

    create_dataset: CreateDatasetHandler
    cancel_dataset: CancelDatasetHandler
    collect_datasets: CollectDatasetsHandler
    import_bars: ImportBarsHandler
    queries: Queries
    list_refused_bars: ListRefusedBarsHandler
    replay_refused_bars: ReplayRefusedBarsHandler
    compare_served_vectors: CompareServedVectorsHandler
    apply_definitions: ApplyDefinitionsHandler
    definition_queries: DefinitionQueries


class FeatureApi(FeatureServiceServicer):
    """Decodes, calls one use case, encodes."""

    def __init__(self, use_cases: FeatureUseCases) -> None:
        self._use_cases = use_cases

    async def CreateDataset(
        self, request: service_pb2.CreateDatasetRequest, context: _Context
    ) -> resources_pb2.Dataset:
        """Starts a dataset or returns the one of an equal specification."""
        return from_dataset(await self._use_cases.create_dataset(to_spec(request.spec)))

    async def GetDataset(
        self, request: service_pb2.GetDatasetRequest, context: _Context
    ) -> resources_pb2.Dataset:
        """Returns a dataset."""
        return from_dataset(await self._use_cases.queries.dataset(request.name))

    async def ListDatasets(
        self, request: service_pb2.ListDatasetsRequest, context: _Context
    ) -> service_pb2.ListDatasetsResponse:
        """Lists datasets, newest first."""
        page = await self._use_cases.queries.datasets(to_page(request))
        return service_pb2.ListDatasetsResponse(
            datasets=map(from_dataset, page.items), next_page_token=page.next_token
        )

    async def CancelDataset(
        self, request: service_pb2.CancelDatasetRequest, context: _Context
    ) -> resources_pb2.Dataset:
        """Stops writing a dataset."""
        return from_dataset(await self._use_cases.cancel_dataset(request.name))

    async def CollectDatasets(
        self, request: service_pb2.CollectDatasetsRequest, context: _Context
    ) -> service_pb2.CollectDatasetsResponse:
        """Removes the bytes of datasets that nobody refers to."""
        grace = request.grace.ToTimedelta() if request.HasField("grace") else None
        return from_collection(await self._use_cases.collect_datasets(dry_run=request.dry_run, grace=grace))

    async def GetFeatureView(
        self, request: service_pb2.GetFeatureViewRequest, context: _Context
    ) -> resources_pb2.FeatureView:
        """Returns a feature view."""
        return from_view(await self._use_cases.queries.feature_view(request.name))

    async def ListFeatureViews(
        self, request: service_pb2.ListFeatureViewsRequest, context: _Context
    ) -> service_pb2.ListFeatureViewsResponse:
        """Lists feature views by name."""
        page = await self._use_cases.queries.feature_views(to_page(request))
        return service_pb2.ListFeatureViewsResponse(
            feature_views=map(from_view, page.items), next_page_token=page.next_token
        )

    async def ListOnDemandFeatureViews(
        self, request: service_pb2.ListOnDemandFeatureViewsRequest, context: _Context
    ) -> service_pb2.ListOnDemandFeatureViewsResponse:
        """Lists views whose features are computed when they are read."""
        return from_views(await self._use_cases.definition_queries.views())

    async def ListFeatureServices(
        self, request: service_pb2.ListFeatureServicesRequest, context: _Context
    ) -> service_pb2.ListFeatureServicesResponse:
        """Lists feature services that were applied."""
        return from_services(await self._use_cases.definition_queries.services())

    async def ApplyFeatureDefinitions(
        self, request: service_pb2.ApplyFeatureDefinitionsRequest, context: _Context
    ) -> service_pb2.ApplyFeatureDefinitionsResponse:
        """Makes on-demand views and feature services what they are declared to be."""
        return from_applied(await self._use_cases.apply_definitions(to_apply(request)))

    async def ListFeatureRows(
        self, request: service_pb2.ListFeatureRowsRequest, context: _Context
    ) -> service_pb2.ListFeatureRowsResponse:
        """Lists rows of one symbol as they were known at a time."""
        return from_rows(await self._use_cases.queries.rows(to_rows_query(request)))

    async def ImportBars(
        self, request: service_pb2.ImportBarsRequest, context: _Context
    ) -> resources_pb2.BarImport:
        """Starts a bulk load of bars."""
        return from_import(await self._use_cases.import_bars(request.sha256))

    async def GetBarImport(
        self, request: service_pb2.GetBarImportRequest, context: _Context
    ) -> resources_pb2.BarImport:
        """Returns a bulk load."""
        return from_import(await self._use_cases.queries.bar_import(request.name))

    async def ListRefusedBars(
        self, request: service_pb2.ListRefusedBarsRequest, context: _Context
    ) -> service_pb2.ListRefusedBarsResponse:
        """Lists bars that were kept out, newest first."""
        page = await self._use_cases.list_refused_bars(to_page(request), request.symbol, request.reason)
        return service_pb2.ListRefusedBarsResponse(
            refused_bars=map(from_refused, page.items), next_page_token=page.next_token
        )

    async def ReplayRefusedBars(
        self, request: service_pb2.ReplayRefusedBarsRequest, context: _Context
    ) -> service_pb2.ReplayRefusedBarsResponse:
        """Judges refused bars again."""
        replayed = await self._use_cases.replay_refused_bars(request.names)
        return service_pb2.ReplayRefusedBarsResponse(
            accepted_count=replayed.accepted_count, refused_bars=map(from_refused, replayed.refused)
        )

    async def CompareServedVectors(
        self, request: service_pb2.CompareServedVectorsRequest, context: _Context
    ) -> service_pb2.CompareServedVectorsResponse:
        """Compares served vectors with what was known."""
        return from_skew(await self._use_cases.compare_served_vectors(request.max_vectors, request.version))
