"""Takes a run from pending to its verdict, whatever interrupts it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mltrainer_chaos.application.active_runs import AbortRequest, ActiveRuns
from mltrainer_chaos.application.faults import uninterrupted
from mltrainer_chaos.application.request_run import check_switch, explain
from mltrainer_chaos.application.run_session import RunSession, SessionTools
from mltrainer_chaos.domain.errors import ChaosError
from mltrainer_chaos.domain.journal import Journal, Machine
from mltrainer_chaos.domain.parsing import Policy, parse_experiment
from mltrainer_chaos.domain.run import (
    ChaosRun,
    FaultKind,
    Outcome,
    RunFinished,
    RunState,
    Verdict,
    ended,
    started,
)


@dataclass(slots=True)
class _Recovery:
    clock: Callable[[], datetime]
    time: datetime | None = None

    def __call__(self) -> None:
        self.time = self.clock()


@dataclass(frozen=True, slots=True)
class ExecuteRunHandler:
    """Executes runs, and ends those that an earlier process has left behind."""

    tools: SessionTools
    policy: Callable[[], Policy]
    active: ActiveRuns
    machine: Machine

    async def __call__(self, name: str) -> ChaosRun | None:
        """Executes a pending run and returns it with its verdict; None where it is pending no more."""
        # Entered before it begins: whatever executes and is not active has been left behind.
        with self.active.entered(name) as abort:
            run = await self._begin(name)
            if run is None or run.has_ended:
                return run
            experiment = parse_experiment(run.experiment_json, self.policy())
            journal = Journal(experiment, self.machine, run.start_time or run.create_time)
            return await self._execute(run, journal, abort)

    async def waiting(self) -> list[str]:
        """Returns the runs to be executed."""
        async with self.tools.unit_of_work.view() as view:
            return [run.name for run in await view.runs.in_states([RunState.PENDING])]

    async def end_interrupted(self, why: str) -> list[ChaosRun]:
        """Undoes the faults of runs that nobody executes any more and ends them."""
        async with self.tools.unit_of_work.view() as view:
            executing = await view.runs.in_states([RunState.EXECUTING])
        outcome = Outcome(Verdict.ABORTED, why)
        left = [run for run in executing if run.name not in self.active]
        return [
            run for run in [await self._end(run, outcome, self._fresh_journal(run)) for run in left] if run
        ]

    async def undo_lapsed(self) -> int:
        """Undoes every fault whose lease has ended and returns how many there were."""
        async with self.tools.unit_of_work.view() as view:
            lapsed = await view.faults.lapsed(self.tools.clock.now())
        for fault in lapsed:
            await self.tools.faults.undo(fault)
        return len(lapsed)

    async def _begin(self, name: str) -> ChaosRun | None:
        async with self.tools.unit_of_work() as uow:
            run = await uow.runs.get(name)
            if run is None or run.state is not RunState.PENDING:
                return None
            try:
                parse_experiment(run.experiment_json, self.policy())
                await check_switch(uow)
            except ChaosError as refusal:
                run = ended(run, Outcome(Verdict.FAILED, explain(refusal)), self.tools.clock.now())
                await uow.holds.release(name)
                uow.outbox.add(RunFinished(run))
            else:
                run = started(run, self.tools.clock.now())
            await uow.runs.save(run)
            await uow.commit()
        return run

    async def _execute(self, run: ChaosRun, journal: Journal, abort: AbortRequest) -> ChaosRun | None:
        recovery = _Recovery(self.tools.clock.now)
        session = RunSession(run.name, journal.experiment, self.tools, abort, journal, recovery)
        try:
            outcome = await session.execute()
        except asyncio.CancelledError:
            stopped = Outcome(Verdict.ABORTED, "the chaos service was stopped meanwhile")
            await uninterrupted(self._end(run, stopped, journal, recovery.time))
            raise
        return await self._end(run, outcome, journal, recovery.time)

    def _fresh_journal(self, run: ChaosRun) -> Journal | None:
        try:
            experiment = parse_experiment(run.experiment_json, self.policy())
        except ChaosError:
            return None
        return Journal(experiment, self.machine, run.start_time or run.create_time)

    async def _end(
        self,
        run: ChaosRun,
        outcome: Outcome,
        journal: Journal | None,
        recovery_time: datetime | None = None,
    ) -> ChaosRun | None:
        await self._undo_all(run, recovery_time)
        async with self.tools.unit_of_work() as uow:
            now = self.tools.clock.now()
            present = await uow.runs.get(run.name)
            if present is None or present.has_ended:
                return None
            faults = await uow.faults.of_run(run.name)
            run = ended(run, outcome, now, journal.close(outcome, faults, now) if journal else None)
            await uow.runs.save(run)
            await uow.holds.release(run.name)
            uow.outbox.add(RunFinished(run))
            await uow.commit()
        return run

    async def _undo_all(self, run: ChaosRun, recovery_time: datetime | None) -> None:
        async with self.tools.unit_of_work.view() as view:
            lasting = [item for item in await view.faults.of_run(run.name) if item.revert_time is None]
        for fault in lasting:
            if fault.kind is FaultKind.PAUSE:
                await self.tools.faults.undo(fault)
            elif recovery_time is not None:
                async with self.tools.unit_of_work() as uow:
                    await uow.faults.mark_reverted(fault.id, recovery_time)
                    await uow.commit()
