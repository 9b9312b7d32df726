"""Executes a training in a thread, so that leases are watched and reports are sent meanwhile."""

import asyncio
import io
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from math import inf

import polars as pl
from mltrainer_features import TargetKind
from mltrainer_models.canonical import canonical_digest

from mltrainer_trainer.adapters.estimators import load_any_learner
from mltrainer_trainer.adapters.journal import Journal, JournaledFits
from mltrainer_trainer.adapters.process_limits import LEAST_DATA_BYTES
from mltrainer_trainer.adapters.trial_workers import (
    WorkerHooks,
    WorkerLimits,
    open_workers,
    worker_count,
)
from mltrainer_trainer.adapters.worker_account import WorkerAccount
from mltrainer_trainer.application.execute_attempt import Dataset, Outcome, Stages
from mltrainer_trainer.domain.catalogue import Parameter, UnknownModelError, select_entries
from mltrainer_trainer.domain.diagnostics import with_diagnostics
from mltrainer_trainer.domain.leak_guards import LeakFoundError
from mltrainer_trainer.domain.learners import LearnerFactory
from mltrainer_trainer.domain.paths import CombinatorialPlan
from mltrainer_trainer.domain.plan import AttemptFailedError, AttemptPlan
from mltrainer_trainer.domain.recall import Recall, recalling
from mltrainer_trainer.domain.sampling import Observation, Space
from mltrainer_trainer.domain.search import Hooks, Progress, TrainingCancelledError
from mltrainer_trainer.domain.training import TrainingOutcome, TrainingPlan, execute_training
from mltrainer_trainer.domain.training_data import (
    DataProblemError,
    TrainingData,
    load_training_data,
    to_microseconds,
)
from mltrainer_trainer.domain.trials import TrialBench, TrialWorkers
from mltrainer_trainer.domain.verdict import PriorTrial
from mltrainer_trainer.domain.walk_forward import EvaluationPlan
from mltrainer_trainer.wire.outcome import to_outcome

# Of the budget; a computation that takes all of it would be ended before it can be reported.
_COMPUTING_SHARE = 0.85
# Where each stage of the computation begins and how much of the attempt it is.
_SHARES = {"trials": (0.05, 0.45), "folds": (0.5, 0.35), "paths": (0.85, 0.02), "refit": (0.87, 0.03)}


@dataclass(frozen=True, slots=True)
class ThreadTrainingExecutor:
    """Executes `domain.training`; a journal takes what is finished and knows what was before.

    `account` knows what the workers use that several trials at a time are evaluated by; `stall_s` is how
    long one of them may compute without using CPU time.
    """

    stages: Stages
    is_cancelled: Callable[[], bool]
    journal: Callable[[AttemptPlan], Awaitable[Journal]]
    prior_trials: Callable[[AttemptPlan], Awaitable[tuple[PriorTrial, ...]]]
    recall: Recall | None = None
    account: WorkerAccount = field(default_factory=WorkerAccount)
    stall_s: float = 300.0

    async def __call__(self, plan: AttemptPlan, dataset: Dataset, content: bytes) -> Outcome:
        """Executes a plan on its data."""
        count = worker_count(plan.cpus, plan.memory_bytes, LEAST_DATA_BYTES)
        limits = WorkerLimits(count, plan.memory_bytes // (count + 1), self.stall_s)
        journal = await self.journal(plan)
        workers = WorkerHooks(self.is_cancelled, journal, self.recall, self.account)
        execution = _Execution(self.stages, journal, workers, limits)
        prior_trials = await self.prior_trials(plan)
        return await asyncio.to_thread(execution.execute, plan, dataset, content, prior_trials)


@dataclass(frozen=True, slots=True)
class _Execution:
    stages: Stages
    journal: Journal
    workers: WorkerHooks
    limits: WorkerLimits

    def execute(
        self, plan: AttemptPlan, dataset: Dataset, content: bytes, prior_trials: tuple[PriorTrial, ...]
    ) -> Outcome:
        self.stages.enter("guards", 0.02)
        try:
            data = read_data(plan, dataset, content)
            todo = replace(training_plan(plan, dataset), prior_trials=prior_trials)
            outcome = execute_training(todo, data, self._load(), self._hooks(), _draw)
        except DataProblemError as error:
            raise AttemptFailedError(error.reason, error.problem) from error
        except LeakFoundError as error:
            raise AttemptFailedError(f"LEAK_{error.leak}", error.detail) from error
        except UnknownModelError as error:
            raise AttemptFailedError("UNKNOWN_MODEL", f"the catalogue has no {error.name}") from error
        except TrainingCancelledError as error:
            raise AttemptFailedError("CANCELLED", "the attempt was asked to stop", retryable=True) from error
        except MemoryError as error:
            raise AttemptFailedError("OUT_OF_MEMORY", "the machine has too little memory for it") from error
        check_finite(outcome)
        outcome = with_diagnostics(outcome, data, plan.seed)
        cpu_seconds = time.process_time() + self.workers.account.cpu_seconds()
        return to_outcome(outcome, cpu_seconds, self.workers.recall.meter if self.workers.recall else None)

    def _load(self) -> LearnerFactory:
        recall = self.workers.recall
        if recall is None:
            return load_any_learner
        results = JournaledFits(self.journal, recall.results)
        return recalling(load_any_learner, replace(recall, results=results))

    def _hooks(self) -> Hooks:
        recall, account = self.workers.recall, self.workers.account
        charged = recall.charged_cpu_seconds if recall else time.process_time
        return Hooks(
            on_progress=self._on_progress,
            is_cancelled=self.workers.is_cancelled,
            cpu_seconds=lambda: charged() + self.journal.charged_cpu_seconds + account.charged_cpu_seconds,
            find_trial=self.journal.find_trial,
            keep_trial=self.journal.keep_trial,
            open_workers=self._open_workers if self.limits.count > 1 else None,
        )

    def _open_workers(self, bench: TrialBench) -> AbstractContextManager[TrialWorkers]:
        return open_workers(bench, load_any_learner, self.limits, self.workers)

    def _on_progress(self, progress: Progress) -> None:
        begin, share = _SHARES.get(progress.stage, (0.0, 0.0))
        search = self.journal.progress(progress.total if progress.stage == "trials" else 0)
        done = begin + share * progress.done / max(1, progress.total)
        self.stages.enter(progress.stage, done, search)


def _draw(space: Space, seen: Sequence[Observation], seed: int) -> dict[str, Parameter]:
    from mltrainer_trainer.adapters.optuna_sampler import draw_by_estimator  # half a second of imports

    return draw_by_estimator(space, seen, seed)


def training_plan(plan: AttemptPlan, dataset: Dataset) -> TrainingPlan:
    """Translates an order into what is computed."""
    evaluation = EvaluationPlan(
        to_microseconds(plan.first_test_time), plan.refit_interval_bars, plan.embargo_bars
    )
    entries = select_entries(plan.models, TargetKind(plan.target_kind))
    context = {
        "dataset": dataset.sha256,
        "first_test_time": evaluation.first_test_time,
        "refit_interval_bars": evaluation.refit_interval_bars,
        "embargo_bars": evaluation.embargo_bars,
    }
    return TrainingPlan(
        entries=entries,
        evaluation=evaluation,
        max_trials=plan.max_trials or len(entries),
        seed=plan.seed,
        prior_trial_count=plan.study_trial_count,
        cpu_seconds=_computing_budget(plan.cpu_seconds),
        context_digest=canonical_digest(context),
        combinatorial=(
            CombinatorialPlan(plan.combinatorial_groups, plan.combinatorial_test_groups)
            if plan.combinatorial_groups
            else None
        ),
        feature_views={view.feature_view: view.definition_digest for view in dataset.views},
    )


def _computing_budget(cpu_seconds: float) -> float:
    """Leaves what the imports have used already and what the last fit and the upload will need."""
    return max(0.0, _COMPUTING_SHARE * cpu_seconds - time.process_time()) if cpu_seconds else inf


def read_data(plan: AttemptPlan, dataset: Dataset, content: bytes) -> TrainingData:
    """Reads a dataset.

    Raises:
        AttemptFailedError: Its labels are all the same, so there is nothing to learn.
    """
    frame = pl.read_parquet(io.BytesIO(content))
    data = load_training_data(frame, dataset.feature_names, TargetKind(plan.target_kind), plan.horizon_bars)
    if float(data.labels.min()) == float(data.labels.max()):
        raise AttemptFailedError("CONSTANT_TARGET", f"all {len(data)} labels are {data.labels[0]:g}")
    return data


def check_finite(outcome: TrainingOutcome) -> None:
    """Refuses a result that is no number.

    Raises:
        AttemptFailedError: The chosen model has diverged.
    """
    for entry in outcome.leaderboard:
        broken = sorted(name for name, value in entry.metrics.items() if not math.isfinite(value))
        if entry.is_chosen and broken:
            message = f"{entry.catalogue_id} has no finite {', '.join(broken)} out of sample"
            raise AttemptFailedError("MODEL_DIVERGED", message)
