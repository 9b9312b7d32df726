"""Trainings that a calendar or drift asks for, and how far the challengers of each are."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from mltrainer_trainer.domain.cron import Schedule, TradingDays, parse_schedule

# The registry decides within seconds; a version that is not the challenger by then was refused.
_PATIENCE = timedelta(minutes=10)


class Cause(StrEnum):
    """What began a run; the values are those of the contract without their prefix."""

    SCHEDULE = "SCHEDULE"
    DRIFT = "DRIFT"
    REQUEST = "REQUEST"


class RunState(StrEnum):
    """How far a run is; the values are those of the contract without their prefix."""

    REQUESTED = "REQUESTED"
    TRAINED = "TRAINED"
    PAIRED = "PAIRED"
    CONCLUDED = "CONCLUDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"

    @property
    def is_open(self) -> bool:
        """Tells whether something may still come of it."""
        return self in {RunState.REQUESTED, RunState.TRAINED, RunState.PAIRED}


@dataclass(frozen=True, slots=True)
class Retraining:
    """What is asked for again and again; `spec` is the contract's encoding, carried as it is.

    Attributes:
        schedule: As cron has it; empty for none.
        model: Whose drift begins a run, and whose aliases are compared.
        calendar: Whose trading days count: an exchange, or `ALL` for every day.
        test_days: Days out of sample before each knowledge time.
        traffic: Share of the units that an experiment of champion and challenger gets; none where 0.
        next_run_time: When the calendar begins the next run, by the market's clock.
    """

    name: str
    spec: bytes
    model: str
    schedule: str
    time_zone: str
    calendar: str
    on_drift: bool
    test_days: int
    champion: str
    challenger: str
    traffic: float
    metric: str
    cooldown_s: float
    is_paused: bool
    create_time: datetime
    next_run_time: datetime | None = None
    revision: int = 1

    def planned(self, now: datetime, trades: TradingDays) -> "Retraining":
        """Returns it with the next time after a moment; whatever was missed before is left out."""
        schedule = self._schedule()
        is_due = schedule is not None and not self.is_paused
        return replace(self, next_run_time=schedule.next_after(now, trades) if schedule and is_due else None)

    def _schedule(self) -> Schedule | None:
        return parse_schedule(self.schedule, self.time_zone) if self.schedule else None


@dataclass(frozen=True, slots=True)
class Run:
    """One training that was asked for, and what came of it.

    Attributes:
        due_time: When it was due, by the market's clock.
        training: Its training, or the one whose result that took; empty until there is a result.
        update_time: When it reached its state, by the wall's clock.
    """

    name: str
    retraining: str
    cause: Cause
    state: RunState
    due_time: datetime
    update_time: datetime
    request_id: str = ""
    training: str = ""
    version: str = ""
    experiment: str = ""
    message: str = ""

    def moved(self, state: RunState, now: datetime, message: str = "", **facts: str) -> "Run":
        """Returns the run in another state."""
        changes: dict[str, Any] = {name: value for name, value in facts.items() if value}
        return replace(self, state=state, update_time=now, message=message or self.message, **changes)

    def has_waited(self, now: datetime) -> bool:
        """Tells whether the registry has had time enough to decide."""
        return now - self.update_time > _PATIENCE


@dataclass(frozen=True, slots=True)
class TrainingWanted:
    """A run asks for its training; becomes the contract's request."""

    retraining: Retraining
    run: Run

    @property
    def first_test_time(self) -> datetime:
        """When testing begins."""
        return self.run.due_time - timedelta(days=self.retraining.test_days)


def run_name(retraining: str, cause: Cause, mark: str) -> str:
    """Names a run by what began it, so that the same cause begins one run."""
    return f"{retraining}/runs/{cause.lower()}-{mark}"


def begin(
    retraining: Retraining, name: str, cause: Cause, last: Run | None, times: tuple[datetime, datetime]
) -> tuple[Run, TrainingWanted | None]:
    """Begins a run, unless the one before goes on or was too short ago; `times`: the market's, the wall's."""
    due_time, now = times
    run = Run(name, retraining.name, cause, RunState.SKIPPED, due_time, now)
    if last is not None and last.state.is_open:
        return run.moved(RunState.SKIPPED, now, f"{last.name} is still {last.state.lower()}"), None
    is_early = last is not None and due_time - last.due_time < timedelta(seconds=retraining.cooldown_s)
    if last is not None and is_early and cause is not Cause.REQUEST:
        return run.moved(RunState.SKIPPED, now, f"{last.name} was less than the cooldown ago"), None
    request_id = f"retraining-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    requested = run.moved(RunState.REQUESTED, now, "its training was asked for", request_id=request_id)
    return requested, TrainingWanted(retraining, requested)
