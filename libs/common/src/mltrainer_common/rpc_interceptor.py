"""Surrounds every handler once with trace, identity, deadline, metrics, one log line and error mapping.

One interceptor instead of a chain: a chain of six costs a coroutine and a handler object per link and call.
"""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind, Status, StatusCode, Tracer

from mltrainer_common.authorization import Role, RoleTable
from mltrainer_common.deadlines import set_deadline
from mltrainer_common.errors import (
    STATUS_METADATA_KEY,
    ErrorMapper,
    RpcError,
    RpcFailure,
    from_peer_failure,
    pack_status,
)
from mltrainer_common.rpc_metrics import ServerMetrics
from mltrainer_common.tokens import InvalidTokenError, Principal, TokenVerifier
from mltrainer_common.traces import parse_traceparent

_SLOW_S = 1.0
_BEARER = "Bearer "
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_SERVER_FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.DATA_LOSS,
}
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CallContext:
    """The call being handled: its full method name and who makes it (None where no token is asked for)."""

    method: str
    principal: Principal | None


_current: ContextVar[CallContext] = ContextVar("mltrainer_call")


def current_call() -> CallContext:
    """Returns the call being handled.

    Raises:
        LookupError: No call is being handled.
    """
    return _current.get()


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """Everything the interceptor asks while handling calls of one server."""

    slug: str
    tracer: Tracer
    metrics: ServerMetrics
    verifier: TokenVerifier
    roles: RoleTable
    map_error: ErrorMapper

    def answer_to(self, error: Exception) -> RpcError | None:
        """Returns the mapped error; None when nobody knows it."""
        if isinstance(error, RpcError):
            return error
        mapped = self.map_error(error)
        if mapped is None and isinstance(error, RpcFailure):
            return from_peer_failure(error)
        return mapped


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps each handler at its first call; health and reflection pass untouched."""

    def __init__(self, policy: CallPolicy) -> None:
        self._policy = policy
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Returns the wrapped handler of a method; None for one that does not exist."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or method.startswith("/grpc."):
                return handler
            wrapped = self._wrapped[method] = self._wrap(handler, _Method(method, self._policy))
        return wrapped

    @staticmethod
    def _wrap(handler: Any, method: "_Method") -> Any:
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        behaviour = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )
        if inspect.isasyncgenfunction(behaviour):
            wrapped: Any = _generator(behaviour, method)
        elif inspect.iscoroutinefunction(behaviour):
            wrapped = _coroutine(behaviour, method)
        else:
            raise TypeError(f"the handler of {method.name} must be `async def`")
        return make(wrapped, handler.request_deserializer, handler.response_serializer)


def _coroutine(behaviour: Callable[[Any, Any], Awaitable[Any]], method: "_Method") -> Any:
    async def handle(request: Any, context: Any) -> Any:
        call = _Call(method, context)
        try:
            call.authorize()
            response = await behaviour(request, context)
        except BaseException as error:
            await call.fail(error)
            raise
        call.end()
        return response

    return handle


def _generator(behaviour: Callable[[Any, Any], Any], method: "_Method") -> Any:
    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        call = _Call(method, context)
        try:
            call.authorize()
            async with aclosing(behaviour(request, context)) as responses:
                async for response in responses:
                    yield response
        except BaseException as error:
            await call.fail(error)
            raise
        call.end()

    return handle


class _Method:
    """What is known of a method before it is called."""

    __slots__ = ("attributes", "name", "policy", "roles")

    def __init__(self, name: str, policy: CallPolicy) -> None:
        service, _, short_name = name[1:].partition("/")
        self.name = name
        self.policy = policy
        self.roles = policy.roles.roles(name)
        self.attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": short_name}


class _Call:
    """One call from its arrival to its recorded end. Runs in a task of its own, so nothing is detached."""

    __slots__ = ("_context", "_credentials", "_method", "_span", "_started")

    def __init__(self, method: _Method, context: Any) -> None:
        self._started = time.perf_counter()
        self._method = method
        self._context = context
        traceparent = self._credentials = None
        for key, value in context.invocation_metadata() or ():
            if key == "traceparent":
                traceparent = value
            elif key == "authorization":
                self._credentials = value
        set_deadline(context.time_remaining())
        self._span = self._start_span(traceparent)

    def _start_span(self, traceparent: str | None) -> Span:
        parent = otel_context.Context()
        remote = parse_traceparent(traceparent) if traceparent else None
        if remote is not None:
            caller = NonRecordingSpan(remote)
            parent = trace.set_span_in_context(caller, parent)
            if not remote.trace_flags.sampled:
                # The sampler follows the caller, so a span of our own would cost a third of this interceptor
                # and record nothing.
                otel_context.attach(parent)
                return caller
        method = self._method
        span = method.policy.tracer.start_span(
            method.name[1:], parent, kind=SpanKind.SERVER, attributes=method.attributes
        )
        otel_context.attach(trace.set_span_in_context(span, parent))
        return span

    def authorize(self) -> None:
        method = self._method
        principal = self._principal()
        if Role.ANYONE not in method.roles:
            if principal is None:
                raise RpcError(
                    grpc.StatusCode.UNAUTHENTICATED,
                    "TOKEN_MISSING",
                    "send metadata 'authorization: Bearer <token>'",
                )
            if method.roles.isdisjoint(principal.roles):
                raise RpcError(
                    grpc.StatusCode.PERMISSION_DENIED,
                    "ROLE_MISSING",
                    f"{principal.subject} may not call {method.name}",
                    metadata={"subject": principal.subject, "method": method.name},
                )
        _current.set(CallContext(method.name, principal))

    def _principal(self) -> Principal | None:
        credentials = self._credentials
        if credentials is None:
            return None
        if not credentials.startswith(_BEARER):
            raise RpcError(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", "the token is no bearer token")
        try:
            return self._method.policy.verifier.verify(credentials[len(_BEARER) :])
        except InvalidTokenError as error:
            raise RpcError(
                grpc.StatusCode.UNAUTHENTICATED, error.reason, "the token does not prove who calls"
            ) from error

    async def fail(self, error: BaseException) -> None:
        """Records the failure and, unless the call is over already, answers it by raising `AbortError`."""
        if isinstance(error, grpc.aio.AbortError):
            return self.end()
        if not isinstance(error, Exception):
            return self._end(self._cancellation(error))
        answer = self._method.policy.answer_to(error)
        if answer is None:
            _log.error("rpc_crashed", method=self._method.name, exc_info=error)
            self._end(grpc.StatusCode.INTERNAL)
            await self._context.abort(grpc.StatusCode.INTERNAL, "internal error")
            return None
        self._end(answer.code, answer.reason)
        packed = pack_status(answer, f"mltrainer.{self._method.policy.slug}")
        await self._context.abort(answer.code, answer.message, ((STATUS_METADATA_KEY, packed),))
        return None

    def _cancellation(self, error: BaseException) -> grpc.StatusCode:
        if not isinstance(error, asyncio.CancelledError | GeneratorExit):
            return grpc.StatusCode.UNKNOWN
        left = self._context.time_remaining()
        expired = left is not None and left <= 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED

    def end(self) -> None:
        """Records the end with the code that the handler left in the context."""
        code = self._context.code()
        if not isinstance(code, grpc.StatusCode):
            code = _CODES[code or 0]
        self._end(code)

    def _end(self, code: grpc.StatusCode, reason: str = "") -> None:
        elapsed_s = time.perf_counter() - self._started
        method = self._method
        method.policy.metrics.record(method.name, code, elapsed_s)
        span = self._span
        if span.is_recording():
            span.set_attribute("rpc.grpc.status_code", code.value[0])
            if code in _SERVER_FAULTS:
                span.set_status(Status(StatusCode.ERROR, reason or code.name))
        span.end()
        if code is not grpc.StatusCode.OK:
            write = _log.warning if code in _SERVER_FAULTS else _log.info
            write(
                "rpc_failed", method=method.name, code=code.name, reason=reason, elapsed_s=round(elapsed_s, 4)
            )
        elif elapsed_s > _SLOW_S:
            _log.info("rpc_slow", method=method.name, elapsed_s=round(elapsed_s, 4))
