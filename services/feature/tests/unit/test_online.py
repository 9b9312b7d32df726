from datetime import timedelta

import pytest
from mltrainer_feature.application.read_online import OnlineQuery, ReadOnlineHandler
from mltrainer_feature.domain.errors import (
    InvalidRequestError,
    UnknownFeatureError,
    UnknownFeatureServiceError,
)
from mltrainer_feature.domain.online import FeatureStatus, OnlineFeature, OnlineRow, OnlineSchema, status_of
from mltrainer_feature.domain.rows import FEATURE_NAMES
from mltrainer_feature.wire.feast_registry import REGISTRY_FILE, read_schema
from mltrainer_features import VIEWS
from mltrainer_testkit.clocks import ManualClock

from .quotes import day

AGE = timedelta(days=5)
ROW = OnlineRow("A", day(0), day(0), (1.5, float("nan")))
FEATURES = {
    "view:defined": OnlineFeature("view", "defined", 0, AGE),
    "view:undefined": OnlineFeature("view", "undefined", 1, AGE),
}


class OneRow:
    def get(self, symbol: str) -> OnlineRow | None:
        return ROW if symbol == "A" else None

    async def refresh(self) -> None:
        return


def reader() -> ReadOnlineHandler:
    schema = OnlineSchema(FEATURES, {"all_v1": tuple(FEATURES.values())})
    return ReadOnlineHandler(schema, OneRow(), ManualClock(day(1)))


@pytest.mark.parametrize(
    ("row", "value", "age", "status"),
    [
        pytest.param(None, 1.0, AGE, FeatureStatus.NOT_FOUND, id="no row"),
        pytest.param(ROW, float("nan"), AGE, FeatureStatus.NULL_VALUE, id="undefined"),
        pytest.param(ROW, 1.0, AGE, FeatureStatus.PRESENT, id="exactly the maximal age"),
        pytest.param(
            ROW, 1.0, AGE + timedelta(microseconds=1), FeatureStatus.OUTSIDE_MAX_AGE, id="just too old"
        ),
    ],
)
def test_a_value_has_one_status(
    row: OnlineRow | None, value: float, age: timedelta, status: FeatureStatus
) -> None:
    assert status_of(row, value, AGE, day(0) + age) is status


def test_columns_follow_the_request_and_rows_the_symbols() -> None:
    answer = reader()(OnlineQuery(("B", "A"), ("view:undefined", "view:defined")))

    assert [column.feature.name for column in answer.columns] == ["undefined", "defined"]
    assert answer.columns[1].statuses == [FeatureStatus.NOT_FOUND, FeatureStatus.PRESENT]
    assert answer.columns[1].values[1] == 1.5
    assert answer.event_times == [None, day(0)]


def test_a_feature_service_stands_for_its_features() -> None:
    answer = reader()(OnlineQuery(("A",), service="all_v1"))

    assert [column.feature.name for column in answer.columns] == ["defined", "undefined"]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownFeatureError, match="view:absent"):
        reader()(OnlineQuery(("A",), ("view:absent",)))
    with pytest.raises(UnknownFeatureServiceError, match="all_v1"):
        reader()(OnlineQuery(("A",), service="none_v1"))
    with pytest.raises(InvalidRequestError, match="features"):
        reader()(OnlineQuery(("A",)))
    with pytest.raises(InvalidRequestError, match="at most"):
        reader()(OnlineQuery(("A",) * 150_000, tuple(FEATURES)))


def test_the_compiled_registry_names_every_feature_of_every_view() -> None:
    schema = read_schema(REGISTRY_FILE.read_bytes())

    assert set(schema.features) == {
        f"{view.name}:{feature.name}" for view in VIEWS.values() for feature in view.features
    }
    assert [feature.column for feature in schema.service("daily_market_v1")] == list(
        range(len(FEATURE_NAMES))
    )
    assert set(schema.services) == {"daily_market_v1", "volatility_v1"}
