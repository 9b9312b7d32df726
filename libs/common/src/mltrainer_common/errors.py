"""Turns errors into rich gRPC statuses on the server and back into facts on the client."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # no stubs exist

STATUS_METADATA_KEY = "grpc-status-details-bin"
_NO_METADATA: Mapping[str, str] = {}


class StartupError(Exception):
    """A process cannot start; the text is one sentence that says what to do, shown without a traceback."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """Names one field of a request, by path, and says what is wrong with it."""

    field: str
    description: str


class RpcError(Exception):
    """The answer of a handler that refuses: a code, a stable reason and one helpful sentence.

    `metadata` holds every fact that the message mentions; the domain is added by the server.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] = _NO_METADATA,
        field_violations: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata)
        self.field_violations = tuple(field_violations)
        self.retry_after_s = retry_after_s


class RpcFailure(Exception):  # noqa: N818 - the counterpart of RpcError, not another kind of it
    """What a caller sees when a call made through `ServiceChannel` fails.

    `reason` is empty when the peer sent no details. Reasons made on this side are `NO_ENDPOINTS`,
    `BREAKER_OPEN` and `NO_TIME_LEFT`.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        domain: str = "",
        metadata: Mapping[str, str] = _NO_METADATA,
        field_violations: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
        peer: str = "",
        method: str = "",
    ) -> None:
        super().__init__(f"{method or peer}: {code.name} {reason} {message}".strip())
        self.code = code
        self.message = message
        self.reason = reason
        self.domain = domain
        self.metadata = dict(metadata)
        self.field_violations = tuple(field_violations)
        self.retry_after_s = retry_after_s
        self.peer = peer
        self.method = method


ErrorMapper = Callable[[Exception], RpcError | None]
"""Maps an error of a service to its answer; None means unknown, which becomes INTERNAL."""


def pack_status(error: RpcError, domain: str) -> bytes:
    """Encodes a `google.rpc.Status` with ErrorInfo, and BadRequest and RetryInfo where they apply."""
    number = error.code.value[0]
    status = status_pb2.Status(code=number, message=error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=domain, metadata=error.metadata)
    _add_detail(status, info)
    if error.field_violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=item.field, description=item.description)
            for item in error.field_violations
        ]
        _add_detail(status, error_details_pb2.BadRequest(field_violations=violations))
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        _add_detail(status, error_details_pb2.RetryInfo(retry_delay=delay))
    packed: bytes = status.SerializeToString()
    return packed


def _add_detail(
    status: status_pb2.Status,
    message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> None:
    packed = AnyMessage()
    packed.Pack(message)
    status.details.append(packed)


def decode_failure(error: grpc.aio.AioRpcError, peer: str = "", method: str = "") -> RpcFailure:
    """Reads the details of a failed call; details that do not parse are ignored."""
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in _details(error):
        for target in (info, bad_request, retry):
            if detail.Is(target.DESCRIPTOR):
                detail.Unpack(target)
    delay = retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None
    return RpcFailure(
        error.code(),
        error.details() or "",
        reason=info.reason,
        domain=info.domain,
        metadata=info.metadata,
        field_violations=[
            FieldViolation(item.field, item.description) for item in bad_request.field_violations
        ],
        retry_after_s=delay,
        peer=peer,
        method=method,
    )


def _details(error: grpc.aio.AioRpcError) -> Sequence[AnyMessage]:
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_METADATA_KEY and isinstance(value, bytes):
            status = status_pb2.Status()
            try:
                status.ParseFromString(value)
            except ValueError:
                return ()
            return list(status.details)
    return ()


_UNREACHABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


def from_peer_failure(failure: RpcFailure) -> RpcError | None:
    """Answers for a handler whose peer cannot be reached or is too slow; None for every other failure."""
    facts = {"peer": failure.peer, "peer_reason": failure.reason}
    if failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = f"{failure.peer} did not answer in time"
        return RpcError(failure.code, "PEER_TOO_SLOW", message, metadata=facts)
    if failure.code in _UNREACHABLE:
        message = f"{failure.peer} cannot be reached now"
        wait_s = failure.retry_after_s or 1.0
        return RpcError(
            grpc.StatusCode.UNAVAILABLE, "PEER_UNAVAILABLE", message, metadata=facts, retry_after_s=wait_s
        )
    return None
