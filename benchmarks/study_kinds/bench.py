"""Executes one study of each kind on the bundled prices, and counts edges where labels mean nothing.

    .venv-catalogue/bin/python benchmarks/study_kinds/bench.py [--kinds ranking,portfolio] [--nulls 40]

See README.md beside this file. It exits with 1 where too many studies of labels without meaning find an edge.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import resources

import numpy as np
import polars as pl
from mltrainer_features import TargetKind, compute_features, compute_labels, feature_names
from mltrainer_trainer.adapters.estimators import load_any_learner
from mltrainer_trainer.domain.catalogue import select_entries
from mltrainer_trainer.domain.training import TrainingOutcome, TrainingPlan, execute_training
from mltrainer_trainer.domain.training_data import TrainingData, load_training_data, to_microseconds
from mltrainer_trainer.domain.verdict import VerdictKind
from mltrainer_trainer.domain.walk_forward import EvaluationPlan

LARGEST_SHARE = 0.075
SHOWN = ("net_sharpe", "rank_ic", "ndcg", "r2", "qlike", "brier", "auc", "turnover", "drawdown")


@dataclass(frozen=True, slots=True)
class Kind:
    """What is asked for; `refit_bars` is how often models are fitted again."""

    target: TargetKind
    models: tuple[str, ...]
    null_models: tuple[str, ...]
    refit_bars: int = 252


KINDS = {
    "volatility": Kind(
        TargetKind.LOG_REALIZED_VARIANCE, ("garch", "gjr-garch", "egarch", "risk-metrics"), ("risk-metrics",)
    ),
    "ranking": Kind(
        TargetKind.FORWARD_RANK,
        ("rank-ridge", "lightgbm-lambdarank", "xgboost-pairwise"),
        ("rank-ridge",),
    ),
    "portfolio": Kind(
        TargetKind.PORTFOLIO_RETURN,
        ("inverse-volatility", "minimum-variance", "maximum-sharpe", "hierarchical-risk-parity"),
        ("minimum-variance",),
    ),
    "forecasting": Kind(
        TargetKind.LOG_REALIZED_VARIANCE,
        ("auto-theta", "window-average", "ets-level"),
        ("window-average",),
        22,
    ),
    "regime": Kind(
        TargetKind.VARIANCE_REGIME, ("k-means", "gaussian-mixture", "hidden-markov-diagonal"), ("k-means",)
    ),
    "anomaly": Kind(
        TargetKind.TAIL_EVENT,
        ("isolation-forest", "elliptic-envelope", "cblof-detector"),
        ("elliptic-envelope",),
    ),
}


def main() -> None:
    """Executes and prints."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kinds", default=",".join(KINDS))
    arguments.add_argument("--nulls", type=int, default=0, help="studies of labels without meaning per kind")
    arguments.add_argument("--symbols", type=int, default=10)
    options = arguments.parse_args()
    shares = []
    for name in options.kinds.split(","):
        kind = KINDS[name]
        data, started = panel(kind.target, options.symbols), time.process_time()
        outcome = study(data, kind, kind.models)
        write({"kind": name, "cpu_s": round(time.process_time() - started, 1), **facts(outcome)})
        if options.nulls:
            edges = sum(is_edge(data, kind, seed) for seed in range(options.nulls))
            shares.append(edges / options.nulls)
            write({"kind": name, "nulls": options.nulls, "edges": edges})
    sys.exit(0 if all(share <= LARGEST_SHARE for share in shares) else 1)


def write(facts: dict[str, object]) -> None:
    """Prints a line of JSON with the load of the machine."""
    sys.stdout.write(json.dumps(facts | {"load": round(os.getloadavg()[0], 1)}) + "\n")
    sys.stdout.flush()


def panel(target: TargetKind, symbols: int) -> TrainingData:
    """Five-day labels of the bundled stocks, 2012 to 2022."""
    path = resources.files("mltrainer_cli") / "data" / "sp500_prices.csv.gz"
    wide = pl.read_csv(path.read_bytes(), try_parse_dates=True).filter(pl.col("Date").dt.year() >= 2011)
    bars = (
        wide.select("Date", *wide.columns[1 : symbols + 1])
        .unpivot(index="Date", variable_name="symbol", value_name="close")
        .with_columns(event_time=pl.col("Date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
        .select("symbol", "event_time", "close")
    )
    dataset = compute_features(bars).join(compute_labels(bars, target, 5), on=["symbol", "event_time"])
    return load_training_data(dataset, feature_names(), target, 5)


def study(data: TrainingData, kind: Kind, models: tuple[str, ...]) -> TrainingOutcome:
    """Tests from 2019 on what was chosen before, defaults only."""
    evaluation = EvaluationPlan(to_microseconds(datetime(2019, 1, 1, tzinfo=UTC)), kind.refit_bars, 5)
    plan = TrainingPlan(select_entries(models, data.target), evaluation, max_trials=0, seed=1)
    return execute_training(plan, data, load_any_learner)


def is_edge(data: TrainingData, kind: Kind, seed: int) -> bool:
    """Moves the labels of all symbols by the same number of dates, around the end, and studies them."""
    dates, symbols = int(data.date.max()) + 1, len(data.symbols)
    if len(data) != dates * symbols:
        raise ValueError("labels are moved on panels without gaps")
    shift = int(np.random.default_rng(seed).integers(100, dates - 100))
    labels = np.roll(data.labels.reshape(dates, symbols), shift, axis=0).ravel()
    return study(replace(data, labels=labels), kind, kind.null_models).verdict.kind is VerdictKind.EDGE


def facts(outcome: TrainingOutcome) -> dict[str, object]:
    """Says what the study found."""
    board = {
        it.catalogue_id: {name: round(it.metrics[name], 4) for name in SHOWN if name in it.metrics}
        for it in outcome.leaderboard
    }
    skipped = {it.catalogue_id: f"{it.reason}: {it.detail}" for it in outcome.skipped}
    return {"verdict": outcome.verdict.explain(), "leaderboard": board, "skipped": skipped}


if __name__ == "__main__":
    main()
