"""Trainings and the allocations that their attempts hold."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mltrainer_scheduler.domain.reuse import (
    NO_AUDITS,
    UNKNOWN_DIGESTS,
    UNKNOWN_WORTH,
    AuditPolicy,
    ResultDigests,
    Worth,
)
from mltrainer_scheduler.domain.specification import FieldViolation, TrainingSpec


class TrainingState(StrEnum):
    """Where a training is; the values are those of the contract without their prefix."""

    QUEUED = "QUEUED"
    JOINED = "JOINED"
    PLACED = "PLACED"
    DEDUPLICATED = "DEDUPLICATED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"

    @property
    def is_final(self) -> bool:
        """Tells whether nothing can change any more."""
        return self not in {TrainingState.QUEUED, TrainingState.JOINED, TrainingState.PLACED}


class EndReason(StrEnum):
    """Why an allocation or an attempt was ended."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    LEASE_LAPSED = "LEASE_LAPSED"
    PREEMPTED = "PREEMPTED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Training:
    """What a producer asked for and what became of it.

    Attributes:
        fencing_token: Token of the newest allocation; grows with every placement.
        ready_time: Not placed before; retries wait until then.
        wait_begin_time: When it began to wait, for the first time or after its last attempt.
        begin_time: When the present or last attempt began.
        attained_s: Progress that earlier attempts kept, in seconds of their wall time.
        preemption_count: Attempts that gave their place to another training.
        knowledge: Revision of the replicated tables that the key was computed from.
        audit_of: Training whose known result this one computes again, to compare.
        traceparent: Trace that the request began, continued by everything that follows from it.
    """

    name: str
    request_id: str
    spec: TrainingSpec
    state: TrainingState
    create_time: datetime
    ready_time: datetime
    computation_key: str = ""
    duplicate_of: str = ""
    attempt_count: int = 0
    fencing_token: int = 0
    reason: str = ""
    message: str = ""
    violations: tuple[FieldViolation, ...] = ()
    manifest_digest: str = ""
    verdict: str = ""
    end_time: datetime | None = None
    revision: int = 0
    traceparent: str | None = None
    wait_begin_time: datetime | None = None
    begin_time: datetime | None = None
    attained_s: float = 0.0
    preemption_count: int = 0
    knowledge: int = 0
    audit_of: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """Workers of a gang on one node; `device` is the GPU that a fractional worker shares, or -1."""

    node: str
    workers: int
    spot: bool = False
    device: int = -1


@dataclass(frozen=True, slots=True)
class Allocation:
    """A reservation of capacity on one node, alive while its lease is.

    The allocations of a gang share attempt, token and lease; the attempt executes on the node of the first.

    Attributes:
        checkpoint_time: Until when the work of its attempt is known to be safe.
        checkpoint_heard_time: When that was heard.
    """

    name: str
    training: str
    attempt: int
    share: Share
    fencing_token: int
    lease_expire_time: datetime
    start_time: datetime
    end_time: datetime | None = None
    end_reason: str = ""
    stage: str = ""
    progress: float = 0.0
    progress_revision: int = 0
    checkpoint_time: datetime | None = None
    checkpoint_heard_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class ComputationId:
    """What makes two trainings the same work with the same effect.

    Study and alias belong to it: a result counts against its study's trials, becomes a version of its
    study's model, and moves its alias.
    """

    study: str
    propose_alias: str
    key: str


@dataclass(frozen=True, slots=True)
class Computation:
    """One piece of work: who does it and, once it is done, its result and what that took.

    `revision` changes when a training joins, so that joining and finishing at once cannot both succeed.
    """

    id: ComputationId
    leader: str
    manifest_digest: str = ""
    revision: int = 0
    digests: ResultDigests = UNKNOWN_DIGESTS
    worth: Worth = UNKNOWN_WORTH
    finish_time: datetime | None = None

    @property
    def is_finished(self) -> bool:
        """Tells whether the result exists."""
        return bool(self.manifest_digest)


def computation_id(training: Training) -> ComputationId:
    """Names the computation of a training that has a key."""
    return ComputationId(training.spec.study, training.spec.propose_alias, training.computation_key)


@dataclass(frozen=True, slots=True)
class Terms:
    """How far preemption goes.

    Attributes:
        minimum_run_s: Nothing is preempted earlier.
        max_preemptions: Of one training.
        restore_s: What a start after a preemption is expected to cost.
    """

    minimum_run_s: float = 60.0
    max_preemptions: int = 3
    restore_s: float = 60.0


@dataclass(frozen=True, slots=True)
class SchedulingPolicy:
    """How leases, retries and preemption are bounded, and how long use is remembered."""

    lease_s: float = 30.0
    max_attempts: int = 8
    first_backoff_s: float = 0.5
    max_backoff_s: float = 15.0
    view_grace_s: float = 15.0
    node_silence_s: float = 15.0
    half_life_s: float = 86_400.0
    audits: AuditPolicy = NO_AUDITS
    terms: Terms = Terms()

    def backoff_s(self, attempt_count: int) -> float:
        """Returns how long to wait after this many attempts."""
        return min(self.first_backoff_s * 2.0 ** max(attempt_count - 1, 0), self.max_backoff_s)
