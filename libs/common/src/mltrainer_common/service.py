"""Runs a service: server, announcement and background loops, from the first port to a drained stop."""

import asyncio
import errno
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from mltrainer_common.authorization import Role, RoleTable
from mltrainer_common.clock import Clock, SystemClock, parse_market_clock
from mltrainer_common.discovery import (
    Announcement,
    Endpoint,
    EndpointPublisher,
    EndpointResolver,
    StaticPublisher,
    StaticResolver,
)
from mltrainer_common.errors import ErrorMapper, StartupError
from mltrainer_common.rpc_client import CallDefaults, Caller, ServiceChannel
from mltrainer_common.rpc_metrics import ClientMetrics, ServerMetrics
from mltrainer_common.rpc_server import CallPolicy, RpcServer, ServerLimits, Servicer
from mltrainer_common.settings import DiscoveryKind, Environment, PlatformSettings
from mltrainer_common.telemetry import Telemetry, start_telemetry
from mltrainer_common.tokens import TokenIssuer, TokenVerifier, load_or_create_token_key

_ANNOUNCE_INTERVAL_S = 5.0
_CANCEL_AGAIN_S = 1.0
# By default Python looks for cycles whenever there are 700 more objects than before: a tenth of the time of a
# service whose calls hold many for a moment.
_GARBAGE_THRESHOLDS = (20_000, 10, 10)
_log = structlog.get_logger()
_Settings = TypeVar("_Settings", bound=BaseSettings)
Loop = Callable[[], Coroutine[Any, Any, None]]


class BackgroundEndedError(Exception):
    """A loop that must run as long as its process has returned."""


@dataclass(frozen=True, slots=True)
class ServiceParts:
    """What a service consists of.

    Attributes:
        servicers: Each adds one contract to the server, see `Servicer`.
        roles: Who may call what; a method that is not listed is denied.
        map_error: Turns the service's own errors into answers.
        background: Loops by name; one that raises or returns ends the process with exit code 1.
    """

    servicers: Sequence[Servicer]
    roles: RoleTable
    map_error: ErrorMapper
    background: Mapping[str, Loop] = field(default_factory=dict)
    limits: ServerLimits = field(default_factory=ServerLimits)


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """What a service is given to put itself together.

    Attributes:
        stack: Closes what is entered on it after the server has drained and the loops have ended.
        key: Signs and checks tokens; services rarely need it.
    """

    slug: str
    platform: PlatformSettings
    telemetry: Telemetry
    clock: Clock
    market_clock: Clock
    resolver: EndpointResolver
    key: bytes
    stack: AsyncExitStack
    _caller: Caller
    _channels: dict[str, ServiceChannel] = field(default_factory=dict)

    def channel(
        self, slug: str, *, idempotent_methods: Iterable[str] = (), defaults: CallDefaults | None = None
    ) -> ServiceChannel:
        """Returns the channel to a service: one per peer, so that all its stubs share one breaker.

        The first caller names the methods that may be retried.
        """
        if slug not in self._channels:
            channel = ServiceChannel(
                slug,
                self.resolver,
                self._caller,
                idempotent_methods=idempotent_methods,
                defaults=defaults,
            )
            self._channels[slug] = channel
            self.stack.push_async_callback(channel.close)
        return self._channels[slug]


Assemble = Callable[[ServiceContext, _Settings], Awaitable[ServiceParts]]


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that answers calls."""

    context: ServiceContext
    address: str


def run_service(slug: str, settings_class: type[_Settings], assemble: Assemble[_Settings]) -> int:
    """Runs a service until SIGTERM or SIGINT and returns the exit code for `__main__`.

    0 after a drained stop, 1 when a part has failed (the log says which), 2 with one sentence when it
    cannot start.
    """
    try:
        asyncio.run(_run(slug, PlatformSettings(), settings_class(), assemble))
    except StartupError as error:
        return _refuse(slug, str(error))
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        return _refuse(slug, f"{error.title} cannot be read from the environment: {'; '.join(wrong)}")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return _refuse(slug, f"the disk is full: free space for {error.filename or 'the data directory'}")
    except BaseExceptionGroup as errors:
        _log.error("service_failed", errors=[repr(error) for error in errors.exceptions])
        return 1
    return 0


def _refuse(slug: str, sentence: str) -> int:
    sys.stderr.write(f"mltrainer {slug}: {sentence}\n")
    return 2


async def _run(
    slug: str, platform: PlatformSettings, settings: _Settings, assemble: Assemble[_Settings]
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with start_service(slug, platform, settings, assemble):
        # What start-up has made lives as long as the process: looking through its many objects again and
        # again is what the slowest calls would wait for.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GARBAGE_THRESHOLDS)
        await stopped.wait()


@asynccontextmanager
async def start_service(
    slug: str, platform: PlatformSettings, settings: _Settings, assemble: Assemble[_Settings]
) -> AsyncIterator[RunningService]:
    """Runs a service inside; leaving drains and closes it. A failing background loop cancels the body."""
    async with AsyncExitStack() as stack:
        context = _make_context(slug, platform, stack)
        parts = await assemble(context, settings)
        server = RpcServer(
            _call_policy(context, parts),
            parts.servicers,
            with_reflection=platform.environment is Environment.DEVELOPMENT,
            limits=parts.limits,
        )
        publisher = _make_publisher(context)
        endpoint = await _serve(context, server, publisher)
        announcement = Announcement(publisher, endpoint)
        await _announce_once(announcement.renew)
        async with asyncio.TaskGroup() as group:
            background = {**parts.background, "announcement": lambda: _keep_announced(announcement)}
            tasks = [group.create_task(_guard(name, loop), name=name) for name, loop in background.items()]
            _log.info("service_started", address=endpoint.address, metrics_address=endpoint.metrics_address)
            try:
                yield RunningService(context, endpoint.address)
            finally:
                await _announce_once(announcement.withdraw)
                await server.drain()
                await _cancel(tasks)
        _log.info("service_stopped")


def _make_context(slug: str, platform: PlatformSettings, stack: AsyncExitStack) -> ServiceContext:
    telemetry = stack.enter_context(start_telemetry(platform, slug))
    key = load_or_create_token_key(platform.key_file)
    issuer = TokenIssuer(key, f"services/{slug}", [Role.SERVICE])
    return ServiceContext(
        slug=slug,
        platform=platform,
        telemetry=telemetry,
        clock=SystemClock(),
        market_clock=parse_market_clock(platform.market_clock),
        resolver=make_resolver(platform, stack),
        key=key,
        stack=stack,
        _caller=Caller(issuer, telemetry.tracer, ClientMetrics(telemetry.registry)),
    )


def make_resolver(platform: PlatformSettings, stack: AsyncExitStack) -> EndpointResolver:
    """Builds the resolver that the platform's settings ask for; its watches end with the stack."""
    if platform.discovery is DiscoveryKind.STATIC:
        return StaticResolver(platform.endpoints_file)
    from mltrainer_common.consul_discovery import ConsulResolver, consul_client

    resolver = ConsulResolver(lambda: consul_client(platform.consul_address))
    stack.callback(resolver.close)
    return resolver


def _make_publisher(context: ServiceContext) -> EndpointPublisher:
    platform = context.platform
    if platform.discovery is DiscoveryKind.STATIC:
        return StaticPublisher(platform.endpoints_file, context.slug, platform.instance)
    from mltrainer_common.consul_discovery import ConsulPublisher, consul_client

    return ConsulPublisher(consul_client(platform.consul_address), context.slug, platform.instance)


def _call_policy(context: ServiceContext, parts: ServiceParts) -> CallPolicy:
    return CallPolicy(
        slug=context.slug,
        tracer=context.telemetry.tracer,
        metrics=ServerMetrics(context.telemetry.registry),
        verifier=TokenVerifier(context.key, context.slug),
        roles=parts.roles,
        map_error=parts.map_error,
    )


async def _serve(context: ServiceContext, server: RpcServer, publisher: EndpointPublisher) -> Endpoint:
    platform = context.platform
    previous = publisher.previous() if isinstance(publisher, StaticPublisher) else None
    port = await server.start(platform.bind_host, platform.grpc_port, previous.port if previous else None)
    host = platform.advertise_host or platform.bind_host
    return Endpoint(f"{host}:{port}", context.telemetry.metrics_address, os.getpid())


async def _keep_announced(announcement: Announcement) -> None:
    while True:
        await asyncio.sleep(_ANNOUNCE_INTERVAL_S)
        await _announce_once(announcement.renew)


async def _announce_once(action: Callable[[], None]) -> None:
    try:
        await asyncio.to_thread(action)
    except Exception as error:  # noqa: BLE001 - discovery may be away; the service answers those who know it
        _log.warning("announcement_failed", error=repr(error))


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    # A cancellation that meets the end of what a loop waits for can be lost on its way (asyncio.wait_for
    # before Python 3.12, handlers that take it for a lost connection): repeated until all have ended.
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)


async def _guard(name: str, loop: Loop) -> None:
    try:
        await loop()
    except Exception:
        _log.exception("background_failed", loop=name)
        raise
    _log.error("background_failed", loop=name, error="the loop has returned")
    raise BackgroundEndedError(name)
