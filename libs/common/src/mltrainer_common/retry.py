"""Repeats an asynchronous function within bounds: only what is idempotent and retried nowhere else."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

import grpc

from mltrainer_common.deadlines import remaining_s
from mltrainer_common.errors import RpcFailure

_T = TypeVar("_T")

UNAVAILABLE_ONLY: frozenset[grpc.StatusCode] = frozenset({grpc.StatusCode.UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently; waits grow and are drawn between zero and their bound."""

    attempts: int = 4
    initial_backoff_s: float = 0.05
    maximal_backoff_s: float = 2.0
    multiplier: float = 2.0

    def backoff_s(self, attempt: int, draw: Callable[[], float]) -> float:
        """Returns the wait after a failed attempt, counted from 1."""
        bound = self.initial_backoff_s * self.multiplier ** (attempt - 1)
        return draw() * min(bound, self.maximal_backoff_s)


class RetryBudget:
    """Lets retries be at most a share of all calls, so that a struggling peer is not buried."""

    def __init__(self, tokens: float = 10.0, token_ratio: float = 0.1) -> None:
        self._maximum = tokens
        self._tokens = tokens
        self._token_ratio = token_ratio

    def deposit(self) -> None:
        """Notes a success."""
        self._tokens = min(self._maximum, self._tokens + self._token_ratio)

    def withdraw(self) -> bool:
        """Notes a failure; it may be retried while more than half of the tokens are left."""
        self._tokens = max(0.0, self._tokens - 1.0)
        return self._tokens > self._maximum / 2


async def retry(
    function: Callable[[], Awaitable[_T]],
    *,
    exceptions: tuple[type[Exception], ...] = (),
    codes: Collection[grpc.StatusCode] = UNAVAILABLE_ONLY,
    policy: RetryPolicy | None = None,
    budget: RetryBudget | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    draw: Callable[[], float] = random.random,
) -> _T:
    """Awaits the function until it succeeds, fails otherwise, or attempts, budget or deadline run out.

    Retried are the named exceptions and `RpcFailure` with one of the codes; nothing else.
    """
    policy = policy or RetryPolicy()
    for attempt in range(1, policy.attempts + 1):
        try:
            result = await function()
        except Exception as error:
            wait_s = policy.backoff_s(attempt, draw)
            may_retry = _is_listed(error, exceptions, codes) and (budget is None or budget.withdraw())
            if not may_retry or attempt == policy.attempts or not _fits(wait_s):
                raise
            await sleep(wait_s)
        else:
            if budget is not None:
                budget.deposit()
            return result
    raise ValueError("a retry policy needs at least one attempt")


def _is_listed(
    error: Exception, exceptions: tuple[type[Exception], ...], codes: Collection[grpc.StatusCode]
) -> bool:
    if isinstance(error, exceptions):
        return True
    return isinstance(error, RpcFailure) and error.code in codes


def _fits(wait_s: float) -> bool:
    left = remaining_s()
    return left is None or wait_s < left
