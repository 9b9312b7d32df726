"""What planning knows of a training, and what has changed since it looked last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan

from mltrainer_scheduling.fair_share import PastUse
from mltrainer_scheduling.quotas import Queue
from mltrainer_scheduling.snapshot import History

from mltrainer_scheduler.domain.cluster import Demand, NodeReport, demand_of
from mltrainer_scheduler.domain.training import Allocation, Training, TrainingState


@dataclass(frozen=True, slots=True)
class HeldShare:
    """Workers on one node; `device` is the GPU that a fractional worker shares, or -1."""

    node: str
    workers: int
    device: int = -1


@dataclass(frozen=True, slots=True)
class TrainingFact:
    """What planning knows of a training; times are seconds since 1970.

    Attributes:
        is_queued: Waits for capacity; with shares it is placed, with neither it is over.
        has_key: Leads its computation, so that it may be placed.
        knowledge: Revision of the replicated tables that its key was computed from.
    """

    name: str
    demand: Demand
    is_queued: bool = True
    queue: str = ""
    priority: int = 0
    group: str = ""
    create_s: float = 0.0
    ready_s: float = 0.0
    wait_begin_s: float = 0.0
    begin_s: float = nan
    deadline_s: float = inf
    attained_s: float = 0.0
    checkpoint_interval_s: float = 0.0
    preemption_count: int = 0
    has_key: bool = True
    knowledge: int = 0
    reason: str = ""
    shares: tuple[HeldShare, ...] = ()


def fact_of(training: Training, held: Sequence[Allocation]) -> TrainingFact:
    """Says what planning needs of a training and its living allocations."""
    spec = training.spec
    deadline = spec.budget.deadline_time if spec.budget else None
    shares = [HeldShare(item.share.node, item.share.workers, item.share.device) for item in held]
    return TrainingFact(
        name=training.name,
        demand=demand_of(training.name, spec.resources),
        is_queued=training.state is TrainingState.QUEUED,
        queue=spec.queue,
        priority=spec.priority,
        group=spec.study,
        create_s=training.create_time.timestamp(),
        ready_s=training.ready_time.timestamp(),
        wait_begin_s=(training.wait_begin_time or training.create_time).timestamp(),
        begin_s=training.begin_time.timestamp() if training.begin_time else nan,
        deadline_s=deadline.timestamp() if deadline else inf,
        attained_s=training.attained_s,
        checkpoint_interval_s=spec.resources.checkpoint_interval_s,
        preemption_count=training.preemption_count,
        has_key=bool(training.computation_key),
        knowledge=training.knowledge,
        reason=training.reason,
        shares=tuple(shares) if training.state is TrainingState.PLACED else (),
    )


@dataclass(frozen=True, slots=True)
class Delta:
    """What has changed in the database since a revision; None where nothing of that kind has."""

    revision: int
    trainings: Sequence[TrainingFact] = ()
    nodes: Sequence[NodeReport] = ()
    queues: tuple[Queue, ...] | None = None
    past: Mapping[str, PastUse] | None = None
    history: History | None = None
    knowledge: int = 0
    learned: int = 0
