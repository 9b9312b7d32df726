"""Several trials at a time come out as one by one, and what ends a worker ends one trial."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest
from mltrainer_features import TargetKind
from mltrainer_trainer.adapters.estimators import load_learner
from mltrainer_trainer.adapters.fit_results import FileFitResults
from mltrainer_trainer.adapters.trial_workers import (
    WorkerHooks,
    WorkerLimits,
    open_workers,
    worker_count,
)
from mltrainer_trainer.adapters.worker_account import WorkerAccount
from mltrainer_trainer.domain.catalogue import select_entries
from mltrainer_trainer.domain.learners import LearnerFactory
from mltrainer_trainer.domain.recall import Recall, Recalled
from mltrainer_trainer.domain.search import Hooks, TrainingCancelledError, Trial, TrialState
from mltrainer_trainer.domain.training import TrainingOutcome, TrainingPlan, execute_training
from mltrainer_trainer.domain.training_data import TrainingData, load_training_data, to_microseconds
from mltrainer_trainer.domain.trials import TrialBench, TrialWorkers
from mltrainer_trainer.domain.walk_forward import EvaluationPlan
from mltrainer_trainer.reuse_settings import SampledAudit

TARGET = TargetKind.LOG_REALIZED_VARIANCE
FEATURES = ("log_variance_1", "log_variance_5", "log_variance_22")
START = datetime(2015, 1, 1, 21, tzinfo=UTC)
TWO = WorkerLimits(count=2)


def panel(days: int = 500) -> TrainingData:
    random = np.random.default_rng(3)
    level = np.cumsum(0.3 * random.normal(size=days + 6))
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
    max_trials=9,
    seed=7,
    validation_bars=100,
    context_digest="context",
)


class KilledError(Exception):
    """The process ends here."""


class Parent:
    """What workers talk to."""

    def __init__(
        self,
        folder: Path,
        load: LearnerFactory = load_learner,
        limits: WorkerLimits = TWO,
        recall: Recall | None = None,
    ) -> None:
        self.trials: dict[str, Trial] = {}
        self.fits: dict[str, Recalled] = {}
        self.evaluated: list[str] = []
        self.life = 10**9
        self.cancelled = threading.Event()
        self.account = WorkerAccount()
        self._load, self._limits = load, limits
        self._workers = WorkerHooks(self.cancelled.is_set, self, recall, self.account)
        os.chdir(folder)

    def find_fit(self, key: str) -> Recalled | None:
        return self.fits.get(key)

    def keep_fit(self, key: str, result: Recalled) -> None:
        self.fits[key] = result

    def keep(self, trial: Trial) -> None:
        if trial.configuration_digest not in self.trials:
            self.evaluated.append(trial.configuration_digest)
        self.trials[trial.configuration_digest] = trial
        self.life -= 1
        if self.life == 0:
            raise KilledError

    def open(self, bench: TrialBench) -> AbstractContextManager[TrialWorkers]:
        return open_workers(bench, self._load, self._limits, self._workers)

    def execute(self, plan: TrainingPlan = PLAN) -> TrainingOutcome:
        def cpu_seconds() -> float:
            return self.account.charged_cpu_seconds

        hooks = Hooks(
            find_trial=self.trials.get,
            keep_trial=self.keep,
            is_cancelled=self.cancelled.is_set,
            cpu_seconds=cpu_seconds,
            open_workers=self.open,
        )
        return execute_training(plan, DATA, load_learner, hooks)


@pytest.fixture
def parent_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Parent]:
    monkeypatch.chdir(tmp_path)
    # Workers are given the path, and so find the learners by name.
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return lambda *arguments: Parent(tmp_path, *arguments)


def breaking(name: str) -> LearnerFactory:
    factory: LearnerFactory = getattr(import_module("breaking_learners"), name)
    return factory


def without_time(trials: tuple[Trial, ...]) -> list[Trial]:
    return [replace(it, cpu_seconds=0.0) for it in trials]


def living_workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        # It may end while it is looked at.
        with suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_two_workers_arrive_bit_by_bit_where_one_process_does(parent_of: Callable[..., Parent]) -> None:
    parent = parent_of()

    together = parent.execute()

    alone = execute_training(PLAN, DATA, load_learner)
    assert without_time(together.trials) == without_time(alone.trials)
    assert together.artifact.canonical_digest == alone.artifact.canonical_digest
    assert [it.number for it in together.trials] == list(range(1, len(together.trials) + 1))
    assert living_workers() == []
    assert parent.account.charged_cpu_seconds >= sum(it.cpu_seconds for it in together.trials) > 0


def test_a_training_killed_with_trials_in_hand_repeats_no_finished_one(
    parent_of: Callable[..., Parent],
) -> None:
    parent = parent_of()
    parent.life = 3
    with pytest.raises(KilledError):
        parent.execute()
    assert living_workers() == []

    resumed = parent.execute()

    assert len(parent.evaluated) == len(set(parent.evaluated)) == len(resumed.trials)
    alone = execute_training(PLAN, DATA, load_learner)
    assert without_time(resumed.trials) == without_time(alone.trials)
    assert resumed.artifact.canonical_digest == alone.artifact.canonical_digest


@pytest.mark.parametrize(
    ("load", "limits", "reason"),
    [
        pytest.param("ending_ridge", TWO, "DIED: its process ended by SIGSEGV", id="dies"),
        pytest.param("hanging_ridge", replace(TWO, stall_s=1.0), "STALLED", id="hangs"),
    ],
)
def test_what_ends_a_worker_is_a_failed_trial_and_the_study_goes_on(
    load: str, limits: WorkerLimits, reason: str, parent_of: Callable[..., Parent]
) -> None:
    parent = parent_of(breaking(load), limits)

    outcome = parent.execute(replace(PLAN, max_trials=3))

    failed = [it for it in outcome.trials if it.state is TrialState.FAILED]
    assert {it.catalogue_id for it in failed} == {"ridge"}
    assert all(it.detail.startswith(reason) for it in failed)
    assert parent.trials[failed[0].configuration_digest] == failed[0]
    assert {it.catalogue_id for it in outcome.trials if it.state is TrialState.COMPLETE} >= {
        "har",
        "elastic-net",
    }
    assert living_workers() == []


def test_a_fit_that_does_not_end_is_stopped_by_what_the_budget_allows(
    parent_of: Callable[..., Parent],
) -> None:
    parent = parent_of(breaking("spinning_net"))

    outcome = parent.execute(replace(PLAN, max_trials=3, cpu_seconds=5.0))

    failed = [it for it in outcome.trials if it.state is TrialState.FAILED]
    assert [it.catalogue_id for it in failed] == ["elastic-net"]
    assert failed[0].detail.startswith("OUT_OF_BUDGET")
    assert outcome.cpu_seconds < 15.0


def test_a_cancelled_training_ends_its_workers(parent_of: Callable[..., Parent]) -> None:
    parent = parent_of(breaking("hanging_ridge"))
    canceller = threading.Thread(target=_cancel_once_working, args=(parent,))
    canceller.start()

    with pytest.raises(TrainingCancelledError):
        parent.execute()

    canceller.join()
    assert living_workers() == []


def test_workers_end_with_a_parent_that_is_killed(parent_of: Callable[..., Parent]) -> None:
    parent_of()
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    parent = context.Process(target=import_module("breaking_learners").hold_a_worker, args=(theirs,))
    parent.start()
    worker = psutil.Process(ours.recv())

    parent.kill()

    parent.join()
    assert psutil.wait_procs([worker], timeout=60)[1] == []


def _cancel_once_working(parent: Parent) -> None:
    while not living_workers():
        parent.cancelled.wait(0.02)
    parent.cancelled.set()


def test_what_workers_have_fitted_is_recalled_and_reaches_the_journal(
    tmp_path: Path, parent_of: Callable[..., Parent]
) -> None:
    recall = Recall(
        FileFitResults(tmp_path / "fits"), {"code": "1"}, SampledAudit("salt", 0.0), time.process_time, 0.0
    )
    first = parent_of(load_learner, TWO, recall)
    first_outcome = first.execute()
    assert first.fits
    computed, recalled = recall.meter.computed, recall.meter.recalled
    assert computed > 0

    again = parent_of(load_learner, TWO, recall).execute()

    assert recall.meter.computed == computed
    assert recall.meter.recalled >= recalled + computed
    assert again.artifact.canonical_digest == first_outcome.artifact.canonical_digest


@pytest.mark.parametrize(
    ("cpus", "memory_bytes", "count"), [(0.5, 0, 1), (1.0, 0, 1), (2.9, 0, 2), (8.0, 4, 3), (8.0, 1, 1)]
)
def test_there_is_a_worker_per_core_that_has_memory_beside_the_first_process(
    cpus: float, memory_bytes: int, count: int
) -> None:
    assert worker_count(cpus, memory_bytes, 1) == count
