"""Puts the trainer together."""

from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from mltrainer.scheduler.v1.events_pb2 import TrainingPlaced, TrainingPreempted, TrainingRequested
from mltrainer.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from mltrainer.trainer.v1.retraining_service_pb2_grpc import add_RetrainingServiceServicer_to_server
from mltrainer.trainer.v1.trainer_service_pb2_grpc import (
    add_AttemptReportServiceServicer_to_server,
    add_TrainerServiceServicer_to_server,
)
from mltrainer_common.database import Database, open_database
from mltrainer_common.migrations import migrate
from mltrainer_common.service import Loop, ServiceContext, ServiceParts
from mltrainer_common.settings import default_database_url
from mltrainer_messaging.broker import EventBroker
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.relay import OutboxRelay
from mltrainer_messaging.subscriptions import ConsumerGroup, Subscription, subscribe
from mltrainer_messaging.transactions import EventTransactions

from mltrainer_trainer.adapters.code_identity import code_identity, sources_file
from mltrainer_trainer.adapters.model_release import released_models
from mltrainer_trainer.adapters.queries import SqlTrainerQueries
from mltrainer_trainer.adapters.scheduler_leases import RpcAllocationLeases
from mltrainer_trainer.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_trainer.application.accept_placement import AcceptPlacementHandler
from mltrainer_trainer.application.announce import AnnounceReleaseHandler, ReportNodesHandler
from mltrainer_trainer.application.lease_book import LeaseBook
from mltrainer_trainer.application.list_finished_steps import ListFinishedStepsHandler
from mltrainer_trainer.application.preempt_attempt import PreemptAttemptHandler
from mltrainer_trainer.application.prune_attempts import PruneAttemptsHandler
from mltrainer_trainer.application.record_trials import RecordTrialsHandler
from mltrainer_trainer.application.renew_leases import RenewLeasesHandler
from mltrainer_trainer.application.report_attempt import (
    ReportFailureHandler,
    ReportProgressHandler,
    ReportSuccessHandler,
)
from mltrainer_trainer.application.sample_usage import SampleUsageHandler
from mltrainer_trainer.application.supervise_attempts import SuperviseAttemptsHandler
from mltrainer_trainer.domain.release import Release
from mltrainer_trainer.entrypoints.events import OnTrainingPlaced, OnTrainingPreempted
from mltrainer_trainer.entrypoints.loops import (
    PruningLoop,
    RenewalLoop,
    ReportLoop,
    RetrainingLoop,
    SupervisionLoop,
)
from mltrainer_trainer.entrypoints.report_api import AttemptReportApi
from mltrainer_trainer.entrypoints.retraining_api import RetrainingApi
from mltrainer_trainer.entrypoints.trainer_api import TrainerApi
from mltrainer_trainer.entrypoints.wakeup import Wakeup
from mltrainer_trainer.execution_bootstrap import Execution, open_execution
from mltrainer_trainer.retraining_bootstrap import open_retrainings
from mltrainer_trainer.settings import TrainerSettings
from mltrainer_trainer.wire.errors import to_rpc_error
from mltrainer_trainer.wire.events import PUBLISHED, to_event
from mltrainer_trainer.wire.roles import ROLES

_MIGRATIONS = "mltrainer_trainer.adapters.migrations"
_RENEW = "/mltrainer.scheduler.v1.SchedulerService/RenewAllocations"


async def assemble(
    context: ServiceContext, settings: TrainerSettings, broker: EventBroker | None = None
) -> ServiceParts:
    """Builds the trainer from its settings and starts nothing; tests give a broker in memory."""
    platform, slug = context.platform, context.slug
    url = settings.database_url or default_database_url(platform.data_directory, slug)
    await migrate(url, _MIGRATIONS)
    database = await context.stack.enter_async_context(open_database(url))
    instruments = EventInstruments(context.telemetry.registry, context.telemetry.tracer)
    if broker is None:
        kafka = KafkaBroker(platform.kafka_bootstrap_servers, f"{slug}-{platform.instance}", instruments)
        broker = await context.stack.enter_async_context(kafka)
    signal = OutboxSignal()
    transactions = EventTransactions(database, slug, signal, to_event, context.clock)
    retrainings = open_retrainings(context, database, signal)
    wakeup = Wakeup()
    execution = await open_execution(context, settings, wakeup.set)
    node = _Node(
        context,
        settings,
        execution,
        SqlUnitOfWorkFactory(transactions),
        SqlTrainerQueries(database, execution.nodes),
        wakeup,
    )
    code = code_identity(sources_file(platform.data_directory))
    release = Release(execution.trainer, code, released_models(), _now_ms(context))
    relay = OutboxRelay(
        database,
        broker,
        signal,
        (*PUBLISHED, TrainingRequested),
        service=slug,
        instance=platform.instance,
        instruments=instruments,
    )
    return ServiceParts(
        servicers=[
            partial(add_TrainerServiceServicer_to_server, TrainerApi(node.queries, release)),
            partial(add_AttemptReportServiceServicer_to_server, _report_api(node)),
            partial(add_RetrainingServiceServicer_to_server, RetrainingApi(retrainings)),
        ],
        roles=ROLES,
        map_error=to_rpc_error,
        background={
            "relay": relay.run,
            "consumer": partial(broker.consume, _consumer_group(node, database, retrainings.subscriptions())),
            "retrainings": RetrainingLoop(retrainings.turn, settings.retraining_interval_s).run,
            **_loops(node, release),
            **execution.background,
        },
    )


@dataclass(frozen=True, slots=True)
class _Node:
    """What the parts of this trainer share."""

    context: ServiceContext
    settings: TrainerSettings
    execution: Execution
    unit_of_work: SqlUnitOfWorkFactory
    queries: SqlTrainerQueries
    wakeup: Wakeup
    leases: LeaseBook = field(default_factory=LeaseBook)


def _consumer_group(node: _Node, database: Database, further: tuple[Subscription, ...]) -> ConsumerGroup:
    clock = node.context.clock
    return ConsumerGroup(
        name=f"mltrainer-{node.context.slug}",
        instance=node.context.platform.instance,
        database=database,
        subscriptions=(
            subscribe(
                TrainingPlaced,
                OnTrainingPlaced(AcceptPlacementHandler(node.unit_of_work, clock), node.wakeup),
            ),
            subscribe(
                TrainingPreempted,
                OnTrainingPreempted(PreemptAttemptHandler(node.unit_of_work, clock), node.wakeup),
            ),
            *further,
        ),
    )


def _report_api(node: _Node) -> AttemptReportApi:
    clock = node.context.clock
    return AttemptReportApi(
        ReportProgressHandler(
            node.unit_of_work, node.leases, clock, takes_usage=not node.execution.measures_usage
        ),
        RecordTrialsHandler(node.unit_of_work, clock),
        ListFinishedStepsHandler(node.unit_of_work),
        ReportSuccessHandler(node.unit_of_work, clock),
        ReportFailureHandler(node.unit_of_work, clock),
        clock,
    )


def _loops(node: _Node, release: Release) -> dict[str, Loop]:
    settings, clock, uow, queries = node.settings, node.context.clock, node.unit_of_work, node.queries
    backend = node.execution.backend
    scheduler = SchedulerServiceStub(node.context.channel("scheduler", idempotent_methods=[_RENEW]))
    grace = timedelta(seconds=settings.grace_s)
    supervise = SuperviseAttemptsHandler(uow, queries, backend, clock, grace)
    renew = RenewLeasesHandler(uow, queries, RpcAllocationLeases(scheduler), node.leases, clock)
    report = ReportLoop(
        AnnounceReleaseHandler(uow),
        release,
        ReportNodesHandler(uow, node.execution.probe),
        SampleUsageHandler(uow, queries, backend),
        settings.report_interval_s,
    )
    keep = timedelta(seconds=settings.keep_attempts_s)
    return {
        "supervision": SupervisionLoop(supervise, node.wakeup, settings.supervise_interval_s).run,
        "renewal": RenewalLoop(renew, node.wakeup, settings.renew_interval_s).run,
        "reports": report.run,
        "pruning": PruningLoop(PruneAttemptsHandler(uow, queries, backend, clock, keep)).run,
    }


def _now_ms(context: ServiceContext) -> int:
    return int(context.clock.now().timestamp() * 1000)
