"""Remembers what this process has committed, so that planning need not read it again."""

from collections import deque
from dataclasses import dataclass, field

from mltrainer_scheduling.fair_share import PastUse
from mltrainer_scheduling.quotas import Queue

from mltrainer_scheduler.domain.cluster import NodeReport
from mltrainer_scheduler.domain.facts import Delta, Duration, fact_of
from mltrainer_scheduler.domain.training import Allocation, Training, TrainingState

# A process that does not lead never takes its commits over; it forgets the oldest.
_MOST_COMMITS = 1_000
_MOST_TRAININGS = 20_000


@dataclass(slots=True)
class Written:
    """What one transaction has written so far that planning follows."""

    number: int | None = None
    trainings: dict[str, Training] = field(default_factory=dict)
    allocations: dict[str, list[Allocation]] = field(default_factory=dict)
    nodes: dict[str, NodeReport] = field(default_factory=dict)
    queues: tuple[Queue, ...] | None = None
    past: dict[str, PastUse] = field(default_factory=dict)
    durations: list[Duration] = field(default_factory=list)
    duration_count: int | None = None
    knowledge: int | None = None

    def save(self, training: Training) -> None:
        """Takes note of a training's new state."""
        self.trainings[training.name] = training

    def allocate(self, allocation: Allocation) -> None:
        """Takes note of what a training holds."""
        self.allocations.setdefault(allocation.training, []).append(allocation)

    @property
    def is_complete(self) -> bool:
        """Tells whether it says of every training that is placed what it holds."""
        return all(
            name in self.allocations
            for name, training in self.trainings.items()
            if training.state is TrainingState.PLACED
        )

    def delta(self, number: int) -> Delta:
        """Returns the same as planning would read it."""
        return Delta(
            number,
            [
                fact_of(training, sorted(self.allocations.get(name, ()), key=lambda one: one.name))
                for name, training in self.trainings.items()
            ],
            list(self.nodes.values()),
            self.queues,
            self.past or None,
            self.durations,
            self.duration_count,
            self.knowledge,
        )


class OwnCommits:
    """The last commits of this process, by number."""

    def __init__(self) -> None:
        self._commits: deque[tuple[int, Written]] = deque()
        self._trainings = 0

    def add(self, written: Written) -> None:
        """Takes note of a transaction that was committed; one that changed nothing has no number."""
        if written.number is None:
            return
        self._commits.append((written.number, written))
        self._trainings += len(written.trainings)
        while len(self._commits) > _MOST_COMMITS or (
            self._trainings > _MOST_TRAININGS and len(self._commits) > 1
        ):
            self._forget_oldest()

    @property
    def last(self) -> int:
        """Returns the number of the last commit, or -1."""
        return self._commits[-1][0] if self._commits else -1

    def between(self, since: int, until: int) -> list[Delta] | None:
        """Returns what was committed after one number up to another; None if that is not all that was."""
        while self._commits and self._commits[0][0] <= since:
            self._forget_oldest()
        known = [(number, written) for number, written in self._commits if number <= until]
        has_all = len(known) == until - since and all(
            number == expected for expected, (number, _) in enumerate(known, since + 1)
        )
        if not has_all or not all(written.is_complete for _, written in known):
            return None
        return [written.delta(number) for number, written in known]

    def _forget_oldest(self) -> None:
        _, written = self._commits.popleft()
        self._trainings -= len(written.trainings)
