"""Puts chaos together."""

import os
import platform as machine
from functools import partial
from importlib.metadata import version

from mltrainer.chaos.v1.chaos_service_pb2_grpc import add_ChaosServiceServicer_to_server
from mltrainer_common.authorization import Role
from mltrainer_common.clock import MonotonicClock
from mltrainer_common.database import open_database
from mltrainer_common.discovery import read_endpoints
from mltrainer_common.errors import StartupError
from mltrainer_common.ids import new_id
from mltrainer_common.migrations import migrate
from mltrainer_common.service import ServiceContext, ServiceParts
from mltrainer_common.settings import PlatformSettings, default_database_url
from mltrainer_common.tokens import TokenIssuer
from mltrainer_messaging.broker import EventBroker
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.relay import OutboxRelay
from mltrainer_messaging.transactions import EventTransactions

from mltrainer_chaos.adapters.probes import PlatformProbe
from mltrainer_chaos.adapters.processes import ProcessGuardians, RecordedProcesses
from mltrainer_chaos.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_chaos.application.active_runs import ActiveRuns
from mltrainer_chaos.application.browse import BrowseHandler
from mltrainer_chaos.application.execute_run import ExecuteRunHandler
from mltrainer_chaos.application.faults import FaultInjector
from mltrainer_chaos.application.kill_switch import ReleaseHandler, StopAllHandler
from mltrainer_chaos.application.request_run import RequestRunHandler
from mltrainer_chaos.application.run_session import SessionTools
from mltrainer_chaos.domain.journal import Machine
from mltrainer_chaos.domain.parsing import Policy
from mltrainer_chaos.entrypoints.events import OnRunRequested, consumer_group
from mltrainer_chaos.entrypoints.grpc_api import ChaosApi
from mltrainer_chaos.entrypoints.loops import Reaper, RunLoop, Wake
from mltrainer_chaos.settings import ChaosSettings
from mltrainer_chaos.wire.errors import to_rpc_error
from mltrainer_chaos.wire.events import PUBLISHED, to_message
from mltrainer_chaos.wire.roles import ROLES

_WAIT_S = 0.5


async def assemble(
    context: ServiceContext, settings: ChaosSettings, broker: EventBroker | None = None
) -> ServiceParts:
    """Builds chaos from its settings and starts nothing; tests give a broker in memory.

    Raises:
        StartupError: This is a second instance, which would undo the faults of the first.
    """
    platform, slug = context.platform, context.slug
    if platform.instance != "0":
        raise StartupError("chaos runs one instance only: unset MLTRAINER_INSTANCE or set it to 0")
    url = settings.database_url or default_database_url(platform.data_directory, slug)
    await migrate(url, "mltrainer_chaos.adapters.migrations")
    database = await context.stack.enter_async_context(open_database(url))
    instruments = EventInstruments(context.telemetry.registry, context.telemetry.tracer)
    if broker is None:
        kafka = KafkaBroker(platform.kafka_bootstrap_servers, f"{slug}-{platform.instance}", instruments)
        broker = await context.stack.enter_async_context(kafka)
    signal, wake, active = OutboxSignal(), Wake(), ActiveRuns()
    unit_of_work = SqlUnitOfWorkFactory(
        database, EventTransactions(database, slug, signal, encode=to_message)
    )
    processes = RecordedProcesses(settings.record_file or platform.data_directory / "supervisor.json")
    policy = partial(_policy, settings, platform)
    request = RequestRunHandler(unit_of_work, processes, policy, context.clock, new_id)
    execute = ExecuteRunHandler(_tools(context, unit_of_work, processes), policy, active, _machine())
    api = ChaosApi(
        request,
        BrowseHandler(unit_of_work),
        StopAllHandler(unit_of_work, active, context.clock),
        ReleaseHandler(unit_of_work, context.clock),
        wake,
    )
    group = consumer_group(slug, platform.instance, database, OnRunRequested(request, wake))
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
        servicers=[partial(add_ChaosServiceServicer_to_server, api)],
        roles=ROLES,
        map_error=to_rpc_error,
        background={
            "relay": relay.run,
            "consumer": partial(broker.consume, group),
            "runs": RunLoop(execute, wake, _WAIT_S).run,
            "reaper": Reaper(execute, settings.reap_interval_s).run,
        },
    )


def _tools(
    context: ServiceContext, unit_of_work: SqlUnitOfWorkFactory, processes: RecordedProcesses
) -> SessionTools:
    monotonic = MonotonicClock()
    faults = FaultInjector(unit_of_work, processes, ProcessGuardians(), context.clock, monotonic, new_id)
    issuer = TokenIssuer(context.key, f"services/{context.slug}", [Role.VIEWER])
    return SessionTools(
        unit_of_work, faults, PlatformProbe(context.resolver, issuer), context.clock, monotonic
    )


def _policy(settings: ChaosSettings, platform: PlatformSettings) -> Policy:
    endpoints = read_endpoints(platform.endpoints_file).values()
    metrics = {item.metrics_address for instances in endpoints for item in instances.values()}
    return Policy(
        services=frozenset(_listed(settings.allowed_services)),
        max_targets=settings.max_targets,
        longest_s=settings.max_duration_s,
        offered_variables={
            name: os.environ[name] for name in _listed(settings.offered_variables) if name in os.environ
        },
        metrics_addresses=frozenset(metrics),
    )


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _machine() -> Machine:
    return Machine(f"mltrainer-chaos {version('mltrainer-chaos')}", machine.platform(), machine.node())
