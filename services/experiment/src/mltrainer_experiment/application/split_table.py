"""Holds every experiment in memory, so that a unit is assigned without a query."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from mltrainer_experiment.application.ports import ExperimentReader
from mltrainer_experiment.domain.errors import ExperimentNotFoundError
from mltrainer_experiment.domain.experiment import Experiment, Split, experiment_name

_PAGE = 500


@dataclass(slots=True)
class SplitTable:
    """The splits of all experiments at the newest revision that this process has seen.

    `position` counts changes; whoever follows them asks for those after the position it has seen.
    """

    position: int = field(default=0, init=False)
    _splits: dict[str, Split] = field(default_factory=dict, init=False)
    _changed_at: dict[str, int] = field(default_factory=dict, init=False)
    _waiters: set[asyncio.Event] = field(default_factory=set, init=False)

    def split(self, experiment_id: str) -> Split:
        """Returns the split of an experiment.

        Raises:
            ExperimentNotFoundError: There is none.
        """
        split = self._splits.get(experiment_id)
        if split is None:
            raise ExperimentNotFoundError(experiment_name(experiment_id))
        return split

    def find(self, experiment_id: str) -> Split | None:
        """Returns the split of an experiment, or None."""
        return self._splits.get(experiment_id)

    def splits(self) -> list[Split]:
        """Returns the splits of all experiments."""
        return list(self._splits.values())

    def put(self, experiments: Iterable[Experiment]) -> None:
        """Takes experiments over where they are newer, and wakes those who wait for changes."""
        before = self.position
        for experiment in experiments:
            known = self._splits.get(experiment.experiment_id)
            if known is None or known.experiment.revision < experiment.revision:
                self.position += 1
                self._splits[experiment.experiment_id] = Split.of(experiment)
                self._changed_at[experiment.experiment_id] = self.position
        if self.position > before:
            for waiter in self._waiters:
                waiter.set()

    async def changes_after(self, position: int) -> list[str]:
        """Returns the ids of experiments that changed after a position; waits for the first."""
        waiter = asyncio.Event()
        self._waiters.add(waiter)
        try:
            while self.position <= position:
                waiter.clear()
                _ = await waiter.wait()
        finally:
            self._waiters.discard(waiter)
        return [name for name, changed_at in self._changed_at.items() if changed_at > position]


@dataclass(frozen=True, slots=True)
class RefreshSplits:
    """Takes over what the database holds, also what other instances have changed."""

    table: SplitTable
    reader: ExperimentReader

    async def __call__(self) -> None:
        """Reads all experiments, page by page."""
        after_id = ""
        while page := await self.reader.experiments(after_id, _PAGE):
            self.table.put(page)
            after_id = page[-1].experiment_id
