"""Executes one experiment: the hypothesis before, during and after; the method, its limits, its rollbacks."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mltrainer_chaos.application.active_runs import AbortRequest
from mltrainer_chaos.application.faults import ActionFailedError, FaultInjector, FaultOrder
from mltrainer_chaos.application.ports import Clock, Monotonic, Probe, ProbeFailedError, UnitOfWorkFactory
from mltrainer_chaos.application.request_run import explain
from mltrainer_chaos.domain.catalogue import ActivityKind, Function
from mltrainer_chaos.domain.errors import KillSwitchOnError
from mltrainer_chaos.domain.experiment import Activity, Experiment, FunctionCall, RollbackStrategy
from mltrainer_chaos.domain.journal import ActivityResult, Journal, shortened
from mltrainer_chaos.domain.judge import SteadyStateJudge
from mltrainer_chaos.domain.run import Outcome, Phase, ProbeRecord, Verdict

_WRITE_INTERVAL_S = 0.25
_SHOWN_OUTPUT = 200
_ROLLBACK_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class SessionTools:
    """What every session works with."""

    unit_of_work: UnitOfWorkFactory
    faults: FaultInjector
    probe: Probe
    clock: Clock
    monotonic: Monotonic


class _Ended(Exception):  # noqa: N818 - ends the tasks of a session, and is no error
    def __init__(self, outcome: Outcome | None) -> None:
        super().__init__()
        self.outcome = outcome


@dataclass(slots=True)
class RunSession:
    """Executes an experiment once.

    Attributes:
        recovered: Called whenever the steady state holds again for the first time after a fault.
    """

    run: str
    experiment: Experiment
    tools: SessionTools
    abort: AbortRequest
    journal: Journal
    recovered: Callable[[], None]
    _judge: SteadyStateJudge = field(init=False)
    _unwritten: list[ProbeRecord] = field(default_factory=list)
    _has_recovered: asyncio.Event = field(default_factory=asyncio.Event)
    _has_ended: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._judge = SteadyStateJudge(self.experiment.limits.recovery_tolerance_s)

    async def execute(self) -> Outcome:
        """Returns the verdict; every probe is stored soon after it was made."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_probes())
            try:
                outcome = await self._decide()
            finally:
                self._has_ended.set()
        return outcome

    async def _decide(self) -> Outcome:
        strategy = self.experiment.rollback_strategy
        if not await self._sample(Phase.BEFORE):
            if strategy is RollbackStrategy.ALWAYS:
                await self._roll_back()
            return Outcome(
                Verdict.FAILED, "the steady state did not hold before the method: nothing was done"
            )
        outcome = await self._under_watch() or await self._conclude()
        if strategy in {RollbackStrategy.DEFAULT, RollbackStrategy.ALWAYS} or (
            strategy is RollbackStrategy.DEVIATED and outcome.verdict is Verdict.DEVIATED
        ):
            await self._roll_back()
        return outcome

    async def _under_watch(self) -> Outcome | None:
        outcomes: list[Outcome | None] = []
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._hold_hypothesis())
                group.create_task(self._expire())
                group.create_task(self._obey())
                for guard in self.experiment.limits.guards:
                    group.create_task(self._keep_guard(guard))
                await self._apply_method(group)
        except* _Ended as ends:
            outcomes = [item.outcome for item in _leaves(ends)]
        return next((item for item in outcomes if item), None)

    async def _conclude(self) -> Outcome:
        holds = await self._sample(Phase.AFTER)
        recovery_s = self._judge.recovery_s
        if self._judge.deviation:
            return Outcome(Verdict.DEVIATED, self._judge.deviation, recovery_s)
        if not holds:
            return Outcome(Verdict.DEVIATED, "the steady state did not hold after the method", recovery_s)
        if recovery_s is None:
            return Outcome(Verdict.PASSED, "the steady state held before, during and after; nothing was hit")
        explanation = (
            f"the steady state held again {recovery_s:.2f} s after the fault, "
            f"within the tolerance of {self.experiment.limits.recovery_tolerance_s:g} s"
        )
        return Outcome(Verdict.PASSED, explanation, recovery_s)

    async def _hold_hypothesis(self) -> None:
        while True:
            await self._sample(Phase.DURING)
            if self._judge.deviation and self.experiment.fail_fast:
                raise _Ended(Outcome(Verdict.DEVIATED, self._judge.deviation, self._judge.recovery_s))
            await asyncio.sleep(self.experiment.frequency_s)

    async def _expire(self) -> None:
        longest_s = self.experiment.limits.longest_s
        await asyncio.sleep(longest_s)
        raise self._aborted(f"stop condition: the run lasted {longest_s:g} s")

    async def _obey(self) -> None:
        await self.abort.asked.wait()
        raise self._aborted(self.abort.why)

    async def _keep_guard(self, guard: Activity) -> None:
        while True:
            if not (await self._probe(guard)).within:
                raise self._aborted(f"stop condition: {guard.name} is out of its tolerance")
            await asyncio.sleep(self.experiment.frequency_s)

    def _aborted(self, why: str) -> _Ended:
        return _Ended(Outcome(Verdict.ABORTED, why, self._judge.recovery_s))

    async def _apply_method(self, group: asyncio.TaskGroup) -> None:
        behind = []
        for activity in self.experiment.method:
            if activity.background:
                behind.append(group.create_task(self._step(activity)))
            else:
                await self._step(activity)
        for task in behind:
            await task
        await self._await_recovery()
        raise _Ended(None)

    async def _step(self, activity: Activity) -> None:
        await asyncio.sleep(activity.pause_before_s)
        start_time = self.tools.clock.now()
        try:
            if activity.kind is ActivityKind.PROBE:
                result = await self._probe(activity)
            else:
                output = await self._act(activity)
                result = ActivityResult(activity, output, start_time, self.tools.clock.now())
        except ActionFailedError as error:
            self.journal.run.append(self._failure(activity, start_time, str(error)))
            raise _Ended(Outcome(Verdict.FAILED, str(error), self._judge.recovery_s)) from None
        except KillSwitchOnError as error:
            raise self._aborted(explain(error)) from None
        except asyncio.CancelledError:
            self.journal.run.append(self._failure(activity, start_time, "interrupted"))
            raise
        self.journal.run.append(result)
        await asyncio.sleep(activity.pause_after_s)

    def _failure(self, activity: Activity, start_time: Any, problem: str) -> ActivityResult:
        return ActivityResult(activity, None, start_time, self.tools.clock.now(), problem)

    async def _act(self, activity: Activity) -> str:
        call, faults = activity.provider, self.tools.faults
        assert isinstance(call, FunctionCall)
        assert call.target is not None
        order = FaultOrder(self.run, activity.name, call.target)
        if call.function is not Function.RESUME_SERVICE:
            self._judge.fault_begins(self.tools.monotonic())
        match call.function:
            case Function.PAUSE_SERVICE:
                return await faults.pause(order, float(call.arguments["duration_s"]), self._injected)
            case Function.RESUME_SERVICE:
                return faults.resume(order)
            case _:
                lease_s = self.experiment.limits.recovery_tolerance_s
                return await faults.kill(order, lease_s, self._injected)

    def _injected(self, begun_s: float, effective_s: float) -> None:
        self._has_recovered.clear()
        self._judge.fault_injected(begun_s, effective_s)

    async def _await_recovery(self) -> None:
        if not self._judge.awaits_recovery:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._judge.remaining_s(self.tools.monotonic())):
                await self._has_recovered.wait()

    async def _sample(self, phase: Phase) -> bool:
        start_s = self.tools.monotonic()
        results = await asyncio.gather(*(self._probe(item) for item in self.experiment.probes))
        met = all(item.within for item in results)
        self.journal.add_sample(phase, results)
        self._unwritten.extend(_record(phase, item) for item in results)
        if phase is not Phase.BEFORE and self._judge.sampled(start_s, self.tools.monotonic(), met=met):
            self.recovered()
            self._has_recovered.set()
        return met

    async def _probe(self, activity: Activity) -> ActivityResult:
        start_time, tolerance = self.tools.clock.now(), activity.tolerance
        problem: str | None = None
        try:
            output = await self.tools.probe(activity.provider)
        except ProbeFailedError as error:
            output, problem = None, str(error)
        within = None if tolerance is None else problem is None and tolerance.accepts(output)
        return ActivityResult(activity, output, start_time, self.tools.clock.now(), problem, within)

    async def _roll_back(self) -> None:
        for activity in self.experiment.rollbacks:
            start_time = self.tools.clock.now()
            try:
                async with asyncio.timeout(_ROLLBACK_TIMEOUT_S):
                    is_probe = activity.kind is ActivityKind.PROBE
                    output = (await self._probe(activity)).output if is_probe else await self._act(activity)
                result = ActivityResult(activity, output, start_time, self.tools.clock.now())
            except (ActionFailedError, TimeoutError) as error:
                result = self._failure(activity, start_time, str(error) or "took too long")
            self.journal.rollbacks.append(result)

    async def _write_probes(self) -> None:
        while not self._has_ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_WRITE_INTERVAL_S):
                    await self._has_ended.wait()
            await self._write_unwritten()
        # The end may have come, with its last probes, while the write before was under way.
        await self._write_unwritten()

    async def _write_unwritten(self) -> None:
        if self._unwritten:
            records, self._unwritten = self._unwritten, []
            async with self.tools.unit_of_work() as uow:
                await uow.probes.add(self.run, records)
                await uow.commit()


def _record(phase: Phase, result: ActivityResult) -> ProbeRecord:
    return ProbeRecord(
        result.activity.name,
        phase,
        result.within is True,
        str(result.problem or shortened(result.output))[:_SHOWN_OUTPUT],
        result.duration_s * 1e3,
        result.start_time,
    )


def _leaves(group: BaseExceptionGroup[_Ended]) -> Sequence[_Ended]:
    found: list[_Ended] = []
    for item in group.exceptions:
        found.extend(_leaves(item) if isinstance(item, BaseExceptionGroup) else [item])
    return found
