import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from mltrainer_features import TargetKind, compute_features, compute_labels, feature_names
from mltrainer_models import load_predictor, read_evaluation, read_reference
from mltrainer_trainer.adapters.estimators import load_learner
from mltrainer_trainer.domain.catalogue import CatalogueEntry, select_entries
from mltrainer_trainer.domain.learners import Learner, LearnerUnavailableError
from mltrainer_trainer.domain.search import Hooks, Progress, SkipReason, TrainingCancelledError
from mltrainer_trainer.domain.training import TrainingPlan, execute_training
from mltrainer_trainer.domain.training_data import (
    DataProblemError,
    TrainingData,
    load_training_data,
    to_microseconds,
)
from mltrainer_trainer.domain.verdict import VerdictKind
from mltrainer_trainer.domain.walk_forward import EvaluationPlan

START = datetime(2015, 1, 1, 21, tzinfo=UTC)
DATES, SYMBOLS, HORIZON = 1_300, 4, 5
FIRST_TEST = START + timedelta(days=1_000)


def simulate_bars(seed: int, *, momentum: float = 0.0) -> pl.DataFrame:
    """Prices with volatility that comes in waves, and with returns that continue where asked."""
    random = np.random.default_rng(seed)
    log_variance = np.full(SYMBOLS, -8.5)
    logs, returns, rows = np.full(SYMBOLS, 4.0), np.zeros(SYMBOLS), []
    for day in range(DATES):
        log_variance = -8.5 + 0.97 * (log_variance + 8.5) + 0.25 * random.normal(size=SYMBOLS)
        own = returns - returns.mean()
        returns = np.exp(log_variance / 2) * random.standard_normal(SYMBOLS) + momentum * own
        logs = logs + returns
        time = START + timedelta(days=day)
        rows += [(f"S{column}", time, float(np.exp(logs[column]))) for column in range(SYMBOLS)]
    schema = {"symbol": pl.String, "event_time": pl.Datetime("us", "UTC"), "close": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def prepare(bars: pl.DataFrame, target: TargetKind, horizon: int = HORIZON) -> TrainingData:
    dataset = compute_features(bars).join(compute_labels(bars, target, horizon), on=["symbol", "event_time"])
    return load_training_data(dataset, feature_names(), target, horizon)


def plan_for(target: TargetKind, *models: str, max_trials: int = 0) -> TrainingPlan:
    evaluation = EvaluationPlan(to_microseconds(FIRST_TEST), refit_interval_bars=100, embargo_bars=2)
    return TrainingPlan(
        select_entries(models, target), evaluation, max_trials=max_trials, seed=7, validation_bars=200
    )


VOLATILITY = prepare(simulate_bars(1), TargetKind.LOG_REALIZED_VARIANCE)


def test_a_real_signal_is_found_tested_and_packed() -> None:
    plan = replace(
        plan_for(TargetKind.LOG_REALIZED_VARIANCE, "linear", max_trials=8),
        feature_views={"market_volatility": "d"},
    )

    outcome = execute_training(plan, VOLATILITY, load_learner)

    scores = {entry.catalogue_id: entry for entry in outcome.leaderboard}
    assert set(scores) == {"persistence", "har", "ridge", "elastic-net"}
    assert [entry.metrics["rmse"] for entry in outcome.leaderboard] == sorted(
        e.metrics["rmse"] for e in scores.values()
    )
    assert scores["har"].metrics["r2"] > 0.1
    assert [fold.row_count for fold in scores["har"].folds] == [400, 400, 380]
    assert len(outcome.trials) == 8
    assert len({trial.configuration_digest for trial in outcome.trials}) == 8
    assert [entry.catalogue_id for entry in outcome.leaderboard if entry.is_chosen] == [
        outcome.chosen.catalogue_id
    ]
    predictor = load_predictor(outcome.artifact)
    assert predictor.description.feature_views == {"market_volatility": "d"}
    columns = VOLATILITY.columns(predictor.feature_names)
    assert np.isfinite(predictor.predict(VOLATILITY.matrix[:, columns])).all()
    assert read_reference(outcome.artifact.files["reference.json"]).rows == len(VOLATILITY)


def test_the_losses_of_each_test_day_travel_with_the_model() -> None:
    outcome = execute_training(
        plan_for(TargetKind.LOG_REALIZED_VARIANCE, "baseline"), VOLATILITY, load_learner
    )

    evaluation = read_evaluation(outcome.artifact.files["evaluation.json"])
    (chosen,) = [entry for entry in outcome.leaderboard if entry.is_chosen]
    weighted = sum(one.loss * one.rows for one in evaluation.losses)
    assert (evaluation.symbols, evaluation.overlap_days) == (("S0", "S1", "S2", "S3"), HORIZON - 1)
    assert sum(one.rows for one in evaluation.losses) == sum(fold.row_count for fold in chosen.folds)
    assert weighted / 1180 == pytest.approx(chosen.metrics["rmse"] ** 2)
    assert evaluation.losses[0].day == (FIRST_TEST - datetime(1970, 1, 1, tzinfo=UTC)).days
    assert all(0 < chosen.standard_errors[name] < 1 for name in chosen.metrics)


def test_returns_without_signal_have_no_edge() -> None:
    verdicts = [
        execute_training(
            plan_for(TargetKind.EXCESS_RETURN, "linear"),
            prepare(simulate_bars(seed), TargetKind.EXCESS_RETURN),
            load_learner,
        ).verdict.kind
        for seed in range(3)
    ]

    assert verdicts == [VerdictKind.NO_EDGE] * 3


def test_returns_that_continue_have_an_edge() -> None:
    data = prepare(simulate_bars(2, momentum=0.5), TargetKind.EXCESS_RETURN, horizon=1)

    verdict = execute_training(plan_for(TargetKind.EXCESS_RETURN, "linear"), data, load_learner).verdict

    assert verdict.kind == VerdictKind.EDGE, verdict.explain()


def test_shuffled_labels_have_no_edge() -> None:
    shuffled = replace(VOLATILITY, labels=np.random.default_rng(5).permutation(VOLATILITY.labels))

    verdict = execute_training(
        plan_for(TargetKind.LOG_REALIZED_VARIANCE, "linear"), shuffled, load_learner
    ).verdict

    # Persistence and HAR fit noise too; the verdict is about beating the better of them.
    assert verdict.kind == VerdictKind.NO_EDGE, verdict.explain()


def test_prior_trials_of_the_study_enter_the_verdict() -> None:
    plan = replace(plan_for(TargetKind.LOG_REALIZED_VARIANCE, "ridge"), prior_trial_count=90)

    assert execute_training(plan, VOLATILITY, load_learner).verdict.trial_count == 93


def test_what_comes_after_a_test_date_cannot_change_its_prediction() -> None:
    plan = plan_for(TargetKind.LOG_REALIZED_VARIANCE, "ridge")
    cut = np.unique(VOLATILITY.event_time)[-50]
    scrambled = replace(
        VOLATILITY,
        matrix=np.where((VOLATILITY.event_time >= cut)[:, np.newaxis], 9.0, VOLATILITY.matrix),
        labels=np.where(VOLATILITY.label_end_time >= cut, 99.0, VOLATILITY.labels),
    )

    before = execute_training(plan, VOLATILITY, load_learner).out_of_sample["ridge"]
    after = execute_training(plan, scrambled, load_learner).out_of_sample["ridge"]

    untouched = before.date < VOLATILITY.date[VOLATILITY.event_time >= cut].min()
    assert before.predictions[untouched].tobytes() == after.predictions[untouched].tobytes()


def test_a_model_that_does_not_load_is_skipped_with_its_reason() -> None:
    def load(entry: CatalogueEntry) -> Learner:
        if entry.id == "lightgbm":
            raise LearnerUnavailableError(entry.id, "libgomp.so.1 is missing")
        return load_learner(entry)

    outcome = execute_training(plan_for(TargetKind.LOG_REALIZED_VARIANCE, "lightgbm"), VOLATILITY, load)

    (skipped,) = outcome.skipped
    assert (skipped.catalogue_id, skipped.reason, skipped.detail) == (
        "lightgbm",
        SkipReason.UNAVAILABLE,
        "libgomp.so.1 is missing",
    )


def test_models_without_their_features_or_rows_are_skipped() -> None:
    few = VOLATILITY.keep(VOLATILITY.symbol == 0)
    narrow = replace(few, feature_names=tuple(f"other_{name}" for name in few.feature_names))

    outcome = execute_training(
        plan_for(TargetKind.LOG_REALIZED_VARIANCE, "ridge", "lightgbm"), narrow, load_learner
    )

    assert {skipped.catalogue_id: skipped.reason for skipped in outcome.skipped} == {
        "persistence": SkipReason.FEATURES_MISSING,
        "har": SkipReason.FEATURES_MISSING,
        "lightgbm": SkipReason.TOO_FEW_ROWS,
    }
    assert outcome.verdict.kind == VerdictKind.NOT_ENOUGH_DATA


def test_a_spent_budget_still_gives_a_judged_model() -> None:
    plan = replace(plan_for(TargetKind.LOG_REALIZED_VARIANCE, "linear", max_trials=50), cpu_seconds=10.0)
    ticks = iter(range(10_000))

    outcome = execute_training(plan, VOLATILITY, load_learner, Hooks(cpu_seconds=lambda: float(next(ticks))))

    assert [trial.catalogue_id for trial in outcome.trials[:3]] == ["persistence", "har", "ridge"]
    assert {it.catalogue_id: it.reason for it in outcome.skipped}[
        "elastic-net"
    ] == SkipReason.BUDGET_EXHAUSTED
    assert {entry.catalogue_id for entry in outcome.leaderboard} >= {
        "persistence",
        "har",
        outcome.chosen.catalogue_id,
    }


def test_progress_runs_from_trials_over_folds_to_the_last_fit() -> None:
    seen: list[Progress] = []

    execute_training(
        plan_for(TargetKind.LOG_REALIZED_VARIANCE, "ridge"),
        VOLATILITY,
        load_learner,
        Hooks(on_progress=seen.append),
    )

    assert list(dict.fromkeys(progress.stage for progress in seen)) == ["trials", "folds", "refit"]
    assert [progress.done for progress in seen if progress.stage == "folds"] == list(range(9))
    assert all(progress.total == 9 for progress in seen if progress.stage == "folds")


def test_a_cancelled_training_stops_before_the_next_fit() -> None:
    seen: list[Progress] = []
    hooks = Hooks(on_progress=seen.append, is_cancelled=lambda: len(seen) == 4)

    with pytest.raises(TrainingCancelledError):
        execute_training(plan_for(TargetKind.LOG_REALIZED_VARIANCE, "ridge"), VOLATILITY, load_learner, hooks)

    assert len(seen) == 4


@pytest.mark.parametrize(
    ("first_test", "problem"),
    [
        pytest.param(START + timedelta(days=5_000), "at or after the first test", id="nothing-to-test"),
        pytest.param(START, "too little is known", id="nothing-to-train"),
    ],
)
def test_data_that_cannot_be_cut_is_refused(first_test: datetime, problem: str) -> None:
    plan = replace(
        plan_for(TargetKind.LOG_REALIZED_VARIANCE, "ridge"),
        evaluation=EvaluationPlan(to_microseconds(first_test)),
    )

    with pytest.raises(DataProblemError, match=problem):
        execute_training(plan, VOLATILITY, load_learner)


def test_incomplete_rows_are_dropped_and_counted() -> None:
    assert VOLATILITY.dropped_rows == SYMBOLS * 252
    assert len(VOLATILITY) == SYMBOLS * (DATES - 252 - HORIZON)


def test_a_dataset_without_a_column_is_refused() -> None:
    with pytest.raises(DataProblemError, match="label_end_time"):
        load_training_data(simulate_bars(1).with_columns(label=1.0), ["close"], TargetKind.DIRECTION, 5)


def test_another_process_arrives_at_the_same_model() -> None:
    digests = {
        subprocess.run(
            [sys.executable, __file__],
            capture_output=True,
            check=True,
            text=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }

    assert len(digests) == 1
    assert len(digests.pop().split()) == 3


if __name__ == "__main__":
    assert Path(__file__).is_file()
    for model in ("ridge", "lightgbm", "hist-gradient-boosting"):
        chosen = execute_training(
            replace(
                plan_for(TargetKind.LOG_REALIZED_VARIANCE, model),
                entries=tuple(
                    e for e in select_entries([model], TargetKind.LOG_REALIZED_VARIANCE) if e.id == model
                ),
            ),
            VOLATILITY,
            load_learner,
        )
        sys.stdout.write(chosen.artifact.canonical_digest + "\n")
