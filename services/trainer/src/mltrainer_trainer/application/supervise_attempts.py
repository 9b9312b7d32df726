"""Brings what executes to what the attempts ask for."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mltrainer_trainer.application.change_attempt import change_attempt
from mltrainer_trainer.application.ports import (
    AttemptQueries,
    BackendUnavailableError,
    Clock,
    ExecutionBackend,
    Launch,
    LaunchError,
    StaleLaunchError,
    UnitOfWorkFactory,
)
from mltrainer_trainer.domain.attempt import (
    Attempt,
    AttemptState,
    Failure,
    end_execution,
    fail,
    launch,
    start,
)
from mltrainer_trainer.domain.execution import Absent, Ended, EndReason, Executing, Observation, Starting

_LAST_WORDS_BYTES = 300


@dataclass(frozen=True, slots=True)
class SuperviseAttemptsHandler:
    """Starts the pending, adopts the living, records ends, ends what must not go on.

    Each pass begins from the database and the backend alone: a trainer that was killed goes on where it was.
    """

    unit_of_work: UnitOfWorkFactory
    queries: AttemptQueries
    backend: ExecutionBackend
    clock: Clock
    grace: timedelta = timedelta(seconds=10)

    async def __call__(self) -> list[Attempt]:
        """Makes one pass over all attempts and returns those it has changed.

        Raises:
            BackendUnavailableError: At least one could not be looked at; it stays as it was.
        """
        changed, unavailable = list[Attempt](), list[BackendUnavailableError]()
        for attempt in await self.queries.unfinished():
            try:
                after = await self._supervise(attempt)
            except BackendUnavailableError as error:
                unavailable.append(error)
            else:
                changed += [after] if after is not None else []
        if unavailable:
            raise unavailable[0]
        return changed

    async def _supervise(self, attempt: Attempt) -> Attempt | None:
        seen = await self.backend.observe(attempt)
        if isinstance(seen, Absent) and attempt.state is AttemptState.PENDING and not attempt.execution_id:
            return await self._launch(attempt)
        return await self._follow(attempt, seen)

    async def _follow(self, attempt: Attempt, seen: Observation) -> Attempt | None:
        match seen:
            case Absent():
                return await self._record_end(
                    attempt, Ended(EndReason.UNKNOWN, message="nothing is left of it")
                )
            case Ended():
                return await self._record_end(attempt, seen)
            case Starting(execution_id) if attempt.execution_id is None:
                return await change_attempt(
                    self.unit_of_work, attempt.name, lambda it: launch(it, execution_id)
                )
            case Executing(execution_id) if (
                attempt.execution_id is None or attempt.state is AttemptState.PENDING
            ):
                now = self.clock.now()
                return await change_attempt(
                    self.unit_of_work, attempt.name, lambda it: start(it, execution_id, now)
                )
        if attempt.end_time is not None:
            await self._stop(attempt, attempt.end_time)
        return None

    async def _launch(self, attempt: Attempt) -> Attempt | None:
        lease = attempt.placement.lease_expire_time - self.clock.now()
        if lease <= timedelta(0):
            return None  # the next renewal says whether the allocation still holds
        trials = await self.queries.trial_count(attempt.placement.study, excluding=attempt.placement.training)
        try:
            seen = await self.backend.start(Launch(attempt.placement, trials, lease.total_seconds()))
        except StaleLaunchError as error:
            return await self._fail(attempt, Failure("SUPERSEDED", str(error), retryable=True))
        except LaunchError as error:
            return await self._fail(attempt, Failure("LAUNCH_FAILED", str(error), retryable=True))
        return await self._follow(attempt, seen)

    async def _fail(self, attempt: Attempt, failure: Failure) -> Attempt:
        now = self.clock.now()
        return await change_attempt(self.unit_of_work, attempt.name, lambda it: fail(it, failure, now))

    async def _record_end(self, attempt: Attempt, ended: Ended) -> Attempt:
        told = (
            ended if attempt.state.is_final or ended.message else await self._with_last_words(attempt, ended)
        )
        now = self.clock.now()
        return await change_attempt(self.unit_of_work, attempt.name, lambda it: end_execution(it, told, now))

    async def _with_last_words(self, attempt: Attempt, ended: Ended) -> Ended:
        output = (await self.backend.read_output(attempt, _LAST_WORDS_BYTES)).decode(errors="replace")
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        return replace(ended, message=lines[-1] if lines else "")

    async def _stop(self, attempt: Attempt, end_time: datetime) -> None:
        overdue = self.clock.now() - end_time > self.grace
        # After a success the program ends by itself; everything else is asked to, once a pass, then made to.
        if overdue or attempt.state is not AttemptState.SUCCEEDED:
            await self.backend.stop(attempt, force=overdue)
