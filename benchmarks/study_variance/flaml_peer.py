"""Runs in FLAML's own environment: searches on our validation folds, refits yearly, on one thread.

    python flaml_peer.py TASK.npz BUDGET_S ANSWER.npz

FLAML's budget is wall time; its clock is replaced by the CPU time of the process, so that a busy machine
takes nothing from it.
"""

import sys
import time
import warnings
from collections.abc import Iterator

_began = time.time()
time.time = lambda: _began + time.process_time()

import numpy as np  # noqa: E402 - the clock is replaced before FLAML reads it
from flaml import AutoML  # noqa: E402

warnings.simplefilter("ignore")
# What four refits of FLAML's models take on the largest panel; the search gets the rest.
REFIT_SHARE = 0.15


class Folds:
    """Our validation folds, as scikit-learn would name them."""

    def __init__(self, folds: list[tuple[np.ndarray, np.ndarray]]) -> None:
        self.folds = folds

    def split(self, *_data: object, **_named: object) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields rows to train on and rows to test on."""
        yield from self.folds

    def get_n_splits(self, *_data: object, **_named: object) -> int:
        """Counts the folds."""
        return len(self.folds)


def folds_of(task: np.lib.npyio.NpzFile, kind: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Reads the folds of a kind."""
    count = sum(name.startswith(kind) and name.endswith("_train") for name in task.files)
    return [(task[f"{kind}{n}_train"], task[f"{kind}{n}_test"]) for n in range(count)]


def main() -> None:
    """Searches and refits."""
    task, budget = np.load(sys.argv[1]), float(sys.argv[2])
    matrix, labels = task["matrix"], task["data_labels"]
    inner, test = folds_of(task, "inner"), folds_of(task, "test")
    started = time.process_time()
    known = inner[-1][1].max() + 1
    automl = AutoML()
    automl.fit(
        matrix[:known],
        labels[:known],
        task="regression",
        metric="mse",
        time_budget=budget * (1 - REFIT_SHARE),
        eval_method="cv",
        split_type=Folds(inner),
        n_jobs=1,
        seed=1,
        verbose=0,
        retrain_full=False,
    )
    searched = time.process_time() - started
    learner = automl.model.estimator.__class__
    parameters = automl.model.estimator.get_params()
    predictions = [
        learner(**parameters).fit(matrix[train], labels[train]).predict(matrix[rows]) for train, rows in test
    ]
    np.savez(
        sys.argv[3],
        predictions=np.concatenate(predictions),
        search_cpu_s=searched,
        cpu_s=time.process_time() - started,
        best=str(automl.best_estimator),
        trials=len(automl.config_history),
    )


if __name__ == "__main__":
    main()
