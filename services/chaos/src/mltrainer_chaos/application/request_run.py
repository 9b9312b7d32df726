"""Takes a chaos experiment in, or says exactly why not."""

from collections.abc import Callable
from dataclasses import dataclass

from mltrainer_chaos.application.ports import Clock, Processes, UnitOfWork, UnitOfWorkFactory, View
from mltrainer_chaos.domain import errors
from mltrainer_chaos.domain.experiment import Experiment, FunctionCall
from mltrainer_chaos.domain.parsing import Policy, parse_experiment
from mltrainer_chaos.domain.run import (
    PREFIX,
    ChaosRun,
    Outcome,
    RunFinished,
    TargetProcess,
    Verdict,
    ended,
)


@dataclass(frozen=True, slots=True)
class RequestRun:
    """Asks for a run; `name` is set where the producer has chosen it."""

    experiment_json: str
    actor: str
    reason: str
    request_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """What an action would hit if it were executed now."""

    action: str
    process: TargetProcess


@dataclass(frozen=True, slots=True)
class RequestRunHandler:
    """Stores a run that the runner will execute."""

    unit_of_work: UnitOfWorkFactory
    processes: Processes
    policy: Callable[[], Policy]
    clock: Clock
    new_id: Callable[[], str]

    async def __call__(self, command: RequestRun) -> ChaosRun:
        """Stores the run, or returns the one that the same request id has made.

        Raises:
            ChaosError: The experiment is refused.
        """
        _check_reason(command.reason)
        async with self.unit_of_work() as uow:
            if command.request_id and (known := await uow.runs.of_request(command.request_id)):
                if known.experiment_json != command.experiment_json:
                    raise errors.RequestIdReusedError(command.request_id)
                return known
            run = await self._accept(uow, command, f"{PREFIX}{self.new_id()}")
            await uow.commit()
        return run

    async def from_event(self, command: RequestRun, event_id: str) -> ChaosRun | None:
        """Stores the run of an event; what is refused becomes a run that has failed. None: nothing new."""
        async with self.unit_of_work() as uow:
            if not await uow.inbox.claim(event_id) or await uow.runs.get(command.name):
                return None
            try:
                run = await self._accept(uow, command, command.name)
            except errors.ChaosError as refusal:
                run = await self._refused(uow, command, refusal)
            await uow.commit()
        return run

    async def plan(self, command: RequestRun) -> tuple[Experiment, list[PlannedFault]]:
        """Checks everything, stores nothing, and returns what would be hit.

        Raises:
            ChaosError: The experiment would be refused.
        """
        experiment = parse_experiment(command.experiment_json, self.policy())
        async with self.unit_of_work.view() as view:
            await check_switch(view)
            await _check_free(view, experiment)
        found = self._find_targets(experiment)
        calls = [(item.name, item.provider) for item in experiment.method]
        return experiment, [
            PlannedFault(name, found[call.target])
            for name, call in calls
            if isinstance(call, FunctionCall) and call.target
        ]

    async def _accept(self, uow: UnitOfWork, command: RequestRun, name: str) -> ChaosRun:
        experiment = parse_experiment(command.experiment_json, self.policy())
        await check_switch(uow)
        self._find_targets(experiment)
        await _check_free(uow, experiment)
        run = await self._new(uow, command, name, experiment.title, experiment.targets)
        await uow.runs.add(run)
        await uow.holds.take(experiment.targets, run.name)
        return run

    async def _refused(self, uow: UnitOfWork, command: RequestRun, refusal: errors.ChaosError) -> ChaosRun:
        run = await self._new(uow, command, command.name, "refused", ())
        outcome = Outcome(Verdict.FAILED, explain(refusal))
        run = ended(run, outcome, self.clock.now())
        await uow.runs.add(run)
        uow.outbox.add(RunFinished(run))
        return run

    async def _new(
        self, uow: UnitOfWork, command: RequestRun, name: str, title: str, targets: tuple[str, ...]
    ) -> ChaosRun:
        return ChaosRun(
            name=name,
            ordinal=await uow.runs.next_ordinal(),
            title=title,
            experiment_json=command.experiment_json,
            targets=targets,
            actor=command.actor,
            reason=command.reason,
            create_time=self.clock.now(),
            request_id=command.request_id,
        )

    def _find_targets(self, experiment: Experiment) -> dict[str, TargetProcess]:
        found = {target: self.processes.find(target) for target in experiment.targets}
        if missing := [target for target, process in found.items() if process is None]:
            description = f"would hit {', '.join(missing)}, which does not run here"
            raise errors.InvalidExperimentError((errors.Violation("method", description),))
        return {target: process for target, process in found.items() if process}


def explain(refusal: errors.ChaosError) -> str:
    """Says in one sentence why an experiment was refused."""
    match refusal:
        case errors.InvalidExperimentError(violations=violations):
            return "; ".join(f"{item.path} {item.description}" for item in violations)
        case errors.TargetNotAllowedError(target=target):
            return f"faults in {target} are not allowed here"
        case errors.TargetBusyError(target=target, run=run):
            return f"{run} has {target}: wait for its end or stop it"
        case errors.KillSwitchOnError(actor=actor, reason=reason):
            return f"{actor} has stopped all runs ({reason or 'no reason given'}): release the switch first"
    return str(refusal)


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise errors.InvalidFieldError("reason", "must say why: it is kept with the run")


async def check_switch(view: View) -> None:
    """Refuses while the kill switch is on."""
    if (change := await view.switch.latest()) and change.is_on:
        raise errors.KillSwitchOnError(change.actor, change.reason)


async def _check_free(view: View, experiment: Experiment) -> None:
    for target, run in (await view.holds.holders(experiment.targets)).items():
        raise errors.TargetBusyError(target, run)
