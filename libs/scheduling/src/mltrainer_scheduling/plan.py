"""What a policy decides, and why the rest waits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from mltrainer_scheduling.jobs import Share
from mltrainer_scheduling.snapshot import Snapshot


class Cause(StrEnum):
    """The one dominant reason why a job waits; the first five last until cluster or request change."""

    NO_NODE = "NO_NODE"
    GPU_TYPE_UNAVAILABLE = "GPU_TYPE_UNAVAILABLE"
    ON_DEMAND_UNAVAILABLE = "ON_DEMAND_UNAVAILABLE"
    LARGER_THAN_ANY_NODE = "LARGER_THAN_ANY_NODE"
    GANG_LARGER_THAN_CLUSTER = "GANG_LARGER_THAN_CLUSTER"
    INSUFFICIENT_GPUS = "INSUFFICIENT_GPUS"
    INSUFFICIENT_CPUS = "INSUFFICIENT_CPUS"
    INSUFFICIENT_MEMORY = "INSUFFICIENT_MEMORY"
    # Enough is free in total, but not on nodes that could hold the gang.
    FRAGMENTED = "FRAGMENTED"
    # It would fit, but what is free is kept for jobs ahead of it.
    BEHIND_OTHERS = "BEHIND_OTHERS"
    # Its queue holds what it may hold.
    QUOTA_EXHAUSTED = "QUOTA_EXHAUSTED"

    @property
    def is_lasting(self) -> bool:
        """Whether even an empty cluster could not help."""
        return self in _LASTING


_LASTING = frozenset(
    {
        Cause.NO_NODE,
        Cause.GPU_TYPE_UNAVAILABLE,
        Cause.ON_DEMAND_UNAVAILABLE,
        Cause.LARGER_THAN_ANY_NODE,
        Cause.GANG_LARGER_THAN_CLUSTER,
    }
)


@dataclass(frozen=True, slots=True)
class Start:
    """A pending job starts with every worker of its gang placed."""

    job_id: str
    shares: tuple[Share, ...]


class PreemptionReason(StrEnum):
    """Why a running job is stopped."""

    # A job that is expected to finish sooner, or has a higher priority, takes its place.
    OUTRANKED = "OUTRANKED"
    # It makes room for a wider gang on its node; it starts elsewhere in the same plan where there is room.
    MOVED = "MOVED"
    # Its queue borrowed what the owner now needs.
    RECLAIMED = "RECLAIMED"


@dataclass(frozen=True, slots=True)
class Preemption:
    """A running job stops, keeps what it saved and waits again; `beneficiary` gets its place."""

    job_id: str
    reason: PreemptionReason
    beneficiary: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Why jobs of one kind wait: one cause, and at most ten of the jobs that hold or get what they need."""

    cause: Cause
    blockers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions of one pass: preemptions happen first, then starts.

    Attributes:
        starts: Each pending job that starts now.
        preemptions: Each running job that stops now.
        waits: Why each job waits that was pending and stays so; a preempted one has its `Preemption`.
        order: All jobs of the snapshot, most urgent first, where the policy ranks them.
        urgency_s: Of each job in `order`, the smaller the more urgent.
        review_s: When the policy wants to be asked again even if nothing happens; infinite for never.
    """

    starts: tuple[Start, ...] = ()
    preemptions: tuple[Preemption, ...] = ()
    waits: Mapping[str, Wait] = field(default_factory=dict)
    review_s: float = float("inf")
    order: tuple[str, ...] = ()
    urgency_s: tuple[float, ...] = ()


class Gate(Protocol):
    """Bounds what queues may hold; one object per plan, told of every change in the order of the plan."""

    def admits(self, queue: str, gpu_millis: int) -> bool:
        """Says whether a gang of so many GPU thousandths may start in a queue."""
        ...

    def started(self, queue: str, gpu_millis: int) -> None:
        """Counts a gang that starts."""
        ...

    def stopped(self, queue: str, gpu_millis: int) -> None:
        """Counts a gang that is preempted."""
        ...


class OpenGate:
    """Admits everything."""

    def admits(self, queue: str, gpu_millis: int) -> bool:
        """Says yes."""
        del self, queue, gpu_millis
        return True

    def started(self, queue: str, gpu_millis: int) -> None:
        """Counts nothing."""

    def stopped(self, queue: str, gpu_millis: int) -> None:
        """Counts nothing."""


class Policy(Protocol):
    """Decides from a snapshot alone: equal snapshots give equal plans, live and in simulation."""

    @property
    def name(self) -> str:
        """What users call it."""
        ...

    def plan(self, snapshot: Snapshot, gate: Gate | None = None) -> Plan:
        """Returns what to start and stop now, and why each other pending job waits."""
        ...
