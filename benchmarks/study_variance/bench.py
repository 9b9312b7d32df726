"""Runs our study and FLAML on the same rows with equal CPU budgets and compares their losses date by date.

    python benchmarks/study_variance/bench.py --case 0

See README.md beside this file. It exits with 1 where a bar is missed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from mltrainer_features import TargetKind
from mltrainer_testkit.peers import peer_python
from panels import CASES

HERE = Path(__file__).parent
FLAML_VERSION = "2.7.0"
BLOCK_DATES, RESAMPLES = 20, 4_000
LARGEST_R2, LARGEST_QLIKE, LARGEST_RETURN_RATIO = 0.500, 0.600, 1.0005


def main() -> None:
    """Measures the cases asked for, all where none is."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--case", type=int, action="append", choices=range(len(CASES)))
    arguments.add_argument("--task", choices=("variance", "returns"), default="variance")
    arguments.add_argument("--no-peer", action="store_true")
    options = arguments.parse_args()
    met = True
    for number in options.case or range(len(CASES)):
        with tempfile.TemporaryDirectory() as folder:
            measure = returns if options.task == "returns" else variance
            found = measure(number, Path(folder), with_peer=not options.no_peer)
        sys.stdout.write(
            json.dumps({"case": CASES[number].name, "load": round(os.getloadavg()[0], 1)} | found)
        )
        sys.stdout.write("\n")
        sys.stdout.flush()
        met &= bool(found["met"])
    sys.exit(0 if met else 1)


def variance(number: int, folder: Path, *, with_peer: bool) -> dict[str, object]:
    """Measures the five-day log realised variance."""
    task, facts = study(number, TargetKind.LOG_REALIZED_VARIANCE, folder)
    found: dict[str, object] = facts | {"ours": scores(task, task["ours"])}
    found["lines"] = {
        name.removeprefix("line_"): scores(task, task[name])
        for name in task.files
        if name.startswith("line_")
    }
    ours = found["ours"]
    met = facts["cpu_s"] <= facts["budget_s"]
    met &= number > 0 or (ours["r2"] >= LARGEST_R2 and ours["qlike"] <= LARGEST_QLIKE)
    if with_peer:
        answer = asked_flaml(folder / "study.npz", CASES[number].budget_s, folder)
        found["flaml"] = scores(task, answer["predictions"]) | {
            name: answer[name].item() for name in ("best", "trials", "cpu_s", "search_cpu_s")
        }
        found["ours_less_flaml"] = {
            name: paired(
                task["date"], loss(task["labels"], task["ours"]) - loss(task["labels"], answer["predictions"])
            )
            for name, loss in LOSSES.items()
        }
        met &= all(it["low"] <= 0 for it in found["ours_less_flaml"].values())
    return found | {"met": bool(met)}


def returns(number: int, folder: Path, *, with_peer: bool) -> dict[str, object]:
    """Measures the five-day excess return, where the honest answer is that there is no edge."""
    task, facts = study(number, TargetKind.EXCESS_RETURN, folder)
    zero = squared(task["labels"], np.zeros_like(task["labels"])).mean()
    ratios = {
        name.removeprefix("line_"): round(
            float(np.sqrt(squared(task["labels"], task[name]).mean() / zero)), 5
        )
        for name in task.files
        if name.startswith("line_")
    }
    ratio = float(np.sqrt(squared(task["labels"], task["ours"]).mean() / zero))
    found: dict[str, object] = facts | {"rmse_over_zero": round(ratio, 5), "lines": ratios}
    if with_peer:
        answer = asked_flaml(folder / "study.npz", CASES[number].budget_s, folder)
        found["flaml_rmse_over_zero"] = round(
            float(np.sqrt(squared(task["labels"], answer["predictions"]).mean() / zero)), 5
        )
    met = facts["cpu_s"] <= facts["budget_s"]
    met &= ratio <= LARGEST_RETURN_RATIO and str(facts["verdict"]).startswith("NO_EDGE")
    return found | {"met": met}


def study(number: int, target: TargetKind, folder: Path) -> tuple[np.lib.npyio.NpzFile, dict[str, object]]:
    """Executes our study in a process of its own, on one thread."""
    output = folder / "study.npz"
    subprocess.run(
        [sys.executable, HERE / "study_once.py", str(number), target.value, output],
        check=True,
        env=one_thread(),
    )
    return np.load(output), json.loads(output.with_suffix(".json").read_text())


def asked_flaml(task: Path, budget_s: float, folder: Path) -> np.lib.npyio.NpzFile:
    """Has FLAML do the same task."""
    answer = folder / "flaml.npz"
    python = peer_python(f"flaml-{FLAML_VERSION}", [f"flaml[automl]=={FLAML_VERSION}"])
    command = [python, HERE / "flaml_peer.py", task, str(budget_s), answer]
    subprocess.run(command, check=True, env=one_thread(), cwd=folder, stdout=subprocess.DEVNULL)
    return np.load(answer)


def one_thread() -> dict[str, str]:
    """Keeps numeric libraries to one thread."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
    return os.environ | dict.fromkeys(names, "1")


def squared(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Squared errors."""
    return (labels - predictions) ** 2


def qlike(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """QLIKE losses of log variances."""
    return np.exp(labels - predictions) - (labels - predictions) - 1


LOSSES = {"squared_error": squared, "qlike": qlike}


def scores(task: np.lib.npyio.NpzFile, predictions: np.ndarray) -> dict[str, float]:
    """R squared against the training mean of each fold, and mean QLIKE."""
    labels = task["labels"]
    spread = squared(labels, task["training_mean"]).sum()
    return {
        "r2": round(float(1 - squared(labels, predictions).sum() / spread), 4),
        "qlike": round(float(qlike(labels, predictions).mean()), 4),
    }


def paired(date: np.ndarray, difference: np.ndarray) -> dict[str, float]:
    """Mean difference per date with a 95 % interval by a circular block bootstrap over dates."""
    by_date = np.bincount(date - date.min(), weights=difference) / np.bincount(date - date.min())
    random = np.random.default_rng(5)
    count = len(by_date)
    starts = random.integers(count, size=(RESAMPLES, -(-count // BLOCK_DATES)))
    picked = (starts[:, :, np.newaxis] + np.arange(BLOCK_DATES)).reshape(RESAMPLES, -1)[:, :count] % count
    low, high = np.quantile(by_date[picked].mean(axis=1), (0.025, 0.975))
    return {
        name: round(float(it), 5) for name, it in (("mean", by_date.mean()), ("low", low), ("high", high))
    }


if __name__ == "__main__":
    main()
