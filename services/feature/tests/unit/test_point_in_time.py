"""Joins as of time against a naive search; `MLTRAINER_LEAKAGE_CASES=10000` looks longer."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mltrainer_feature.adapters.offline.columns import UnusableColumnError
from mltrainer_feature.adapters.offline.entity_rows import UnusableEntityRowsError, rows_of_table
from mltrainer_feature.adapters.offline.join import Workspace, join_features
from mltrainer_feature.adapters.offline.partitions import Partitioning, join_by_partition
from mltrainer_feature.adapters.offline.requests import (
    JoinKey,
    Output,
    ViewRequest,
    check_entity_columns,
)
from mltrainer_feature.adapters.offline.sources import Location

CASES = int(os.environ.get("MLTRAINER_LEAKAGE_CASES", "200"))
START = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEYS = ("symbol", "venue")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a source: when it happened and when it was known, in minutes."""

    symbol: str | None
    venue: int | None
    event: int | None
    created: int | None


@dataclass(frozen=True, slots=True)
class Asked:
    """An entity row."""

    symbol: str | None
    venue: int | None
    minute: int | None


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that decides a join."""

    rows: list[Row]
    asked: list[Asked]
    key_count: int
    max_age: int | None
    has_created: bool
    honours_created: bool
    source_unit: str
    entity_unit: str

    def sees(self, row: Row, asked: Asked) -> bool:
        """Tells whether a row may be used, as the documentation says it."""
        keys = KEYS[: self.key_count]
        if any(getattr(row, key) is None or getattr(row, key) != getattr(asked, key) for key in keys):
            return False
        if row.event is None or asked.minute is None or row.event > asked.minute:
            return False
        if self.has_created and self.honours_created:
            return row.created is not None and row.created <= asked.minute
        return True

    def expected(self, asked: Asked) -> int | None:
        """Searches every row for the newest visible one, and returns its number."""
        best: tuple[int, int, int] | None = None
        for number, row in enumerate(self.rows):
            if self.sees(row, asked):
                assert row.event is not None
                created = row.created if self.has_created and row.created is not None else -1
                best = max(best or (-1, -1, -1), (row.event, created, number))
        if best is None or asked.minute is None:
            return None
        is_too_old = self.max_age is not None and best[0] < asked.minute - self.max_age
        return None if is_too_old else best[2]

    def request(self) -> ViewRequest:
        """Makes the request that the join understands."""
        numbers = range(len(self.rows))
        table = pa.table(
            {
                "ticker": pa.array([row.symbol for row in self.rows], pa.string()),
                "venue": pa.array([row.venue for row in self.rows], pa.int32()),
                "happened": times([row.event for row in self.rows], self.source_unit),
                "known": times([row.created for row in self.rows], self.source_unit),
                "number": pa.array(numbers, pa.int64()),
                "odd": pa.array([number if number % 2 else None for number in numbers], pa.int64()),
            }
        )
        sources = {"symbol": "ticker", "venue": "venue"}
        return ViewRequest(
            view_name="view",
            dataset=ds.dataset(table),
            keys=tuple(JoinKey(key, sources[key]) for key in KEYS[: self.key_count]),
            outputs=(Output("number", "number"), Output("odd", "odd")),
            event_column="happened",
            created_column="known" if self.has_created else None,
            max_age=None if self.max_age is None else self.max_age * MINUTE,
            is_created_time_honoured=self.honours_created,
        )

    def entities(self) -> pa.Table:
        """Makes the entity rows, with a label each."""
        return pa.table(
            {
                "symbol": pa.array([asked.symbol for asked in self.asked], pa.string()),
                "venue": pa.array([asked.venue for asked in self.asked], pa.int64()),
                "event_timestamp": times([asked.minute for asked in self.asked], self.entity_unit),
                "label": pa.array(range(len(self.asked)), pa.int64()),
            }
        )


def times(minutes: Sequence[int | None], unit: str) -> pa.Array:
    """Makes times of a unit; nanoseconds come without zone, as pandas likes to write them."""
    moments = [None if minute is None else START + minute * MINUTE for minute in minutes]
    aware = pa.array(moments, pa.timestamp("us", tz="UTC"))
    return aware.cast(pa.timestamp(unit)) if unit == "ns" else aware.cast(pa.timestamp(unit, tz="UTC"))


minutes = st.one_of(st.none(), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
symbols = st.sampled_from(["A", "A", "B", "C", None])
venues = st.sampled_from([1, 1, 2, None])
cases = st.builds(
    Case,
    rows=st.lists(st.builds(Row, symbols, venues, minutes, minutes), max_size=25),
    asked=st.lists(st.builds(Asked, symbols, venues, minutes), min_size=1, max_size=12),
    key_count=st.integers(0, 2),
    max_age=st.one_of(st.none(), st.integers(0, 8)),
    has_created=st.booleans(),
    honours_created=st.booleans(),
    source_unit=st.sampled_from(["ns", "us", "ms", "s"]),
    entity_unit=st.sampled_from(["ns", "us"]),
)


@given(case=cases)
@settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_entity_row_gets_the_newest_row_known_then_and_nothing_later(case: Case) -> None:
    expected = [case.expected(asked) for asked in case.asked]

    joined = pa.concat_tables(
        join_features(rows_of_table(case.entities()), [case.request()], Workspace(2**30))
    )

    assert joined["label"].to_pylist() == list(range(len(case.asked)))
    assert joined["number"].to_pylist() == expected
    assert joined["odd"].to_pylist() == [row if row is not None and row % 2 else None for row in expected]


@given(case=cases, partitions=st.integers(1, 4), rows_at_once=st.integers(1, 9), chunk_rows=st.integers(1, 5))
@settings(max_examples=CASES // 6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_join_in_parts_gives_the_same_rows(
    case: Case, partitions: int, rows_at_once: int, chunk_rows: int
) -> None:
    entities, request = rows_of_table(case.entities()), case.request()
    whole = pa.concat_tables(join_features(entities, [request], Workspace(2**30)))

    with tempfile.TemporaryDirectory() as directory:
        cut = Partitioning(request, partitions, rows_at_once)
        parts = pa.concat_tables(join_by_partition(entities, [cut], Path(directory), chunk_rows))

    assert parts.equals(whole)
    assert parts["number"].to_pylist() == [case.expected(asked) for asked in case.asked]


def view_of(table: pa.Table, **changed: Any) -> ViewRequest:
    """Asks for the price by symbol, unless told otherwise."""
    facts: dict[str, Any] = {
        "view_name": "view",
        "dataset": ds.dataset(table),
        "keys": (JoinKey("symbol", "symbol"),),
        "outputs": (Output("price", "price"),),
        "event_column": "event",
        "created_column": "created" if "created" in table.column_names else None,
        "max_age": timedelta(days=1),
        "is_created_time_honoured": True,
    }
    return ViewRequest(**{**facts, **changed})


def join(rows: list[dict[str, Any]], asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    entities, request = rows_of_table(pa.Table.from_pylist(asked)), view_of(pa.Table.from_pylist(rows))
    return list(pa.concat_tables(join_features(entities, [request], Workspace(2**30))).to_pylist())


def prices(found: list[dict[str, Any]]) -> list[Any]:
    return [row["price"] for row in found]


def test_a_row_of_exactly_the_maximal_age_counts_and_one_beyond_does_not() -> None:
    rows = [{"symbol": "A", "event": START, "price": 1.0}]
    asked = [
        {"symbol": "A", "event_timestamp": START + timedelta(days=1, microseconds=late)} for late in (0, 1)
    ]

    assert prices(join(rows, asked)) == [1.0, None]


def test_a_row_that_expired_is_not_replaced_by_an_older_one_that_is_restated() -> None:
    rows = [
        {"symbol": "A", "event": START, "created": START, "price": 1.0},
        {
            "symbol": "A",
            "event": START - timedelta(days=3),
            "created": START + timedelta(days=1),
            "price": 2.0,
        },
    ]
    asked = [{"symbol": "A", "event_timestamp": START + timedelta(days=2)}]

    assert prices(join(rows, asked)) == [None]


def test_a_null_of_the_newest_row_stays_null_and_a_nan_stays_nan() -> None:
    rows = [
        {"symbol": "A", "event": START, "price": 1.0},
        {"symbol": "A", "event": START + MINUTE, "price": None},
        {"symbol": "B", "event": START, "price": float("nan")},
    ]
    asked = [{"symbol": symbol, "event_timestamp": START + 2 * MINUTE} for symbol in "AB"]

    found = prices(join(rows, asked))

    assert found[0] is None
    assert found[1] != found[1]  # NaN alone differs from itself


def test_equal_entity_rows_with_different_labels_all_stay() -> None:
    rows = [{"symbol": "A", "event": START, "price": 1.0}]
    asked = [{"symbol": "A", "event_timestamp": START, "label": label} for label in (3, 1, 2)]

    assert [row["label"] for row in join(rows, asked)] == [3, 1, 2]


def test_a_text_key_is_not_compared_with_a_number() -> None:
    rows = [{"symbol": 1, "event": START, "price": 1.0}]

    with pytest.raises(UnusableColumnError, match="'symbol'"):
        join(rows, [{"symbol": "1", "event_timestamp": START}])


def test_times_after_the_last_nanosecond_are_never_reached() -> None:
    rows = [
        {"symbol": "A", "event": START, "created": START, "price": 1.0},
        {"symbol": "A", "event": START, "created": datetime(9999, 12, 31, tzinfo=UTC), "price": 2.0},
    ]

    assert prices(join(rows, [{"symbol": "A", "event_timestamp": START + MINUTE}])) == [1.0]


def test_nested_and_dictionary_columns_come_through_unchanged() -> None:
    types = pa.schema(
        [
            ("symbol", pa.dictionary(pa.int8(), pa.string())),
            ("event", pa.timestamp("us", tz="UTC")),
            ("map", pa.map_(pa.string(), pa.int32())),
            ("list", pa.list_(pa.float32())),
            ("kind", pa.dictionary(pa.int8(), pa.string())),
        ]
    )
    rows = [{"symbol": "A", "event": START, "map": [("x", 1)], "list": [1.5], "kind": "bar"}]
    names = ("map", "list", "kind")
    outputs = tuple(Output(name, name) for name in names)
    request = view_of(pa.Table.from_pylist(rows, types), outputs=outputs)
    asked = rows_of_table(pa.table({"symbol": ["A", "B"], "event_timestamp": [START, START]}))

    joined = pa.concat_tables(join_features(asked, [request], Workspace(2**30)))
    spilled = pa.concat_tables(join_features(asked, [request], Workspace(1)))

    assert [joined.schema.field(name).type for name in names] == [types.field(name).type for name in names]
    assert joined.select(names).to_pylist()[1] == dict.fromkeys(names)
    assert joined["list"].to_pylist()[0] == [1.5]
    assert spilled.equals(joined)


def test_a_directory_is_read_row_group_by_row_group_with_its_names_as_columns(tmp_path: Path) -> None:
    for venue, price in ((1, 1.0), (2, 2.0)):
        (tmp_path / f"venue={venue}").mkdir()
        rows = pa.table(
            {"symbol": ["A", "B", "A"], "event": [START, START, START + MINUTE], "price": [0.0, 9.0, price]}
        )
        pq.write_table(rows, tmp_path / f"venue={venue}" / "rows.parquet", row_group_size=1)
    dataset = Location(pyarrow.fs.LocalFileSystem(), str(tmp_path)).dataset()
    keys = (JoinKey("symbol", "symbol"), JoinKey("venue", "venue"))
    request = view_of(rows, dataset=dataset, keys=keys)
    asked = rows_of_table(
        pa.table({"symbol": ["A", "A", "B"], "venue": [2, 1, 3], "event_timestamp": [START + MINUTE] * 3})
    )

    joined = pa.concat_tables(join_features(asked, [request], Workspace(2**30)))
    spilled = pa.concat_tables(join_features(asked, [request], Workspace(1)))

    assert joined["price"].to_pylist() == [2.0, 1.0, None]
    assert spilled.equals(joined)


def test_no_entity_rows_give_no_rows_but_all_columns() -> None:
    rows = [{"symbol": "A", "event": START, "price": 1.0}]
    schema = pa.schema([("symbol", pa.string()), ("event_timestamp", pa.timestamp("us", tz="UTC"))])
    request = view_of(pa.Table.from_pylist(rows))

    joined = pa.concat_tables(join_features(rows_of_table(schema.empty_table()), [request], Workspace(1)))

    assert joined.num_rows == 0
    assert joined.column_names == ["symbol", "event_timestamp", "price"]


def test_a_feature_may_not_hide_a_column_of_the_entity_rows() -> None:
    schema = pa.schema([("symbol", pa.string()), ("price", pa.float64())])
    table = pa.Table.from_pylist([{"symbol": "A", "event": START, "price": 1.0}])

    with pytest.raises(UnusableColumnError, match="full_feature_names"):
        check_entity_columns(schema, [view_of(table)])


def test_entity_rows_without_a_clear_time_are_refused() -> None:
    table = pa.table({"opened": pa.array([START]), "closed": pa.array([START])})

    with pytest.raises(UnusableEntityRowsError, match="event_timestamp"):
        rows_of_table(table)
