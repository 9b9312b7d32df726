"""Loads history in bulk, in pieces that commit one by one: a killed process continues where it was."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime

from mltrainer_feature.application.ports import Clock, Files, OnlineRows, UnitOfWork, UnitOfWorkFactory
from mltrainer_feature.application.record_bars import CLOCK_TOLERANCE, store_bars
from mltrainer_feature.application.wakeup import Wakeup
from mltrainer_feature.domain.bars import Bars, Refusal, split_new_bars
from mltrainer_feature.domain.errors import (
    BytesNotFoundError,
    InvalidRequestError,
    UnreadableBarsError,
    Violation,
)
from mltrainer_feature.domain.exchanges import ALL_OPEN, Exchanges
from mltrainer_feature.domain.imports import (
    MAX_PROBLEMS,
    BarImport,
    ImportState,
    chunk_end,
    import_name,
    is_sha256,
)

# A piece holds the database's writer: bars that stream in wait for it.
CHUNK_BARS = 10_000


@dataclass(frozen=True, slots=True)
class ImportBarsHandler:
    """Starts a bulk load; the same bytes load once, a failed load is tried again."""

    unit_of_work: UnitOfWorkFactory
    files: Files
    clock: Clock
    wakeup: Wakeup

    async def __call__(self, sha256: str) -> BarImport:
        if not is_sha256(sha256):
            raise InvalidRequestError([Violation("sha256", "give 64 lower-case hexadecimal digits")])
        if not await asyncio.to_thread(self.files.exists, sha256):
            raise BytesNotFoundError(sha256)
        async with self.unit_of_work() as uow:
            bar_import = await uow.imports.get(import_name(sha256))
            if bar_import is None:
                bar_import = BarImport(import_name(sha256), sha256, ImportState.RUNNING, self.clock.now())
            elif bar_import.state is ImportState.FAILED:
                bar_import = replace(bar_import, state=ImportState.RUNNING, error="")
            else:
                return bar_import
            await uow.imports.save(bar_import)
            await uow.commit()
        self.wakeup.notify()
        return bar_import


@dataclass(frozen=True, slots=True)
class RunNextImport:
    """Runs the bulk load that waits longest, from where it stopped."""

    unit_of_work: UnitOfWorkFactory
    files: Files
    online: OnlineRows
    market_clock: Clock
    exchanges: Exchanges = ALL_OPEN

    async def __call__(self) -> BarImport | None:
        """Returns the finished bulk load; None when there was nothing to do."""
        async with self.unit_of_work.snapshot() as stored:
            bar_import = await stored.imports.next_running()
        if bar_import is None:
            return None
        try:
            bars, refusals = await asyncio.to_thread(
                self._read, bar_import.sha256, self.market_clock.now() + CLOCK_TOLERANCE
            )
        except UnreadableBarsError as error:
            return await self._finish(replace(bar_import, state=ImportState.FAILED, error=str(error)))
        if bar_import.next_row == 0:
            bar_import = await self._note_refusals(bar_import, refusals)
        while bar_import.next_row < bars.height:
            bar_import = await self._store_chunk(bar_import, bars)
        return await self._finish(replace(bar_import, state=ImportState.SUCCEEDED))

    async def fail(self, error: str) -> None:
        """Gives up the bulk load that waits longest, so that the next one has its turn."""
        async with self.unit_of_work.snapshot() as stored:
            bar_import = await stored.imports.next_running()
        if bar_import is not None:
            await self._finish(replace(bar_import, state=ImportState.FAILED, error=error))

    def _read(self, sha256: str, latest_time: datetime) -> tuple[Bars, list[Refusal]]:
        sound, refusals = split_new_bars(self.files.read_history(sha256), latest_time)
        usable, untimely = self.exchanges.split(sound)
        return usable.sort("event_time", "symbol"), [*refusals, *untimely]

    async def _store_chunk(self, bar_import: BarImport, bars: Bars) -> BarImport:
        end = chunk_end(bars, bar_import.next_row, CHUNK_BARS)
        chunk = bars.slice(bar_import.next_row, end - bar_import.next_row)
        async with self.unit_of_work() as uow:
            recorded = (await store_bars(uow, chunk)).recorded
            bar_import = replace(
                bar_import, next_row=end, accepted_count=bar_import.accepted_count + recorded.accepted_count
            )
            bar_import = await self._refuse(uow, bar_import, recorded.refusals)
            await uow.commit()
        await self.online.refresh()
        return bar_import

    async def _note_refusals(self, bar_import: BarImport, refusals: list[Refusal]) -> BarImport:
        # A process that was killed before its first piece was stored has noted them already.
        if bar_import.refused_count or not refusals:
            return bar_import
        async with self.unit_of_work() as uow:
            noted = await self._refuse(uow, bar_import, tuple(refusals))
            await uow.commit()
        return noted

    async def _refuse(
        self, uow: UnitOfWork, bar_import: BarImport, refusals: tuple[Refusal, ...]
    ) -> BarImport:
        await uow.bars.quarantine(refusals, bar_import.name, self.market_clock.now())
        sentences = (*bar_import.problems, *(refusal.sentence() for refusal in refusals[:MAX_PROBLEMS]))
        changed = replace(
            bar_import,
            refused_count=bar_import.refused_count + len(refusals),
            problems=sentences[:MAX_PROBLEMS],
        )
        await uow.imports.save(changed)
        return changed

    async def _finish(self, bar_import: BarImport) -> BarImport:
        async with self.unit_of_work() as uow:
            await uow.imports.save(bar_import)
            await uow.commit()
        return bar_import
