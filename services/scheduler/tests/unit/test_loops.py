import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from mltrainer_common.database import DatabaseUnavailableError
from mltrainer_scheduler.application.place_trainings import PassResult
from mltrainer_scheduler.entrypoints.instruments import SchedulerInstruments
from mltrainer_scheduler.entrypoints.loops import Leadership, LeaseLoop, PlacementLoop, Wake
from mltrainer_scheduler.settings import SchedulerSettings
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


class RecordedLeases:
    """Notes what the loop does and ends it after a number of looks."""

    def __init__(self, looks: int) -> None:
        self.done: list[str] = []
        self.clock = self
        self.times = iter([START] * 99)
        self._looks = looks

    def now(self) -> datetime:
        return next(self.times)

    async def __call__(self) -> list[Any]:
        self.done.append("lapse")
        if self.done.count("lapse") == self._looks:
            raise asyncio.CancelledError
        return []

    async def extend_all(self) -> int:
        self.done.append("extend")
        return 0


def _leading() -> Leadership:
    leadership = Leadership()
    leadership.set(leads=True)
    return leadership


async def _run(leases: RecordedLeases, *ticks_s: float) -> None:
    ticks = iter(ticks_s)
    loop = LeaseLoop(
        leases,  # type: ignore[arg-type] - records what the loop asks of it
        _leading(),
        Wake(),
        SchedulerInstruments(CollectorRegistry()),
        lambda: next(ticks),
        interval_s=0.0,
        stall_s=11.0,
    )
    with pytest.raises(asyncio.CancelledError):
        await loop.run()


async def test_leases_are_extended_once_at_the_start() -> None:
    leases = RecordedLeases(looks=3)

    await _run(leases, 0.0, 0.1, 1.0, 1.1, 2.0)

    assert leases.done == ["extend", "lapse", "lapse", "lapse"]


async def test_leases_are_extended_after_the_scheduler_itself_was_suspended() -> None:
    leases = RecordedLeases(looks=2)

    await _run(leases, 0.0, 0.1, 60.0, 60.1)

    assert leases.done == ["extend", "lapse", "extend", "lapse"]


async def test_placement_goes_on_at_once_while_it_learns_and_survives_outages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mltrainer_scheduler.entrypoints.loops._PAUSE_S", 0.0)
    answers: list[Any] = [
        DatabaseUnavailableError("away"),
        PassResult(try_again=True),
        asyncio.CancelledError(),
    ]

    async def place() -> PassResult:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    wake = Wake()
    wake.notify()
    loop = PlacementLoop(place, _leading(), wake, SchedulerInstruments(CollectorRegistry()), interval_s=60.0)

    with pytest.raises(asyncio.CancelledError):
        await loop.run()

    assert answers == []


def test_a_node_falls_silent_before_its_leases_end() -> None:
    short = SchedulerSettings(lease_s=12.0)

    assert (SchedulerSettings().node_silence_s, short.node_silence_s) == (15.0, 6.0)
    with pytest.raises(ValidationError, match="must be shorter than lease_s"):
        SchedulerSettings(lease_s=8.0, node_silence_s=8.0)
