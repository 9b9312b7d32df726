"""Takes what the processes of attempts report."""

from dataclasses import dataclass

from mltrainer_trainer.application.change_attempt import load_speaker, save_change
from mltrainer_trainer.application.ports import Clock, UnitOfWorkFactory
from mltrainer_trainer.domain.attempt import AttemptIdentity, Failure, Success, advance, fail, succeed


@dataclass(frozen=True, slots=True)
class ReportProgress:
    """How far an attempt is."""

    identity: AttemptIdentity
    progress: float
    stage: str


@dataclass(frozen=True, slots=True)
class ReportProgressHandler:
    """Records progress."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, command: ReportProgress) -> bool:
        """Tells whether the attempt shall go on."""
        async with self.unit_of_work() as uow:
            attempt = await load_speaker(uow, command.identity)
            change = advance(attempt, command.progress, command.stage)
            if change.events:
                await save_change(uow, change)
                await uow.commit()
        return not change.attempt.state.is_final


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
