"""Shows runs."""

from dataclasses import dataclass

from mltrainer_chaos.application.ports import UnitOfWorkFactory
from mltrainer_chaos.domain.errors import RunNotFoundError
from mltrainer_chaos.domain.run import ChaosRun, Fault, ProbeRecord


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A run with everything that belongs to it."""

    run: ChaosRun
    faults: tuple[Fault, ...]
    probes: tuple[ProbeRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class BrowseHandler:
    """Reads runs."""

    unit_of_work: UnitOfWorkFactory

    async def get(self, name: str) -> ShownRun:
        """Returns a run with its faults and probes.

        Raises:
            RunNotFoundError: There is none of this name.
        """
        async with self.unit_of_work.view() as view:
            run = await view.runs.get(name)
            if run is None:
                raise RunNotFoundError(name)
            return ShownRun(run, tuple(await view.faults.of_run(name)), tuple(await view.probes.of_run(name)))

    async def page(self, limit: int, before: int | None) -> list[ShownRun]:
        """Returns runs without their probes, newest first."""
        async with self.unit_of_work.view() as view:
            runs = await view.runs.page(limit, before)
            return [ShownRun(run, tuple(await view.faults.of_run(run.name))) for run in runs]
