"""Puts the experiment service together."""

from functools import partial

from flagd.evaluation.v1.evaluation_pb2_grpc import add_ServiceServicer_to_server as add_flags_v1
from flagd.evaluation.v2.evaluation_pb2_grpc import add_ServiceServicer_to_server as add_flags_v2
from mltrainer.experiment.v1.experiment_service_pb2_grpc import add_ExperimentServiceServicer_to_server
from mltrainer_common.database import Database, open_database
from mltrainer_common.ids import new_id
from mltrainer_common.migrations import migrate
from mltrainer_common.rpc_server import ServerLimits, Servicer
from mltrainer_common.service import ServiceContext, ServiceParts
from mltrainer_common.settings import default_database_url
from mltrainer_messaging.broker import EventBroker
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.relay import OutboxRelay
from mltrainer_messaging.transactions import EventTransactions

from mltrainer_experiment.adapters.reader import SqlExperimentReader
from mltrainer_experiment.adapters.unit_of_work import SqlExposureWriter, SqlUnitOfWorkFactory
from mltrainer_experiment.application.assign_unit import (
    AssignUnitHandler,
    FollowFlagsHandler,
    ResolveAllFlagsHandler,
    ResolveFlagHandler,
)
from mltrainer_experiment.application.define_experiment import (
    CreateExperimentHandler,
    StartExperimentHandler,
    StopExperimentHandler,
)
from mltrainer_experiment.application.judge_experiment import (
    DecideExperimentsHandler,
    GetExperimentHandler,
    GetResultHandler,
    JudgeExperiment,
)
from mltrainer_experiment.application.log_exposures import ExposureLog
from mltrainer_experiment.application.ports import Clock
from mltrainer_experiment.application.record_observations import (
    RecordExposuresHandler,
    RecordOutcomesHandler,
)
from mltrainer_experiment.application.split_table import RefreshSplits, SplitTable
from mltrainer_experiment.entrypoints.events import consumer_group
from mltrainer_experiment.entrypoints.experiment_api import ExperimentApi, ExperimentUseCases
from mltrainer_experiment.entrypoints.flag_api import FlagApiV1, FlagApiV2, FlagUseCases
from mltrainer_experiment.entrypoints.loops import decide, repeat
from mltrainer_experiment.settings import ExperimentSettings
from mltrainer_experiment.wire.errors import to_rpc_error
from mltrainer_experiment.wire.events import PUBLISHED, to_message
from mltrainer_experiment.wire.roles import ROLES

# Event streams never end by themselves: waiting longer for them would only delay a restart.
_LIMITS = ServerLimits(grace_s=3.0)


async def assemble(
    context: ServiceContext, settings: ExperimentSettings, broker: EventBroker | None = None
) -> ServiceParts:
    """Builds the service from its settings and starts nothing; tests give a broker in memory."""
    platform, slug = context.platform, context.slug
    url = settings.database_url or default_database_url(platform.data_directory, slug)
    await migrate(url, "mltrainer_experiment.adapters.migrations")
    database = await context.stack.enter_async_context(open_database(url))
    instruments = EventInstruments(context.telemetry.registry, context.telemetry.tracer)
    if broker is None:
        kafka = KafkaBroker(platform.kafka_bootstrap_servers, f"{slug}-{platform.instance}", instruments)
        broker = await context.stack.enter_async_context(kafka)
    signal = OutboxSignal()
    unit_of_work = SqlUnitOfWorkFactory(EventTransactions(database, slug, signal, encode=to_message))
    reader, table = SqlExperimentReader(database), SplitTable()
    refresh = RefreshSplits(table, reader)
    await refresh()
    judge = JudgeExperiment(reader, context.clock, settings.minimum_days)
    decider = DecideExperimentsHandler(unit_of_work, table, judge, context.clock)
    group = consumer_group(
        slug,
        platform.instance,
        database,
        RecordExposuresHandler(unit_of_work),
        RecordOutcomesHandler(unit_of_work),
    )
    relay = OutboxRelay(
        database,
        broker,
        signal,
        PUBLISHED,
        service=slug,
        instance=platform.instance,
        instruments=instruments,
    )
    return ServiceParts(
        servicers=_servicers(database, unit_of_work, table, judge, context.clock),
        roles=ROLES,
        map_error=to_rpc_error,
        background={
            "relay": relay.run,
            "consumer": partial(broker.consume, group),
            "decider": partial(repeat, partial(decide, decider), settings.decide_interval_s),
            "refresh": partial(repeat, refresh, settings.refresh_interval_s),
        },
        limits=_LIMITS,
    )


def _servicers(
    database: Database,
    unit_of_work: SqlUnitOfWorkFactory,
    table: SplitTable,
    judge: JudgeExperiment,
    clock: Clock,
) -> list[Servicer]:
    reader = SqlExperimentReader(database)
    assign = AssignUnitHandler(table, ExposureLog(SqlExposureWriter(database)), clock)
    experiments = ExperimentUseCases(
        create=CreateExperimentHandler(unit_of_work, table, new_id),
        start=StartExperimentHandler(unit_of_work, table, clock),
        stop=StopExperimentHandler(unit_of_work, table, judge, clock),
        assign=assign,
        get_result=GetResultHandler(reader, judge),
        get=GetExperimentHandler(reader),
        reader=reader,
    )
    flags = FlagUseCases(
        ResolveFlagHandler(table, assign), ResolveAllFlagsHandler(table), FollowFlagsHandler(table)
    )
    return [
        partial(add_ExperimentServiceServicer_to_server, ExperimentApi(experiments)),
        partial(add_flags_v1, FlagApiV1(flags)),
        partial(add_flags_v2, FlagApiV2(flags)),
    ]
