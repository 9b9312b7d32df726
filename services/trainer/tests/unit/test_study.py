"""A study with learners that fail, and one that begins again after it was killed."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
import pytest
from mltrainer_features import TargetKind
from mltrainer_models import LinearModel, ModelDescription, load_predictor
from mltrainer_trainer.domain.catalogue import CatalogueEntry, UniformRange
from mltrainer_trainer.domain.learners import FitRequest, Learner
from mltrainer_trainer.domain.linear_learners import fit_mean, fit_ridge
from mltrainer_trainer.domain.search import Hooks, SkipReason, Trial, TrialState
from mltrainer_trainer.domain.training import TrainingPlan, execute_training
from mltrainer_trainer.domain.training_data import DataProblemError, TrainingData, load_training_data
from mltrainer_trainer.domain.verdict import VerdictKind
from mltrainer_trainer.domain.walk_forward import EvaluationPlan

DATES, SYMBOLS, HORIZON, DAY = 900, 3, 2, 86_400_000_000
FIRST_TEST = 600 * DAY
FEATURES = ("a", "b", "c")


def made_up_data(target: TargetKind = TargetKind.LOG_REALIZED_VARIANCE) -> TrainingData:
    """Labels that depend on slow features; or, as directions, that have one class before the test."""
    random = np.random.default_rng(1)
    count = DATES * SYMBOLS
    steps = random.normal(size=(DATES, SYMBOLS, len(FEATURES)))
    waves = np.zeros_like(steps)
    for day in range(1, DATES):
        waves[day] = 0.97 * waves[day - 1] + 0.24 * steps[day]
    matrix = waves.reshape(count, len(FEATURES))
    labels = matrix @ np.array([0.6, -0.3, 0.0]) + random.normal(size=count)
    date = np.repeat(np.arange(DATES), SYMBOLS)
    if target == TargetKind.DIRECTION:
        labels = np.where(date < 640, 1.0, (labels > 0).astype(np.float64))
    times = date * DAY
    symbol = np.tile(np.arange(SYMBOLS), DATES)
    names = tuple(f"S{n}" for n in range(SYMBOLS))
    return TrainingData(
        target, HORIZON, FEATURES, names, symbol, times, times + HORIZON * DAY, date, matrix, labels, 0
    )


DATA = made_up_data()


def entry_of(
    name: str, *, is_baseline: bool = False, targets: tuple[TargetKind, ...] = tuple(TargetKind)
) -> CatalogueEntry:
    space = {} if is_baseline else {"alpha": UniformRange(1e-4, 10.0, log_scale=True)}
    defaults = {} if is_baseline else {"alpha": 1.0}
    return CatalogueEntry(
        name, "test", targets, "nowhere:fit", defaults=defaults, search_space=space, is_baseline=is_baseline
    )


ENTRIES = (entry_of("mean", is_baseline=True), entry_of("ridge"), entry_of("other"))


class BrokenFit:
    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        return np.full(len(matrix), self.value)

    def to_model(self, description: ModelDescription) -> LinearModel:
        raise AssertionError(description)


def raising(error: BaseException) -> Learner:
    def fit(request: FitRequest) -> BrokenFit:
        raise error

    return fit


def diverging(request: FitRequest) -> BrokenFit:
    return BrokenFit(np.full(len(request.labels), np.nan)[0])


@dataclass
class Counted:
    """Learners by entry, which count how often they fit."""

    other: Learner
    fits: list[str] = field(default_factory=list)

    def __call__(self, entry: CatalogueEntry) -> Learner:
        learner = {"mean": fit_mean, "ridge": fit_ridge}.get(entry.id, self.other)

        def fit(request: FitRequest) -> object:
            self.fits.append(entry.id)
            return learner(request)

        return fit  # type: ignore[return-value] # whatever the learner returns


def plan_of(max_trials: int = 0, entries: tuple[CatalogueEntry, ...] = ENTRIES) -> TrainingPlan:
    evaluation = EvaluationPlan(FIRST_TEST, refit_interval_bars=150)
    return TrainingPlan(entries, evaluation, max_trials, seed=3, validation_bars=150)


@pytest.mark.parametrize(
    ("learner", "reason"),
    [
        pytest.param(
            raising(ValueError("no such number")), "RAISED: ValueError: no such number", id="raises"
        ),
        pytest.param(raising(MemoryError()), "OUT_OF_MEMORY", id="memory"),
        pytest.param(
            raising(np.linalg.LinAlgError("singular")), "RAISED: LinAlgError: singular", id="library"
        ),
        pytest.param(diverging, "DIVERGED", id="diverges"),
    ],
)
def test_a_study_goes_on_without_a_model_that_fails(learner: Learner, reason: str) -> None:
    outcome = execute_training(plan_of(), DATA, Counted(learner))

    (failed,) = [trial for trial in outcome.trials if trial.state is TrialState.FAILED]
    assert failed.detail.startswith(reason)
    assert [(it.catalogue_id, it.reason) for it in outcome.skipped] == [("other", SkipReason.FAILED)]
    assert outcome.verdict.kind == VerdictKind.EDGE
    assert outcome.verdict.trial_count == len(outcome.trials)


def test_labels_of_one_class_fail_the_classifiers_and_not_the_study() -> None:
    outcome = execute_training(plan_of(), made_up_data(TargetKind.DIRECTION), Counted(fit_ridge))

    assert outcome.chosen.catalogue_id == "mean"
    assert all("CLASS_MISSING: all" in skipped.detail for skipped in outcome.skipped)
    assert len(outcome.skipped) == 2


def test_a_study_without_a_model_that_can_be_fitted_ends_by_name() -> None:
    entries = (entry_of("other"), entry_of("another"))

    with pytest.raises(DataProblemError, match="other: DIVERGED") as caught:
        execute_training(plan_of(entries=entries), DATA, Counted(diverging))

    assert caught.value.reason == "MODEL_DIVERGED"


def test_a_model_that_diverges_in_the_last_fit_ends_the_attempt_by_name() -> None:
    def broken(request: FitRequest) -> object:
        if len(request.labels) == DATES * SYMBOLS:
            raise ValueError("too late")
        return fit_ridge(request)

    entries = (entry_of("mean", is_baseline=True), entry_of("other"))

    with pytest.raises(DataProblemError) as caught:
        execute_training(plan_of(entries=entries), DATA, Counted(broken))  # type: ignore[arg-type] # a ridge

    assert caught.value.reason == "MODEL_DIVERGED"


@dataclass
class Memory:
    """Keeps trials as a trainer does, and stops a study after some."""

    kept: dict[str, Trial] = field(default_factory=dict)
    told: list[Trial] = field(default_factory=list)

    def keep(self, trial: Trial) -> None:
        self.kept[trial.configuration_digest] = trial
        self.told.append(trial)

    def hooks(self, is_cancelled: Callable[[], bool] = lambda: False) -> Hooks:
        return Hooks(find_trial=self.kept.get, keep_trial=self.keep, is_cancelled=is_cancelled)


class KilledError(Exception):
    """Ends a study at once."""


def test_a_killed_study_repeats_no_finished_trial_and_ends_with_the_same_model() -> None:
    whole = execute_training(plan_of(12), DATA, Counted(fit_ridge))
    memory = Memory()

    def killed() -> bool:
        if len(memory.told) == 7:
            raise KilledError
        return False

    with pytest.raises(KilledError):
        execute_training(plan_of(12), DATA, Counted(fit_ridge), memory.hooks(killed))
    finished = dict(memory.kept)
    memory.told.clear()
    load = Counted(fit_ridge)
    resumed = execute_training(plan_of(12), DATA, load, memory.hooks())

    assert len(finished) == 7
    assert [trial.configuration_digest for trial in resumed.trials] == [
        trial.configuration_digest for trial in whole.trials
    ]
    assert all(trial in memory.told for trial in finished.values())
    assert resumed.artifact.canonical_digest == whole.artifact.canonical_digest
    assert len(load.fits) < len(counted_fits())


def counted_fits() -> list[str]:
    load = Counted(fit_ridge)
    execute_training(plan_of(12), DATA, load)
    return load.fits


def test_a_study_tells_every_trial_once_and_in_order() -> None:
    memory = Memory()

    outcome = execute_training(plan_of(10), DATA, Counted(fit_ridge), memory.hooks())

    assert memory.told == list(outcome.trials)
    assert [trial.number for trial in memory.told] == list(range(1, len(memory.told) + 1))


def test_a_hopeless_configuration_is_given_up_after_the_first_fold() -> None:
    strong = replace(
        entry_of("ridge"), search_space={"alpha": UniformRange(1e3, 1e4)}, defaults={"alpha": 1e-3}
    )

    outcome = execute_training(plan_of(5, (ENTRIES[0], strong)), DATA, Counted(fit_ridge))

    pruned = [trial for trial in outcome.trials if trial.state is TrialState.PRUNED]
    assert len(pruned) == 3
    assert all(trial.detail == "behind after 1 of 2 folds" for trial in pruned)
    assert outcome.chosen.catalogue_id in {"ridge", "ensemble"}


def test_what_was_chosen_is_what_serving_loads() -> None:
    outcome = execute_training(plan_of(), DATA, Counted(fit_ridge))

    predictor = load_predictor(outcome.artifact)

    assert predictor.description.catalogue_id == outcome.chosen.catalogue_id
    assert np.isfinite(predictor.predict(DATA.matrix[:, DATA.columns(predictor.feature_names)])).all()


def test_a_budget_ends_the_search_and_what_is_tested_beside_the_choice() -> None:
    clock = iter(np.arange(0, 1e6, 0.5))
    plan = replace(plan_of(500), cpu_seconds=60.0)

    outcome = execute_training(plan, DATA, Counted(fit_ridge), Hooks(cpu_seconds=lambda: float(next(clock))))

    assert 3 <= len(outcome.trials) < 60
    assert len([line for line in outcome.leaderboard if line.is_chosen]) == 1


@pytest.mark.parametrize(
    ("column", "reason", "problem"),
    [
        pytest.param("b", "COLUMN_WITHOUT_VALUES", "no row has a value of b", id="feature"),
        pytest.param("label", "COLUMN_WITHOUT_VALUES", "no row has a value of label", id="label"),
    ],
)
def test_a_column_without_values_is_named(column: str, reason: str, problem: str) -> None:
    times = pl.Series("event_time", [1, 2], dtype=pl.Datetime("us", "UTC"))
    ends = pl.Series("label_end_time", [3, 4], dtype=pl.Datetime("us", "UTC"))
    frame = pl.DataFrame({"symbol": ["S", "S"], "a": [1.0, 2.0], "b": [1.0, 2.0], "label": [1.0, 2.0]})
    frame = frame.with_columns(times, ends).with_columns(pl.lit(float("nan")).alias(column))

    with pytest.raises(DataProblemError, match=problem) as caught:
        load_training_data(frame, ["a", "b"], TargetKind.EXCESS_RETURN, 2)

    assert caught.value.reason == reason
