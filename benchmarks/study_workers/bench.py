"""Runs the same study with one and with two workers and compares wall time, CPU time and every bit.

    python benchmarks/study_workers/bench.py

See README.md beside this file. It exits with 1 where a result differs.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from mltrainer_features import TargetKind
from mltrainer_models import canonical_digest
from mltrainer_trainer.adapters.estimators import load_learner
from mltrainer_trainer.adapters.trial_workers import WorkerHooks, WorkerLimits, open_workers
from mltrainer_trainer.adapters.worker_account import WorkerAccount
from mltrainer_trainer.domain.catalogue import select_entries
from mltrainer_trainer.domain.recall import Recalled
from mltrainer_trainer.domain.search import Hooks, Progress
from mltrainer_trainer.domain.training import TrainingPlan, execute_training
from mltrainer_trainer.domain.trials import TrialBench, TrialWorkers
from mltrainer_trainer.domain.walk_forward import EvaluationPlan

HERE = Path(__file__).parent
MODELS = ("linear", "lightgbm", "hist-gradient-boosting")
MAX_TRIALS = 32
# Case of the panels, and label: halves of the stocks.
STUDIES = ((1, "LOG_REALIZED_VARIANCE"), (2, "EXCESS_RETURN"))
SETTINGS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")


class NoFits:
    """Keeps nothing."""

    def find_fit(self, key: str) -> Recalled | None:
        """Knows nothing."""

    def keep_fit(self, key: str, result: Recalled) -> None:
        """Keeps nothing."""


class Stages:
    """Notes when each stage began."""

    def __init__(self) -> None:
        self.began_s: dict[str, float] = {}

    def enter(self, progress: Progress) -> None:
        """Takes a step."""
        self.began_s.setdefault(progress.stage, time.monotonic())


def execute(number: int, target: TargetKind, workers: int) -> dict[str, object]:
    """Executes a study in this process and says what it took."""
    sys.path.insert(0, str(HERE.parent / "study_variance"))
    import panels
    from mltrainer_trainer.adapters.optuna_sampler import draw_by_estimator  # workers import this module, too

    data = panels.load(panels.CASES[number], target)
    account, stages = WorkerAccount(), Stages()
    limits = WorkerLimits(workers)
    hooks = WorkerHooks(lambda: False, NoFits(), None, account)

    def opened(bench: TrialBench) -> AbstractContextManager[TrialWorkers]:
        return open_workers(bench, load_learner, limits, hooks)

    evaluation = EvaluationPlan(panels.start_of(panels.CASES[number].first_year))
    plan = TrainingPlan(select_entries(MODELS, target), evaluation, max_trials=MAX_TRIALS, seed=1)
    talk = Hooks(
        on_progress=stages.enter,
        cpu_seconds=lambda: time.process_time() + account.charged_cpu_seconds,
        open_workers=opened if workers > 1 else None,
    )
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    outcome = execute_training(plan, data, load_learner, talk, draw_by_estimator)
    trials = [repr(replace(it, cpu_seconds=0.0)) for it in outcome.trials]
    return {
        "workers": workers,
        "search_s": round(stages.began_s["folds"] - stages.began_s["trials"], 1),
        "wall_s": round(time.monotonic() - began_s, 1),
        "cpu_s": round(time.process_time() - began_cpu_s + account.cpu_seconds(), 1),
        "trials": len(trials),
        "trials_digest": canonical_digest({"trials": trials})[:16],
        "model_digest": outcome.artifact.canonical_digest[:16],
    }


def main() -> None:
    """Compares each study with itself."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--execute", nargs=3, metavar=("CASE", "TARGET", "WORKERS"))
    options = arguments.parse_args()
    if options.execute:
        number, target, workers = options.execute
        with TemporaryDirectory() as folder:
            os.chdir(folder)
            sys.stdout.write(json.dumps(execute(int(number), TargetKind(target), int(workers))) + "\n")
        return
    same = True
    for number, target in STUDIES:
        found = [_measure(number, target, workers) for workers in (1, 2)]
        same &= len({(it["trials_digest"], it["model_digest"]) for it in found}) == 1
    sys.exit(0 if same else 1)


def _measure(number: int, target: str, workers: int) -> dict[str, object]:
    command = [sys.executable, __file__, "--execute", str(number), target, str(workers)]
    ended = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **SETTINGS}
    )
    found: dict[str, object] = json.loads(ended.stdout.splitlines()[-1])
    facts = {"case": number, "target": target, "load": round(os.getloadavg()[0], 1)}
    sys.stdout.write(json.dumps(facts | found) + "\n")
    sys.stdout.flush()
    return found


if __name__ == "__main__":
    main()
