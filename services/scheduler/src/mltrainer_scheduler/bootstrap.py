"""Puts scheduler together."""

from functools import partial

from mltrainer.scheduler.v1.scheduler_service_pb2_grpc import add_SchedulerServiceServicer_to_server
from mltrainer_common.clock import MonotonicClock
from mltrainer_common.database import Database, open_database
from mltrainer_common.errors import StartupError
from mltrainer_common.ids import new_id
from mltrainer_common.migrations import migrate
from mltrainer_common.service import ServiceContext, ServiceParts
from mltrainer_common.settings import default_database_url
from mltrainer_messaging.broker import EventBroker
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.relay import OutboxRelay
from mltrainer_messaging.subscriptions import ConsumerGroup
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_scheduling.plan import Policy
from mltrainer_scheduling.policies import ORACLES, POLICY_NAMES, policy

from mltrainer_scheduler.adapters.price_file import read_prices
from mltrainer_scheduler.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_scheduler.application.accept_trainings import AcceptTrainingsHandler
from mltrainer_scheduler.application.browse import BrowseHandler
from mltrainer_scheduler.application.cancel_training import CancelTrainingHandler
from mltrainer_scheduler.application.conclude_attempt import ConcludeAttemptHandler
from mltrainer_scheduler.application.explain_miss import ExplainMissHandler
from mltrainer_scheduler.application.explain_training import ExplainTrainingHandler
from mltrainer_scheduler.application.lapse_leases import LapseLeasesHandler
from mltrainer_scheduler.application.lead import LeadHandler
from mltrainer_scheduler.application.manage_queues import QueuesHandler
from mltrainer_scheduler.application.place_trainings import PlaceTrainingsHandler
from mltrainer_scheduler.application.planner import Planner
from mltrainer_scheduler.application.preview_training import PreviewTrainingHandler
from mltrainer_scheduler.application.record_progress import RecordProgressHandler
from mltrainer_scheduler.application.renew_allocations import RenewAllocationsHandler
from mltrainer_scheduler.application.replicate import ReplicateHandler
from mltrainer_scheduler.application.resolve_training import KeyResolver
from mltrainer_scheduler.application.watch_spot import WatchSpotHandler
from mltrainer_scheduler.domain.keys import BarCalendar
from mltrainer_scheduler.domain.reuse import AuditPolicy
from mltrainer_scheduler.domain.spot_history import TICK
from mltrainer_scheduler.domain.training import SchedulingPolicy, Terms
from mltrainer_scheduler.entrypoints.events import (
    EventHandlers,
    OnAnnouncement,
    OnAttemptEnded,
    OnAttemptProgress,
    OnTrainingRequested,
    consumer_group,
)
from mltrainer_scheduler.entrypoints.grpc_api import SchedulerApi, UseCases
from mltrainer_scheduler.entrypoints.instruments import SchedulerInstruments
from mltrainer_scheduler.entrypoints.loops import (
    LeaderLoop,
    Leadership,
    LeaseLoop,
    PlacementLoop,
    SpotLoop,
    Wake,
)
from mltrainer_scheduler.settings import SchedulerSettings
from mltrainer_scheduler.wire.errors import to_rpc_error
from mltrainer_scheduler.wire.events import PUBLISHED, to_message
from mltrainer_scheduler.wire.roles import ROLES


async def assemble(
    context: ServiceContext, settings: SchedulerSettings, broker: EventBroker | None = None
) -> ServiceParts:
    """Builds scheduler from its settings and starts nothing; tests give a broker in memory."""
    platform, slug = context.platform, context.slug
    url = settings.database_url or default_database_url(platform.data_directory, slug)
    await migrate(url, "mltrainer_scheduler.adapters.migrations")
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
        PUBLISHED,
        service=slug,
        instance=platform.instance,
        instruments=instruments,
    )
    scheduler = _Scheduler(context, settings, database, signal)
    consume = partial(broker.consume, scheduler.consumer_group(database))
    return ServiceParts(
        servicers=[partial(add_SchedulerServiceServicer_to_server, scheduler.api())],
        roles=ROLES,
        map_error=to_rpc_error,
        background={
            "relay": relay.run,
            "consumer": consume,
            "leader": scheduler.leader_loop().run,
            "placement": scheduler.placement_loop().run,
            "leases": scheduler.lease_loop().run,
            "spot": scheduler.spot_loop().run,
        },
    )


class _Scheduler:
    """Holds what the parts of the scheduler share."""

    def __init__(
        self, context: ServiceContext, settings: SchedulerSettings, database: Database, signal: OutboxSignal
    ) -> None:
        self._context = context
        self._settings = settings
        self._clock = context.clock
        self._wake = Wake()
        self._instruments = SchedulerInstruments(context.telemetry.registry)
        self._policy = _policy(settings)
        self._resolve = KeyResolver(
            BarCalendar(settings.bar_interval_s, settings.bar_close_offset_s), self._policy
        )
        self._leadership = Leadership()
        self._planner = Planner(planning_policy(settings.policy), self._policy)
        self._prices = read_prices(settings.price_file)
        self._holder = f"{context.slug}-{context.platform.instance}"
        transactions = EventTransactions(database, context.slug, signal, encode=to_message)
        self._unit_of_work = SqlUnitOfWorkFactory(database, transactions)

    def consumer_group(self, database: Database) -> ConsumerGroup:
        accept = AcceptTrainingsHandler(
            self._unit_of_work, self._clock, self._context.market_clock, new_id, self._resolve
        )
        conclude = ConcludeAttemptHandler(
            self._unit_of_work, self._clock, self._policy, self._prices, self._instruments.observe
        )
        handlers = EventHandlers(
            OnTrainingRequested(accept, self._wake, self._instruments, self._context.telemetry.tracer),
            OnAttemptEnded(conclude, self._wake, self._instruments),
            OnAttemptProgress(RecordProgressHandler(self._unit_of_work, self._clock)),
            OnAnnouncement(ReplicateHandler(self._unit_of_work, self._clock), self._wake),
        )
        return consumer_group(self._context.platform.instance, database, handlers)

    def api(self) -> SchedulerApi:
        use_cases = UseCases(
            BrowseHandler(self._unit_of_work),
            CancelTrainingHandler(self._unit_of_work, self._clock, self._policy),
            ExplainTrainingHandler(self._unit_of_work, self._clock, self._planner),
            RenewAllocationsHandler(self._unit_of_work, self._clock, self._policy),
            PreviewTrainingHandler(
                self._unit_of_work,
                self._clock,
                self._context.market_clock,
                self._planner,
                self._resolve.calendar,
                self._prices,
            ),
            QueuesHandler(self._unit_of_work, self._clock, self._planner, self._policy),
            ExplainMissHandler(self._unit_of_work),
        )
        return SchedulerApi(use_cases, self._wake)

    def placement_loop(self) -> PlacementLoop:
        place = PlaceTrainingsHandler(
            self._unit_of_work,
            self._clock,
            new_id,
            self._resolve,
            self._policy,
            self._planner,
            self._holder,
        )
        return PlacementLoop(
            place, self._leadership, self._wake, self._instruments, self._settings.placement_interval_s
        )

    def leader_loop(self) -> LeaderLoop:
        length_s = self._settings.leader_lease_s
        lead = LeadHandler(self._unit_of_work, self._clock, self._holder, length_s)
        return LeaderLoop(lead, self._leadership, length_s / 3.0)

    def spot_loop(self) -> SpotLoop:
        watch = WatchSpotHandler(self._unit_of_work, self._clock, self._planner)
        return SpotLoop(watch, self._leadership, TICK.total_seconds())

    def lease_loop(self) -> LeaseLoop:
        lapse = LapseLeasesHandler(self._unit_of_work, self._clock, self._policy)
        return LeaseLoop(
            lapse,
            self._leadership,
            self._wake,
            self._instruments,
            MonotonicClock(),
            self._settings.lease_check_interval_s,
            stall_s=self._settings.lease_s / 3 + self._settings.lease_check_interval_s,
        )


def _policy(settings: SchedulerSettings) -> SchedulingPolicy:
    return SchedulingPolicy(
        lease_s=settings.lease_s,
        max_attempts=settings.max_attempts,
        first_backoff_s=settings.retry_backoff_s,
        max_backoff_s=settings.max_retry_backoff_s,
        view_grace_s=settings.view_grace_s,
        node_silence_s=settings.node_silence_s,
        half_life_s=settings.half_life_s,
        audits=AuditPolicy(settings.audit_fraction, settings.audit_minimum_age_s),
        terms=Terms(settings.minimum_run_s, settings.max_preemptions),
    )


def planning_policy(name: str) -> Policy:
    """Returns a policy of the library by its name.

    Raises:
        StartupError: There is none of this name, or it needs to know how long trainings will take.
    """
    usable = sorted(set(POLICY_NAMES) - ORACLES)
    if name not in usable:
        raise StartupError(f"{name!r} is no policy that can plan live; use one of {', '.join(usable)}")
    return policy(name)
