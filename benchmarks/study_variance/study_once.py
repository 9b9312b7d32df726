"""One study of ours, in a process of its own, so that its CPU time is its own: imports and guards included.

python study_once.py CASE TARGET OUTPUT
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import panels
from mltrainer_features import TargetKind
from mltrainer_trainer.adapters.estimators import load_learner
from mltrainer_trainer.adapters.optuna_sampler import draw_by_estimator
from mltrainer_trainer.domain.catalogue import select_entries
from mltrainer_trainer.domain.search import Hooks
from mltrainer_trainer.domain.training import VALIDATION_FOLDS, TrainingPlan, execute_training
from mltrainer_trainer.domain.walk_forward import EvaluationPlan, validation_folds, walk_forward_folds

MODELS = ("linear", "lightgbm", "hist-gradient-boosting")


def main() -> None:
    """Executes the study and writes predictions, leaderboard and what a peer needs for the same task."""
    case, target = panels.CASES[int(sys.argv[1])], TargetKind(sys.argv[2])
    output = Path(sys.argv[3])
    data = panels.load(case, target)
    loaded = time.process_time()
    evaluation = EvaluationPlan(panels.start_of(case.first_year))
    plan = TrainingPlan(
        select_entries(MODELS, target), evaluation, max_trials=200, seed=1, cpu_seconds=case.budget_s
    )
    hooks = Hooks(cpu_seconds=time.process_time)
    outcome = execute_training(plan, data, load_learner, hooks, draw_by_estimator)
    used = time.process_time() - loaded
    folds = walk_forward_folds(data.event_time, data.label_end_time, evaluation)
    inner = validation_folds(
        data.event_time, data.label_end_time, evaluation, plan.validation_bars, VALIDATION_FOLDS
    )
    result = outcome.out_of_sample[outcome.chosen.catalogue_id]
    arrays = {
        f"{kind}{n}_{part}": getattr(fold, part)
        for kind, cut in (("test", folds), ("inner", inner))
        for n, fold in enumerate(cut)
        for part in ("train", "test")
    }
    np.savez(
        output,
        matrix=data.matrix,
        data_labels=data.labels,
        date=result.date,
        labels=result.labels,
        training_mean=result.training_mean,
        ours=result.predictions,
        **{f"line_{name}": one.predictions for name, one in outcome.out_of_sample.items()},
        **arrays,
    )
    facts = {
        "chosen": outcome.chosen.catalogue_id,
        "parameters": dict(outcome.chosen.parameters),
        "trials": len(outcome.trials),
        "verdict": outcome.verdict.explain(),
        "cpu_s": round(used, 1),
        "budget_s": case.budget_s,
        "skipped": [asdict(it) for it in outcome.skipped],
    }
    output.with_suffix(".json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
