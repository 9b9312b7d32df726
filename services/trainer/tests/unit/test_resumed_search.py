"""A training that begins again goes on where its finished trials end."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from mltrainer_features import TargetKind
from mltrainer_trainer.adapters.estimators import load_learner
from mltrainer_trainer.domain.catalogue import CatalogueEntry, select_entries
from mltrainer_trainer.domain.learners import Fit, FitRequest, Learner
from mltrainer_trainer.domain.search import Hooks, Trial
from mltrainer_trainer.domain.training import TrainingOutcome, TrainingPlan, execute_training
from mltrainer_trainer.domain.training_data import TrainingData, load_training_data, to_microseconds
from mltrainer_trainer.domain.walk_forward import EvaluationPlan

TARGET = TargetKind.LOG_REALIZED_VARIANCE
FEATURES = ("log_variance_1", "log_variance_5", "log_variance_22")
START = datetime(2015, 1, 1, 21, tzinfo=UTC)
TRIALS = 6


class KilledError(Exception):
    """The process ends here."""


def panel(days: int = 500) -> TrainingData:
    random = np.random.default_rng(3)
    level = np.zeros(days + 6)
    for day in range(1, days + 6):
        level[day] = 0.95 * level[day - 1] + 0.3 * random.normal()
    times = [START + timedelta(days=day) for day in range(days)]
    frame = pl.DataFrame(
        {
            "symbol": ["AAA"] * days,
            "event_time": times,
            **{name: level[:days] + 0.1 * random.normal(size=days) for name in FEATURES},
            "label": level[5 : days + 5],
            "label_end_time": [time + timedelta(days=5) for time in times],
        }
    )
    return load_training_data(frame, FEATURES, TARGET, 5)


DATA = panel()
PLAN = TrainingPlan(
    select_entries(["har", "ridge", "elastic-net"], TARGET),
    EvaluationPlan(to_microseconds(START + timedelta(days=400)), refit_interval_bars=50, embargo_bars=2),
    max_trials=TRIALS,
    seed=7,
    validation_bars=100,
    context_digest="context",
)


class Ledger:
    """Keeps what is finished over the lives of a training."""

    def __init__(self, life: int = 10**9) -> None:
        self.trials: dict[str, Trial] = {}
        self.evaluated: Counter[str] = Counter()
        self.life = life

    def keep(self, trial: Trial) -> None:
        self.life -= 1
        if trial.configuration_digest not in self.trials:
            self.evaluated[trial.configuration_digest] += 1
        self.trials[trial.configuration_digest] = trial
        if self.life == 0:
            raise KilledError

    def hooks(self) -> Hooks:
        return Hooks(find_trial=self.trials.get, keep_trial=self.keep)


def counted(fits: Counter[str]) -> Callable[[CatalogueEntry], Learner]:
    def load(entry: CatalogueEntry) -> Learner:
        learner = load_learner(entry)

        def fit(request: FitRequest) -> Fit:
            fits[entry.id] += 1
            return learner(request)

        return fit

    return load


def execute(ledger: Ledger, fits: Counter[str] | None = None) -> TrainingOutcome:
    return execute_training(PLAN, DATA, counted(Counter() if fits is None else fits), ledger.hooks())


UNINTERRUPTED = execute(Ledger())


@pytest.mark.parametrize("finished", range(1, TRIALS + 1))
def test_a_training_killed_after_any_trial_ends_with_the_same_model(finished: int) -> None:
    ledger = Ledger(life=finished)
    with pytest.raises(KilledError):
        execute(ledger)
    ledger.life = 10**9

    outcome = execute(ledger)

    assert set(ledger.evaluated.values()) == {1}
    assert len(ledger.evaluated) == len(UNINTERRUPTED.trials)
    assert outcome.chosen == UNINTERRUPTED.chosen
    assert outcome.trials == UNINTERRUPTED.trials
    assert outcome.artifact.canonical_digest == UNINTERRUPTED.artifact.canonical_digest


def test_a_training_killed_at_every_trial_in_turn_evaluates_each_once() -> None:
    ledger = Ledger()
    for life in range(1, TRIALS + 1):
        ledger.life = life
        with pytest.raises(KilledError):
            execute(ledger)
    ledger.life = 10**9

    outcome = execute(ledger)

    assert set(ledger.evaluated.values()) == {1}
    assert outcome.artifact.canonical_digest == UNINTERRUPTED.artifact.canonical_digest


def test_finished_trials_are_not_fitted_again() -> None:
    ledger, first, again = Ledger(), Counter[str](), Counter[str]()
    execute(ledger, first)

    execute(ledger, again)

    assert set(ledger.evaluated.values()) == {1}
    assert again.total() <= first.total() - TRIALS
