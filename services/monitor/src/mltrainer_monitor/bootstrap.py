"""Puts monitor together."""

from functools import partial
from importlib.resources import files

from mltrainer.monitor.v1.monitor_service_pb2_grpc import add_MonitorServiceServicer_to_server
from mltrainer_common.content_store import ContentStore
from mltrainer_common.database import open_database
from mltrainer_common.errors import StartupError
from mltrainer_common.migrations import migrate
from mltrainer_common.service import ServiceContext, ServiceParts
from mltrainer_common.settings import DiscoveryKind, PlatformSettings, default_database_url
from mltrainer_messaging.broker import EventBroker
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.relay import OutboxRelay
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_models import model_store_url

from mltrainer_monitor.adapters.reference_store import ContentStoreReferences
from mltrainer_monitor.adapters.scrape_targets import ConsulTargets, EndpointsFileTargets
from mltrainer_monitor.adapters.scraper import HttpServiceScraper, ScrapeTargets
from mltrainer_monitor.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_monitor.application.browse import Browse
from mltrainer_monitor.application.evaluate_drift import EvaluateDriftHandler
from mltrainer_monitor.application.observe_services import CountCallsHandler, JudgeObjectivesHandler
from mltrainer_monitor.application.record import (
    RecordLabelsHandler,
    RecordPredictionsHandler,
    RecordVersionHandler,
)
from mltrainer_monitor.domain.objectives import Indicator, Objective
from mltrainer_monitor.entrypoints.events import EventHandlers, consumer_group
from mltrainer_monitor.entrypoints.grpc_api import MonitorApi
from mltrainer_monitor.entrypoints.loops import DriftLoop, JudgeLoop, ObserveLoop, RetentionLoop
from mltrainer_monitor.settings import MonitorSettings
from mltrainer_monitor.wire.errors import to_rpc_error
from mltrainer_monitor.wire.events import PUBLISHED, to_message
from mltrainer_monitor.wire.objectives import to_objectives
from mltrainer_monitor.wire.roles import ROLES


async def assemble(
    context: ServiceContext, settings: MonitorSettings, broker: EventBroker | None = None
) -> ServiceParts:
    """Builds monitor from its settings and starts nothing; tests give a broker in memory."""
    platform, clock = context.platform, context.clock
    objectives = _objectives(settings)
    url = settings.database_url or default_database_url(platform.data_directory, context.slug)
    await migrate(url, "mltrainer_monitor.adapters.migrations")
    database = await context.stack.enter_async_context(open_database(url))
    instruments = EventInstruments(context.telemetry.registry, context.telemetry.tracer)
    if broker is None:
        client_id = f"{context.slug}-{platform.instance}"
        kafka = KafkaBroker(platform.kafka_bootstrap_servers, client_id, instruments)
        broker = await context.stack.enter_async_context(kafka)
    signal = OutboxSignal()
    transactions = EventTransactions(database, context.slug, signal, encode=to_message, clock=clock)
    unit_of_work = SqlUnitOfWorkFactory(database, transactions)
    handlers = EventHandlers(
        RecordVersionHandler(unit_of_work),
        RecordPredictionsHandler(unit_of_work),
        RecordLabelsHandler(unit_of_work),
    )
    group = consumer_group(platform.instance, database, handlers)
    relay = OutboxRelay(
        database,
        broker,
        signal,
        PUBLISHED,
        service=context.slug,
        instance=platform.instance,
        instruments=instruments,
    )
    artifact_url = settings.artifact_url or str(platform.data_directory / "artifacts")
    store = ContentStore(model_store_url(artifact_url))
    evaluate = EvaluateDriftHandler(
        unit_of_work, ContentStoreReferences(store), clock, settings.drift_level, settings.window_rows
    )
    count = CountCallsHandler(unit_of_work, _scraper(platform, settings, objectives), clock)
    judge = JudgeObjectivesHandler(unit_of_work, objectives, clock)
    retention = RetentionLoop(
        unit_of_work, database, clock, settings.retention_interval_s, settings.history_rows
    )
    browse = Browse(unit_of_work, objectives, clock)
    return ServiceParts(
        servicers=[partial(add_MonitorServiceServicer_to_server, MonitorApi(browse))],
        roles=ROLES,
        map_error=to_rpc_error,
        background={
            "relay": relay.run,
            "consumer": partial(broker.consume, group),
            "observe": ObserveLoop(count, settings.scrape_interval_s).run,
            "judge": JudgeLoop(judge, settings.judge_interval_s).run,
            "drift": DriftLoop(evaluate, settings.drift_interval_s).run,
            "retention": retention.run,
        },
    )


def _objectives(settings: MonitorSettings) -> tuple[Objective, ...]:
    packaged = files("mltrainer_monitor.wire") / "objectives.toml"
    try:
        return to_objectives((settings.objectives_file or packaged).read_text())
    except (OSError, ValueError) as error:
        raise StartupError(f"MLTRAINER_MONITOR_OBJECTIVES_FILE: {error}") from error


def _scraper(
    platform: PlatformSettings, settings: MonitorSettings, objectives: tuple[Objective, ...]
) -> HttpServiceScraper:
    thresholds = {one.service: one.threshold_ms for one in objectives if one.indicator is Indicator.LATENCY}
    return HttpServiceScraper(_targets(platform), thresholds, settings.scrape_timeout_s)


def _targets(platform: PlatformSettings) -> ScrapeTargets:
    if platform.discovery is DiscoveryKind.STATIC:
        return EndpointsFileTargets(platform.endpoints_file)
    from mltrainer_common.consul_discovery import consul_client

    return ConsulTargets(lambda: consul_client(platform.consul_address))
