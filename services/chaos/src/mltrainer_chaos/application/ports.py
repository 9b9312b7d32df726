"""What the use cases need from outside."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from mltrainer_chaos.domain.experiment import Provider
from mltrainer_chaos.domain.run import ChaosRun, Fault, ProbeRecord, RunFinished, RunState, TargetProcess


class Clock(Protocol):
    """Tells the wall time."""

    def now(self) -> datetime:
        """Returns the current UTC time."""
        ...


class Monotonic(Protocol):
    """Tells seconds that never jump."""

    def __call__(self) -> float:
        """Returns seconds since an arbitrary start."""
        ...


class Processes(Protocol):
    """Knows the processes of the platform and signals exactly those that were meant."""

    def find(self, name: str) -> TargetProcess | None:
        """Returns the living process of this name."""
        ...

    def is_alive(self, process: TargetProcess) -> bool:
        """Tells whether it still runs."""
        ...

    def kill(self, process: TargetProcess) -> bool:
        """Ends it at once; False where it had ended."""
        ...

    def suspend(self, process: TargetProcess) -> bool:
        """Stops it until it is resumed; False where it had ended."""
        ...

    def resume(self, process: TargetProcess) -> bool:
        """Lets it go on, as often as wanted; False where it has ended."""
        ...


class Guardian(Protocol):
    """Resumes one process when its lease ends, even if this service has ended."""

    def begin(self) -> None:
        """Begins the lease."""
        ...

    async def dismiss(self) -> None:
        """Ends the guardian, which resumes the process first."""
        ...


class Guardians(Protocol):
    """Makes guardians."""

    async def start(self, process: TargetProcess, lease_s: float) -> Guardian:
        """Returns a guardian that has started and waits for the beginning of the lease."""
        ...


class ProbeFailedError(Exception):
    """A probe got no answer; the text says why."""


class Probe(Protocol):
    """Calls what probes name."""

    async def __call__(self, provider: Provider) -> Any:
        """Returns what it answers, a JSON value.

        Raises:
            ProbeFailedError: There is no answer in time.
        """
        ...


@dataclass(frozen=True, slots=True)
class SwitchChange:
    """One use of the kill switch."""

    is_on: bool
    actor: str
    reason: str
    change_time: datetime


class RunRepository(Protocol):
    """Keeps runs."""

    async def get(self, name: str) -> ChaosRun | None:
        """Returns a run."""
        ...

    async def of_request(self, request_id: str) -> ChaosRun | None:
        """Returns the run that a request id has made."""
        ...

    async def in_states(self, states: Sequence[RunState]) -> list[ChaosRun]:
        """Returns runs, oldest first."""
        ...

    async def page(self, limit: int, before: int | None) -> list[ChaosRun]:
        """Returns runs, newest first, with ordinals below `before`."""
        ...

    async def next_ordinal(self) -> int:
        """Returns the ordinal of the next run."""
        ...

    async def add(self, run: ChaosRun) -> None:
        """Stores a new run."""
        ...

    async def save(self, run: ChaosRun) -> None:
        """Replaces a run."""
        ...


class FaultRepository(Protocol):
    """Keeps faults and their leases."""

    async def add(self, fault: Fault) -> None:
        """Stores a fault before it is injected."""
        ...

    async def mark_reverted(self, fault: str, time: datetime) -> None:
        """Notes that a fault is undone, unless that was noted before."""
        ...

    async def of_run(self, run: str) -> list[Fault]:
        """Returns the faults of a run in order."""
        ...

    async def lapsed(self, now: datetime) -> list[Fault]:
        """Returns faults that last although their lease has ended."""
        ...


class ProbeLog(Protocol):
    """Keeps the latest probes of each run."""

    async def add(self, run: str, records: Sequence[ProbeRecord]) -> None:
        """Adds probes and forgets all but the last 1,000."""
        ...

    async def of_run(self, run: str) -> list[ProbeRecord]:
        """Returns the probes of a run in time order."""
        ...


class HoldRepository(Protocol):
    """Lets one run at a time have a target."""

    async def holders(self, targets: Sequence[str]) -> dict[str, str]:
        """Returns which of the targets are taken, and by which run."""
        ...

    async def take(self, targets: Sequence[str], run: str) -> None:
        """Gives free targets to a run."""
        ...

    async def release(self, run: str) -> None:
        """Frees the targets of a run."""
        ...


class SwitchRepository(Protocol):
    """Keeps every use of the kill switch."""

    async def latest(self) -> SwitchChange | None:
        """Returns the use that counts."""
        ...

    async def add(self, change: SwitchChange) -> None:
        """Stores a use."""
        ...


class Inbox(Protocol):
    """Remembers which events have taken effect."""

    async def claim(self, event_id: str, consumer: str = ...) -> bool:
        """Tells whether an event is new, and remembers it."""
        ...


class Outbox(Protocol):
    """Publishes events once the transaction has been committed."""

    def add(self, event: RunFinished) -> object:
        """Adds an event."""
        ...


class View(Protocol):
    """A read-only look at one moment."""

    @property
    def runs(self) -> RunRepository:
        """Runs."""
        ...

    @property
    def faults(self) -> FaultRepository:
        """Faults."""
        ...

    @property
    def probes(self) -> ProbeLog:
        """Probes."""
        ...

    @property
    def holds(self) -> HoldRepository:
        """Targets in use."""
        ...

    @property
    def switch(self) -> SwitchRepository:
        """The kill switch."""
        ...


class UnitOfWork(View, Protocol):
    """One transaction; what is not committed is undone."""

    @property
    def inbox(self) -> Inbox:
        """Events that took effect."""
        ...

    @property
    def outbox(self) -> Outbox:
        """Events to publish."""
        ...

    async def commit(self) -> None:
        """Makes everything durable at once."""
        ...


class UnitOfWorkFactory(Protocol):
    """Opens transactions and views."""

    def __call__(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Opens a transaction."""
        ...

    def view(self) -> AbstractAsyncContextManager[View]:
        """Opens a view; it waits for no writer."""
        ...
