import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from mltrainer_experiment.application.log_exposures import ExposureLog
from mltrainer_experiment.domain.experiment import Exposure

NOW = datetime(2026, 1, 5, tzinfo=UTC)


class DiskFullError(Exception):
    pass


class GatedWriter:
    """Writes when the gate is open; fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.gate = asyncio.Event()
        self.failures = failures
        self.batches: list[list[str]] = []

    async def write(self, exposures: Sequence[Exposure]) -> None:
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise DiskFullError
        self.batches.append([exposure.unit for exposure in exposures])


def _exposure(unit: str) -> Exposure:
    return Exposure("blue", unit, "champion", NOW, "experiment")


async def test_no_unit_is_answered_before_its_exposure_is_durable() -> None:
    writer = GatedWriter()
    log = ExposureLog(writer)

    task = asyncio.create_task(log.record(_exposure("u1")))
    await asyncio.sleep(0)
    was_done = task.done()
    writer.gate.set()
    await task

    assert not was_done
    assert writer.batches == [["u1"]]


async def test_units_that_arrive_during_a_write_share_the_next_one() -> None:
    writer = GatedWriter()
    log = ExposureLog(writer)

    tasks = [asyncio.create_task(log.record(_exposure(f"u{index}"))) for index in range(4)]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(log.record(_exposure(f"v{index}"))) for index in range(3)]
    await asyncio.sleep(0)
    writer.gate.set()
    await asyncio.gather(*tasks)

    assert len(writer.batches) <= 2 + 1
    assert sorted(unit for batch in writer.batches for unit in batch) == sorted(
        [f"u{index}" for index in range(4)] + [f"v{index}" for index in range(3)]
    )


async def test_a_unit_written_before_costs_nothing_until_it_is_forgotten() -> None:
    writer = GatedWriter()
    writer.gate.set()
    log = ExposureLog(writer, capacity=2)

    for unit in ("u1", "u1", "u2", "u1", "u3", "u2"):
        await log.record(_exposure(unit))

    assert writer.batches == [["u1"], ["u2"], ["u3"], ["u2"]]


async def test_a_caller_that_goes_away_leaves_the_writing_to_the_others() -> None:
    writer = GatedWriter()
    log = ExposureLog(writer)
    first = asyncio.create_task(log.record(_exposure("u1")))
    await asyncio.sleep(0)
    others = [asyncio.create_task(log.record(_exposure(unit))) for unit in ("u2", "u3")]
    await asyncio.sleep(0)

    _ = first.cancel()
    writer.gate.set()
    await asyncio.gather(*others)

    assert ["u2", "u3"] in writer.batches
    assert first.cancelled()


async def test_a_failed_write_is_told_to_the_caller_and_repeated_by_the_next_of_its_group() -> None:
    writer = GatedWriter(failures=1)
    log = ExposureLog(writer)
    tasks = [asyncio.create_task(log.record(_exposure(unit))) for unit in ("u1", "u2", "u3")]
    await asyncio.sleep(0)
    writer.gate.set()

    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [isinstance(result, DiskFullError) for result in results].count(True) == 1
    assert sum("u3" in batch for batch in writer.batches) == 1


async def test_an_exposure_is_never_taken_as_written_after_a_failure() -> None:
    writer = GatedWriter(failures=1)
    writer.gate.set()
    log = ExposureLog(writer)
    with pytest.raises(DiskFullError):
        await log.record(_exposure("u1"))

    await log.record(_exposure("u1"))

    assert writer.batches == [["u1"]]
