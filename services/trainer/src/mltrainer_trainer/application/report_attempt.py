"""Takes what the processes of attempts report."""

from dataclasses import dataclass

from mltrainer_trainer.application.change_attempt import load_speaker, save_change
from mltrainer_trainer.application.lease_book import LeaseBook
from mltrainer_trainer.application.ports import Clock, UnitOfWorkFactory
from mltrainer_trainer.domain.attempt import (
    AttemptIdentity,
    Change,
    Failure,
    Success,
    Usage,
    advance,
    fail,
    sample,
    succeed,
)
from mltrainer_trainer.domain.checkpoints import SearchProgress


@dataclass(frozen=True, slots=True)
class ReportProgress:
    """How far an attempt is."""

    identity: AttemptIdentity
    progress: float
    stage: str
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    search: SearchProgress | None = None


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether an attempt shall go on, and for how long from now at least; 0 adds nothing to what it knows."""

    proceed: bool
    lease_s: float


@dataclass(frozen=True, slots=True)
class ReportProgressHandler:
    """Records progress and passes the lease on.

    Attributes:
        takes_usage: Whether attempts are believed what they use, because nobody sees it from outside.
    """

    unit_of_work: UnitOfWorkFactory
    leases: LeaseBook
    clock: Clock
    takes_usage: bool = False

    async def __call__(self, command: ReportProgress) -> Permission:
        """Tells whether the attempt shall go on."""
        async with self.unit_of_work() as uow:
            attempt = await load_speaker(uow, command.identity)
            now = self.clock.now()
            change = advance(attempt, command.progress, command.stage, now, command.search)
            if self.takes_usage:
                change = self._with_usage(change, command)
            if change.events:
                await save_change(uow, change)
                await uow.commit()
        if change.attempt.state.is_final:
            return Permission(proceed=False, lease_s=0.0)
        return Permission(proceed=True, lease_s=self.leases.left_s(command.identity.allocation))

    def _with_usage(self, change: Change, command: ReportProgress) -> Change:
        sampled = sample(change.attempt, Usage(command.cpu_seconds, command.memory_bytes, self.clock.now()))
        return Change(sampled.attempt, (*change.events, *sampled.events))


@dataclass(frozen=True, slots=True)
class ReportSuccess:
    """An attempt has uploaded its result."""

    identity: AttemptIdentity
    success: Success


@dataclass(frozen=True, slots=True)
class ReportSuccessHandler:
    """Ends an attempt with its result."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, command: ReportSuccess) -> None:
        """Takes effect once, however often it is reported."""
        async with self.unit_of_work() as uow:
            attempt = await load_speaker(uow, command.identity)
            change = succeed(attempt, command.success, self.clock.now())
            if change.events:
                await save_change(uow, change)
                await uow.steps.forget(attempt.placement.training)
                await uow.commit()


@dataclass(frozen=True, slots=True)
class ReportFailure:
    """An attempt cannot go on."""

    identity: AttemptIdentity
    failure: Failure


@dataclass(frozen=True, slots=True)
class ReportFailureHandler:
    """Ends an attempt without a result."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, command: ReportFailure) -> None:
        """Takes effect once; an attempt that has ended stays as it is."""
        async with self.unit_of_work() as uow:
            attempt = await load_speaker(uow, command.identity)
            change = fail(attempt, command.failure, self.clock.now())
            if change.events:
                await save_change(uow, change)
                await uow.commit()
