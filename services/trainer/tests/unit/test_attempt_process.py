"""Whatever ends the process of an attempt early is reported under its name."""

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from mltrainer_trainer.application.report_attempt import Permission
from mltrainer_trainer.domain.attempt import AttemptIdentity, Failure
from mltrainer_trainer.domain.checkpoints import SearchProgress
from mltrainer_trainer.entrypoints.attempt_process import AttemptProcess, Lease, StageLog, StopSignals


@dataclass(frozen=True)
class Plan:
    """As much of a plan as the process looks at."""

    identity: AttemptIdentity = field(default=AttemptIdentity("trainings/t/attempts/1", "allocations/a", 1))
    deadline_time: None = None
    cpu_seconds: float = 0.0


@dataclass
class Reports:
    """Takes what is reported."""

    failures: list[Failure] = field(default_factory=list)
    searches: list[SearchProgress | None] = field(default_factory=list)

    async def advance(
        self, identity: AttemptIdentity, progress: float, stage: str, search: SearchProgress | None
    ) -> Permission:
        self.searches.append(search)
        return Permission(proceed=True, lease_s=30.0)

    async def fail(self, identity: AttemptIdentity, failure: Failure) -> None:
        self.failures.append(failure)


async def never(plan: Any) -> None:
    await asyncio.Event().wait()


def process(execute: Any, reports: Reports, **changes: Any) -> AttemptProcess:
    parts: dict[str, Any] = {
        "execute": execute,
        "reports": reports,
        "lease": Lease(30.0),
        "stages": StageLog(),
        "signals": StopSignals(),
        "cancelled": threading.Event(),
        "used_cpu_seconds": lambda: 0.0,
    }
    return AttemptProcess(**(parts | changes))


def stages(stage: str) -> StageLog:
    log = StageLog()
    log.enter(stage, 0.1, SearchProgress(1, 2, 0.5))
    return log


async def test_computing_without_cpu_time_is_a_stall() -> None:
    reports = Reports()

    code = await process(never, reports, stages=stages("trials"), stall_s=0.05).run(Plan())  # type: ignore[arg-type]  # as much as is looked at

    assert code == 1
    assert [(it.reason, it.retryable) for it in reports.failures] == [("STALLED", False)]
    assert reports.searches[0] == SearchProgress(1, 2, 0.5)


@pytest.mark.parametrize("stage", ["dataset", "upload"])
async def test_waiting_for_others_is_no_stall(stage: str) -> None:
    reports, waited = Reports(), process(never, Reports(), stages=stages(stage), stall_s=0.01)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waited.run(Plan()), timeout=0.1)  # type: ignore[arg-type]  # as above

    assert reports.failures == []


async def test_a_process_that_is_asked_to_end_makes_a_checkpoint_first() -> None:
    told: list[str] = []
    reports, signals = Reports(), StopSignals()
    signals.terminated.set()
    asked = process(never, reports, signals=signals, checkpoint=lambda: told.append("checkpoint"))

    code = await asked.run(Plan())  # type: ignore[arg-type]  # as above

    assert code == 143
    assert told == ["checkpoint"]
    assert [(it.reason, it.retryable) for it in reports.failures] == [("PREEMPTED", True)]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(MemoryError(), "OUT_OF_MEMORY", id="memory"),
        pytest.param(OSError(27, "File too large"), "DISK_EXCEEDED", id="disk"),
        pytest.param(OSError(2, "No such file"), "UNEXPECTED_ERROR", id="other"),
    ],
)
async def test_what_an_attempt_has_too_little_of_is_named(error: Exception, reason: str) -> None:
    async def fail(plan: Any) -> None:
        raise error

    reports = Reports()

    await process(fail, reports).run(Plan())  # type: ignore[arg-type]  # as above

    assert [it.reason for it in reports.failures] == [reason]
