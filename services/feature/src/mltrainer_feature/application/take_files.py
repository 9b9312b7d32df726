"""Takes the files that somebody drops into a folder, each through a bulk load of its bytes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from mltrainer_feature.application.import_bars import ImportBarsHandler
from mltrainer_feature.application.ports import UnitOfWorkFactory
from mltrainer_feature.domain.dropped_files import (
    DropOutcome,
    DroppedFile,
    DropState,
    Sighting,
    follow,
    outcome_of,
    refuse_unread,
    whole_files,
)
from mltrainer_feature.domain.errors import FeatureServiceError
from mltrainer_feature.domain.imports import BarImport, import_name


class DropFolder(Protocol):
    """A folder that producers write into; methods block and raise OSError."""

    def files(self) -> Sequence[DroppedFile]:
        """Lists what is offered."""
        ...

    def store(self, file: DroppedFile) -> str | None:
        """Stores the bytes of a file and returns their digest; None if it is no longer as listed.

        Raises:
            UnfinishedFileError: The file ends in the middle of a line.
        """
        ...

    def put_away(self, outcome: DropOutcome) -> bool:
        """Moves a file to where its outcome belongs; tells whether it was still the same."""
        ...


class TakeDroppedFiles:
    """Takes whole files, by name; one that was taken before, by whomever, ends in the same load.

    Nothing is remembered but in the folder and in the database: a killed process does the step again.
    """

    def __init__(
        self,
        folder: DropFolder,
        import_bars: ImportBarsHandler,
        unit_of_work: UnitOfWorkFactory,
        *,
        monotonic_s: Callable[[], float],
        settle_s: float,
        max_bytes: int,
    ) -> None:
        self._folder = folder
        self._import_bars = import_bars
        self._unit_of_work = unit_of_work
        self._monotonic_s = monotonic_s
        self._settle_s = settle_s
        self._max_bytes = max_bytes
        self._sightings: dict[str, Sighting] = {}
        self._loading: dict[DroppedFile, str] = {}

    async def __call__(self) -> AsyncIterator[DropOutcome]:
        """Looks once, and yields what was settled or had to be postponed."""
        listed = await asyncio.to_thread(self._folder.files)
        now_s = self._monotonic_s()
        self._sightings = follow(self._sightings, listed, now_s)
        self._loading = {file: self._loading[file] for file in listed if file in self._loading}
        for file in whole_files(self._sightings, now_s, self._settle_s):
            try:
                outcome = await self._judge(file)
                if outcome is not None and await asyncio.to_thread(self._folder.put_away, outcome):
                    yield outcome
            except (OSError, FeatureServiceError) as error:
                yield DropOutcome(file, DropState.POSTPONED, message=str(error))

    async def _judge(self, file: DroppedFile) -> DropOutcome | None:
        refusal = refuse_unread(file, self._max_bytes)
        if refusal is not None:
            return refusal
        bar_import = await self._load(file)
        return outcome_of(file, bar_import) if bar_import is not None else None

    async def _load(self, file: DroppedFile) -> BarImport | None:
        # Asking for the load once more would start a failed one again.
        if file in self._loading:
            async with self._unit_of_work.snapshot() as stored:
                return await stored.imports.get(import_name(self._loading[file]))
        sha256 = await asyncio.to_thread(self._folder.store, file)
        if sha256 is None:
            return None
        bar_import = await self._import_bars(sha256)
        self._loading[file] = sha256
        return bar_import
