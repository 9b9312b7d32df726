"""What the use cases of the service need from the outside."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mltrainer_trainer.domain.attempt import Attempt, AttemptEvent, Placement, Usage
from mltrainer_trainer.domain.checkpoints import FinishedStep, StepScope
from mltrainer_trainer.domain.execution import Observation
from mltrainer_trainer.domain.ledger import RecordedStudy, RecordedTrial
from mltrainer_trainer.domain.release import NodeReport, Release


class Clock(Protocol):
    """Tells an aware UTC time."""

    def now(self) -> datetime:
        """Returns the current time."""
        ...


class Inbox(Protocol):
    """Lets an event take effect once."""

    async def claim(self, event_id: str) -> bool:
        """Tells whether the event is new, and remembers it."""
        ...


class Outbox(Protocol):
    """Publishes after the transaction has committed."""

    def add(self, event: AttemptEvent | Release | NodeReport) -> None:
        """Adds an event."""
        ...


class AttemptRepository(Protocol):
    """Keeps attempts and the allocations that were taken back."""

    async def get(self, name: str) -> Attempt | None:
        """Returns an attempt by name."""
        ...

    async def of_allocation(self, allocation: str) -> Attempt | None:
        """Returns the attempt that an allocation serves."""
        ...

    async def highest_token(self, training: str) -> int:
        """Returns the highest fencing token known of a training; 0 where none is."""
        ...

    async def live_of(self, training: str) -> Sequence[Attempt]:
        """Returns the attempts of a training that have not ended."""
        ...

    async def add(self, attempt: Attempt) -> None:
        """Stores a new attempt."""
        ...

    async def save(self, attempt: Attempt) -> None:
        """Stores a changed attempt."""
        ...

    async def prolong(self, allocations: Sequence[str], lease_expire_time: datetime) -> None:
        """Stores how long the leases of attempts hold that have no process yet."""
        ...

    async def revoke(self, allocation: str, reason: str, time: datetime) -> None:
        """Remembers that an allocation was taken back; its placement may still be under way."""
        ...

    async def is_revoked(self, allocation: str) -> bool:
        """Tells whether an allocation was taken back."""
        ...

    async def forget_revoked(self, before: datetime) -> None:
        """Forgets allocations taken back before a moment."""
        ...

    async def mark_discarded(self, names: Sequence[str]) -> None:
        """Remembers that nothing is left of attempts."""
        ...


class StudyRepository(Protocol):
    """Keeps studies and their trials."""

    async def get(self, name: str) -> RecordedStudy | None:
        """Returns a study by name."""
        ...

    async def save(self, study: RecordedStudy) -> None:
        """Stores a new or changed study; its trial count is what the ledger holds."""
        ...

    async def add_training(self, study: str, training: str) -> bool:
        """Remembers that a training has recorded trials; False where that was known."""
        ...

    async def add_trials(self, trials: Sequence[RecordedTrial]) -> None:
        """Stores the trials whose configurations the ledger does not hold yet."""
        ...

    async def trial_count(self, study: str) -> int:
        """Returns how many trials a study has."""
        ...


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list is wanted; `after` is the position of the last element seen."""

    size: int
    after: str = ""


class StepRepository(Protocol):
    """Keeps what attempts have finished for those that come after them."""

    async def add(self, scope: StepScope, finished: Sequence[FinishedStep], now: datetime) -> None:
        """Stores steps that are not known yet."""
        ...

    async def page(self, scope: StepScope, page: PageRequest) -> Sequence[tuple[str, FinishedStep]]:
        """Returns steps by key with their positions."""
        ...

    async def forget(self, training: str) -> None:
        """Removes the steps of a training that is over."""
        ...

    async def forget_before(self, time: datetime) -> None:
        """Removes steps that nobody has come back for."""
        ...


class UnitOfWork(Protocol):
    """One write transaction; leaving it without `commit` rolls back."""

    @property
    def attempts(self) -> AttemptRepository:
        """Returns the attempts of this transaction."""
        ...

    @property
    def studies(self) -> StudyRepository:
        """Returns the studies of this transaction."""
        ...

    @property
    def steps(self) -> StepRepository:
        """Returns the finished steps of this transaction."""
        ...

    @property
    def inbox(self) -> Inbox:
        """Returns the inbox of this transaction."""
        ...

    @property
    def outbox(self) -> Outbox:
        """Returns the outbox of this transaction."""
        ...

    async def commit(self) -> None:
        """Makes everything durable at once."""
        ...


class UnitOfWorkFactory(Protocol):
    """Opens units of work."""

    def __call__(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Opens one."""
        ...


class AttemptQueries(Protocol):
    """Reads the attempts of this trainer outside any write transaction; who acts reads them again in one."""

    async def live(self) -> Sequence[Attempt]:
        """Returns the attempts that have not ended, oldest first."""
        ...

    async def unfinished(self) -> Sequence[Attempt]:
        """Returns the attempts that have not ended or whose execution may still be there."""
        ...

    async def ended_before(self, before: datetime, limit: int) -> Sequence[Attempt]:
        """Returns attempts that ended before a moment and were not discarded yet."""
        ...

    async def trial_count(self, study: str, *, excluding: str) -> int:
        """Returns how many trials a study has that one of its trainings has not recorded."""
        ...


class TrainerQueries(Protocol):
    """Reads what callers ask for."""

    async def attempt(self, name: str) -> Attempt | None:
        """Returns an attempt by name."""
        ...

    async def attempts(self, training: str, page: PageRequest) -> Sequence[tuple[str, Attempt]]:
        """Returns attempts with positions: of a training oldest first, of all where empty, newest first."""
        ...

    async def study(self, name: str) -> RecordedStudy | None:
        """Returns a study by name."""
        ...

    async def studies(self, page: PageRequest) -> Sequence[tuple[str, RecordedStudy]]:
        """Returns studies by name with their positions."""
        ...

    async def trials(self, study: str, page: PageRequest) -> Sequence[tuple[str, RecordedTrial]]:
        """Returns the trials of a study, oldest first, with their positions."""
        ...


@dataclass(frozen=True, slots=True)
class Launch:
    """What an execution backend needs to begin an attempt.

    `lease_s` is how long it may execute from its start before it has heard from the trainer.
    """

    placement: Placement
    study_trial_count: int
    lease_s: float


class LaunchError(Exception):
    """This attempt cannot be started here: asking again would not help it."""


class StaleLaunchError(LaunchError):
    """A later attempt of the same training was started before."""


class BackendUnavailableError(Exception):
    """The machine or the cluster cannot be asked now; nothing is known about what it executes."""


class ExecutionBackend(Protocol):
    """Executes attempts: processes on this machine, or a job each on a cluster.

    Whatever it starts survives the trainer, is found again by its attempt and token alone, and ends by itself
    when its lease lapses. Every method raises `BackendUnavailableError` where it cannot tell.
    """

    async def start(self, launch: Launch) -> Observation:
        """Starts all workers of an attempt or none; what was started before, or is over, is returned instead.

        Raises:
            LaunchError: It cannot be started here.
            StaleLaunchError: A later attempt of the training was started before.
        """
        ...

    async def observe(self, attempt: Attempt) -> Observation:
        """Tells what became of an attempt, whoever started it; one that cannot begin is ended."""
        ...

    async def stop(self, attempt: Attempt, *, force: bool) -> None:
        """Asks all workers to end, or ends them; one that is over or absent stays so."""
        ...

    async def measure(self, attempt: Attempt) -> Usage | None:
        """Measures what the workers use, if it can be seen; those that hold too much memory are ended."""
        ...

    async def read_output(self, attempt: Attempt, limit_bytes: int) -> bytes:
        """Returns the end of what the first worker has written; empty where nothing is left."""
        ...

    async def discard(self, attempt: Attempt) -> None:
        """Removes what an ended attempt has left."""
        ...


@dataclass(frozen=True, slots=True)
class Renewal:
    """The scheduler's answer about the allocations of a node."""

    renewed: frozenset[str]
    revoked: frozenset[str]
    lease_s: float


class SchedulerUnavailableError(Exception):
    """The scheduler cannot be asked now."""


class AllocationLeases(Protocol):
    """Asks the scheduler for more time."""

    async def renew(self, node: str, claims: Sequence[tuple[str, int]]) -> Renewal:
        """Prolongs the leases of allocations, each given with its fencing token.

        Raises:
            SchedulerUnavailableError: Nobody answered.
        """
        ...


class NodeProbe(Protocol):
    """Measures the machines that execute attempts."""

    async def reports(self) -> Sequence[NodeReport]:
        """Says what each of them offers now; one that has gone offers nothing.

        Raises:
            BackendUnavailableError: Nothing is known about them now.
        """
        ...
