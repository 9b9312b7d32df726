"""Says what an attempt may become: every change is a function from an attempt to the next one and its events.

An attempt that has ended never changes its state again, so whatever order reports, exits, preemptions and
re-adoptions arrive in, exactly one event tells of its end.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from mltrainer_trainer.domain.errors import AttemptEndedError, StaleFencingTokenError


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


LIVE_STATES = frozenset({AttemptState.PENDING, AttemptState.EXECUTING})


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """What an attempt may use up; zero means unlimited."""

    cpus: float = 1.0
    cpu_seconds: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """What the scheduler decided for one attempt.

    `spec` is the contract's encoding of what to execute: carried, never interpreted.
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
class ProcessId:
    """A process that cannot be confused with a later one of the same number."""

    pid: int
    start_mark: str


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """How a process ended; `code` is negative for a signal and None where another process was its parent."""

    code: int | None
    cpu_seconds: float | None = None


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
    """One execution of a training on one node."""

    placement: Placement
    accept_time: datetime
    state: AttemptState = AttemptState.PENDING
    revision: int = 1
    progress: float = 0.0
    stage: str = ""
    process: ProcessId | None = None
    process_gone: bool = False
    start_time: datetime | None = None
    end_time: datetime | None = None
    failure: Failure | None = None
    success: Success | None = None
    usage: Usage | None = None

    @property
    def name(self) -> str:
        """Format: `trainings/{training}/attempts/{attempt}`."""
        return self.placement.attempt


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """The process of an attempt exists."""

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


def start(attempt: Attempt, process: ProcessId | None, now: datetime) -> Change:
    """Records that the process exists; adopting the same one again changes nothing."""
    if attempt.state is AttemptState.EXECUTING:
        return Change(replace(attempt, process=attempt.process or process))
    if attempt.state.is_final:
        # Started just before the end was decided: remembered so that it is ended.
        return Change(replace(attempt, process=attempt.process or process, process_gone=False))
    started = _next(attempt, state=AttemptState.EXECUTING, process=process, start_time=now)
    return Change(started, (AttemptStarted(started),))


def advance(attempt: Attempt, progress: float, stage: str) -> Change:
    """Records how far an attempt is; one that has ended stays where it was."""
    if attempt.state.is_final:
        return Change(attempt)
    # A report may overtake the record of the start: a trainer was killed between the two.
    change = start(attempt, None, attempt.accept_time) if attempt.state is AttemptState.PENDING else None
    present = change.attempt if change else attempt
    before = change.events if change else ()
    bounded = min(1.0, max(0.0, progress))
    if (bounded, stage) == (present.progress, present.stage):
        return Change(present, before)
    progressed = _next(present, progress=bounded, stage=stage)
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
    """Ends an attempt without a result; one that has ended stays as it is."""
    if attempt.state.is_final:
        return Change(attempt)
    ended = _next(attempt, state=AttemptState.FAILED, failure=failure, end_time=now)
    return Change(ended, (AttemptFailed(ended),))


def preempt(attempt: Attempt, reason: str, now: datetime) -> Change:
    """Ends an attempt because its allocation no longer holds; its process is ended afterwards."""
    if attempt.state.is_final:
        return Change(attempt)
    # A cancelled training is over; whatever else took the allocation back, another attempt may succeed.
    failure = Failure(reason, f"the allocation was taken back: {reason}", retryable=reason != "CANCELLED")
    ended = _next(attempt, state=AttemptState.CANCELLED, failure=failure, end_time=now)
    return Change(ended, (AttemptFailed(ended),))


def exit_process(attempt: Attempt, ended: ProcessExit, now: datetime) -> Change:
    """Records that the process is gone; without a report before, that is a failure."""
    closed = _closing_sample(attempt, ended, now)
    if attempt.state.is_final:
        return Change(replace(closed.attempt, process_gone=True), closed.events)
    change = fail(closed.attempt, explain_exit(attempt, ended), now)
    gone = replace(change.attempt, process_gone=True)
    return Change(gone, (*closed.events, *change.events))


def _closing_sample(attempt: Attempt, ended: ProcessExit, now: datetime) -> Change:
    """Measures the whole life of a process whose end was watched: samples at an interval miss its tail."""
    if ended.cpu_seconds is None:
        return Change(attempt)
    memory_bytes = attempt.usage.memory_bytes if attempt.usage else 0
    usage = Usage(max(ended.cpu_seconds, _sampled_cpu_seconds(attempt)), memory_bytes, now)
    sampled = _next(attempt, usage=usage)
    return Change(sampled, (UsageSampled(sampled),))


def sample(attempt: Attempt, usage: Usage, now: datetime) -> Change:
    """Records what an attempt uses, and ends one that holds more memory than it was given."""
    if attempt.state is not AttemptState.EXECUTING:
        return Change(attempt)
    sampled = _next(attempt, usage=usage)
    limit_bytes = attempt.placement.limits.memory_bytes
    if not limit_bytes or usage.memory_bytes <= limit_bytes:
        return Change(sampled, (UsageSampled(sampled),))
    message = f"the process holds {usage.memory_bytes} bytes of memory; its allocation has {limit_bytes}"
    change = fail(sampled, Failure("OUT_OF_MEMORY", message, retryable=False), now)
    return Change(change.attempt, (UsageSampled(sampled), *change.events))


LEASE_LAPSED_EXIT_CODE = 75
_SIGXCPU = 24


def explain_exit(attempt: Attempt, ended: ProcessExit) -> Failure:
    """Says why a process ended that has reported nothing."""
    limit_s = attempt.placement.limits.cpu_seconds
    used_s = ended.cpu_seconds if ended.cpu_seconds is not None else _sampled_cpu_seconds(attempt)
    if ended.code == -_SIGXCPU or (limit_s and used_s >= limit_s):
        return Failure(
            "BUDGET_EXCEEDED", f"the budget of {limit_s:g} CPU seconds is used up: raise it", retryable=False
        )
    if ended.code == LEASE_LAPSED_EXIT_CODE:
        return Failure("LEASE_LAPSED", "the lease of the allocation was not renewed in time", retryable=True)
    cause = "unknown" if ended.code is None else str(ended.code)
    return Failure("PROCESS_DIED", f"the process ended without a report, exit code {cause}", retryable=True)


def _sampled_cpu_seconds(attempt: Attempt) -> float:
    return attempt.usage.cpu_seconds if attempt.usage else 0.0


def _next(attempt: Attempt, **changes: object) -> Attempt:
    return replace(attempt, revision=attempt.revision + 1, **changes)  # type: ignore[arg-type]  # checked by the dataclass's own fields
