from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from mltrainer.serving.v1.events_pb2 import PredictionLogged
from mltrainer_feature.application.skew import RecordServedVectorsHandler
from mltrainer_feature.domain.rows import ROW_SCHEMA, Rows
from mltrainer_feature.domain.skew import Match, ServedVector, SkewReport, compare, stability_index
from mltrainer_feature.wire.skew import to_served_vectors

from .quotes import day

HOUR = timedelta(hours=1)
NAN = float("nan")


def rows(*versions: tuple[int, datetime, float]) -> Rows:
    """Makes rows of A: the day, when it was created, and its `return_1`."""
    records = [
        {"event_time": day(index), "created_time": created, "symbol": "A", "return_1": value}
        for index, created, value in versions
    ]
    return pl.DataFrame(records, schema=ROW_SCHEMA)


def vector(
    value: float,
    served: datetime,
    event: datetime | None = None,
    *,
    symbol: str = "A",
    name: str = "market_returns:return_1",
) -> ServedVector:
    return ServedVector("e", 0, "models/m/versions/1", symbol, event, served, (name,), (value,))


def matched(report: SkewReport) -> Mapping[Match, int]:
    return {match: count for match, count in report.matches.items() if count}


HISTORY = rows((1, day(1), 0.1), (2, day(2), 0.2), (2, day(4), 0.25), (3, day(3) + 6 * HOUR, 0.3))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        pytest.param(vector(0.2, day(2) + HOUR), Match.EXACT, id="the newest row"),
        pytest.param(vector(0.2, day(4) - HOUR, day(2)), Match.EXACT, id="before it was restated"),
        pytest.param(vector(0.25, day(4) + HOUR, day(2)), Match.EXACT, id="after it was restated"),
        pytest.param(vector(0.25, day(4) - HOUR, day(2)), Match.DIFFERENT, id="known before it could be"),
        pytest.param(vector(0.1, day(2) + HOUR), Match.STALE, id="the row of the day before"),
        pytest.param(vector(0.31, day(3) + HOUR, day(3)), Match.PROVISIONAL, id="before the row was decided"),
        pytest.param(vector(0.2000001, day(2) + HOUR), Match.DIFFERENT, id="another number"),
        pytest.param(vector(NAN, day(2) + HOUR), Match.DIFFERENT, id="no number"),
        pytest.param(vector(0.1, day(0)), Match.MISSING, id="before the first row"),
        pytest.param(vector(0.1, day(2), symbol="B"), Match.MISSING, id="an unknown symbol"),
        pytest.param(
            vector(0.2, day(2) + HOUR, name="market_returns__return_1"), Match.EXACT, id="Feast's name"
        ),
        pytest.param(vector(0.2, day(2) + HOUR, name="return_1"), Match.EXACT, id="a short name"),
    ],
)
def test_a_vector_is_compared_with_what_was_known_when_it_was_served(
    given: ServedVector, match: Match
) -> None:
    report = compare([given], HISTORY)

    assert matched(report) == {match: 1}


def test_undefined_values_are_equal() -> None:
    report = compare([vector(NAN, day(1), name="return_66")], HISTORY)

    assert matched(report) == {Match.EXACT: 1}


def test_differences_are_told_by_feature_with_examples() -> None:
    report = compare([vector(0.2, day(2)), vector(0.5, day(2)), vector(0.1, day(2), name="mood")], HISTORY)

    (skew,) = report.features
    assert (skew.feature, skew.compared_count, skew.different_count) == ("return_1", 2, 1)
    assert skew.largest_difference == pytest.approx(0.3)
    assert [(one.served, one.recomputed) for one in report.examples] == [(0.5, 0.2)]
    assert report.unknown_features == ("mood",)
    assert report.different_share == pytest.approx(1 / 3)


def test_a_shifted_distribution_has_a_large_stability_index_and_an_equal_one_none() -> None:
    values = np.random.default_rng(7).normal(size=2_000)

    assert stability_index(values, values) == pytest.approx(0.0)
    shifted = stability_index(values + 1.0, values)
    assert shifted is not None
    assert shifted > 0.25
    assert stability_index(values[:99], values) is None


def test_a_shift_of_the_mean_is_told_in_standard_deviations() -> None:
    history = rows(*((index, day(index), float(index % 2)) for index in range(10)))

    report = compare([vector(float(index % 2) + 1.0, day(index), day(index)) for index in range(10)], history)

    assert report.features[0].mean_shift == pytest.approx(2.0)


class ServedInMemory:
    """Implements what recording needs of `ServedVectors`."""

    def __init__(self) -> None:
        self.kept: list[ServedVector] = []

    async def add(self, vectors: Sequence[ServedVector], kept_count: int) -> None:
        self.kept = [*self.kept, *vectors][-kept_count:]

    async def newest(self, limit: int, version: str) -> list[ServedVector]:
        raise NotImplementedError

    async def row_versions(self, symbols: Sequence[str], since: datetime, until: datetime) -> Rows:
        raise NotImplementedError


async def test_the_same_calls_are_sampled_whenever_they_are_delivered() -> None:
    calls = [
        ServedVector(str(number), 0, "v", "A", None, day(1), ("return_1",), (0.1,)) for number in range(400)
    ]
    first, again = ServedInMemory(), ServedInMemory()

    await RecordServedVectorsHandler(first, 0.25, 1_000)(calls)
    for call in calls:
        await RecordServedVectorsHandler(again, 0.25, 1_000)([call])

    assert first.kept == again.kept
    assert 60 < len(first.kept) < 140


def test_a_call_whose_parts_do_not_fit_is_refused() -> None:
    message = PredictionLogged(feature_names=["a"], features=[1.0, 2.0], predictions=[1.0], symbols=["A"])

    with pytest.raises(ValueError, match="different numbers of rows"):
        to_served_vectors("e", message)


def test_a_call_without_symbols_has_nothing_to_compare() -> None:
    message = PredictionLogged(feature_names=["a"], features=[1.0], predictions=[1.0])
    message.predict_time.FromDatetime(datetime(2022, 1, 1, tzinfo=UTC))

    assert to_served_vectors("e", message) == []
