"""What the use cases of the service need from the outside."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mltrainer_trainer.domain.attempt import (
    Attempt,
    AttemptEvent,
    Placement,
    ProcessExit,
    ProcessId,
    Usage,
)
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
        """Remembers that the directories of attempts were removed."""
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


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list is wanted; `after` is the position of the last element seen."""

    size: int
    after: str = ""


class AttemptQueries(Protocol):
    """Reads the attempts of a node outside any write transaction; who acts reads them again inside one."""

    async def live_on(self, node: str) -> Sequence[Attempt]:
        """Returns the attempts of a node that have not ended, oldest first."""
        ...

    async def unfinished_on(self, node: str) -> Sequence[Attempt]:
        """Returns the attempts of a node that have not ended or whose process may still be there."""
        ...

    async def ended_before(self, node: str, before: datetime, limit: int) -> Sequence[Attempt]:
        """Returns attempts of a node that ended before a moment and were not discarded yet."""
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
    """What an execution backend needs to begin an attempt; `lease_s` is how long it may execute unrenewed."""

    placement: Placement
    study_trial_count: int
    lease_s: float


class LaunchError(Exception):
    """The machine cannot start another process now."""


class ExecutionBackend(Protocol):
    """Executes attempts: a process each on this machine, or a job each on a cluster.

    Whatever it starts survives the trainer and ends by itself when its lease lapses.
    """

    async def find(self, attempt: Attempt) -> ProcessId | None:
        """Returns the living process of an attempt, whoever started it."""
        ...

    async def start(self, launch: Launch) -> ProcessId:
        """Starts the process of an attempt; one that lives already is returned instead.

        Raises:
            LaunchError: There are no means to start it.
        """
        ...

    async def inspect(self, attempt: Attempt) -> ProcessExit | None:
        """Tells how the process ended; None while it lives."""
        ...

    async def terminate(self, attempt: Attempt, *, force: bool) -> None:
        """Asks the process and all its children to end, or ends them."""
        ...

    async def renew_lease(self, attempt: Attempt, lease_s: float) -> None:
        """Lets the attempt execute for so long from now."""
        ...

    async def measure(self, attempt: Attempt) -> Usage | None:
        """Measures what the process and its children use; None where it is gone."""
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
    """Measures the machine."""

    def report(self) -> NodeReport:
        """Says what the node offers now."""
        ...
