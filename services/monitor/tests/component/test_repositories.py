"""The promises of the ports on SQLite and PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from mltrainer_common.content_store import ContentStore
from mltrainer_models import model_store_url
from mltrainer_monitor.adapters.objective_repository import COARSE_S
from mltrainer_monitor.adapters.reference_store import ContentStoreReferences
from mltrainer_monitor.application.browse import Browse
from mltrainer_monitor.application.evaluate_drift import EvaluateDriftHandler
from mltrainer_monitor.application.observe_services import CountCallsHandler, JudgeObjectivesHandler
from mltrainer_monitor.application.ports import ReferenceUnavailableError
from mltrainer_monitor.application.record import (
    RecordLabelsHandler,
    RecordPredictionsHandler,
    RecordVersionHandler,
)
from mltrainer_monitor.domain.counters import CounterReading, ServiceReading
from mltrainer_monitor.domain.drift import DriftConclusion
from mltrainer_monitor.domain.errors import ModelNotWatchedError
from mltrainer_monitor.domain.objectives import Counts, Indicator, Objective
from mltrainer_monitor.wire import events as wire

A = Indicator.AVAILABILITY
MODEL = "models/vol5"
HOUR, FIVE_MINUTES = timedelta(hours=1), timedelta(minutes=5)


async def _predict(store: Any, *events: Any, prefix: str = "p") -> None:
    calls = [wire.to_logged_call(f"{prefix}{index}", event) for index, event in enumerate(events)]
    await RecordPredictionsHandler(store.unit_of_work)(calls)


async def _label(store: Any, *events: Any) -> None:
    labels = [wire.to_label(event.outcome_id, event) for event in events]
    await RecordLabelsHandler(store.unit_of_work)([label for label in labels if label])


async def _scores(store: Any) -> Any:
    return [one for _, one in await Browse(store.unit_of_work, (), store.clock).scores(MODEL, None, 10)]


@pytest.mark.parametrize("labels_first", [False, True])
async def test_labels_join_predictions_in_any_order(store: Any, make: Any, labels_first: bool) -> None:
    predictions = [make.prediction(day, [[0, 0], [0, 0]], [day, day + 1.0]) for day in range(10)]
    labels = [make.label(day, symbol, day + 0.5) for day in range(8) for symbol in ("S0", "S1")]

    if labels_first:
        await _label(store, *labels)
        await _predict(store, *predictions)
    else:
        await _predict(store, *predictions)
        await _label(store, *labels)

    [score] = await _scores(store)
    assert (score.version, score.prediction_count, score.labelled_count) == (f"{MODEL}/versions/1", 20, 16)
    assert (score.label_coverage, score.rmse, score.mean_error) == (
        1.0,
        pytest.approx(0.5),
        pytest.approx(0.0),
    )
    assert score.r2 == pytest.approx(1 - 0.25 / (63 / 12))


async def test_coverage_is_of_the_predictions_that_are_due(store: Any, make: Any) -> None:
    await _predict(store, *(make.prediction(day, [[0, 0], [0, 0]], [1.0, 1.0]) for day in range(4)))
    await _predict(store, make.prediction(0, [[0, 0]], [1.0], symbols=[]), prefix="unnamed")
    await _label(store, make.label(1, "S0", 2.0))

    [score] = await _scores(store)

    assert (score.prediction_count, score.labelled_count, score.label_coverage) == (9, 1, 0.25)


async def test_the_latest_prediction_and_the_latest_label_count_whatever_comes_first(
    store: Any, make: Any
) -> None:
    late = make.prediction(0, [[0, 0]], [3.0], predicted_after=timedelta(minutes=1))
    await _predict(store, late, make.prediction(0, [[0, 0]], [9.0]))
    await _predict(store, make.prediction(0, [[0, 0]], [9.0]), prefix="again")
    corrected = make.label(0, "S0", 1.0, known_after_days=6)
    corrected.outcome_id = "corrected"
    await _label(store, corrected, make.label(0, "S0", 7.0))

    [score] = await _scores(store)

    assert (score.prediction_count, score.mean_error) == (1, 2.0)


async def test_an_event_takes_effect_once(store: Any, make: Any) -> None:
    call = wire.to_logged_call("p0", make.prediction(0, [[0, 0]], [1.0]))
    version = wire.to_new_version("v0", make.version(1))
    for _ in range(2):
        await RecordPredictionsHandler(store.unit_of_work)([call])
        await RecordVersionHandler(store.unit_of_work)(version)

    async with store.unit_of_work.view() as view:
        watched = await view.models.get(MODEL)
    assert watched.revision == 2


async def test_scores_come_newest_version_first_in_pages(store: Any, make: Any) -> None:
    for number in (1, 2, 3):
        await RecordVersionHandler(store.unit_of_work)(
            wire.to_new_version(f"v{number}", make.version(number))
        )
    await _predict(store, make.prediction(0, [[0, 0]], [1.0], number=4))
    browse = Browse(store.unit_of_work, (), store.clock)

    first = await browse.scores(MODEL, None, 2)
    second = await browse.scores(MODEL, 3, 2)

    assert [number for number, _ in first + second] == [4, 3, 2, 1]
    with pytest.raises(ModelNotWatchedError):
        await browse.scores("models/none", None, 2)


def _evaluate(store: Any, tmp_path: Any) -> EvaluateDriftHandler:
    references = ContentStoreReferences(ContentStore(model_store_url(str(tmp_path / "artifacts"))))
    return EvaluateDriftHandler(store.unit_of_work, references, store.clock, 0.01, 5_000)


async def test_drift_is_found_once_in_the_newest_rows_of_the_champion(
    store: Any, make: Any, tmp_path: Any
) -> None:
    digest = make.stored_reference(tmp_path)
    await RecordVersionHandler(store.unit_of_work)(wire.to_new_version("v1", make.version(1, digest)))
    evaluate = _evaluate(store, tmp_path)
    await _predict(store, *make.days(60))
    challenger = [make.prediction(90, [[9, 9]], [9.0], number=2, variant="challenger")]
    await _predict(store, *challenger, prefix="challenger")

    stable = await evaluate(MODEL)
    async with store.unit_of_work.view() as view:
        before = (await view.models.get(MODEL)).report
        unchanged = await view.models.changed()
    await _predict(store, *make.days(60, shift=3.0, first=100), prefix="shifted")
    narrow = EvaluateDriftHandler(store.unit_of_work, evaluate.references, store.clock, 0.01, 120)
    assert await evaluate.changed() == [MODEL]
    onset, again = await narrow(MODEL), await narrow(MODEL)

    assert (stable, unchanged, before.comparison.conclusion) == (None, [], DriftConclusion.STABLE)
    assert (onset.model, onset.features, onset.revision) == (MODEL, ("momentum", "range", "prediction"), 1)
    assert again is None


async def test_a_model_without_readable_reference_waits_for_it(store: Any, make: Any, tmp_path: Any) -> None:
    evaluate = _evaluate(store, tmp_path)
    await _predict(store, *make.days(3))
    await evaluate(MODEL)
    report = await Browse(store.unit_of_work, (), store.clock).drift_report(MODEL)
    await RecordVersionHandler(store.unit_of_work)(wire.to_new_version("v1", make.version(1, "a" * 64)))

    with pytest.raises(ReferenceUnavailableError):
        await evaluate(MODEL)

    assert (report.comparison.conclusion, report.comparison.window_count) == (
        DriftConclusion.NOT_ENOUGH_DATA,
        6,
    )
    assert await evaluate.changed() == [MODEL]


async def test_only_the_newest_rows_are_kept(store: Any, make: Any) -> None:
    await _predict(store, *make.days(10))
    await _label(store, *(make.label(day, "S0", 1.0) for day in range(10)))

    async with store.unit_of_work() as uow:
        await uow.models.trim(6)
        await uow.commit()

    [score] = await _scores(store)
    assert (score.prediction_count, score.labelled_count) == (6, 3)


@dataclass
class Scraped:
    """A scraper that shows what it is told."""

    looks: Sequence[ServiceReading] = ()

    async def look(self) -> list[ServiceReading]:
        return list(self.looks)

    def show(self, good: int, total: int, start_s: float = 1.0) -> None:
        self.looks = [ServiceReading("serving", {"0": CounterReading(start_s, {A: Counts(good, total)})})]


OBJECTIVE = Objective("serving", A, 0.999, 30 * 86_400.0)


async def test_calls_are_counted_once_across_restarts_of_both_sides(store: Any) -> None:
    scraped = Scraped()
    for good, total, start_s in ((100, 100, 1.0), (150, 151, 1.0), (10, 10, 2.0), (10, 10, 2.0)):
        scraped.show(good, total, start_s)
        await CountCallsHandler(store.unit_of_work, scraped, store.clock)()
        store.clock.advance(15)
    [status] = await Browse(store.unit_of_work, (OBJECTIVE,), store.clock).statuses("", 10)

    # 50 of 51, 10 of 10, and four looks that found the service.
    assert status.counts == Counts(64, 65)
    assert status.burn_rate_1h == pytest.approx(1 / 65 / 0.001)


async def test_a_service_that_cannot_be_scraped_burns_its_budget_and_is_told_once(store: Any) -> None:
    scraped = Scraped()
    count = CountCallsHandler(store.unit_of_work, scraped, store.clock)
    judge = JudgeObjectivesHandler(store.unit_of_work, (OBJECTIVE,), store.clock)
    told = []
    for is_up in (True, False, False, False, True):
        scraped.show(5, 5)
        if not is_up:
            scraped.looks = [ServiceReading("serving", {})]
        await count()
        told.append(len(await judge()))
        store.clock.advance(2)
    store.clock.advance(400)
    for _ in range(2):
        scraped.show(5, 5)
        await count()
        told.append(len(await judge()))

    assert told == [0, 0, 1, 0, 0, 0, 0]
    async with store.unit_of_work.view() as view:
        assert (await view.objectives.states())[OBJECTIVE.name].revision == 1


async def test_old_samples_are_merged_into_hours_and_oldest_forgotten(store: Any) -> None:
    key = ("serving", A)
    start = 1_000 * COARSE_S
    async with store.unit_of_work() as uow:
        for offset in (-90 * COARSE_S, 0, 30, 600, COARSE_S, COARSE_S + 20):
            await uow.objectives.add_counts(start + offset, {key: Counts(1, 2)})
        await uow.commit()
    for _ in range(2):
        async with store.unit_of_work() as uow:
            await uow.objectives.compact(start + COARSE_S, start - COARSE_S)
            await uow.commit()

    async with store.unit_of_work.view() as view:
        sums = await view.objectives.sums(
            start + 2 * COARSE_S, {HOUR, timedelta(hours=2), timedelta(days=99)}
        )

    assert sums[key] == {
        HOUR: Counts(2, 4),
        timedelta(hours=2): Counts(5, 10),
        timedelta(days=99): Counts(5, 10),
    }
