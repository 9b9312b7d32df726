"""Stops everything at once, and keeps it stopped until somebody releases it."""

from dataclasses import dataclass

from mltrainer_chaos.application.active_runs import ActiveRuns
from mltrainer_chaos.application.ports import Clock, SwitchChange, UnitOfWorkFactory
from mltrainer_chaos.domain.errors import InvalidFieldError
from mltrainer_chaos.domain.run import Outcome, RunFinished, RunState, Verdict, ended

_LONGEST_END_S = 4.0


@dataclass(frozen=True, slots=True)
class StopAllHandler:
    """Turns the switch on, ends what waits, and has what is under way end."""

    unit_of_work: UnitOfWorkFactory
    active: ActiveRuns
    clock: Clock

    async def __call__(self, actor: str, reason: str) -> list[str]:
        """Returns the runs that were ended, once they have ended; works as often as it is called."""
        why = f"{actor} stopped all runs: {reason or 'no reason given'}"
        async with self.unit_of_work() as uow:
            await uow.switch.add(
                SwitchChange(is_on=True, actor=actor, reason=reason, change_time=self.clock.now())
            )
            waiting = await uow.runs.in_states([RunState.PENDING])
            for run in waiting:
                stopped = ended(run, Outcome(Verdict.ABORTED, why), self.clock.now())
                await uow.runs.save(stopped)
                await uow.holds.release(run.name)
                uow.outbox.add(RunFinished(stopped))
            await uow.commit()
        return [run.name for run in waiting] + await self.active.abort_all(why, _LONGEST_END_S)


@dataclass(frozen=True, slots=True)
class ReleaseHandler:
    """Turns the switch off."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, actor: str, reason: str) -> None:
        """Allows runs again; releasing what is not on changes nothing but the record."""
        if not reason.strip():
            raise InvalidFieldError("reason", "must say why runs are safe again: it is kept")
        async with self.unit_of_work() as uow:
            await uow.switch.add(
                SwitchChange(is_on=False, actor=actor, reason=reason, change_time=self.clock.now())
            )
            await uow.commit()
