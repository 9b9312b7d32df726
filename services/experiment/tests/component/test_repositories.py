"""The promises of the ports, kept by SQLite and by PostgreSQL alike."""

import asyncio
import itertools
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltrainer_common.database import Database, open_database
from mltrainer_common.migrations import migrate
from mltrainer_experiment.adapters.reader import SqlExperimentReader
from mltrainer_experiment.adapters.repositories import SqlObservationRepository
from mltrainer_experiment.application.define_experiment import (
    CreateExperiment,
    CreateExperimentHandler,
    StartExperimentHandler,
    StopExperimentHandler,
)
from mltrainer_experiment.application.judge_experiment import (
    GetExperimentHandler,
    GetResultHandler,
    JudgeExperiment,
)
from mltrainer_experiment.application.ports import ExperimentEnded
from mltrainer_experiment.application.record_observations import (
    Reception,
    RecordExposuresHandler,
    RecordOutcomesHandler,
)
from mltrainer_experiment.application.split_table import RefreshSplits, SplitTable
from mltrainer_experiment.domain.analysis import Observations
from mltrainer_experiment.domain.errors import (
    ExperimentExistsError,
    ExperimentNotFoundError,
    ModelHasActiveExperimentError,
    RequestIdReusedError,
)
from mltrainer_experiment.domain.experiment import ExperimentState, Exposure, Outcome
from mltrainer_experiment.wire.events import to_exposure, to_outcome
from mltrainer_testkit.clocks import ManualClock

NOW = datetime(2022, 1, 3, 21, tzinfo=UTC)


async def _add(store: Any, *experiments: Any) -> None:
    async with store.unit_of_work() as uow:
        for experiment in experiments:
            await uow.experiments.add(experiment)
        await uow.commit()


def _exposure(make: Any, unit: str, variant: str = "champion", minutes: int = 0) -> Exposure:
    return to_exposure("e", make.exposure(unit, variant, minutes=minutes)).exposure


async def test_an_experiment_comes_back_as_it_was(store: Any, make: Any) -> None:
    draft = replace(make.experiment(alpha=0.01, traffic=0.25, max_loss=2.0), request_id="r1")
    await _add(store, draft)
    decided = draft.start(make.active().start_time).decide("challenger", make.active().start_time)
    result = await JudgeExperiment(store.reader, ManualClock(), 20)(draft)

    async with store.unit_of_work() as uow:
        await uow.experiments.save(decided)
        await uow.experiments.keep_result(result)
        await uow.commit()

    async with store.unit_of_work() as uow:
        assert await uow.experiments.get("blue") == decided
        assert await uow.experiments.of_request("r1") == decided
        assert await uow.experiments.active_of("models/vol5") is None
    assert await store.reader.decided_result("blue") == result
    assert await store.reader.decided_result("none") is None


async def test_experiments_are_listed_by_id_page_by_page(store: Any, make: Any) -> None:
    await _add(store, *(make.experiment(name) for name in ("c", "a", "b")))

    first = await store.reader.experiments("", 2)
    second = await store.reader.experiments("b", 2)

    assert [[one.experiment_id for one in page] for page in (first, second)] == [["a", "b"], ["c"]]


async def test_the_earliest_exposure_of_a_unit_remains_in_any_order(store: Any, make: Any) -> None:
    reports = [_exposure(make, "u", "challenger", 0), _exposure(make, "u", "champion", 1)]

    for experiment_id, order in zip("abcd", [*itertools.permutations(reports), reports * 2], strict=False):
        await store.writer.write([replace(one, experiment_id=experiment_id) for one in order])

    counted = [(await store.reader.observations(one)).exposed_units for one in "abc"]
    assert counted == [{"challenger": 1}] * 3


async def test_outcomes_wait_for_the_exposure_of_their_unit(store: Any, make: Any) -> None:
    outcome = to_outcome("e", make.outcome("u", 2.5)).outcome
    async with store.unit_of_work() as uow:
        await uow.observations.add_outcomes([outcome, outcome])
        await uow.commit()
    before = await store.reader.observations("blue")

    await store.writer.write([_exposure(make, "u")])
    after = await store.reader.observations("blue")

    assert (before.exposed_units, before.tallies) == ({}, [])
    (tally,) = after.tallies
    assert (tally.day, tally.variant) == (outcome.event_time.date(), "champion")
    assert (tally.count, tally.total, tally.total_squares) == (1, 2.5, 6.25)


async def test_an_outcome_id_counts_once_and_only_within_its_experiment(store: Any, make: Any) -> None:
    outcome = to_outcome("e", make.outcome("u", 2.0)).outcome
    await store.writer.write([_exposure(make, "u"), replace(_exposure(make, "u"), experiment_id="red")])

    async with store.unit_of_work() as uow:
        await uow.observations.add_outcomes([outcome, replace(outcome, value=9.0)])
        await uow.observations.add_outcomes([replace(outcome, experiment_id="red", value=3.0)])
        await uow.commit()

    totals = [(await store.reader.observations(one)).tallies[0].total for one in ("blue", "red")]
    assert totals == [2.0, 3.0]


async def test_what_is_not_committed_never_was(store: Any, make: Any) -> None:
    result = await JudgeExperiment(store.reader, ManualClock(), 20)(make.active())

    async with store.unit_of_work() as uow:
        await uow.experiments.add(make.experiment())
        uow.outbox.add(ExperimentEnded(make.active(), result))

    assert await store.reader.experiments("", 9) == []


async def test_concurrent_exposures_of_the_same_units_all_succeed(store: Any, make: Any) -> None:
    batches = [[_exposure(make, f"u{unit}", minutes=batch) for unit in range(20)] for batch in range(8)]

    await asyncio.gather(
        *(store.writer.write(batch[:: 1 if index % 2 else -1]) for index, batch in enumerate(batches))
    )

    assert (await store.reader.observations("blue")).exposed_units == {"champion": 20}


async def test_reports_are_received_by_what_is_known(store: Any, make: Any) -> None:
    await _add(store, make.active(), make.experiment("draft"))
    record = RecordExposuresHandler(store.unit_of_work)
    reports = [
        to_exposure("e1", make.exposure("u1")),
        to_exposure("e2", make.exposure("u2", "nobody")),
        to_exposure("e3", make.exposure("u3", experiment="experiments/none")),
        to_exposure("e4", make.exposure("u4", experiment="experiments/draft")),
    ]

    first, second = await record(reports), await record(reports)

    assert first == Counter(
        [Reception.COUNTED, Reception.UNKNOWN_VARIANT, Reception.UNKNOWN_EXPERIMENT, Reception.NOT_STARTED]
    )
    assert second == Counter({Reception.SEEN_BEFORE: 4})


async def test_only_the_deciding_metric_of_a_started_experiment_is_counted(store: Any, make: Any) -> None:
    await _add(store, make.active(), make.experiment("draft"))
    record = RecordOutcomesHandler(store.unit_of_work)
    events = [
        make.outcome("u1", 1.0),
        make.outcome("u2", 1.0, metric="slippage"),
        make.outcome("u3", 1.0, experiment="experiments/none"),
        make.outcome("u4", 1.0, experiment="experiments/draft"),
    ]

    received = await record([to_outcome(f"e{index}", event) for index, event in enumerate(events)])

    assert received == Counter(
        [Reception.COUNTED, Reception.OTHER_METRIC, Reception.UNKNOWN_EXPERIMENT, Reception.NOT_STARTED]
    )


async def test_a_create_is_answered_again_and_another_one_refused(store: Any, make: Any) -> None:
    create = CreateExperimentHandler(store.unit_of_work, SplitTable(), iter("salt").__next__)
    command = CreateExperiment("blue", make.definition(), "r1")

    first, again = await create(command), await create(command)
    with pytest.raises(RequestIdReusedError):
        await create(replace(command, experiment_id="red"))
    with pytest.raises(ExperimentExistsError):
        await create(replace(command, request_id="r2"))

    assert first == again
    assert (first.salt, first.state, first.revision) == ("s", ExperimentState.DRAFT, 1)


async def test_of_concurrent_starts_for_one_model_one_wins(store: Any, make: Any) -> None:
    names = [f"e{index}" for index in range(6)]
    await _add(store, *(make.experiment(name) for name in names))
    start = StartExperimentHandler(store.unit_of_work, SplitTable(), ManualClock())

    results = await asyncio.gather(*(start(name) for name in names), return_exceptions=True)

    refusals = [one for one in results if isinstance(one, ModelHasActiveExperimentError)]
    (winner,) = [one for one in results if not isinstance(one, BaseException)]
    assert len(refusals) == 5
    assert {one.active for one in refusals} == {winner.name}


async def test_what_another_instance_has_just_made_can_be_read_and_stopped(store: Any, make: Any) -> None:
    await _add(store, make.experiment())
    judge = JudgeExperiment(store.reader, ManualClock(), 20)

    found = await GetExperimentHandler(store.reader)("blue")
    result = await GetResultHandler(store.reader, judge)("blue")
    stopped = await StopExperimentHandler(store.unit_of_work, SplitTable(), judge, ManualClock())("blue")

    assert found == make.experiment()
    assert result.experiment_id == "blue"
    assert stopped.state is ExperimentState.STOPPED
    with pytest.raises(ExperimentNotFoundError):
        await GetExperimentHandler(store.reader)("none")


async def test_another_instance_takes_over_what_this_one_has_changed(store: Any, make: Any) -> None:
    table = SplitTable()
    await _add(store, *(make.experiment(f"e{index:03}") for index in range(3)))
    await RefreshSplits(table, store.reader)()
    waiting = asyncio.create_task(table.changes_after(table.position))
    async with store.unit_of_work() as uow:
        await uow.experiments.save(make.active("e001"))
        await uow.commit()

    await RefreshSplits(table, store.reader)()

    assert await waiting == ["e001"]
    assert table.split("e001").arm("u").exposed
    table.put([make.experiment("e001")])
    assert table.split("e001").experiment.revision == 2


@settings(max_examples=12, deadline=None)
@given(order=st.permutations(range(16)))
def test_in_any_order_and_repeated_the_same_is_counted(order: list[int]) -> None:
    async def count_both(folder: str) -> tuple[Observations, Observations]:
        url = f"sqlite:///{folder}/experiment.db"
        await migrate(url, "mltrainer_experiment.adapters.migrations")
        async with open_database(url) as database:
            straight = await _count(database, "straight", list(range(16)))
            return straight, await _count(database, "shuffled", [*order, *order])

    with TemporaryDirectory() as folder:
        straight, shuffled = asyncio.run(count_both(folder))

    assert shuffled.exposed_units == straight.exposed_units
    assert set(shuffled.tallies) == set(straight.tallies)


async def _count(database: Database, name: str, indexes: list[int]) -> Observations:
    """Reports eight exposures of four units, arms changing, and eight outcomes of two days."""
    for index in indexes:
        unit, time = f"u{index % 4}", NOW + timedelta(minutes=index)
        async with database.transaction() as connection:
            observations = SqlObservationRepository(connection)
            if index < 8:
                variant = ("champion", "challenger")[(index // 4 + index) % 2]
                await observations.add_exposures([Exposure(name, unit, variant, time, "sdk")])
            else:
                event_time = NOW + timedelta(days=index % 2)
                outcome = Outcome(f"o{index}", name, unit, "squared_error", float(index), event_time)
                await observations.add_outcomes([outcome])
    return await SqlExperimentReader(database).observations(name)
