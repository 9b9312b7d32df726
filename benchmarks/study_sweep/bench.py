"""Executes a sweep in which two of five trainings repeat earlier ones, and counts the CPU time avoided.

    python benchmarks/study_sweep/bench.py --output result.json

See README.md beside this file for what each row means.
"""

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from mltrainer_cli.market_data import bundled_prices, bundled_symbols
from mltrainer_common.database import open_database
from mltrainer_common.ids import new_id
from mltrainer_common.migrations import migrate
from mltrainer_features import TargetKind, compute_features, compute_labels, feature_names
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_scheduler.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_scheduler.application.accept_trainings import AcceptTraining, AcceptTrainingsHandler
from mltrainer_scheduler.application.conclude_attempt import AttemptSuccess, ConcludeAttemptHandler
from mltrainer_scheduler.application.lead import LeadHandler
from mltrainer_scheduler.application.place_trainings import PlaceTrainingsHandler
from mltrainer_scheduler.application.planner import Planner
from mltrainer_scheduler.application.replicate import ReplicateHandler
from mltrainer_scheduler.application.resolve_training import KeyResolver
from mltrainer_scheduler.bootstrap import planning_policy
from mltrainer_scheduler.domain.catalogue import CatalogueEntry, TrainerRelease, ViewVersion
from mltrainer_scheduler.domain.cluster import NodeReport, offered
from mltrainer_scheduler.domain.events import TrainingDeduplicated
from mltrainer_scheduler.domain.keys import BarCalendar
from mltrainer_scheduler.domain.reuse import ResultDigests
from mltrainer_scheduler.domain.specification import (
    Budget,
    Evaluation,
    Search,
    Target,
    TrainingSpec,
)
from mltrainer_scheduler.domain.specification import TargetKind as SpecifiedKind
from mltrainer_scheduler.domain.training import SchedulingPolicy, Training
from mltrainer_scheduler.wire.events import to_message
from mltrainer_trainer.adapters.code_identity import code_identity
from mltrainer_trainer.adapters.estimators import load_learner
from mltrainer_trainer.adapters.fit_results import FileFitResults
from mltrainer_trainer.domain.catalogue import select_entries
from mltrainer_trainer.domain.recall import Recall, recalling
from mltrainer_trainer.domain.search import Hooks
from mltrainer_trainer.domain.training import TrainingPlan, execute_training
from mltrainer_trainer.domain.training_data import TrainingData, load_training_data, to_microseconds
from mltrainer_trainer.domain.walk_forward import EvaluationPlan

_FIRST_TEST_TIME = datetime(2019, 1, 1, tzinfo=UTC)
_HORIZON_BARS = 5
_CLOSE = timedelta(hours=21)
_POLICY = SchedulingPolicy(lease_s=86_400.0, node_silence_s=86_400.0)


@dataclass(frozen=True, slots=True)
class Row:
    """What one way of executing the sweep took, in seconds of CPU time.

    Attributes:
        nominal: What it would have taken without any reuse: each training as much as its first execution.
        bound: Share of it that an infinite cache without any cost avoids.
    """

    name: str
    trainings: int
    executed: int
    nominal: float
    spent: float
    bound: float

    @property
    def avoided(self) -> float:
        """Share of the nominal CPU time that was not spent."""
        return 1.0 - self.spent / self.nominal


def panel(symbols: int, first_day: date) -> TrainingData:
    """Reads the bundled prices of some stocks with the platform's features and labels."""
    chosen = set(bundled_symbols()[:symbols])
    rows = [
        (price.symbol, datetime.combine(price.day, datetime.min.time(), UTC) + _CLOSE, price.price_usd)
        for price in bundled_prices()
        if price.symbol in chosen and price.day >= first_day
    ]
    schema = {"symbol": pl.String, "event_time": pl.Datetime("us", "UTC"), "close": pl.Float64}
    bars = pl.DataFrame(rows, schema=schema, orient="row")
    kind = TargetKind.LOG_REALIZED_VARIANCE
    labels = compute_labels(bars, kind, _HORIZON_BARS)
    dataset = compute_features(bars).join(labels, on=["symbol", "event_time"])
    return load_training_data(dataset, feature_names(), kind, _HORIZON_BARS)


def sweep(trainings: int, repeats: int, draw: random.Random) -> list[int]:
    """Orders the seeds of a sweep; some come twice."""
    order = list(range(trainings - repeats))
    for seed in draw.sample(order, repeats):
        order.insert(draw.randint(order.index(seed) + 1, len(order)), seed)
    return order


Execute = Callable[[int], None]


def executor(data: TrainingData, models: tuple[str, ...], trials: int, recall: Recall | None) -> Execute:
    """Returns what executes the training of a seed."""
    load = recalling(load_learner, recall) if recall else load_learner
    hooks = Hooks(cpu_seconds=recall.charged_cpu_seconds if recall else time.process_time)
    entries = select_entries(models, data.target)
    evaluation = EvaluationPlan(to_microseconds(_FIRST_TEST_TIME), 252, _HORIZON_BARS)

    def execute(seed: int) -> None:
        execute_training(TrainingPlan(entries, evaluation, trials, seed), data, load, hooks)

    return execute


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Desk:
    """A scheduler on a database of its own, whose trainings execute in this process."""

    def __init__(self, unit_of_work: SqlUnitOfWorkFactory) -> None:
        clock, resolve = _Clock(), KeyResolver(BarCalendar(), _POLICY)
        planner = Planner(planning_policy("default"), _POLICY)
        self.unit_of_work = unit_of_work
        self.accept = AcceptTrainingsHandler(unit_of_work, clock, clock, new_id, resolve)
        self.place = PlaceTrainingsHandler(unit_of_work, clock, new_id, resolve, _POLICY, planner, "bench")
        self.lead = LeadHandler(unit_of_work, clock, "bench", 86_400.0)
        self.conclude = ConcludeAttemptHandler(unit_of_work, clock, _POLICY)
        self.replicate = ReplicateHandler(unit_of_work, clock)

    async def ready(self) -> None:
        """Announces what a trainer and a feature view would."""
        entry = CatalogueEntry("ridge", "linear", frozenset(SpecifiedKind), "d")
        await self.replicate.release(TrainerRelease("trainers/default", "c", "e", (entry,), 1))
        await self.replicate.views([ViewVersion("bars", 1, "d", 0, 1)])
        now, total = datetime.now(UTC), offered(64.0, 512 << 30, 0.0)
        node = NodeReport(
            "nodes/a", total, "", schedulable=True, spot=False, zone="", revision=1, seen_time=now
        )
        await self.replicate.nodes([node])
        await self.lead()

    async def train(self, number: int, seed: int, execute: Execute) -> bool:
        """Asks for a training and executes it unless its result is known; tells whether it was executed."""
        (accepted,) = await self.accept([AcceptTraining(f"e{number}", f"r{number}", _specification(seed))])
        if any(isinstance(event, TrainingDeduplicated) for event in accepted.events):
            return False
        placed = await self.place()
        while placed.try_again and not placed.placed:
            placed = await self.place()
        (training,) = placed.placed
        started_s = time.process_time()
        execute(seed)
        await self.conclude(_success(training, time.process_time() - started_s))
        return True


def _specification(seed: int) -> TrainingSpec:
    return TrainingSpec(
        study="studies/sweep",
        target=Target(SpecifiedKind.LOG_REALIZED_VARIANCE, _HORIZON_BARS),
        symbols=("AAPL",),
        feature_views=("bars",),
        as_of=datetime(2022, 12, 28, 21, tzinfo=UTC),
        evaluation=Evaluation(_FIRST_TEST_TIME),
        search=Search(("ridge",), 8, seed),
        budget=Budget(600.0),
    )


def _success(training: Training, cpu_seconds: float) -> AttemptSuccess:
    return AttemptSuccess(
        f"end of {training.name}",
        training.name,
        training.fencing_token,
        "manifest",
        training.computation_key,
        "EDGE",
        ResultDigests("model"),
        cpu_seconds,
    )


async def sweep_one_study(folder: Path, order: list[int], execute: Execute) -> Row:
    """Executes a sweep of one study: the scheduler takes known results before anything is queued."""
    url = f"sqlite:///{folder}/scheduler.db"
    await migrate(url, "mltrainer_scheduler.adapters.migrations")
    async with open_database(url) as database:
        transactions = EventTransactions(database, "scheduler", OutboxSignal(), encode=to_message)
        desk = Desk(SqlUnitOfWorkFactory(database, transactions))
        await desk.ready()
        costs: dict[int, float] = {}
        spent, executed = 0.0, 0
        for number, seed in enumerate(order):
            begin_s = time.process_time()
            executed += await desk.train(number, seed, execute)
            taken_s = time.process_time() - begin_s
            costs.setdefault(seed, taken_s)
            spent += taken_s
    return _row("one study: whole trainings", order, executed, costs, spent)


def sweep_many_studies(order: list[int], execute: Execute) -> Row:
    """Executes a sweep whose trainings belong to different studies: equal fits are recalled."""
    costs: dict[int, float] = {}
    spent = 0.0
    for seed in order:
        begin_s = time.process_time()
        execute(seed)
        taken_s = time.process_time() - begin_s
        costs.setdefault(seed, taken_s)
        spent += taken_s
    return _row("a study each: fits", order, len(order), costs, spent)


def _row(name: str, order: list[int], executed: int, costs: dict[int, float], spent: float) -> Row:
    nominal = sum(costs[seed] for seed in order)
    return Row(name, len(order), executed, nominal, spent, 1.0 - sum(costs.values()) / nominal)


def report(result: dict[str, Any]) -> None:
    """Prints what was measured."""
    print(f"load {result['load_average']:.1f}, {result['rows_of_panel']} rows, {result['models']}")
    print(f"{'reuse':30} trainings executed nominal s  spent s  avoided   bound")
    for row in result["rows"]:
        sizes = f"{row['trainings']:9} {row['executed']:8} {row['nominal']:9.1f} {row['spent']:8.1f}"
        print(f"{row['name']:30} {sizes} {row['avoided']:8.1%} {row['bound']:7.1%}")
    meter = result["fits"]
    print(f"fits: {meter['computed']} computed, {meter['recalled']} recalled")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trainings", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--models", nargs="+", default=["ridge", "lightgbm"])
    parser.add_argument("--symbols", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    data = panel(arguments.symbols, date(2008, 1, 1))
    order = sweep(arguments.trainings, arguments.repeats, random.Random(arguments.seed))
    models = tuple(arguments.models)
    with tempfile.TemporaryDirectory() as text:
        code = code_identity()
        context = {"code_digest": code.code_digest, "environment_digest": code.environment_digest}
        results = FileFitResults(Path(text) / "fits")
        recall = Recall(results, context, lambda _key: False, time.process_time)
        plain = executor(data, models, arguments.trials, None)
        # Imports are nobody's cost.
        plain(1_000)
        one = asyncio.run(sweep_one_study(Path(text), order, plain))
        many = sweep_many_studies(order, executor(data, models, arguments.trials, recall))
    result = {
        "load_average": os.getloadavg()[0],
        "rows_of_panel": len(data),
        "models": arguments.models,
        "rows": [{**asdict(row), "avoided": row.avoided} for row in (one, many)],
        "fits": asdict(recall.meter),
    }
    report(result)
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
