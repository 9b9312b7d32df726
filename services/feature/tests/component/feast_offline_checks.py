"""Drives the offline store through Feast; each function is a claim. Run it in a process of its own."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RequestSource,
    ValueType,
)
from feast.data_format import DeltaFormat
from feast.data_source import PushMode
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String
from feast_checks import DAY, START, SYMBOL, claims, open_store, run
from mltrainer_feature.adapters.feast_offline.definitions import UnsupportedSourceError
from mltrainer_feature.adapters.offline.columns import UnusableColumnError
from mltrainer_feature.adapters.offline.entity_rows import UnusableEntityRowsError


class Bench:
    """A feature repository of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.store = self.opened(**settings)

    def opened(self, **settings: Any) -> FeatureStore:
        kind = "mltrainer_feature.adapters.feast_offline.PolarsOfflineStore"
        online = {"type": "sqlite", "path": str(self.folder / "online.db")}
        return open_store(self.folder, online_store=online, offline_store={"type": kind, **settings})

    def source(self, rows: list[dict[str, Any]], name: str = "prices", **facts: Any) -> FileSource:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
        times = {"timestamp_field": "event", "created_timestamp_column": "created"}
        return FileSource(name=name, path=f"{name}.parquet", **{**times, **facts})

    def view(self, rows: list[dict[str, Any]], **facts: Any) -> FeatureView:
        given = {"name": "prices", "entities": [SYMBOL], "ttl": 5 * DAY, "source": self.source(rows)}
        schema = [Field(name="price", dtype=Float64), Field(name="symbol", dtype=String)]
        view = FeatureView(**{"schema": schema, **given, **facts})
        self.store.apply([SYMBOL, view])
        return view


def price(symbol: str, event: float, created: float, value: float | None) -> dict[str, Any]:
    return {"symbol": symbol, "event": START + event * DAY, "created": START + created * DAY, "price": value}


def asked(*rows: tuple[str, float]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["symbol", "day"])
    moments = [START + day * DAY for day in frame.pop("day")]
    return frame.assign(event_timestamp=moments, label=range(len(frame)))


RESTATED = [price("A", 0, 0, 1.0), price("A", 0, 2, 9.0), price("A", 1, 1, 3.0), price("B", 0, 1, 4.0)]
MOMENTS = asked(("A", 0), ("A", 0.5), ("B", 0), ("B", 1.5), ("Z", 0), ("A", 9), ("A", 0))


def values(store: FeatureStore, frame: Any = MOMENTS, **options: Any) -> list[float | None]:
    job = store.get_historical_features(entity_df=frame, features=["prices:price"], **options)
    return list(job.to_arrow()["price"].to_pylist())


def a_restated_value_does_not_reach_back(bench: Bench) -> None:
    bench.view(RESTATED)
    feasts_default = bench.opened(only_what_was_known=False)

    assert values(bench.store) == [1.0, 1.0, None, 4.0, None, None, 1.0]
    assert values(feasts_default) == [9.0, 9.0, 4.0, 4.0, None, None, 9.0]
    assert values(feasts_default, filter_by_created_timestamp=True) == values(bench.store)


def rows_labels_and_order_are_kept(bench: Bench) -> None:
    bench.view(RESTATED)

    frame = bench.store.get_historical_features(entity_df=MOMENTS, features=["prices:price"]).to_df()

    assert frame["label"].tolist() == list(range(7))
    assert frame.columns.tolist() == ["symbol", "event_timestamp", "label", "price"]


def a_missing_row_and_a_null_can_be_told_apart(bench: Bench) -> None:
    bench.view([price("A", 0, 0, None)])
    frame = asked(("A", 1), ("B", 1))

    job = bench.opened(with_row_times=True).get_historical_features(
        entity_df=frame, features=["prices:price"]
    )

    found = job.to_arrow()
    assert found["price"].to_pylist() == [None, None]
    assert found["prices__event_time"].to_pylist() == [START, None]


def on_demand_views_compute_from_the_joined_rows(bench: Bench) -> None:
    view = bench.view(RESTATED)
    request = RequestSource(name="orders", schema=[Field(name="quantity", dtype=Int64)])

    @on_demand_feature_view(sources=[view, request], schema=[Field(name="value", dtype=Float64)])
    def orders(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"value": inputs["price"] * inputs["quantity"]})

    bench.store.apply([orders])
    frame = asked(("A", 0), ("A", 1)).assign(quantity=[10, 20])

    job = bench.store.get_historical_features(entity_df=frame, features=["prices:price", "orders:value"])

    assert job.to_df()["value"].tolist() == [10.0, 60.0]
    assert job.to_arrow()["value"].to_pylist() == [10.0, 60.0]


def names_are_mapped_as_feast_says(bench: Bench) -> None:
    rows = [{"ticker": "A", "ts": START, "px": 2.0}, {"ticker": "B", "ts": START, "px": 5.0}]
    mapping = {"ticker": "symbol", "px": "price"}
    source = bench.source(rows, timestamp_field="ts", created_timestamp_column="", field_mapping=mapping)
    view = bench.view(rows, source=source, ttl=timedelta(0))
    pair = FeatureService(
        name="pair",
        features=[
            view.with_name("bought").with_join_key_map({"symbol": "buy"}),
            view.with_name("sold").with_join_key_map({"symbol": "sell"}),
        ],
    )
    bench.store.apply([pair])
    frame = pd.DataFrame({"buy": ["A"], "sell": ["B"], "event_timestamp": [START + 99 * DAY]})

    found = bench.store.get_historical_features(
        entity_df=frame, features=pair, full_feature_names=True
    ).to_arrow()

    assert found.to_pylist()[0] | {"event_timestamp": None} == {
        "buy": "A", "sell": "B", "event_timestamp": None, "bought__price": 2.0, "sold__price": 5.0
    }  # fmt: skip


def a_view_without_entities_is_joined_by_time_alone(bench: Bench) -> None:
    rows = [
        {"event": START, "created": START, "rate": 1.5},
        {"event": START + DAY, "created": START + 3 * DAY, "rate": 2.5},
    ]
    view = FeatureView(
        name="rates",
        entities=[],
        ttl=9 * DAY,
        schema=[Field(name="rate", dtype=Float64)],
        source=bench.source(rows),
    )
    bench.store.apply([view])

    job = bench.store.get_historical_features(entity_df=asked(("A", 2), ("B", 3)), features=["rates:rate"])

    assert job.to_arrow()["rate"].to_pylist() == [1.5, 2.5]


def a_view_without_entities_is_materialized(bench: Bench) -> None:
    bench.view(RESTATED)
    rows = [{"event": START + day * DAY, "created": START, "rate": day + 0.5} for day in (1, 0)]
    schema = [Field(name="rate", dtype=Float64)]
    bench.store.apply(
        [FeatureView(name="rates", entities=[], schema=schema, source=bench.source(rows, "rates"))]
    )

    bench.store.materialize(START - DAY, START + 9 * DAY)

    features = ["prices:price", "rates:rate"]
    online = bench.store.get_online_features(features=features, entity_rows=[{"symbol": "A"}]).to_dict()
    assert (online["price"], online["rate"]) == ([3.0], [1.5]), online


def several_views_with_other_keys_are_joined_at_once(bench: Bench) -> None:
    bench.view(RESTATED)
    rows = [{"venue": 7, "event": START, "created": START, "fee": 0.1}]
    venue = Entity(name="venue", join_keys=["venue"], value_type=ValueType.INT64)
    fees = FeatureView(
        name="fees", entities=[venue], ttl=9 * DAY, schema=[Field(name="fee", dtype=Float64)],
        source=bench.source(rows, "fees"),
    )  # fmt: skip
    bench.store.apply([venue, fees])
    frame = MOMENTS.assign(venue=[7, 7, 7, 8, 8, 7, 7])

    for store in (bench.store, bench.opened(memory_limit_mib=1)):
        features = ["fees:fee", "prices:price"]
        found = store.get_historical_features(entity_df=frame, features=features).to_arrow()
        assert found["fee"].to_pylist() == [0.1, 0.1, 0.1, None, None, 0.1, 0.1]
        assert found["price"].to_pylist() == [1.0, 1.0, None, 4.0, None, None, 1.0]


def entity_rows_come_from_files_too(bench: Bench) -> None:
    bench.view(RESTATED)
    MOMENTS.to_parquet(bench.folder / "moments.parquet")

    assert values(bench.store, "moments.parquet") == values(bench.store)


def results_are_kept_as_files(bench: Bench) -> None:
    bench.view(RESTATED)
    job = bench.store.get_historical_features(entity_df=MOMENTS, features=["prices:price"])
    for place in ("kept.parquet", "kept"):
        storage = SavedDatasetFileStorage(str(bench.folder / place))
        for _ in range(2):
            saved = bench.store.create_saved_dataset(job, name=place, storage=storage, allow_overwrite=True)
            assert len(saved.to_df()) == 7
        try:
            job.persist(storage)
        except SavedDatasetLocationAlreadyExists:
            continue
        raise AssertionError(f"{place} was overwritten")


def the_newest_known_values_are_materialized(bench: Bench) -> None:
    bench.view([*RESTATED, price("A", 1, 3, 5.0), price("A", 1, 2, 4.0)])

    bench.store.materialize(START - DAY, START + 2 * DAY)

    online = bench.store.get_online_features(
        features=["prices:price"], entity_rows=[{"symbol": "A"}, {"symbol": "B"}]
    )
    assert online.to_dict()["price"] == [5.0, 4.0]


def pushed_rows_are_added_once(bench: Bench) -> None:
    (bench.folder / "pushed").mkdir()
    pq.write_table(pa.Table.from_pylist(RESTATED), bench.folder / "pushed" / "first.parquet")
    batch = FileSource(
        name="pushed", path="pushed", timestamp_field="event", created_timestamp_column="created"
    )
    bench.view(RESTATED, source=PushSource(name="feed", batch_source=batch))
    pushed = pd.DataFrame([price("A", 3, 3, 7.0)])

    for _ in range(2):
        bench.store.push("feed", pushed, to=PushMode.OFFLINE)

    assert pq.read_table(bench.folder / "pushed").num_rows == 5
    assert values(bench.store, asked(("A", 4))) == [7.0]


def rows_are_appended_to_a_single_file(bench: Bench) -> None:
    batch = bench.source(RESTATED)
    bench.view(RESTATED, source=PushSource(name="feed", batch_source=batch))

    bench.store.push("feed", pd.DataFrame([price("A", 3, 3, 7.0)]), to=PushMode.OFFLINE)

    assert values(bench.store, asked(("A", 4), ("B", 1))) == [7.0, 4.0]
    assert sorted(path.name for path in bench.folder.glob("prices*")) == ["prices.parquet"]


def served_features_are_logged(bench: Bench) -> None:
    view = bench.view(RESTATED)
    destination = FileLoggingDestination(path=str(bench.folder / "log"))
    service = FeatureService(
        name="served", features=[view], logging_config=LoggingConfig(destination=destination)
    )
    bench.store.apply([service])
    facts = {"price__status": pa.array([1], pa.int32()), "__log_date": [START.date()], "__request_id": ["r1"]}
    times = {"price__timestamp": [START], "__log_timestamp": [START]}
    logs = pa.table({"symbol": ["A"], "price": [1.0], **facts, **times})

    bench.store.write_logged_features(logs, service)

    assert pq.read_table(bench.folder / "log").num_rows == 1


def without_entity_rows_every_entity_of_the_range_is_shown(bench: Bench) -> None:
    bench.view(RESTATED)

    job = bench.store.get_historical_features(
        entity_df=None, features=["prices:price"], start_date=START - DAY, end_date=START + 1.5 * DAY
    )

    found = {row["symbol"]: row["price"] for row in job.to_arrow().to_pylist()}
    assert found == {"A": 3.0, "B": 4.0}


def what_cannot_be_read_is_refused_with_a_reason(bench: Bench) -> None:
    bench.view(RESTATED)
    refused(UnusableEntityRowsError, lambda: values(bench.store, "SELECT symbol FROM trades"))
    refused(UnusableColumnError, lambda: values(bench.store, MOMENTS.drop(columns="symbol")))
    refused(UnusableColumnError, lambda: values(bench.store, MOMENTS.assign(price=1.0)))
    bench.view(RESTATED, source=bench.source(RESTATED, file_format=DeltaFormat()))
    refused(UnsupportedSourceError, lambda: values(bench.store))


def refused(kind: type[Exception], call: Callable[[], Any]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


if __name__ == "__main__":
    raise SystemExit(run(claims(globals(), Bench), Bench))
