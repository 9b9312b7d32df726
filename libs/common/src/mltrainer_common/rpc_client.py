"""Gives a generated stub a channel that follows discovery and knows all the rules of calling.

Deadline, token, trace, breaker and metrics belong to each call; retries to gRPC's own policy, in this one
layer. A failed call raises `RpcFailure`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn, Self

import grpc

from mltrainer_common.breaker import Breaker, BreakerState, CircuitBreaker
from mltrainer_common.deadlines import bounded_timeout_s
from mltrainer_common.discovery import EndpointResolver
from mltrainer_common.errors import RpcFailure
from mltrainer_common.rpc_call import Caller, OutgoingCall
from mltrainer_common.rpc_transport import Transport

__all__ = ["CallDefaults", "Caller", "ServiceChannel"]

_ENDPOINT_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class CallDefaults:
    """What holds for calls whose caller says nothing.

    Attributes:
        timeout_s: Deadline of unary calls; server streams have none.
        upload_timeout_s: Deadline of client streams.
        endpoint_wait_s: How long a call waits for a first endpoint to become known.
    """

    timeout_s: float = 5.0
    upload_timeout_s: float = 120.0
    endpoint_wait_s: float = 0.3


class ServiceChannel(grpc.aio.Channel):
    """A channel to all instances of one service."""

    def __init__(
        self,
        slug: str,
        resolver: EndpointResolver,
        caller: Caller,
        *,
        idempotent_methods: Iterable[str] = (),
        defaults: CallDefaults | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self.slug = slug
        self.defaults = defaults or CallDefaults()
        self._resolver = resolver
        self._caller = caller
        self._idempotent_methods = tuple(idempotent_methods)
        self._breaker = breaker or CircuitBreaker(slug, on_change=self._breaker_changed)
        self._transport: Transport | None = None
        self._retired: set[Transport] = set()

    def _breaker_changed(self, state: BreakerState) -> None:
        self._caller.metrics.breaker(self.slug, closed=state is BreakerState.CLOSED)

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        """Makes the callable of a unary method."""
        arguments = (method, request_serializer, response_deserializer)
        return _ResponseCallable(self, "unary_unary", arguments, self.defaults.timeout_s)

    def stream_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        """Makes the callable of a client stream."""
        arguments = (method, request_serializer, response_deserializer)
        return _ResponseCallable(self, "stream_unary", arguments, self.defaults.upload_timeout_s)

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        """Makes the callable of a server stream."""
        arguments = (method, request_serializer, response_deserializer)
        return _StreamCallable(self, "unary_stream", arguments, None)

    def stream_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        """Makes the callable of a bidirectional stream."""
        arguments = (method, request_serializer, response_deserializer)
        return _StreamCallable(self, "stream_stream", arguments, None)

    def begin(self, method: str, timeout_s: float | None) -> OutgoingCall:
        """Starts a call: deadline, permit, span."""
        return OutgoingCall(self._caller, self._breaker, self.slug, method, bounded_timeout_s(timeout_s))

    async def lease(self, timeout_s: float | None) -> Transport:
        """Returns a transport to the endpoints known now; give it back with `release`.

        When endpoints have changed, the old transport lives on until its last call has ended.
        """
        addresses = self._resolver.resolve(self.slug) or await self._wait_for_endpoint(timeout_s)
        transport = self._transport
        if transport is None or transport.addresses != addresses:
            if transport is not None:
                self._retired.add(transport)
            transport = self._transport = Transport(addresses, self._idempotent_methods)
        transport.calls += 1
        return transport

    async def _wait_for_endpoint(self, timeout_s: float | None) -> tuple[str, ...]:
        wait_s = self.defaults.endpoint_wait_s
        until = time.monotonic() + (wait_s if timeout_s is None else min(wait_s, timeout_s))
        while time.monotonic() < until:
            await asyncio.sleep(_ENDPOINT_POLL_S)
            if addresses := self._resolver.resolve(self.slug):
                return addresses
        raise RpcFailure(
            grpc.StatusCode.UNAVAILABLE,
            f"no instance of {self.slug} is known",
            reason="NO_ENDPOINTS",
            peer=self.slug,
        )

    async def release(self, transport: Transport) -> None:
        """Gives a transport back after a call, and closes the old ones that nobody uses any more."""
        transport.calls -= 1
        if not self._retired:
            return
        idle = {old for old in self._retired if old.calls == 0}
        self._retired -= idle
        for old in idle:
            await old.close()

    async def close(self, grace: float | None = None) -> None:
        """Closes every connection; calls under way get the grace."""
        transports = [*self._retired, *([self._transport] if self._transport else [])]
        self._retired.clear()
        self._transport = None
        await asyncio.gather(*(transport.close(grace) for transport in transports))

    async def __aenter__(self) -> Self:
        """Does nothing: connections are made by calls."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the channel."""
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: ARG002 - the signature is grpc's
        return grpc.ChannelConnectivity.IDLE

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> NoReturn:
        raise NotImplementedError("a service channel has no single state")

    async def channel_ready(self) -> None:
        """Waits until endpoints are known and one of them is connected."""
        transport = await self.lease(None)
        try:
            await transport.channel.channel_ready()
        finally:
            await self.release(transport)


@dataclass(frozen=True, slots=True)
class _Callable:
    channel: ServiceChannel
    kind: str
    # What grpc.aio's own factory takes: method, serializer, deserializer.
    arguments: tuple[str, Any, Any]
    default_timeout_s: float | None

    def _begin(self, timeout: float | None) -> OutgoingCall:
        return self.channel.begin(self.arguments[0], self.default_timeout_s if timeout is None else timeout)

    def _send(
        self, transport: Transport, request: Any, call: OutgoingCall, metadata: Any, options: dict[str, Any]
    ) -> Any:
        method = transport.method(self.kind, self.arguments)
        return method(request, timeout=call.timeout_s, metadata=call.metadata(metadata), **options)


class _ResponseCallable(_Callable):
    async def __call__(
        self, request: Any = None, *, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any:
        call = self._begin(timeout)
        transport = None
        try:
            transport = await self.channel.lease(call.timeout_s)
            response = await self._send(transport, request, call, metadata, options)
        except BaseException as error:
            if (failure := call.failed(error)) is None:
                raise
            raise failure from error
        else:
            call.succeeded()
            return response
        finally:
            if transport is not None:
                await self.channel.release(transport)


class _StreamCallable(_Callable):
    async def __call__(
        self, request: Any = None, *, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> AsyncIterator[Any]:
        call = self._begin(timeout)
        transport = sent = None
        try:
            transport = await self.channel.lease(call.timeout_s)
            sent = self._send(transport, request, call, metadata, options)
            async for response in sent:
                call.progressed()
                yield response
        except BaseException as error:
            if (failure := call.failed(error)) is None:
                raise
            raise failure from error
        else:
            call.succeeded()
        finally:
            if sent is not None:
                sent.cancel()
            if transport is not None:
                await self.channel.release(transport)
