"""Puts cost-optimizer together."""

from functools import partial

from mltrainer.cost_optimizer.v1.cost_optimizer_service_pb2_grpc import (
    add_CostOptimizerServiceServicer_to_server,
)
from mltrainer_common.database import open_database
from mltrainer_common.errors import StartupError
from mltrainer_common.migrations import migrate
from mltrainer_common.service import ServiceContext, ServiceParts
from mltrainer_common.settings import default_database_url
from mltrainer_messaging.broker import EventBroker
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.relay import OutboxRelay
from mltrainer_messaging.transactions import EventTransactions

from mltrainer_cost_optimizer.adapters.price_file import read_price_file
from mltrainer_cost_optimizer.adapters.reader import SqlLedgerReader
from mltrainer_cost_optimizer.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_cost_optimizer.application.answer import GetBillHandler, ListChargesHandler, ListWasteHandler
from mltrainer_cost_optimizer.application.record_events import RecordEventsHandler
from mltrainer_cost_optimizer.domain.errors import InvalidPriceFileError
from mltrainer_cost_optimizer.domain.prices import PriceList
from mltrainer_cost_optimizer.domain.waste import Thresholds
from mltrainer_cost_optimizer.entrypoints.cost_api import CostApi, CostUseCases
from mltrainer_cost_optimizer.entrypoints.events import consumer_group
from mltrainer_cost_optimizer.settings import CostOptimizerSettings
from mltrainer_cost_optimizer.wire.errors import to_rpc_error
from mltrainer_cost_optimizer.wire.events import PUBLISHED, to_message
from mltrainer_cost_optimizer.wire.roles import ROLES


async def assemble(
    context: ServiceContext, settings: CostOptimizerSettings, broker: EventBroker | None = None
) -> ServiceParts:
    """Builds the service from its settings and starts nothing; tests give a broker in memory."""
    platform, slug = context.platform, context.slug
    prices = _prices(settings)
    url = settings.database_url or default_database_url(platform.data_directory, slug)
    await migrate(url, "mltrainer_cost_optimizer.adapters.migrations")
    database = await context.stack.enter_async_context(open_database(url))
    instruments = EventInstruments(context.telemetry.registry, context.telemetry.tracer)
    if broker is None:
        kafka = KafkaBroker(platform.kafka_bootstrap_servers, f"{slug}-{platform.instance}", instruments)
        broker = await context.stack.enter_async_context(kafka)
    signal = OutboxSignal()
    unit_of_work = SqlUnitOfWorkFactory(EventTransactions(database, slug, signal, encode=to_message))
    record = RecordEventsHandler(unit_of_work, prices, _thresholds(settings), context.clock)
    relay = OutboxRelay(
        database,
        broker,
        signal,
        PUBLISHED,
        service=slug,
        instance=platform.instance,
        instruments=instruments,
    )
    reader = SqlLedgerReader(database)
    api = CostApi(
        CostUseCases(
            GetBillHandler(reader, context.clock),
            ListChargesHandler(reader, context.clock),
            ListWasteHandler(reader),
        )
    )
    group = consumer_group(slug, platform.instance, database, record)
    return ServiceParts(
        servicers=[partial(add_CostOptimizerServiceServicer_to_server, api)],
        roles=ROLES,
        map_error=to_rpc_error,
        background={"relay": relay.run, "consumer": partial(broker.consume, group)},
    )


def _prices(settings: CostOptimizerSettings) -> PriceList:
    try:
        return read_price_file(settings.price_file)
    except InvalidPriceFileError as error:
        sentence = f"{error.path} {error.description}: correct MLTRAINER_COST_OPTIMIZER_PRICE_FILE."
        raise StartupError(sentence) from error


def _thresholds(settings: CostOptimizerSettings) -> Thresholds:
    return Thresholds(
        used_share=settings.idle_used_share,
        open_us=round(settings.idle_after_s * 1e6),
        closed_us=round(settings.idle_closed_after_s * 1e6),
        closing_gap_us=round(settings.idle_closing_gap_s * 1e6),
    )
