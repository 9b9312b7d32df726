"""The life of the process of an attempt: the work, and everything that ends it early."""

import asyncio
import contextlib
import errno
import math
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from mltrainer_trainer.application.execute_attempt import ExecuteAttemptHandler
from mltrainer_trainer.application.report_attempt import Permission
from mltrainer_trainer.domain.attempt import LEASE_LAPSED_EXIT_CODE, PREEMPTED, AttemptIdentity, Failure
from mltrainer_trainer.domain.checkpoints import SearchProgress
from mltrainer_trainer.domain.plan import AttemptFailedError, AttemptPlan

_log = structlog.get_logger()

SUCCEEDED_EXIT_CODE = 0
FAILED_EXIT_CODE = 1
TERMINATED_EXIT_CODE = 143
_LEASE_CHECK_S = 0.25
_STALL_CHECKS = 20
# Whoever computes uses more of a core than this; the loop that watches uses less.
_LEAST_CPU_SHARE = 0.05
# Others answer then, or are waited for; everything else is computing.
_WAITING_STAGES = frozenset({"", "dataset", "record", "upload"})
_BUDGET_CHECK_S = 0.25
_REPORT_INTERVAL_S = 1.0
# Whoever asks a process to end makes it end a little later.
_GIVING_BACK_S = 2.5
_LONGEST_HEARTBEAT_S = 5.0
# A lease is asked for this often before it lapses.
_ASKS_PER_LEASE = 4


class EndReports(Protocol):
    """Tells the trainer how far an attempt is and why it ends."""

    async def advance(
        self, identity: AttemptIdentity, progress: float, stage: str, search: SearchProgress | None
    ) -> Permission:
        """Returns whether the attempt shall go on, and for how long."""
        ...

    async def fail(self, identity: AttemptIdentity, failure: Failure) -> None:
        """Reports why there is no result."""
        ...


@dataclass(frozen=True, slots=True)
class Ending:
    """How the process ends; a failure is reported first, while the lease holds."""

    exit_code: int
    failure: Failure | None = None


_DISK_ERRORS = frozenset({errno.EFBIG, errno.ENOSPC, errno.EDQUOT})
_OUT_OF_MEMORY = Failure("OUT_OF_MEMORY", "the allocation has too little memory for it", retryable=False)


class StageLog:
    """Holds where the attempt is; written by the thread that computes, read by the loop that reports."""

    def __init__(self) -> None:
        self.current: tuple[float, str, SearchProgress | None] = (0.0, "", None)

    def enter(self, stage: str, progress: float, search: SearchProgress | None = None) -> None:
        """Notes where the attempt is; what was known of its search stays known."""
        self.current = (progress, stage, search or self.current[2])


class Lease:
    """How long the attempt may execute: from its start, then from each answer of the trainer on."""

    def __init__(self, lease_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._expire_s = monotonic() + lease_s
        self.length_s = lease_s

    def prolong(self, asked_s: float, lease_s: float) -> None:
        """Takes an answer; the lease counts from the question."""
        if asked_s + lease_s > self._expire_s:
            self._expire_s, self.length_s = asked_s + lease_s, lease_s

    def left_s(self) -> float:
        """Returns how much of it is left."""
        return self._expire_s - self._monotonic()


@dataclass(frozen=True, slots=True)
class StopSignals:
    """What the kernel and the trainer tell the process."""

    terminated: asyncio.Event = field(default_factory=asyncio.Event)
    budget_used: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class AttemptProcess:
    """Works until there is a result, a failure, or no reason to go on.

    Attributes:
        cancelled: Tells the computing thread, which cannot be interrupted, to stop at its next step.
        used_cpu_seconds: Reads the CPU time of the process and its children.
        spent_cpu_seconds: Reads what counts against the budget; asked often.
        stall_s: So long it may compute without using CPU time.
        checkpoint: Makes safe what is finished.
    """

    execute: ExecuteAttemptHandler
    reports: EndReports
    lease: Lease
    stages: StageLog
    signals: StopSignals
    cancelled: threading.Event
    used_cpu_seconds: Callable[[], float] = time.process_time
    stall_s: float = 600.0
    checkpoint: Callable[[], None] = lambda: None
    spent_cpu_seconds: Callable[[], float] = time.process_time

    async def run(self, plan: AttemptPlan) -> int:
        """Returns the exit code of the process."""
        try:
            ending = await self._live(plan)
        except MemoryError:
            # The model has taken so much that nothing is left to watch it with.
            ending = Ending(FAILED_EXIT_CODE, _OUT_OF_MEMORY)
        self.cancelled.set()
        if ending.failure is not None:
            is_asked_back = ending.failure.reason == PREEMPTED
            last = self._give_back(plan, ending) if is_asked_back else self._report(plan, ending)
            ending = await _first(last, self._watch_lease())
        _log.info(
            "attempt_ended",
            attempt=plan.identity.name,
            exit_code=ending.exit_code,
            reason=ending.failure.reason if ending.failure else "",
            cpu_seconds=round(self.spent_cpu_seconds(), 3),
        )
        return ending.exit_code

    async def _live(self, plan: AttemptPlan) -> Ending:
        return await _first(
            self._work(plan),
            self._watch_lease(),
            self._watch_deadline(plan),
            self._send_progress(plan),
            self._watch_termination(),
            self._watch_budget(plan),
            self._watch_stall(),
        )

    async def _work(self, plan: AttemptPlan) -> Ending:
        try:
            await self.execute(plan)
        except AttemptFailedError as error:
            return Ending(FAILED_EXIT_CODE, Failure(error.reason, error.message, error.retryable))
        except MemoryError:
            return Ending(FAILED_EXIT_CODE, _OUT_OF_MEMORY)
        except Exception as error:  # noqa: BLE001 - the one place that meets what nobody foresaw
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                return Ending(FAILED_EXIT_CODE, Failure("DISK_EXCEEDED", str(error), retryable=False))
            _log.exception("attempt_crashed", attempt=plan.identity.name)
            message = f"{type(error).__name__}: {error}"[:500]
            return Ending(FAILED_EXIT_CODE, Failure("UNEXPECTED_ERROR", message, retryable=True))
        return Ending(SUCCEEDED_EXIT_CODE)

    async def _watch_lease(self) -> Ending:
        while (left_s := self.lease.left_s()) > 0:  # noqa: ASYNC110 - time passes without an event
            await asyncio.sleep(min(left_s, _LEASE_CHECK_S))
        return Ending(LEASE_LAPSED_EXIT_CODE)

    async def _watch_deadline(self, plan: AttemptPlan) -> Ending:
        if plan.deadline_time is None:
            await asyncio.Event().wait()
        else:
            left = plan.deadline_time - datetime.now(UTC)
            await asyncio.sleep(max(0.0, left.total_seconds()))
        message = "the deadline of the training has passed"
        return Ending(FAILED_EXIT_CODE, Failure("DEADLINE_EXCEEDED", message, retryable=False))

    async def _send_progress(self, plan: AttemptPlan) -> Ending:
        sent, sent_s = None, 0.0
        while True:
            current = self.stages.current
            heartbeat_s = min(_LONGEST_HEARTBEAT_S, self.lease.length_s / _ASKS_PER_LEASE)
            if current != sent or time.monotonic() - sent_s >= heartbeat_s:
                sent, sent_s = current, time.monotonic()
                permission = await self.reports.advance(plan.identity, *current)
                if not permission.proceed:
                    return Ending(TERMINATED_EXIT_CODE)
                self.lease.prolong(sent_s, permission.lease_s)
            await asyncio.sleep(min(_REPORT_INTERVAL_S, heartbeat_s))

    async def _watch_termination(self) -> Ending:
        await self.signals.terminated.wait()
        # A drained node, an interruption of spot capacity, or a trainer that has decided already.
        failure = Failure(PREEMPTED, "the process was asked to end", retryable=True)
        return Ending(TERMINATED_EXIT_CODE, failure)

    async def _watch_budget(self, plan: AttemptPlan) -> Ending:
        budget_s = plan.cpu_seconds or math.inf
        # The kernel counts whole seconds; its signal also comes when this loop does not get to look.
        while self.spent_cpu_seconds() < budget_s and not self.signals.budget_used.is_set():  # noqa: ASYNC110 - CPU time raises no event
            await asyncio.sleep(_BUDGET_CHECK_S)
        message = f"the budget of {plan.cpu_seconds:g} CPU seconds is used up: raise it"
        return Ending(FAILED_EXIT_CODE, Failure("BUDGET_EXCEEDED", message, retryable=False))

    async def _watch_stall(self) -> Ending:
        used_s, since_s = self.used_cpu_seconds(), time.monotonic()
        while True:
            await asyncio.sleep(self.stall_s / _STALL_CHECKS)
            now_s, now_used_s = time.monotonic(), self.used_cpu_seconds()
            is_idle = now_used_s - used_s < _LEAST_CPU_SHARE * (now_s - since_s)
            if self.stages.current[1] in _WAITING_STAGES or not is_idle:
                used_s, since_s = now_used_s, now_s
            elif now_s - since_s >= self.stall_s:
                message = f"it has computed for {self.stall_s:g} s without using CPU time"
                return Ending(FAILED_EXIT_CODE, Failure("STALLED", message, retryable=False))

    async def _give_back(self, plan: AttemptPlan, ending: Ending) -> Ending:
        """Makes safe what is finished, and says why the attempt ends, as far as there is time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GIVING_BACK_S):
                with contextlib.suppress(AttemptFailedError):
                    await asyncio.to_thread(self.checkpoint)
                await self._report(plan, ending)
        return ending

    async def _report(self, plan: AttemptPlan, ending: Ending) -> Ending:
        if ending.failure is not None:
            try:
                await self.reports.fail(plan.identity, ending.failure)
            except AttemptFailedError as error:
                _log.warning("failure_refused", attempt=plan.identity.name, reason=error.reason)
        return ending


async def _first(*endings: Coroutine[Any, Any, Ending]) -> Ending:
    """Returns the first ending; the others are cancelled."""
    tasks = [asyncio.create_task(ending) for ending in endings]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    return next(task for task in tasks if task in done).result()
