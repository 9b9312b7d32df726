"""Brings the processes of a node to what its attempts ask for."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mltrainer_trainer.application.change_attempt import change_attempt
from mltrainer_trainer.application.ports import (
    AttemptQueries,
    Clock,
    ExecutionBackend,
    Launch,
    LaunchError,
    UnitOfWorkFactory,
)
from mltrainer_trainer.domain.attempt import (
    Attempt,
    AttemptState,
    Failure,
    ProcessExit,
    ProcessId,
    exit_process,
    fail,
    start,
)


@dataclass(frozen=True, slots=True)
class SuperviseAttemptsHandler:
    """Starts the pending, adopts the living, records exits, ends what must not go on.

    Each pass begins from the database and the machine alone: a trainer that was killed goes on where it was.
    """

    unit_of_work: UnitOfWorkFactory
    queries: AttemptQueries
    backend: ExecutionBackend
    clock: Clock
    node: str
    grace: timedelta = timedelta(seconds=10)

    async def __call__(self) -> list[Attempt]:
        """Makes one pass and returns the attempts it has changed."""
        attempts = await self.queries.unfinished_on(self.node)
        changed = [await self._supervise(attempt) for attempt in attempts]
        return [attempt for attempt in changed if attempt is not None]

    async def _supervise(self, attempt: Attempt) -> Attempt | None:
        if attempt.process is None:
            process = await self.backend.find(attempt)
            if process is not None:
                return await self._record_start(attempt, process)
        if attempt.state is AttemptState.PENDING:
            return await self._launch(attempt)
        ended = ProcessExit(None) if attempt.process is None else await self.backend.inspect(attempt)
        if ended is not None:
            return await self._record_exit(attempt, ended)
        if attempt.end_time is not None:
            await self._end(attempt, attempt.end_time)
        return None

    async def _launch(self, attempt: Attempt) -> Attempt | None:
        lease = attempt.placement.lease_expire_time - self.clock.now()
        if lease <= timedelta(0):
            return None  # the next renewal says whether the allocation still holds
        trials = await self.queries.trial_count(attempt.placement.study, excluding=attempt.placement.training)
        try:
            process = await self.backend.start(Launch(attempt.placement, trials, lease.total_seconds()))
        except LaunchError as error:
            failure = Failure("LAUNCH_FAILED", str(error), retryable=True)
            now = self.clock.now()
            return await change_attempt(self.unit_of_work, attempt.name, lambda it: fail(it, failure, now))
        return await self._record_start(attempt, process)

    async def _record_start(self, attempt: Attempt, process: ProcessId) -> Attempt:
        now = self.clock.now()
        return await change_attempt(self.unit_of_work, attempt.name, lambda it: start(it, process, now))

    async def _record_exit(self, attempt: Attempt, ended: ProcessExit) -> Attempt:
        now = self.clock.now()
        return await change_attempt(self.unit_of_work, attempt.name, lambda it: exit_process(it, ended, now))

    async def _end(self, attempt: Attempt, end_time: datetime) -> None:
        overdue = self.clock.now() - end_time > self.grace
        # After a success the process ends by itself; everything else is asked to, once a pass, then made to.
        if overdue or attempt.state is not AttemptState.SUCCEEDED:
            await self.backend.terminate(attempt, force=overdue)
