"""Calls peers for as long as the process may live."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
import structlog
from mltrainer_common.errors import RpcFailure

from mltrainer_trainer.domain.plan import AttemptFailedError

_T = TypeVar("_T")
_log = structlog.get_logger()

_TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
}
# A peer killed in the middle of a call may show as an error of the transport; a defect of the peer does too.
_DOUBTFUL = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.RESOURCE_EXHAUSTED}
_DOUBTFUL_ATTEMPTS = 8
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0


async def call_patiently(
    call: Callable[[], Awaitable[_T]], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> _T:
    """Repeats a call until it is answered; whoever watches the lease ends the waiting.

    Raises:
        AttemptFailedError: The peer refuses, with its own reason.
    """
    wait_s, failures = _FIRST_WAIT_S, 0
    while True:
        try:
            return await call()
        except RpcFailure as failure:
            failures += 1
            if not _may_repeat(failure, failures):
                raise _refusal(failure) from failure
            _log.info("peer_call_repeated", method=failure.method, code=failure.code.name, failures=failures)
        await sleep(random.uniform(0.5, 1.0) * wait_s)  # noqa: S311 - jitter
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def _may_repeat(failure: RpcFailure, failures: int) -> bool:
    if failure.code in _TRANSIENT:
        return True
    return failure.code in _DOUBTFUL and not failure.reason and failures < _DOUBTFUL_ATTEMPTS


def _refusal(failure: RpcFailure) -> AttemptFailedError:
    if failure.code in _DOUBTFUL and not failure.reason:
        message = f"{failure.peer} fails: {failure.message}"
        return AttemptFailedError("PEER_FAILED", message, retryable=True)
    # What is wrong with the request stays wrong; a resource that has vanished meanwhile can be made again.
    retryable = failure.code in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAUTHENTICATED}
    return AttemptFailedError(failure.reason or failure.code.name, failure.message, retryable=retryable)
