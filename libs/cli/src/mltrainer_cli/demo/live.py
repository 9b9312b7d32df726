"""Trades for a while: each day's units are assigned, predicted, and judged five bars later."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import polars as pl
from mltrainer.experiment.v1.events_pb2 import OutcomeReported
from mltrainer.experiment.v1.experiment_service_pb2 import CreateExperimentRequest, StartExperimentRequest
from mltrainer.experiment.v1.resources_pb2 import Experiment, Variant
from mltrainer_features import BAR_SCHEMA, TargetKind, compute_labels
from mltrainer_sdk import Client, FeatureVectors, RpcFailure

from mltrainer_cli.demo.market import close_time
from mltrainer_cli.demo.scene import HORIZON_BARS, VOLATILITY_STUDY, Scene

EXPERIMENT = "demo-champion-challenger"
_POLL_S = 0.05
_FEATURES_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Judged:
    """One prediction that waits for its outcome."""

    symbol: str
    unit: str
    value: float


@dataclass(slots=True)
class LiveTrading:
    """Follows the bar feed; a day whose features or answers fail is skipped and counted."""

    scene: Scene
    references: Sequence[str]
    predicted_days: int = 0
    judged_days: int = 0
    failed_units: int = 0
    _waiting: dict[date, list[Judged]] = field(default_factory=dict)

    async def run(self) -> None:
        """Trades every day from now on, until cancelled."""
        next_index = len(self.scene.feed.published)
        while True:
            await self.scene.feed.wait_for(next_index)
            await self._trade(self.scene.feed.published[next_index])
            await self._judge(next_index)
            next_index += 1

    async def _trade(self, day: date) -> None:
        vectors = await self._features(day)
        if vectors is None:
            return
        rows = range(len(vectors.symbols))
        judged = await asyncio.gather(*(self._predict(day, vectors, row) for row in rows))
        self._waiting[day] = [item for item in judged if item is not None]
        self.failed_units += sum(item is None for item in judged)
        self.predicted_days += 1

    async def _features(self, day: date) -> FeatureVectors | None:
        """Reads the vectors of a day, once the feature service has computed them."""
        wanted = close_time(day)
        until_s = asyncio.get_running_loop().time() + _FEATURES_TIMEOUT_S
        while asyncio.get_running_loop().time() < until_s:
            try:
                vectors = await self.scene.client.get_features(self.scene.market.symbols, self.references)
            except RpcFailure:
                vectors = None
            if vectors and vectors.is_complete and _are_of(vectors, wanted):
                return vectors
            await asyncio.sleep(_POLL_S)
        return None

    async def _predict(self, day: date, vectors: FeatureVectors, row: int) -> Judged | None:
        symbol = vectors.symbols[row]
        unit = f"demo/{symbol}/{day.isoformat()}"
        client = self.scene.client
        try:
            arm = await client.assign(EXPERIMENT, unit)
            answer = await client.predict(
                VOLATILITY_STUDY,
                vectors.values[row : row + 1],
                version=arm.alias,
                symbols=[symbol],
                unit=unit,
                event_time=close_time(day),
            )
        except RpcFailure:
            return None
        return Judged(symbol, unit, float(answer.values[0]))

    async def _judge(self, index: int) -> None:
        """Reports what became known today about the predictions of `HORIZON_BARS` days ago."""
        if index < HORIZON_BARS:
            return
        day = self.scene.feed.published[index - HORIZON_BARS]
        waiting = self._waiting.pop(day, [])
        if not waiting:
            return
        labels = self._labels(index - HORIZON_BARS)
        known = self.scene.feed.published[index]
        for item in waiting:
            for outcome in _outcomes(item, labels[item.symbol], day, known):
                await self.scene.client.publish(outcome, event_id=outcome.outcome_id)
        self.judged_days += 1

    def _labels(self, index: int) -> dict[str, float]:
        """Computes what each symbol's prediction of the day of an index is judged by, once it is known."""
        days = self.scene.market.days[index : index + HORIZON_BARS + 1]
        rows = [(price.symbol, close_time(day), price.price_usd) for day, prices in days for price in prices]
        bars = pl.DataFrame(rows, schema=BAR_SCHEMA, orient="row")
        labels = compute_labels(bars, TargetKind.LOG_REALIZED_VARIANCE, HORIZON_BARS)
        return dict(labels.select("symbol", "label").iter_rows())


def _are_of(vectors: FeatureVectors, event_time: datetime) -> bool:
    return all(time == event_time for row in vectors.event_times for time in row)


def _outcomes(item: Judged, label: float, day: date, known: date) -> list[OutcomeReported]:
    error = OutcomeReported(
        outcome_id=f"{item.unit}/squared_error",
        experiment=f"experiments/{EXPERIMENT}",
        unit=item.unit,
        metric="squared_error",
        value=(item.value - label) ** 2,
    )
    truth = OutcomeReported(
        outcome_id=f"{item.unit}/label",
        unit=item.unit,
        metric="label",
        value=label,
        model=f"models/{VOLATILITY_STUDY}",
        symbol=item.symbol,
    )
    for outcome in (error, truth):
        outcome.event_time.FromDatetime(close_time(day))
        outcome.knowledge_time.FromDatetime(close_time(known))
    return [error, truth]


async def start_experiment(client: Client) -> Experiment:
    """Splits the units of the model between champion and challenger, half and half."""
    experiment = Experiment(
        model=f"models/{VOLATILITY_STUDY}",
        variants=[
            Variant(variant="champion", alias="champion", weight=1),
            Variant(variant="challenger", alias="challenger", weight=1),
        ],
        traffic=1.0,
        metric="squared_error",
        alpha=0.05,
    )
    created = await client.experiment.CreateExperiment(
        CreateExperimentRequest(experiment_id=EXPERIMENT, experiment=experiment, request_id=EXPERIMENT)
    )
    return await client.experiment.StartExperiment(StartExperimentRequest(name=created.name))
