"""Keeps retrainings, begins their runs, and follows what comes of them."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from mltrainer_trainer.application.ports import Clock, Inbox
from mltrainer_trainer.domain.cron import TradingDays
from mltrainer_trainer.domain.errors import (
    RetrainingExistsError,
    RetrainingNotFoundError,
    StaleEtagError,
)
from mltrainer_trainer.domain.retraining import (
    Cause,
    Retraining,
    Run,
    RunState,
    TrainingWanted,
    begin,
    run_name,
)


class RetrainingRepository(Protocol):
    """Keeps retrainings and their runs."""

    async def get(self, name: str) -> Retraining | None:
        """Returns a retraining by name."""
        ...

    async def add(self, new: Retraining) -> bool:
        """Stores a new one; False where the name is taken."""
        ...

    async def save(self, changed: Retraining, previous_revision: int) -> None:
        """Replaces one.

        Raises:
            An error that time heals: it is not at the previous revision any more.
        """
        ...

    async def remove(self, name: str) -> None:
        """Forgets one; its runs stay."""
        ...

    async def page(self, limit: int, after: str) -> list[Retraining]:
        """Returns retrainings by name."""
        ...

    async def due(self, now: datetime) -> list[Retraining]:
        """Returns those whose calendar begins a run."""
        ...

    async def on_drift_of(self, model: str) -> list[Retraining]:
        """Returns those that a model's drift begins."""
        ...

    async def run(self, name: str) -> Run | None:
        """Returns a run by name."""
        ...

    async def run_of_request(self, request_id: str) -> Run | None:
        """Returns the run that a training was asked for by."""
        ...

    async def last_run(self, retraining: str) -> Run | None:
        """Returns the newest run that asked for a training."""
        ...

    async def add_run(self, new: Run) -> bool:
        """Stores a new run; False where its cause has begun one already."""
        ...

    async def save_run(self, changed: Run) -> None:
        """Replaces a run."""
        ...

    async def open_runs(self) -> list[Run]:
        """Returns runs of which something may still come."""
        ...

    async def run_page(self, retraining: str, limit: int, before: str) -> Sequence[tuple[str, Run]]:
        """Returns runs, newest first, with the marks that pages continue from."""
        ...


class Requests(Protocol):
    """Publishes requests for trainings once the transaction has been committed."""

    def add(self, event: TrainingWanted) -> None:
        """Adds a request."""
        ...


class UnitOfWork(Protocol):
    """One write transaction; leaving it without `commit` rolls back."""

    @property
    def retrainings(self) -> RetrainingRepository:
        """Returns the retrainings of this transaction."""
        ...

    @property
    def inbox(self) -> Inbox:
        """Returns the inbox of this transaction."""
        ...

    @property
    def outbox(self) -> Requests:
        """Returns the outbox of this transaction."""
        ...

    async def commit(self) -> None:
        """Makes everything durable at once."""
        ...


class UnitOfWorkFactory(Protocol):
    """Opens units of work."""

    def __call__(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Opens one."""
        ...


class Calendars(Protocol):
    """Knows when exchanges trade."""

    async def trading_days(self, calendar: str) -> TradingDays:
        """Returns the days on which an exchange trades.

        Raises:
            InvalidFieldError: There is no such calendar.
        """
        ...


@dataclass(frozen=True, slots=True)
class Challenger:
    """A version that an alias points to, and the training it came from."""

    version: str
    training: str


class ModelAliases(Protocol):
    """Asks the registry where aliases point."""

    async def get(self, model: str, alias: str) -> Challenger | None:
        """Returns where an alias points; None where there is none."""
        ...


class Experiments(Protocol):
    """Has two versions compared."""

    async def start(self, experiment_id: str, retraining: Retraining) -> str:
        """Creates and starts an experiment, once, and returns its name."""
        ...

    async def outcome(self, experiment: str) -> str:
        """Returns how an experiment ended; empty while it goes on."""
        ...


@dataclass(frozen=True, slots=True)
class RetrainingHandler:
    """Creates, changes, removes and lists retrainings; the calendar follows the market's clock."""

    unit_of_work: UnitOfWorkFactory
    market_clock: Clock
    calendars: Calendars

    async def create(self, new: Retraining) -> Retraining:
        """Stores a new one; the same again is the same answer.

        Raises:
            RetrainingExistsError: Another one has its name.
            InvalidFieldError: There is no such calendar.
        """
        trades = await self.calendars.trading_days(new.calendar)
        planned = new.planned(self.market_clock.now(), trades)
        async with self.unit_of_work() as uow:
            if await uow.retrainings.add(planned):
                await uow.commit()
                return planned
            known = await uow.retrainings.get(new.name)
        if known is None or known != _as(new, known):
            raise RetrainingExistsError(new.name)
        return known

    async def change(self, changed: Retraining, etag: str) -> Retraining:
        """Replaces one.

        Raises:
            RetrainingNotFoundError: There is none.
            StaleEtagError: It has changed since it was read.
            InvalidFieldError: There is no such calendar.
        """
        trades = await self.calendars.trading_days(changed.calendar)
        async with self.unit_of_work() as uow:
            known = await _get(uow, changed.name)
            if etag and etag != str(known.revision):
                raise StaleEtagError(changed.name, str(known.revision))
            stored = replace(changed, create_time=known.create_time, revision=known.revision + 1)
            stored = stored.planned(self.market_clock.now(), trades)
            await uow.retrainings.save(stored, known.revision)
            await uow.commit()
        return stored

    async def remove(self, name: str) -> Retraining:
        """Removes one; what was asked for goes on.

        Raises:
            RetrainingNotFoundError: There is none.
        """
        async with self.unit_of_work() as uow:
            known = await _get(uow, name)
            await uow.retrainings.remove(name)
            await uow.commit()
        return known

    async def get(self, name: str) -> Retraining:
        """Returns one.

        Raises:
            RetrainingNotFoundError: There is none.
        """
        async with self.unit_of_work() as uow:
            return await _get(uow, name)

    async def page(self, limit: int, after: str) -> list[Retraining]:
        """Returns retrainings by name."""
        async with self.unit_of_work() as uow:
            return await uow.retrainings.page(limit, after)

    async def runs(self, retraining: str, limit: int, before: str) -> list[tuple[str, Run]]:
        """Returns runs, newest first, with the marks that pages continue from."""
        async with self.unit_of_work() as uow:
            return list(await uow.retrainings.run_page(retraining, limit, before))


def _as(new: Retraining, known: Retraining) -> Retraining:
    """Returns the new one with what the server sets."""
    return replace(
        new, create_time=known.create_time, next_run_time=known.next_run_time, revision=known.revision
    )


async def _get(uow: UnitOfWork, name: str) -> Retraining:
    known = await uow.retrainings.get(name)
    if known is None:
        raise RetrainingNotFoundError(name)
    return known


@dataclass(frozen=True, slots=True)
class BeginRunsHandler:
    """Begins runs; the same cause begins one, however often it is told."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    market_clock: Clock
    calendars: Calendars

    async def due(self) -> list[Run]:
        """Begins what the calendar asks for; of several times that were missed, one."""
        begun, now = [], self.market_clock.now()
        async with self.unit_of_work() as uow:
            for item in await uow.retrainings.due(now):
                mark = f"{item.next_run_time:%Y%m%dt%H%Mz}"
                begun += await self._begin(uow, item, Cause.SCHEDULE, mark, now)
                trades = await self.calendars.trading_days(item.calendar)
                planned = replace(item, revision=item.revision + 1).planned(now, trades)
                await uow.retrainings.save(planned, item.revision)
            await uow.commit()
        return begun

    async def drifted(self, event_id: str, model: str, revision: int) -> list[Run]:
        """Begins what follows a model's drift."""
        async with self.unit_of_work() as uow:
            if not await uow.inbox.claim(event_id):
                return []
            begun, now = [], self.market_clock.now()
            for item in await uow.retrainings.on_drift_of(model):
                begun += await self._begin(uow, item, Cause.DRIFT, str(revision), now)
            await uow.commit()
        return begun

    async def asked(self, name: str, request_id: str) -> Run:
        """Begins a run at once, or returns the one that this request has begun.

        Raises:
            RetrainingNotFoundError: There is no such retraining.
        """
        async with self.unit_of_work() as uow:
            item = await _get(uow, name)
            begun = await self._begin(uow, item, Cause.REQUEST, request_id, self.market_clock.now())
            known = (
                begun[0] if begun else await uow.retrainings.run(run_name(name, Cause.REQUEST, request_id))
            )
            await uow.commit()
        assert known is not None
        return known

    async def _begin(
        self, uow: UnitOfWork, item: Retraining, cause: Cause, mark: str, due_time: datetime
    ) -> list[Run]:
        last = await uow.retrainings.last_run(item.name)
        name = run_name(item.name, cause, mark)
        run, wanted = begin(item, name, cause, last, (due_time, self.clock.now()))
        if not await uow.retrainings.add_run(run):
            return []
        if wanted is not None:
            uow.outbox.add(wanted)
        return [run]


@dataclass(frozen=True, slots=True)
class TrainingEnd:
    """How a training ended: the one whose result holds, or why there is none."""

    event_id: str
    request_id: str
    source: str
    failure: str = ""


@dataclass(frozen=True, slots=True)
class FollowTrainingHandler:
    """Takes the ends of trainings that runs asked for."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, end: TrainingEnd) -> Run | None:
        """Returns the run; None where the training is nobody's here."""
        async with self.unit_of_work() as uow:
            run = await uow.retrainings.run_of_request(end.request_id)
            if run is None or run.state is not RunState.REQUESTED or not await uow.inbox.claim(end.event_id):
                return None
            state = RunState.FAILED if end.failure else RunState.TRAINED
            message = end.failure or "the registry decides whether it becomes the challenger"
            moved = run.moved(state, self.clock.now(), message, training=end.source)
            await uow.retrainings.save_run(moved)
            await uow.commit()
        return moved


@dataclass(frozen=True, slots=True)
class PairRunsHandler:
    """Has challengers compared with the champion, and concludes what is over.

    Every step may be repeated: the registry and the experiment answer the same question the same way.
    """

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    aliases: ModelAliases
    experiments: Experiments

    async def __call__(self) -> list[Run]:
        """Returns the runs that got further."""
        async with self.unit_of_work() as uow:
            waiting = [
                run for run in await uow.retrainings.open_runs() if run.state is not RunState.REQUESTED
            ]
            known = {run.retraining: await uow.retrainings.get(run.retraining) for run in waiting}
        moved = []
        for run in waiting:
            after = await self._step(run, known[run.retraining])
            if after is not None:
                await self._store(run, after)
                moved.append(after)
        return moved

    async def _store(self, before: Run, after: Run) -> None:
        async with self.unit_of_work() as uow:
            if await uow.retrainings.run(before.name) == before:
                await uow.retrainings.save_run(after)
                await uow.commit()

    async def _step(self, run: Run, item: Retraining | None) -> Run | None:
        now = self.clock.now()
        if item is None:
            return run.moved(RunState.CONCLUDED, now, "its retraining was removed")
        if run.state is RunState.PAIRED:
            outcome = await self.experiments.outcome(run.experiment)
            return run.moved(RunState.CONCLUDED, now, outcome) if outcome else None
        challenger = await self.aliases.get(item.model, item.challenger)
        if challenger is None or challenger.training != run.training:
            refused = f"the registry did not point {item.challenger} to its version"
            return run.moved(RunState.CONCLUDED, now, refused) if run.has_waited(now) else None
        return await self._pair(run, item, challenger.version, now)

    async def _pair(self, run: Run, item: Retraining, version: str, now: datetime) -> Run:
        if not item.traffic:
            return run.moved(RunState.CONCLUDED, now, "no experiment was asked for", version=version)
        champion = await self.aliases.get(item.model, item.champion)
        if champion is None or champion.version == version:
            alone = f"there is no other {item.champion} to compare it with"
            return run.moved(RunState.CONCLUDED, now, alone, version=version)
        name = await self.experiments.start(run.request_id, item)
        message = f"{version} is compared with {champion.version}"
        return run.moved(RunState.PAIRED, now, message, version=version, experiment=name)
