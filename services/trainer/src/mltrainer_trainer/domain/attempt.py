"""Says what an attempt may become: every change is a function from an attempt to the next one and its events.

An attempt that has ended never changes its state again, so whatever order reports, exits, preemptions and
re-adoptions arrive in, exactly one event tells of its end.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from mltrainer_trainer.domain.checkpoints import SearchProgress
from mltrainer_trainer.domain.errors import AttemptEndedError, StaleFencingTokenError
from mltrainer_trainer.domain.execution import Ended, EndReason


class AttemptState(StrEnum):
    """Progress of an attempt."""

    PENDING = "PENDING"
    EXECUTING = "EXECUTING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return self not in LIVE_STATES


PREEMPTED = "PREEMPTED"
"""Reason of an attempt that gave its place back."""

LIVE_STATES = frozenset({AttemptState.PENDING, AttemptState.EXECUTING})


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """What each worker of an attempt may use; zero means unlimited, but for GPUs, where it means none.

    Attributes:
        gpu_type: Model of the GPUs; any where empty.
        workers: How many start together or not at all.
        allows_spot: Whether interruptible machines will do.
    """

    cpus: float = 1.0
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    gpus: float = 0.0
    gpu_type: str = ""
    workers: int = 1
    allows_spot: bool = True


@dataclass(frozen=True, slots=True)
class NodeShare:
    """Workers of a gang on one node."""

    node: str
    workers: int


@dataclass(frozen=True, slots=True)
class Placement:
    """What the scheduler decided for one attempt.

    Attributes:
        spec: The contract's encoding of what to execute: carried, never interpreted.
        shares: Where each worker goes, numbered in this order; empty where nobody has said.
    """

    training: str
    number: int
    allocation: str
    fencing_token: int
    node: str
    study: str
    computation_key: str
    as_of_time: datetime
    lease_expire_time: datetime
    spec: bytes
    limits: AttemptLimits = field(default_factory=AttemptLimits)
    traceparent: str = ""
    queue: str = "default"
    shares: tuple[NodeShare, ...] = ()

    @property
    def worker_nodes(self) -> tuple[str, ...]:
        """Node of each worker by its index; empty where nobody has said where the workers of a gang go."""
        if self.limits.workers == 1:
            return (self.node,)
        nodes = tuple(share.node for share in self.shares for _ in range(share.workers))
        return nodes if len(nodes) == self.limits.workers else ()

    @property
    def attempt(self) -> str:
        """Name of the attempt."""
        return f"{self.training}/attempts/{self.number}"


@dataclass(frozen=True, slots=True)
class AttemptIdentity:
    """Who reports: a name alone is not enough, for the number of an attempt says nothing about its lease."""

    name: str
    allocation: str
    fencing_token: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt ended without a result."""

    reason: str
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Success:
    """What an attempt reports at its end; `result` and `lineage` are encoded contracts, only carried."""

    manifest_digest: str
    computation_key: str
    result: bytes
    lineage: bytes


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used since its start, and holds now."""

    cpu_seconds: float
    memory_bytes: int
    sample_time: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of a training on one node.

    Attributes:
        checkpoint_time: When what it had finished was last made safe.
    """

    placement: Placement
    accept_time: datetime
    state: AttemptState = AttemptState.PENDING
    revision: int = 1
    progress: float = 0.0
    stage: str = ""
    execution_id: str | None = None
    execution_gone: bool = False
    start_time: datetime | None = None
    end_time: datetime | None = None
    failure: Failure | None = None
    success: Success | None = None
    usage: Usage | None = None
    search: SearchProgress | None = None
    checkpoint_time: datetime | None = None

    @property
    def name(self) -> str:
        """Format: `trainings/{training}/attempts/{attempt}`."""
        return self.placement.attempt


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An attempt executes."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class AttemptProgressed:
    """An attempt got further."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class AttemptSucceeded:
    """An attempt ended with a result."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt ended without one."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class UsageSampled:
    """What an attempt has used so far was measured."""

    attempt: Attempt


AttemptEvent = AttemptStarted | AttemptProgressed | AttemptSucceeded | AttemptFailed | UsageSampled


@dataclass(frozen=True, slots=True)
class Change:
    """The attempt after a step and what there is to tell about it; no events where nothing changed."""

    attempt: Attempt
    events: tuple[AttemptEvent, ...] = ()


def accept(placement: Placement, highest_token: int, *, is_revoked: bool, now: datetime) -> Attempt | None:
    """Accepts a placement; None where a later one is known or its allocation was taken back before."""
    if is_revoked or placement.fencing_token <= highest_token:
        return None
    return Attempt(placement, accept_time=now)


def check_identity(attempt: Attempt, identity: AttemptIdentity, highest_token: int) -> None:
    """Lets only the holder of the training's present allocation speak.

    Raises:
        StaleFencingTokenError: The speaker's allocation has been succeeded by another.
    """
    placement = attempt.placement
    speaks_for_it = (identity.allocation, identity.fencing_token) == (
        placement.allocation,
        placement.fencing_token,
    )
    if not speaks_for_it or identity.fencing_token < highest_token:
        raise StaleFencingTokenError(identity.name, identity.fencing_token, highest_token)


def launch(attempt: Attempt, execution_id: str) -> Change:
    """Records that there is an execution, which need not compute yet: it is never launched again."""
    known = attempt.execution_id or execution_id
    return Change(replace(attempt, execution_id=known, execution_gone=False))


def start(attempt: Attempt, execution_id: str | None, now: datetime) -> Change:
    """Records that the attempt executes; adopting the same execution again changes nothing."""
    if attempt.state is not AttemptState.PENDING:
        # Started just before the end was decided: remembered so that it is ended.
        return launch(attempt, execution_id) if execution_id else Change(attempt)
    known = attempt.execution_id or execution_id
    started = _next(attempt, state=AttemptState.EXECUTING, execution_id=known, start_time=now)
    return Change(started, (AttemptStarted(started),))


def advance(
    attempt: Attempt, progress: float, stage: str, now: datetime, search: SearchProgress | None = None
) -> Change:
    """Records how far an attempt is; one that has ended stays where it was."""
    if attempt.state.is_final:
        return Change(attempt)
    # A report may overtake the record of the start.
    change = start(attempt, None, now) if attempt.state is AttemptState.PENDING else None
    present = change.attempt if change else attempt
    before = change.events if change else ()
    bounded = min(1.0, max(0.0, progress))
    if (bounded, stage, search) == (present.progress, present.stage, present.search):
        return Change(present, before)
    progressed = _next(present, progress=bounded, stage=stage, search=search)
    return Change(progressed, (*before, AttemptProgressed(progressed)))


def succeed(attempt: Attempt, success: Success, now: datetime) -> Change:
    """Ends an attempt with its result; the same report again changes nothing.

    Raises:
        AttemptEndedError: It has ended otherwise.
    """
    if attempt.state is AttemptState.SUCCEEDED and attempt.success == success:
        return Change(attempt)
    if attempt.state.is_final:
        raise AttemptEndedError(attempt.name, attempt.state)
    change = start(attempt, None, now) if attempt.state is AttemptState.PENDING else Change(attempt)
    ended = _next(
        change.attempt,
        state=AttemptState.SUCCEEDED,
        success=success,
        progress=1.0,
        stage="done",
        end_time=now,
    )
    return Change(ended, (*change.events, AttemptSucceeded(ended)))


def fail(attempt: Attempt, failure: Failure, now: datetime) -> Change:
    """Ends an attempt without a result; one that has ended stays as it is.

    One whose machine was asked back did not fail.
    """
    if attempt.state.is_final:
        return Change(attempt)
    state = AttemptState.CANCELLED if failure.reason == PREEMPTED else AttemptState.FAILED
    ended = _next(attempt, state=state, failure=failure, end_time=now)
    return Change(ended, (AttemptFailed(ended),))


def preempt(attempt: Attempt, reason: str, now: datetime) -> Change:
    """Ends an attempt because its allocation no longer holds; its process is ended afterwards."""
    if attempt.state.is_final:
        return Change(attempt)
    # A cancelled training is over; whatever else took the allocation back, another attempt may succeed.
    failure = Failure(reason, f"the allocation was taken back: {reason}", retryable=reason != "CANCELLED")
    ended = _next(attempt, state=AttemptState.CANCELLED, failure=failure, end_time=now)
    return Change(ended, (AttemptFailed(ended),))


def end_execution(attempt: Attempt, ended: Ended, now: datetime) -> Change:
    """Records that the execution is over; without a report before, that is a failure."""
    closed = _closing_sample(attempt, ended, now)
    if attempt.state.is_final:
        return Change(replace(closed.attempt, execution_gone=True), closed.events)
    change = fail(closed.attempt, explain_end(attempt, ended), now)
    gone = replace(change.attempt, execution_gone=True)
    return Change(gone, (*closed.events, *change.events))


def _closing_sample(attempt: Attempt, ended: Ended, now: datetime) -> Change:
    """Measures the whole life of an execution whose end was watched: samples at an interval miss its tail."""
    if ended.cpu_seconds is None:
        return Change(attempt)
    memory_bytes = attempt.usage.memory_bytes if attempt.usage else 0
    usage = Usage(max(ended.cpu_seconds, _sampled_cpu_seconds(attempt)), memory_bytes, now)
    sampled = _next(attempt, usage=usage)
    return Change(sampled, (UsageSampled(sampled),))


def sample(attempt: Attempt, usage: Usage) -> Change:
    """Records what an attempt uses."""
    if attempt.state is not AttemptState.EXECUTING:
        return Change(attempt)
    sampled = _next(attempt, usage=usage)
    return Change(sampled, (UsageSampled(sampled),))


LEASE_LAPSED_EXIT_CODE = 75
# A signal of the kernel, seen by the parent of a process and as a shell or a container tells it.
_SIGXCPU_EXIT_CODES = frozenset({-24, 128 + 24})
# What the libraries say that end a process when they get no memory.
_LAST_WORDS_WITHOUT_MEMORY = ("memory allocation of", "std::bad_alloc", "MemoryError")
_RETRYABLE = {
    EndReason.OUT_OF_MEMORY: False,
    EndReason.DISK_EXCEEDED: False,
    EndReason.IMAGE_MISSING: False,
    EndReason.EVICTED: True,
    EndReason.NODE_LOST: True,
    EndReason.UNSCHEDULABLE: True,
}


def explain_end(attempt: Attempt, ended: Ended) -> Failure:
    """Says why an execution ended that has reported nothing."""
    limit_s = attempt.placement.limits.cpu_seconds
    used_s = ended.cpu_seconds if ended.cpu_seconds is not None else _sampled_cpu_seconds(attempt)
    if ended.exit_code in _SIGXCPU_EXIT_CODES or (limit_s and used_s >= limit_s):
        return Failure(
            "BUDGET_EXCEEDED", f"the budget of {limit_s:g} CPU seconds is used up: raise it", retryable=False
        )
    if ended.exit_code == LEASE_LAPSED_EXIT_CODE:
        return Failure("LEASE_LAPSED", "the lease of the allocation was not renewed in time", retryable=True)
    if any(words in ended.message for words in _LAST_WORDS_WITHOUT_MEMORY):
        return Failure("OUT_OF_MEMORY", ended.message, retryable=False)
    if ended.reason in _RETRYABLE:
        return Failure(ended.reason.value, ended.message, retryable=_RETRYABLE[ended.reason])
    cause = "unknown" if ended.exit_code is None else str(ended.exit_code)
    message = f"the process ended without a report, exit code {cause}"
    return Failure(
        "PROCESS_DIED", f"{message}: {ended.message}" if ended.message else message, retryable=True
    )


def _sampled_cpu_seconds(attempt: Attempt) -> float:
    return attempt.usage.cpu_seconds if attempt.usage else 0.0


def _next(attempt: Attempt, **changes: object) -> Attempt:
    return replace(attempt, revision=attempt.revision + 1, **changes)  # type: ignore[arg-type]  # checked by the dataclass's own fields
