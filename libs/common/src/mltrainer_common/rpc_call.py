"""Follows one outgoing call from its request to its recorded end: deadline, permit, span and metrics."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from mltrainer_common.breaker import Breaker, BreakerOpenError, Permit
from mltrainer_common.errors import RpcFailure, decode_failure
from mltrainer_common.rpc_metrics import ClientMetrics
from mltrainer_common.tokens import TokenIssuer
from mltrainer_common.traces import format_traceparent

_UNWELL = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
}
# A deadline shorter than this says more about the caller than about the peer.
_JUDGED_TIMEOUT_S = 0.1


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and where its calls are recorded."""

    issuer: TokenIssuer
    tracer: Tracer
    metrics: ClientMetrics


class OutgoingCall:
    """One call to a peer. Exactly one of `succeeded` and `failed` ends it."""

    __slots__ = ("_caller", "_method", "_peer", "_permit", "_span", "_started", "timeout_s")

    def __init__(
        self, caller: Caller, breaker: Breaker, peer: str, method: str, timeout_s: float | None
    ) -> None:
        self._caller = caller
        self._peer = peer
        self._method = method
        self._started = time.perf_counter()
        self.timeout_s = timeout_s
        self._span: Span = caller.tracer.start_span(
            method[1:], kind=SpanKind.CLIENT, attributes={"rpc.system": "grpc", "peer.service": peer}
        )
        try:
            self._permit = self._acquire(breaker)
        except RpcFailure as failure:
            self._end(failure.code, failure.reason)
            raise

    def _acquire(self, breaker: Breaker) -> Permit:
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise RpcFailure(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "no time is left to make the call",
                reason="NO_TIME_LEFT",
                peer=self._peer,
                method=self._method,
            )
        try:
            return breaker.acquire()
        except BreakerOpenError as error:
            raise RpcFailure(
                grpc.StatusCode.UNAVAILABLE,
                str(error),
                reason="BREAKER_OPEN",
                retry_after_s=error.retry_after_s,
                peer=self._peer,
                method=self._method,
            ) from error

    def metadata(
        self, extra: Iterable[tuple[str, str | bytes]] | None
    ) -> tuple[tuple[str, str | bytes], ...]:
        """Returns token and trace, and what the caller adds."""
        own = (
            ("authorization", f"Bearer {self._caller.issuer.token(self._peer)}"),
            ("traceparent", format_traceparent(self._span.get_span_context())),
        )
        return own if extra is None else (*own, *extra)

    def progressed(self) -> None:
        """Notes a message of a stream: the peer is well. A later failure still counts."""
        self._permit.answered()

    def succeeded(self) -> None:
        """Ends the call."""
        self._permit.succeeded()
        self._end(grpc.StatusCode.OK)

    def failed(self, error: BaseException) -> RpcFailure | None:
        """Ends the call; returns what its caller gets to see, or None when that is the error itself."""
        if isinstance(error, grpc.aio.AioRpcError):
            failure = decode_failure(error, self._peer, self._method)
            self._judge(failure)
        elif isinstance(error, RpcFailure):
            failure = error
            self._permit.abandoned()
        else:
            self._permit.abandoned()
            self._end(grpc.StatusCode.CANCELLED)
            return None
        self._end(failure.code, failure.reason)
        return failure

    def _judge(self, failure: RpcFailure) -> None:
        code = failure.code
        hurried = self.timeout_s is not None and self.timeout_s < _JUDGED_TIMEOUT_S
        # gRPC sheds without details; with a reason it is the service that says no.
        quota = code is grpc.StatusCode.RESOURCE_EXHAUSTED and failure.reason != ""
        if code is grpc.StatusCode.CANCELLED or (code is grpc.StatusCode.DEADLINE_EXCEEDED and hurried):
            self._permit.abandoned()
        elif code in _UNWELL and not quota:
            self._permit.failed()
        else:
            self._permit.answered()

    def _end(self, code: grpc.StatusCode, reason: str = "") -> None:
        elapsed_s = time.perf_counter() - self._started
        self._caller.metrics.record(self._peer, self._method, code, elapsed_s)
        if self._span.is_recording():
            self._span.set_attribute("rpc.grpc.status_code", code.value[0])
            if code is not grpc.StatusCode.OK:
                self._span.set_status(Status(StatusCode.ERROR, reason or code.name))
        self._span.end()
