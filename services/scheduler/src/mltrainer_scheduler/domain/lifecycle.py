"""Moves trainings between states; every step counts the revision up and says what happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import nan
from typing import Any

from mltrainer_scheduler.domain.errors import WrongStateError
from mltrainer_scheduler.domain.events import (
    AllocationEnded,
    AllocationStarted,
    SchedulerEvent,
    TrainingCompleted,
    TrainingDeduplicated,
    TrainingFailed,
    TrainingPlaced,
    TrainingPreempted,
    TrainingQueued,
    TrainingRejected,
)
from mltrainer_scheduler.domain.saved_work import last_checkpoint_s, saved_s
from mltrainer_scheduler.domain.specification import FieldViolation
from mltrainer_scheduler.domain.training import (
    Allocation,
    Computation,
    EndReason,
    SchedulingPolicy,
    Share,
    Training,
    TrainingState,
)

ATTEMPTS_EXHAUSTED = "ATTEMPTS_EXHAUSTED"
INVALID_REQUEST = "INVALID_REQUEST"
JOINED = "JOINED"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something ended: a stable reason and one sentence."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """A training after a step, the allocations that the step began or ended, and its events in order."""

    training: Training
    events: tuple[SchedulerEvent, ...] = ()
    allocations: tuple[Allocation, ...] = ()


def reject(training: Training, violations: Sequence[FieldViolation], now: datetime) -> Change:
    """Refuses a request for its wrong fields."""
    fields = ", ".join(dict.fromkeys(violation.field for violation in violations))
    rejected = _step(
        training,
        state=TrainingState.REJECTED,
        violations=tuple(violations),
        reason=INVALID_REQUEST,
        message=f"the request cannot be carried out; wrong: {fields}",
        end_time=now,
    )
    return Change(rejected, (TrainingRejected(rejected),))


def queue(training: Training, reason: str, message: str = "", ready_time: datetime | None = None) -> Change:
    """Has a training wait for capacity."""
    queued = _step(
        training,
        state=TrainingState.QUEUED,
        reason=reason,
        message=message,
        duplicate_of="",
        ready_time=ready_time or training.ready_time,
        wait_begin_time=training.wait_begin_time or training.create_time,
    )
    return Change(queued, (TrainingQueued(queued),))


def join(training: Training, leader: str) -> Change:
    """Has a training wait for the result of an equal one."""
    joined = _step(
        training,
        state=TrainingState.JOINED,
        duplicate_of=leader,
        reason=JOINED,
        message=f"waits for the result of {leader}",
    )
    return Change(joined)


def deduplicate(training: Training, computation: Computation, now: datetime) -> Change:
    """Gives a training the result of an equal one."""
    deduplicated = _step(
        training,
        state=TrainingState.DEDUPLICATED,
        duplicate_of=computation.leader,
        manifest_digest=computation.manifest_digest,
        reason="DEDUPLICATED",
        message=f"takes the result of {computation.leader}",
        end_time=now,
    )
    return Change(deduplicated, (TrainingDeduplicated(deduplicated, computation.worth),))


def place_on(
    training: Training, shares: Mapping[str, Share], closed_as_of: datetime, now: datetime, lease_s: float
) -> Change:
    """Begins an attempt that holds every share, by allocation name, under a token above all earlier ones."""
    placed = _step(
        training,
        state=TrainingState.PLACED,
        attempt_count=training.attempt_count + 1,
        fencing_token=training.fencing_token + 1,
        reason="PLACED",
        message=f"placed on {', '.join(dict.fromkeys(share.node for share in shares.values()))}",
        begin_time=now,
    )
    allocations = tuple(
        Allocation(
            name=name,
            training=training.name,
            attempt=placed.attempt_count,
            share=share,
            fencing_token=placed.fencing_token,
            lease_expire_time=now + timedelta(seconds=lease_s),
            start_time=now,
        )
        for name, share in shares.items()
    )
    started = tuple(AllocationStarted(placed, allocation) for allocation in allocations)
    told = TrainingPlaced(placed, allocations[0], closed_as_of, tuple(shares.values()))
    return Change(placed, (told, *started), allocations)


def complete(
    training: Training, allocations: Sequence[Allocation], manifest_digest: str, verdict: str, now: datetime
) -> Change:
    """Takes the result of the attempt that holds the allocations."""
    completed = _step(
        training,
        state=TrainingState.COMPLETED,
        manifest_digest=manifest_digest,
        verdict=verdict,
        reason="COMPLETED",
        message=f"attempt {training.attempt_count} succeeded",
        end_time=now,
    )
    ended = _ended(allocations, EndReason.SUCCEEDED, now)
    return Change(completed, (TrainingCompleted(completed), *_ends(completed, ended)), ended)


def fail(training: Training, allocations: Sequence[Allocation], cause: Cause, now: datetime) -> Change:
    """Gives up for good."""
    failed = _step(
        training, state=TrainingState.FAILED, reason=cause.reason, message=cause.message, end_time=now
    )
    ended = _ended(allocations, EndReason.FAILED, now)
    return Change(failed, (TrainingFailed(failed), *_ends(failed, ended)), ended)


def cancel(training: Training, allocations: Sequence[Allocation], now: datetime) -> Change:
    """Stops a training; an attempt in progress is taken back first."""
    ended = _ended(allocations, EndReason.CANCELLED, now)
    preempted = _preempt(training, ended)
    cancelled = _step(
        preempted.training,
        state=TrainingState.CANCELLED,
        reason="CANCELLED",
        message="cancelled on request",
        end_time=now,
    )
    return Change(cancelled, (*preempted.events, TrainingFailed(cancelled)), ended)


def lapse(
    training: Training, allocations: Sequence[Allocation], policy: SchedulingPolicy, now: datetime
) -> Change:
    """Takes an attempt back whose lease was not renewed, and has the training wait for another."""
    ended = _ended(allocations, EndReason.LEASE_LAPSED, now)
    preempted = _preempt(training, ended)
    cause = Cause(EndReason.LEASE_LAPSED, f"the lease of attempt {training.attempt_count} was not renewed")
    after = _again(_keeping(preempted.training, allocations, now), cause, policy.max_attempts, now, now)
    return Change(after.training, (*preempted.events, *after.events), ended)


def preempt(training: Training, allocations: Sequence[Allocation], cause: Cause, now: datetime) -> Change:
    """Takes a place back for another training; what checkpoints saved is kept, and no attempt counts."""
    ended = _ended(allocations, EndReason.PREEMPTED, now)
    preempted = _preempt(training, ended)
    kept = replace(
        _keeping(preempted.training, allocations, now),
        preemption_count=training.preemption_count + 1,
    )
    after = queue(kept, cause.reason, cause.message, now)
    return Change(after.training, (*preempted.events, *after.events), ended)


def _keeping(training: Training, allocations: Sequence[Allocation], now: datetime) -> Training:
    """Counts the progress up to the last checkpoint, and begins to wait again."""
    begin_s = training.begin_time.timestamp() if training.begin_time else nan
    checkpoint_s = last_checkpoint_s(item.checkpoint_time for item in allocations)
    kept_s = float(saved_s(begin_s, checkpoint_s, now.timestamp()))
    return replace(training, attained_s=training.attained_s + kept_s, wait_begin_time=now)


def retry(
    training: Training,
    allocations: Sequence[Allocation],
    cause: Cause,
    policy: SchedulingPolicy,
    now: datetime,
) -> Change:
    """Has a training wait for another attempt after one that failed, a little longer each time."""
    ended = _ended(allocations, EndReason.FAILED, now)
    ready_time = now + timedelta(seconds=policy.backoff_s(training.attempt_count))
    after = _again(_keeping(training, allocations, now), cause, policy.max_attempts, now, ready_time)
    return Change(after.training, (*after.events, *_ends(after.training, ended)), ended)


def _again(
    training: Training, cause: Cause, max_attempts: int, now: datetime, ready_time: datetime
) -> Change:
    if training.attempt_count - training.preemption_count < max_attempts:
        return queue(training, cause.reason, cause.message, ready_time)
    count = training.attempt_count
    last = f"{count} attempts ended without a result, the last one with {cause.reason}: {cause.message}"
    return fail(training, (), Cause(ATTEMPTS_EXHAUSTED, last), now)


def _preempt(training: Training, ended: Sequence[Allocation]) -> Change:
    if not ended:
        return Change(training)
    preempted = _step(training)
    return Change(preempted, (TrainingPreempted(preempted, ended[0]), *_ends(preempted, ended)))


def _ended(allocations: Sequence[Allocation], reason: EndReason, now: datetime) -> tuple[Allocation, ...]:
    return tuple(replace(allocation, end_time=now, end_reason=reason) for allocation in allocations)


def _ends(training: Training, ended: Sequence[Allocation]) -> tuple[AllocationEnded, ...]:
    return tuple(AllocationEnded(training, allocation) for allocation in ended)


def _step(training: Training, **changes: Any) -> Training:
    if training.state.is_final:
        raise WrongStateError(training.name, training.state)
    return replace(training, revision=training.revision + 1, **changes)
