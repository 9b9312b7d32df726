"""What the use cases of the experiment service need from the outside."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mltrainer_experiment.domain.analysis import Observations, Result
from mltrainer_experiment.domain.experiment import Experiment, Exposure, Outcome


class Clock(Protocol):
    """Tells an aware UTC time."""

    def now(self) -> datetime:
        """Returns the current time."""
        ...


@dataclass(frozen=True, slots=True)
class ExperimentEnded:
    """An experiment was decided or stopped, with what was known then."""

    experiment: Experiment
    result: Result


class Inbox(Protocol):
    """Lets an event take effect once."""

    async def claim_all(self, event_ids: Sequence[str]) -> set[str]:
        """Returns which ids are new, and remembers all of them."""
        ...


class Outbox(Protocol):
    """Publishes events after the commit."""

    def add(self, event: ExperimentEnded) -> str:
        """Adds an event and returns its id."""
        ...


class ExperimentRepository(Protocol):
    """Keeps experiments; transactions that lock it take turns."""

    async def lock(self) -> None:
        """Waits until no other transaction changes experiments; call it before anything else."""
        ...

    async def get(self, experiment_id: str) -> Experiment | None:
        """Returns an experiment."""
        ...

    async def of_request(self, request_id: str) -> Experiment | None:
        """Returns the experiment that a request has created."""
        ...

    async def active_of(self, model: str) -> Experiment | None:
        """Returns the active experiment of a model."""
        ...

    async def add(self, experiment: Experiment) -> None:
        """Adds a new experiment."""
        ...

    async def save(self, experiment: Experiment) -> None:
        """Replaces an experiment by its next revision."""
        ...

    async def keep_result(self, result: Result) -> None:
        """Keeps the result that an experiment was decided with."""
        ...


class ObservationRepository(Protocol):
    """Keeps exposures and outcomes; in any order and repeated, the same remains."""

    async def add_exposures(self, exposures: Sequence[Exposure]) -> None:
        """Keeps the earliest exposure of each unit."""
        ...

    async def add_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Keeps outcomes, each id once, also of units not exposed so far."""
        ...


class ExposureWriter(Protocol):
    """Makes exposures durable in a transaction of their own."""

    async def write(self, exposures: Sequence[Exposure]) -> None:
        """Returns when the earliest exposure of each unit is durable."""
        ...


class UnitOfWork(Protocol):
    """One write transaction."""

    @property
    def inbox(self) -> Inbox: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def experiments(self) -> ExperimentRepository: ...
    @property
    def observations(self) -> ObservationRepository: ...

    async def commit(self) -> None:
        """Commits; leaving without it rolls back."""
        ...


class UnitOfWorkFactory(Protocol):
    """Opens units of work."""

    def __call__(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Opens a unit of work."""
        ...


class ExperimentReader(Protocol):
    """Answers questions outside any write transaction."""

    async def experiment(self, experiment_id: str) -> Experiment | None:
        """Returns an experiment."""
        ...

    async def experiments(self, after_id: str, limit: int) -> Sequence[Experiment]:
        """Lists experiments by id, after one."""
        ...

    async def observations(self, experiment_id: str) -> Observations:
        """Counts exposed units and joined outcomes."""
        ...

    async def decided_result(self, experiment_id: str) -> Result | None:
        """Returns the result that an experiment was decided with."""
        ...
