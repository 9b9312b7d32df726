"""Answers a prediction call."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from mltrainer_serving.application.ports import Clock, Matrix, Model, Prediction, PredictionLog
from mltrainer_serving.application.route_table import Answerer, RouteTable

MatrixOf = Callable[[Sequence[str]], Matrix]
"""Builds the matrix in the order of the given features, or raises InvalidTensorError."""


@dataclass(frozen=True, slots=True)
class Predict:
    """A call: which model, and how to read its inputs once the model's features are known."""

    model: str
    version: str
    request_id: str
    matrix_of: MatrixOf
    symbols: Sequence[str] = ()
    event_time: datetime | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The values and who gave them."""

    values: Matrix
    number: int
    alias: str


@dataclass(frozen=True, slots=True)
class PredictHandler:
    """Finds the version, predicts, and logs after the fact."""

    routes: RouteTable
    log: PredictionLog
    market_clock: Clock

    def __call__(self, call: Predict) -> Answer:
        """Answers; raises the errors of RouteTable.resolve and of `matrix_of`."""
        start_s = time.perf_counter()
        answerer = self.routes.resolve(call.model, call.version)
        matrix = call.matrix_of(answerer.model.feature_names)
        values = answerer.model.predict(matrix)
        latency_ms = (time.perf_counter() - start_s) * 1e3
        self.log.add(self._record(call, answerer, matrix, values, latency_ms))
        return Answer(values, answerer.number, answerer.deployed.alias)

    def _record(
        self, call: Predict, answerer: Answerer, matrix: Matrix, values: Matrix, latency_ms: float
    ) -> Prediction:
        return Prediction(
            model=call.model,
            version=f"models/{call.model}/versions/{answerer.number}",
            request_id=call.request_id,
            feature_names=answerer.model.feature_names,
            features=matrix,
            predictions=values,
            symbols=call.symbols,
            predict_time=self.market_clock.now(),
            event_time=call.event_time,
            unit=call.unit,
            variant=answerer.deployed.alias,
            latency_ms=latency_ms,
        )


def describe(routes: RouteTable, model: str, version: str) -> tuple[Model, int]:
    """Returns the model that would answer and its number."""
    answerer = routes.resolve(model, version)
    return answerer.model, answerer.number
