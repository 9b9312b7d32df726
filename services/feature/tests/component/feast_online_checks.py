"""Drives the online store through Feast; each function is a claim. Run it in a process of its own.

python feast_online_checks.py redis://127.0.0.1:6379
"""

import asyncio
import itertools
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    ValueType,
)
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, Int64, String
from feast_checks import DAY, START, SYMBOL, claims, open_store, run
from mltrainer_feature.adapters.feast_online import GuardedRedisOnlineStore
from mltrainer_feature.adapters.redis_connection import RedisAddress, RedisConnection
from mltrainer_feature.adapters.redis_rows import RedisOnlineStore
from mltrainer_feature.adapters.registry_file import ServedSchemas
from mltrainer_feature.application.read_online import ReadOnlineHandler
from mltrainer_feature.domain.errors import OnlineStoreLostError
from mltrainer_feature.domain.online import OnlineSchema, ValueKind
from mltrainer_feature.entrypoints.feast_api import FeastServingApi
from mltrainer_feature.wire.feast_stubs import serving_pb2
from mltrainer_feature.wire.online_format import StoredTimes, feature_field, key_prefix, key_values
from redis import Redis

ACCOUNT = Entity(name="account", join_keys=["account"], value_type=ValueType.INT64)


class Bench:
    """A feature repository of its own, on an empty Redis."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.redis = Redis.from_url(url)
        self.redis.flushall()
        self.store = self.opened()

    def opened(self, *, project: str = "checks", is_feasts: bool = False) -> FeatureStore:
        address = self.url.removeprefix("redis://")
        ours = {"type": "mltrainer_feature.adapters.feast_online.GuardedRedisOnlineStore", "url": self.url}
        stores = {"type": "redis", "connection_string": address} if is_feasts else ours
        return open_store(self.folder, project, online_store=stores)

    @staticmethod
    def key(symbol: str) -> bytes:
        return _redis_key("checks", EntityKey(join_keys=["symbol"], entity_values=[Value(string_val=symbol)]))

    def view(self, name: str = "prices", entities: Sequence[Entity] = (SYMBOL,), **facts: Any) -> FeatureView:
        path = self.folder / f"{name}.parquet"
        keys: dict[str, list[Any]] = {entity.join_key: [] for entity in entities}
        columns: dict[str, list[Any]] = {
            "event": [],
            "created": [],
            "price": [],
            "volume": [],
            "note": [],
            **keys,
        }
        pd.DataFrame(columns).to_parquet(path)
        batch = FileSource(
            name=f"{name}_file", path=str(path), timestamp_field="event", created_timestamp_column="created"
        )
        view = FeatureView(
            name=name,
            entities=list(entities),
            ttl=facts.get("ttl", 5 * DAY),
            schema=[
                Field(name="price", dtype=Float64),
                Field(name="volume", dtype=Int64),
                Field(name="note", dtype=String),
                *(
                    Field(name=entity.join_key, dtype=Int64 if entity is ACCOUNT else String)
                    for entity in entities
                ),
            ],
            source=PushSource(name=f"{name}_push", batch_source=batch),
        )
        self.store.apply([*entities, view])
        return view

    def read(self, symbols: Sequence[str], store: FeatureStore | None = None) -> dict[str, Any]:
        features = ["prices:price", "prices:volume", "prices:note"]
        rows = [{"symbol": symbol} for symbol in symbols]
        answer: dict[str, Any] = (store or self.store).get_online_features(features, rows).to_dict()
        return answer


def teardown(store: Any) -> None:
    store.teardown()


def row(symbol: str, event: float, created: float | None, price: float | None, **more: Any) -> dict[str, Any]:
    known = pd.NaT if created is None else START + created * DAY
    given = {"symbol": symbol, "event": START + event * DAY, "created": known, "price": price}
    return {**given, "volume": 7, "note": "é", **more}


def push(bench: Bench, *rows: dict[str, Any], name: str = "prices") -> None:
    bench.store.push(f"{name}_push", pd.DataFrame(rows))


def what_is_materialized_is_read(bench: Bench) -> None:
    bench.view()
    frame = pd.DataFrame([row("A", 1, 1, 1.5), row("A", 2, 2, 2.5), row("B", 2, 2, None, note=None)])
    frame.to_parquet(bench.folder / "prices.parquet")

    bench.store.materialize(START - DAY, START + 9 * DAY)

    answer = bench.store.get_online_features(
        ["prices:price", "prices:note"], [{"symbol": name} for name in "ABC"]
    ).proto
    # Feast's order of columns differs from process to process.
    prices = answer.results[list(answer.metadata.feature_names.val).index("price")]
    assert [value.double_val for value in prices.values] == [2.5, 0, 0]  # noqa: PD011 - a protobuf field
    # Feast calls a null PRESENT.
    assert [code == serving_pb2.NOT_FOUND for code in prices.statuses] == [False, False, True]
    assert prices.event_timestamps[0].ToDatetime(UTC) == START + 2 * DAY


def any_order_of_writes_ends_with_the_newest_row(bench: Bench) -> None:
    bench.view()
    versions = [row("A", 1, 9, 1.0), row("A", 2, None, 2.0), row("A", 2, 2, 3.0), row("A", 2, 4, 4.0)]
    for order in itertools.permutations(versions):
        bench.redis.delete(bench.key("A"))
        for version in order:
            push(bench, version)
        assert bench.read("A")["price"] == [4.0], order


def one_batch_may_hold_versions_in_any_order(bench: Bench) -> None:
    bench.view()
    push(bench, row("A", 2, 4, 4.0), row("A", 1, 9, 1.0), row("B", 1, 1, 5.0), row("A", 2, 2, 3.0))
    assert bench.read("AB")["price"] == [4.0, 5.0]


def an_equal_row_is_written_again(bench: Bench) -> None:
    bench.view()
    push(bench, row("A", 1, 1, 1.0))
    push(bench, row("A", 1, 1, 2.0))
    assert bench.read("A")["price"] == [2.0]


def feasts_own_redis_store_reads_the_same_rows(bench: Bench) -> None:
    bench.view()
    push(bench, *(row(name, 1, 1, index / 3) for index, name in enumerate("ABC")))
    assert bench.read("ABC", bench.opened(is_feasts=True)) == bench.read("ABC")


def keys_and_fields_are_feasts(_bench: Bench) -> None:
    examples: list[tuple[ValueKind, Any]] = [
        (ValueKind.STRING, "é" * 200),
        (ValueKind.STRING, ""),
        (ValueKind.INT64, -(2**63)),
        (ValueKind.INT32, 2**31 - 1),
        (ValueKind.BYTES, b"\x00\xff"),
        (ValueKind.UNIX_TIMESTAMP, 1_700_000_000),
    ]
    for first, second in itertools.product(examples, examples):
        values = [Value(**{kind.value: value}) for kind, value in (first, second)]
        feasts = _redis_key("project", EntityKey(join_keys=["b", "aé"], entity_values=values))
        parts = [
            key_values(*second_or_first)[0]
            for second_or_first in ((second[0], [second[1]]), (first[0], [first[1]]))
        ]
        assert key_prefix(["aé", "b"]) + b"".join(parts) + b"project" == feasts
    for name in ("price", "é", "x" * 99):
        assert feature_field("view", name) == _mmh3(f"view:{name}")


def a_view_that_is_deleted_takes_its_rows_along_and_no_others(bench: Bench) -> None:
    other = bench.opened(project="xchecks")
    view = bench.view()
    bench.view("more")
    other.apply([SYMBOL, view])
    push(bench, row("A", 1, 1, 1.0))
    push(bench, row("A", 1, 1, 2.0), name="more")
    other.push("prices_push", pd.DataFrame([row("A", 1, 1, 3.0)]))
    before = bench.redis.dbsize()

    bench.store.apply([], objects_to_delete=[bench.store.get_feature_view("prices")], partial=False)

    answer = bench.store.get_online_features(["more:price"], [{"symbol": "A"}]).to_dict()
    assert answer["price"] == [2.0]
    assert bench.read("A", other)["price"] == [3.0]
    assert bench.redis.dbsize() == before
    teardown(other)
    assert bench.store.get_online_features(["more:price"], [{"symbol": "A"}]).to_dict()["price"] == [2.0]


def lost_rows_are_an_error_until_they_are_applied_and_written_again(bench: Bench) -> None:
    view = bench.view()
    push(bench, row("A", 1, 1, 1.0))
    bench.redis.flushall()
    push(bench, row("B", 1, 1, 1.0))
    try:
        bench.read("AB")
    except OnlineStoreLostError as error:
        assert error.project == "checks"
    else:
        raise AssertionError("lost rows were read as missing")
    bench.store.apply([SYMBOL, view])
    push(bench, row("A", 1, 1, 1.0))
    assert bench.read("AB")["price"] == [1.0, 1.0]


class FixedClock:
    def now(self) -> datetime:
        return START + 6 * DAY + timedelta(hours=1)


def served(bench: Bench, request: Any) -> Any:
    """Reads as the service does, in this process."""

    async def ask() -> Any:
        schemas = ServedSchemas(OnlineSchema({}, {}), bench.folder / "checks.db")
        await schemas.refresh()
        connection = RedisConnection(RedisAddress.parse(bench.url))
        read = ReadOnlineHandler(RedisOnlineStore(connection), FixedClock(), StoredTimes())
        try:
            answer = await FeastServingApi(read, schemas).get_online_features(request, None)
        finally:
            await connection.close()
        return serving_pb2.GetOnlineFeaturesResponse.FromString(answer)

    return asyncio.run(ask())


def the_service_reads_a_foreign_registry_and_applies_the_maximal_age(bench: Bench) -> None:
    prices = bench.view()
    legs = bench.view("legs", (ACCOUNT, SYMBOL), ttl=timedelta(0))
    constant = bench.view("constant", ())
    members = [prices, legs[["volume"]].with_name("held"), constant[["note"]].with_name("text")]
    service = FeatureService(name="all_v1", features=members)
    bench.store.apply([service])
    push(bench, row("A", 2, 2, 2.5), row("B", 1, 1, float("nan")), row("C", 1, 1, 1.5))
    push(bench, row("A", 0, 0, 9.5, account=-4), name="legs")
    push(bench, {key: value for key, value in row("", 0, 0, 1.0).items() if key != "symbol"}, name="constant")
    request = serving_pb2.GetOnlineFeaturesRequest(feature_service="all_v1", full_feature_names=True)
    for symbol in "ABCD":
        request.entities["symbol"].val.add().string_val = symbol
        request.entities["account"].val.add().int64_val = -4

    answer = served(bench, request)

    rows = [{"symbol": symbol, "account": -4} for symbol in "ABCD"]
    feasts = bench.store.get_online_features(service, rows, full_feature_names=True).to_dict()
    name = serving_pb2.FieldStatus.Name
    columns = dict(zip(answer.metadata.feature_names.val, answer.results, strict=True))
    assert set(columns) == set(feasts)
    for column, values in feasts.items():
        cells = columns[column].values  # noqa: PD011 - a protobuf field
        kinds = [cell.WhichOneof("val") for cell in cells]
        found = [kind and getattr(cell, kind) for kind, cell in zip(kinds, cells, strict=True)]
        assert found == values, (column, found, values)
    assert [name(code) for code in columns["prices__price"].statuses] == [
        "PRESENT",
        "NULL_VALUE",
        "OUTSIDE_MAX_AGE",
        "NOT_FOUND",
    ]
    assert [name(code) for code in columns["held__volume"].statuses] == ["PRESENT", *["NOT_FOUND"] * 3]
    assert columns["text__note"].values[3].string_val == "é"  # noqa: PD011 - a protobuf field


def older_key_formats_are_refused(bench: Bench) -> None:
    bench.view()
    bench.store.config.entity_key_serialization_version = 2
    try:
        push(bench, row("A", 1, 1, 1.0))
    except ValueError as error:
        assert "serialization_version" in str(error)
    else:
        raise AssertionError("an older format was written")


def the_store_closes_with_its_rows(bench: Bench) -> None:
    bench.view()
    push(bench, row("A", 1, 1, 1.0))
    teardown(bench.store)
    assert bench.redis.dbsize() == 0
    assert issubclass(GuardedRedisOnlineStore, object)


if __name__ == "__main__":
    raise SystemExit(run(claims(globals(), Bench), lambda folder: Bench(folder, sys.argv[1])))
