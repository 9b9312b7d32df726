"""Serves gRPC: limits, health, reflection in development, a stable port and a drain without failed calls."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from mltrainer_common.errors import StartupError
from mltrainer_common.rpc_interceptor import CallContext, CallInterceptor, CallPolicy, current_call

__all__ = ["CallContext", "CallPolicy", "RpcServer", "ServerLimits", "Servicer", "current_call"]

Servicer = Callable[[grpc.aio.Server], None]
"""Adds one servicer: `partial(add_…Servicer_to_server, implementation)`."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one process accepts; calls beyond are shed at once with RESOURCE_EXHAUSTED.

    Attributes:
        drain_delay_s: From NOT_SERVING to the stop, for clients to turn to other instances.
        grace_s: For calls under way to finish.
    """

    maximum_concurrent_rpcs: int = 512
    message_bytes: int = 4 * 1024 * 1024
    metadata_bytes: int = 16 * 1024
    drain_delay_s: float = 0.3
    grace_s: float = 10.0

    def options(self) -> Sequence[tuple[str, int]]:
        """Returns the channel arguments of the server."""
        return (
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", self.message_bytes),
            ("grpc.max_send_message_length", self.message_bytes),
            ("grpc.max_metadata_size", self.metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.metadata_bytes),
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.keepalive_permit_without_calls", 1),
        )


class RpcServer:
    """A server of one process."""

    def __init__(
        self,
        policy: CallPolicy,
        servicers: Iterable[Servicer],
        *,
        with_reflection: bool,
        limits: ServerLimits | None = None,
    ) -> None:
        self._limits = limits or ServerLimits()
        self._server = grpc.aio.server(
            interceptors=[CallInterceptor(policy)],
            options=self._limits.options(),
            maximum_concurrent_rpcs=self._limits.maximum_concurrent_rpcs,
        )
        names = _add_servicers(self._server, servicers)
        self._health = health_aio.HealthServicer()
        _add_servicers(self._server, [partial(health_pb2_grpc.add_HealthServicer_to_server, self._health)])
        self._health_names = ("", *names)
        if with_reflection:
            shown = (
                *names,
                health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
                reflection.SERVICE_NAME,
            )
            _add_servicers(self._server, [partial(reflection.enable_server_reflection, shown)])

    async def start(self, host: str, port: int = 0, preferred_port: int | None = None) -> int:
        """Binds and serves; returns the port.

        A fixed port is taken or the start fails; otherwise the preferred one is tried before any free one.

        Raises:
            StartupError: The fixed port is in use.
        """
        bound = self._bind(host, port, preferred_port)
        for name in self._health_names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        return bound

    def _bind(self, host: str, port: int, preferred_port: int | None) -> int:
        if port == 0 and preferred_port:
            try:
                return self._server.add_insecure_port(f"{host}:{preferred_port}")
            except RuntimeError:
                pass  # taken meanwhile by somebody else: any free port will do
        try:
            return self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise StartupError(
                f"port {port} of {host} cannot be bound: stop what uses it or set MLTRAINER_GRPC_PORT=0"
            ) from error

    async def drain(self) -> None:
        """Says NOT_SERVING, gives clients time to notice, finishes the calls under way and stops."""
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(self._limits.drain_delay_s)
        await self._server.stop(self._limits.grace_s)


def _add_servicers(server: grpc.aio.Server, servicers: Iterable[Servicer]) -> tuple[str, ...]:
    registrar = _Registrar(server)
    for add in servicers:
        add(cast("grpc.aio.Server", registrar))
    return tuple(registrar.names)


class _Registrar:
    """Stands in for the server while servicers are added, to learn their names.

    Methods are left unregistered: for every call grpc.aio waits anew on one future per registered method, and
    finds unregistered ones by name all the same (ADR 0080).
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.names: list[str] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self.names.extend(handler.service_name() for handler in handlers)
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: dict[str, Any]) -> None:
        """Does nothing: generated code adds the same handlers as generic ones."""
