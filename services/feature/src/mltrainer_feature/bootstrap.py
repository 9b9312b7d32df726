"""Puts feature together."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from mltrainer.feature.v1.events_pb2 import FeaturesMaterialized, ViewRevised
from mltrainer.feature.v1.feature_service_pb2_grpc import add_FeatureServiceServicer_to_server
from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from mltrainer.trainer.v1.trainer_service_pb2_grpc import TrainerServiceStub
from mltrainer_common.content_store import ContentStore
from mltrainer_common.database import Database, DatabaseDialect, open_database, retry_conflicts
from mltrainer_common.errors import StartupError
from mltrainer_common.migrations import migrate
from mltrainer_common.service import ServiceContext, ServiceParts
from mltrainer_common.settings import PlatformSettings, default_database_url
from mltrainer_messaging.broker import EventBroker
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.progress import ProgressStore
from mltrainer_messaging.relay import OutboxRelay
from mltrainer_messaging.transactions import EventTransactions

from mltrainer_feature.adapters.dataset_references import RpcDatasetReferences
from mltrainer_feature.adapters.drop_folder import LocalDropFolder
from mltrainer_feature.adapters.file_progress import FileProgress
from mltrainer_feature.adapters.files import StoredFiles
from mltrainer_feature.adapters.online_rows import CachedOnlineRows, RowLayout
from mltrainer_feature.adapters.redis_connection import RedisAddress, RedisConnection
from mltrainer_feature.adapters.redis_rows import RedisOnlineRows, RedisOnlineStore
from mltrainer_feature.adapters.registry_file import ServedSchemas
from mltrainer_feature.adapters.served_vectors import SqlServedVectors
from mltrainer_feature.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_feature.application.collect_datasets import CollectDatasetsHandler
from mltrainer_feature.application.datasets import (
    CancelDatasetHandler,
    CreateDatasetHandler,
    WriteNextDataset,
)
from mltrainer_feature.application.definitions import (
    ApplyDefinitionsHandler,
    DefinitionQueries,
    FollowDefinitions,
)
from mltrainer_feature.application.import_bars import ImportBarsHandler, RunNextImport
from mltrainer_feature.application.open_store import OpenStoreHandler
from mltrainer_feature.application.ports import OnlineRows, OnlineStore
from mltrainer_feature.application.queries import Queries
from mltrainer_feature.application.read_online import ReadOnlineHandler
from mltrainer_feature.application.record_bars import RecordBarsHandler
from mltrainer_feature.application.refused_bars import ListRefusedBarsHandler, ReplayRefusedBarsHandler
from mltrainer_feature.application.skew import CompareServedVectorsHandler, RecordServedVectorsHandler
from mltrainer_feature.application.take_files import TakeDroppedFiles
from mltrainer_feature.application.wakeup import Wakeup
from mltrainer_feature.domain.errors import UnreadableRegistryError
from mltrainer_feature.domain.exchanges import Exchanges, InvalidExchangesError, parse_exchanges
from mltrainer_feature.entrypoints.events import consumer_group
from mltrainer_feature.entrypoints.feast_api import FeastServingApi, add_feast_api
from mltrainer_feature.entrypoints.grpc_api import FeatureApi, FeatureUseCases
from mltrainer_feature.entrypoints.instruments import FeatureInstruments
from mltrainer_feature.entrypoints.online_api import OnlineFeatureApi, add_online_api
from mltrainer_feature.entrypoints.served_vectors import served_vectors_group, watch_skew
from mltrainer_feature.entrypoints.workers import (
    collect_datasets,
    follow_definitions,
    follow_online_rows,
    follow_registry,
    run_imports,
    take_files,
    watch_ages,
    write_datasets,
)
from mltrainer_feature.settings import FeatureSettings
from mltrainer_feature.wire.errors import to_rpc_error
from mltrainer_feature.wire.events import to_message
from mltrainer_feature.wire.feast_registry import REGISTRY_FILE, read_schema
from mltrainer_feature.wire.online_format import StoredTimes
from mltrainer_feature.wire.roles import ROLES


async def assemble(
    context: ServiceContext, settings: FeatureSettings, broker: EventBroker | None = None
) -> ServiceParts:
    """Builds feature from its settings and brings its store up to date; tests give a broker in memory."""
    platform, slug = context.platform, context.slug
    url = settings.database_url or default_database_url(platform.data_directory, slug)
    await migrate(url, "mltrainer_feature.adapters.migrations")
    database = await context.stack.enter_async_context(open_database(url))
    instruments = EventInstruments(context.telemetry.registry, context.telemetry.tracer)
    if broker is None:
        kafka = KafkaBroker(platform.kafka_bootstrap_servers, f"{slug}-{platform.instance}", instruments)
        broker = await context.stack.enter_async_context(kafka)
    signal = OutboxSignal()
    relay = OutboxRelay(
        database,
        broker,
        signal,
        [FeaturesMaterialized, ViewRevised],
        service=slug,
        instance=platform.instance,
        instruments=instruments,
    )
    unit_of_work = SqlUnitOfWorkFactory(
        EventTransactions(database, slug, signal, encode=to_message), database
    )
    parts = await _FeatureParts.open(context, settings, unit_of_work)
    return parts.service_parts(database, broker, relay)


class _FeatureParts:
    """The use cases, over one unit of work."""

    def __init__(
        self,
        context: ServiceContext,
        settings: FeatureSettings,
        unit_of_work: SqlUnitOfWorkFactory,
        exchanges: Exchanges,
    ) -> None:
        market_clock = context.market_clock
        files = _files(context.platform, settings)
        self._instance = context.platform.instance
        self._collection_interval_s = settings.dataset_collection_interval_s
        self._instruments = FeatureInstruments(context.telemetry.registry)
        online = _OnlineParts.make(context, settings, unit_of_work)
        self._online, self._schemas = online.rows, online.schemas
        self._dataset_wakeup, self._import_wakeup = Wakeup(), Wakeup()
        delay = timedelta(seconds=settings.decision_delay_s)
        self._open_store = OpenStoreHandler(unit_of_work, self._online, delay)
        self._record_bars = RecordBarsHandler(unit_of_work, self._online, market_clock, exchanges)
        self._write_dataset = WriteNextDataset(unit_of_work, files)
        self._run_import = RunNextImport(unit_of_work, files, self._online, market_clock, exchanges)
        self._read_online = ReadOnlineHandler(online.store, market_clock, StoredTimes())
        served = SqlServedVectors(unit_of_work.database)
        self._record_served = RecordServedVectorsHandler(served, settings.skew_share, settings.skew_vectors)
        import_bars = ImportBarsHandler(unit_of_work, files, context.clock, self._import_wakeup)
        self._take_files = _take_files(settings, files.store, import_bars, unit_of_work)
        self._use_cases = FeatureUseCases(
            CreateDatasetHandler(
                unit_of_work, files, context.clock, market_clock, self._dataset_wakeup, _own_services()
            ),
            CancelDatasetHandler(unit_of_work),
            _collect_datasets(context, settings, unit_of_work, files, self._instruments),
            import_bars,
            Queries(unit_of_work, market_clock),
            ListRefusedBarsHandler(unit_of_work),
            ReplayRefusedBarsHandler(unit_of_work, self._online, market_clock, exchanges),
            CompareServedVectorsHandler(served),
            ApplyDefinitionsHandler(unit_of_work, self._schemas),
            DefinitionQueries(unit_of_work),
        )
        self._follow_definitions = FollowDefinitions(unit_of_work, self._schemas)

    @classmethod
    async def open(
        cls, context: ServiceContext, settings: FeatureSettings, unit_of_work: SqlUnitOfWorkFactory
    ) -> "_FeatureParts":
        parts = cls(context, settings, unit_of_work, await _exchanges(settings))
        try:
            await parts._schemas.refresh()
        except UnreadableRegistryError as error:
            raise StartupError(f"MLTRAINER_FEATURE_ONLINE_REGISTRY: {error}") from error
        await retry_conflicts(parts._open_store.__call__)
        await parts._follow_definitions()
        return parts

    def service_parts(self, database: Database, broker: EventBroker, relay: OutboxRelay) -> ServiceParts:
        group = consumer_group(self._instance, database, self._record_bars, _progress(database))
        served_group = served_vectors_group(self._instance, database, self._record_served)
        return ServiceParts(
            servicers=[
                partial(add_FeatureServiceServicer_to_server, FeatureApi(self._use_cases)),
                partial(add_feast_api, FeastServingApi(self._read_online, self._schemas)),
                partial(add_online_api, OnlineFeatureApi(self._read_online, self._schemas)),
            ],
            roles=ROLES,
            map_error=to_rpc_error,
            background={
                "relay": relay.run,
                "consumer": lambda: broker.consume(group),
                "served_vectors": lambda: broker.consume(served_group),
                "skew": lambda: watch_skew(self._use_cases.compare_served_vectors, self._instruments),
                "datasets": lambda: write_datasets(self._write_dataset, self._dataset_wakeup),
                "imports": lambda: run_imports(self._run_import, self._import_wakeup),
                "online": lambda: follow_online_rows(self._online),
                "registry": lambda: follow_registry(self._schemas),
                "definitions": lambda: follow_definitions(self._follow_definitions),
                "ages": lambda: watch_ages(self._use_cases.queries, self._instruments),
                **self._drop_folder(),
                **self._collection(),
            },
        )

    def _collection(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        collect, interval_s = self._use_cases.collect_datasets, self._collection_interval_s
        return {"collection": lambda: collect_datasets(collect, interval_s)} if interval_s else {}

    def _drop_folder(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        take = self._take_files
        return {} if take is None else {"drop_folder": lambda: take_files(take)}


@dataclass(frozen=True, slots=True)
class _OnlineParts:
    """Where online rows are kept, who brings them there, and what of them can be read."""

    store: OnlineStore
    rows: OnlineRows
    schemas: ServedSchemas

    @classmethod
    def make(
        cls, context: ServiceContext, settings: FeatureSettings, unit_of_work: SqlUnitOfWorkFactory
    ) -> "_OnlineParts":
        own = read_schema(REGISTRY_FILE.read_bytes())
        schemas = ServedSchemas(own, settings.online_registry)
        if settings.redis_url is not None:
            try:
                connection = RedisConnection(RedisAddress.parse(settings.redis_url.get_secret_value()))
            except ValueError as error:
                raise StartupError(f"MLTRAINER_FEATURE_REDIS_URL: {error}") from error
            context.stack.push_async_callback(connection.close)
            rows = RedisOnlineRows(unit_of_work, RowLayout(own), connection)
            return cls(RedisOnlineStore(connection), rows, schemas)
        if settings.online_registry is not None:
            raise StartupError("MLTRAINER_FEATURE_ONLINE_REGISTRY needs MLTRAINER_FEATURE_REDIS_URL")
        cached = CachedOnlineRows(unit_of_work, RowLayout(own))
        return cls(cached, cached, schemas)


def _own_services() -> dict[str, tuple[str, ...]]:
    services = read_schema(REGISTRY_FILE.read_bytes()).services
    return {
        name: tuple(f"{feature.view.name}:{feature.name}" for feature in features)
        for name, features in services.items()
    }


async def _exchanges(settings: FeatureSettings) -> Exchanges:
    try:
        return await asyncio.to_thread(parse_exchanges, settings.exchanges)
    except InvalidExchangesError as error:
        raise StartupError(f"MLTRAINER_FEATURE_EXCHANGES: {error}") from error


def _take_files(
    settings: FeatureSettings,
    content: ContentStore,
    import_bars: ImportBarsHandler,
    unit_of_work: SqlUnitOfWorkFactory,
) -> TakeDroppedFiles | None:
    if settings.drop_folder is None:
        return None
    if not settings.drop_folder.is_dir():
        raise StartupError(f"MLTRAINER_FEATURE_DROP_FOLDER: {settings.drop_folder} is no folder")
    return TakeDroppedFiles(
        LocalDropFolder(settings.drop_folder, content),
        import_bars,
        unit_of_work,
        monotonic_s=time.monotonic,
        settle_s=settings.drop_settle_s,
        max_bytes=settings.import_max_bytes,
    )


def _collect_datasets(
    context: ServiceContext,
    settings: FeatureSettings,
    unit_of_work: SqlUnitOfWorkFactory,
    files: StoredFiles,
    instruments: FeatureInstruments,
) -> CollectDatasetsHandler:
    references = RpcDatasetReferences(
        TrainerServiceStub(context.channel("trainer")), RegistryServiceStub(context.channel("registry"))
    )
    return CollectDatasetsHandler(
        unit_of_work,
        files,
        references,
        context.clock,
        timedelta(seconds=settings.dataset_grace_s),
        timedelta(seconds=settings.least_dataset_grace_s),
        instruments,
    )


def _files(platform: PlatformSettings, settings: FeatureSettings) -> StoredFiles:
    url = settings.artifact_url or str(platform.data_directory / "artifacts")
    close_offset = timedelta(seconds=settings.bar_close_offset_s)
    return StoredFiles(ContentStore(url), close_offset, settings.import_max_bytes)


def _progress(database: Database) -> ProgressStore | None:
    if database.dialect is not DatabaseDialect.SQLITE:
        return None
    return FileProgress(Path(database.writer.url.database or "").with_name("progress"))
