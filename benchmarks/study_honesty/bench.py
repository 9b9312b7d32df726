"""Executes studies on labels that mean nothing and counts how often they seem to.

    python benchmarks/study_honesty/bench.py

See README.md beside this file. It exits with 1 where a bar is missed.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources

import numpy as np
import polars as pl
from mltrainer_features import TargetKind, compute_features, compute_labels, feature_names
from mltrainer_trainer.adapters.estimators import load_learner
from mltrainer_trainer.domain.catalogue import select_entries
from mltrainer_trainer.domain.metrics import information_coefficient
from mltrainer_trainer.domain.training import TrainingPlan, execute_training
from mltrainer_trainer.domain.training_data import TrainingData, load_training_data, to_microseconds
from mltrainer_trainer.domain.verdict import VerdictKind
from mltrainer_trainer.domain.walk_forward import EvaluationPlan

HORIZON, SYMBOLS = 5, 10
LARGEST_SHARE = 0.075
FEATURES = tuple(name for name in feature_names() if "252" not in name)


def main() -> None:
    """Executes the studies and prints the shares."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--studies", type=int, default=200)
    arguments.add_argument("--models", default="linear", help="families or ids, separated by commas")
    arguments.add_argument("--only", choices=("permuted", "rotated"))
    options = arguments.parse_args()
    data, started = panel(), time.process_time()
    found = {
        name: measure(data, shuffle, options.studies, options.models.split(","))
        for name, shuffle in (("permuted", permuted), ("rotated", rotated))
        if options.only in (None, name)
    }
    facts = {"load": round(os.getloadavg()[0], 1), "cpu_s": round(time.process_time() - started, 1)}
    sys.stdout.write(json.dumps(found | facts, indent=2) + "\n")
    sys.exit(0 if all(one["share_beyond_2"] <= LARGEST_SHARE for one in found.values()) else 1)


def panel() -> TrainingData:
    """Five-day excess returns of ten of the bundled stocks, 2015 to 2022."""
    path = resources.files("mltrainer_cli") / "data" / "sp500_prices.csv.gz"
    wide = pl.read_csv(path.read_bytes(), try_parse_dates=True).filter(pl.col("Date").dt.year() >= 2014)
    bars = (
        wide.select("Date", *wide.columns[1 : SYMBOLS + 1])
        .unpivot(index="Date", variable_name="symbol", value_name="close")
        .with_columns(event_time=pl.col("Date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
        .select("symbol", "event_time", "close")
    )
    labels = compute_labels(bars, TargetKind.EXCESS_RETURN, HORIZON)
    frame = compute_features(bars).join(labels, on=["symbol", "event_time"])
    return load_training_data(frame, FEATURES, TargetKind.EXCESS_RETURN, HORIZON)


def permuted(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Puts labels in random order."""
    return random.permutation(labels)


def rotated(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Moves all labels by the same number of dates, so that they overlap as real ones do."""
    dates = len(labels) // SYMBOLS
    return np.roll(labels, SYMBOLS * int(random.integers(dates // 8, dates - dates // 8)))


def measure(data: TrainingData, shuffle: object, count: int, models: list[str]) -> dict[str, object]:
    """Takes t statistics of information coefficients: of every model that is no baseline and not constant."""
    first_test = to_microseconds(datetime(2019, 1, 1, tzinfo=UTC))
    entries = select_entries(models, TargetKind.EXCESS_RETURN)
    statistics, verdicts = [], Counter()
    for seed in range(count):
        random = np.random.default_rng(seed)
        shuffled = replace(data, labels=shuffle(data.labels, random))  # type: ignore[operator] # one of two
        plan = TrainingPlan(entries, EvaluationPlan(first_test), 6, seed, validation_bars=500)
        outcome = execute_training(plan, shuffled, load_learner)
        for line in outcome.leaderboard:
            result = outcome.out_of_sample[line.catalogue_id]
            if not line.is_baseline and float(np.ptp(result.predictions)) > 0:
                statistics.append(information_coefficient(result, HORIZON, of_ranks=False).t_statistic)
        verdicts[outcome.verdict.kind.value] += 1
    beyond = float(np.mean(np.abs(statistics) > 2))
    return {
        "studies": count,
        "models": len(statistics),
        "share_beyond_2": beyond,
        "t_deviation": round(float(np.std(statistics)), 3),
        "verdicts": dict(verdicts),
        "share_edge": verdicts[VerdictKind.EDGE.value] / count,
    }


if __name__ == "__main__":
    main()
