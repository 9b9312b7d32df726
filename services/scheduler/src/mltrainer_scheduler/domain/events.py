"""What the scheduler tells the platform; each event carries the training as it is after the change."""

from dataclasses import dataclass
from datetime import datetime

from mltrainer_scheduler.domain.reuse import UNKNOWN_WORTH, ResultDigests, Worth
from mltrainer_scheduler.domain.training import Allocation, Share, Training


@dataclass(frozen=True, slots=True)
class TrainingRejected:
    """A request was refused; a terminal outcome."""

    training: Training


@dataclass(frozen=True, slots=True)
class TrainingQueued:
    """A training waits; its reason says why."""

    training: Training


@dataclass(frozen=True, slots=True)
class TrainingPlaced:
    """The node of the first allocation may start the attempt, whose workers go where the allocations are."""

    training: Training
    allocation: Allocation
    closed_as_of: datetime
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class TrainingPreempted:
    """The allocation was taken back; its node ends the attempt."""

    training: Training
    allocation: Allocation


@dataclass(frozen=True, slots=True)
class TrainingDeduplicated:
    """A training takes the result of an equal one, and saves what that took; a terminal outcome."""

    training: Training
    worth: Worth = UNKNOWN_WORTH


@dataclass(frozen=True, slots=True)
class ComputationAudited:
    """A known result was computed again: whether the same model with the same scores came out."""

    training: Training
    known: ResultDigests
    found: ResultDigests

    @property
    def is_equal(self) -> bool:
        """Tells whether the two are the same, as far as both are known."""
        return self.known.model == self.found.model and (
            not self.known.scores or self.known.scores == self.found.scores
        )


@dataclass(frozen=True, slots=True)
class TrainingCompleted:
    """An attempt succeeded; a terminal outcome."""

    training: Training


@dataclass(frozen=True, slots=True)
class TrainingFailed:
    """No attempt can succeed, or the training was cancelled; a terminal outcome."""

    training: Training


@dataclass(frozen=True, slots=True)
class AllocationStarted:
    """Capacity is reserved from now on."""

    training: Training
    allocation: Allocation


@dataclass(frozen=True, slots=True)
class AllocationEnded:
    """Capacity is free again."""

    training: Training
    allocation: Allocation


TerminalEvent = TrainingRejected | TrainingDeduplicated | TrainingCompleted | TrainingFailed
SchedulerEvent = (
    TerminalEvent
    | ComputationAudited
    | TrainingQueued
    | TrainingPlaced
    | TrainingPreempted
    | AllocationStarted
    | AllocationEnded
)
