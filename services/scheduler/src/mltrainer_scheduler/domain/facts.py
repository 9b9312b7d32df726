"""What planning knows of a training, and what has changed since it looked last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, nan

import numpy as np
from mltrainer_scheduling.fair_share import PastUse
from mltrainer_scheduling.quotas import Queue
from mltrainer_scheduling.snapshot import History

from mltrainer_scheduler.domain.cluster import Demand, NodeReport, demand_of
from mltrainer_scheduler.domain.saved_work import last_checkpoint_s
from mltrainer_scheduler.domain.training import Allocation, Training, TrainingState

_BLOCK = 64
_WINDOW = 2_048


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
        checkpoint_s: Until when the work of its present attempt is known to be safe.
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
    checkpoint_s: float = nan
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
        checkpoint_s=last_checkpoint_s(item.checkpoint_time for item in held),
        preemption_count=training.preemption_count,
        has_key=bool(training.computation_key),
        knowledge=training.knowledge,
        reason=training.reason,
        shares=tuple(shares) if training.state is TrainingState.PLACED else (),
    )


@dataclass(frozen=True, slots=True)
class Duration:
    """How long a training took, how wide it was and when it was asked for; those of a group last alike."""

    group: str
    gpus: float
    wall_s: float
    submit_s: float = nan


@dataclass(frozen=True, slots=True)
class Delta:
    """What has changed since a revision; None where nothing of that kind has.

    Attributes:
        past: Of those queues whose past use has changed.
        durations: Those that came after the ones that the reader knows.
        duration_count: How many there have been ever, the ones above included.
        knowledge: Revision of the replicated tables.
        checkpoints_s: Until when the work of present attempts is safe, of those with news, by training.
    """

    revision: int
    trainings: Sequence[TrainingFact] = ()
    nodes: Sequence[NodeReport] = ()
    queues: tuple[Queue, ...] | None = None
    past: Mapping[str, PastUse] | None = None
    durations: Sequence[Duration] = ()
    duration_count: int | None = None
    knowledge: int | None = None
    checkpoints_s: Mapping[str, float] = field(default_factory=dict)


def learned_count(count: int) -> int:
    """Returns how many durations are learned from: in blocks, since learning costs more than planning."""
    return count if count < _BLOCK else count - count % _BLOCK


def forgotten_count(count: int) -> int:
    """Returns how many of the first durations are left out: whole windows, so that most blocks only add."""
    return max(count // _WINDOW - 1, 0) * _WINDOW


class KnownDurations:
    """The durations that are learned from: the same ones, whenever reading began."""

    def __init__(self) -> None:
        self.count = 0
        self.history = History()
        self._kept: list[Duration] = []

    def extend(self, durations: Sequence[Duration], count: int) -> None:
        """Takes the newest durations in; `count` is how many there have been ever, these included."""
        new = count - self.count
        if new <= 0:
            return
        before = learned_count(self.count)
        self._kept = self._kept if len(durations) >= new else []
        self._kept += durations[-new:]
        self.count = count
        learned = learned_count(count)
        if learned == before:
            return
        left_out = count - len(self._kept)
        self._kept = self._kept[max(forgotten_count(learned) - left_out, 0) :]
        self.history = _history(self._kept[: learned - (count - len(self._kept))])


def _history(durations: Sequence[Duration]) -> History:
    return History(
        np.array([item.wall_s for item in durations], np.float64),
        np.array([item.gpus for item in durations], np.float64),
        tuple(item.group for item in durations),
        np.array([item.submit_s for item in durations], np.float64),
    )
