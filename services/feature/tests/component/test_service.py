"""The whole service: calls and events in, events and files out."""

import asyncio
import gzip
import io
from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl
import pytest
from grpc import StatusCode
from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer.feature.v1 import resources_pb2
from mltrainer.feature.v1.events_pb2 import FeaturesMaterialized, ViewRevised
from mltrainer.types.v1 import types_pb2
from mltrainer_common.errors import RpcFailure
from mltrainer_feature.domain.bars import newest_knowledge
from mltrainer_feature.wire.feast_stubs import FEAST_VERSION, serving_pb2
from mltrainer_feature.wire.times import write_time
from mltrainer_features import VIEWS, TargetKind, compute_features, compute_labels, feature_names
from mltrainer_testkit.fake_broker import FakeBroker

from .conftest import MARKET_NOW, Feature, StartFeature, poll
from .quotes import Quote, day, market, to_bars, to_event

ALL_VIEWS = sorted(VIEWS)
# Days from the first bar to the market clock's now, where the newest rows are young.
TODAY = (MARKET_NOW - day(0)).days


def recent(symbols: int, days: int) -> list[Quote]:
    first = TODAY - days + 1
    return [Quote(quote.symbol, first + quote.day, quote.close) for quote in market(symbols, days)]


def spec(
    symbols: Sequence[str], as_of: datetime, views: Sequence[str] = ALL_VIEWS
) -> resources_pb2.DatasetSpec:
    target = types_pb2.Target(kind=types_pb2.TARGET_KIND_LOG_REALIZED_VARIANCE, horizon_bars=5)
    return resources_pb2.DatasetSpec(
        symbols=symbols, feature_views=views, as_of=write_time(as_of), target=target
    )


async def create(feature: Feature, wanted: resources_pb2.DatasetSpec) -> resources_pb2.Dataset:
    dataset = await feature.api.CreateDataset(service_pb2.CreateDatasetRequest(spec=wanted))
    request = service_pb2.GetDatasetRequest(name=dataset.name)
    return await poll(
        lambda: feature.api.GetDataset(request),
        lambda answer: answer.state != resources_pb2.Dataset.STATE_CREATING,
    )


def read(feature: Feature, dataset: resources_pb2.Dataset) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(feature.store.read_bytes(dataset.sha256)))


async def load(feature: Feature, content: bytes) -> resources_pb2.BarImport:
    sha256 = feature.store.put_bytes(content)
    started = await feature.api.ImportBars(service_pb2.ImportBarsRequest(sha256=sha256))
    request = service_pb2.GetBarImportRequest(name=started.name)
    return await poll(
        lambda: feature.api.GetBarImport(request),
        lambda answer: answer.state != resources_pb2.BarImport.STATE_RUNNING,
    )


def to_csv(quotes: Sequence[Quote]) -> bytes:
    lines = [f"{quote.symbol},{day(quote.day).isoformat()},{quote.close!r}" for quote in quotes]
    return "\n".join(["symbol,event_time,close", *lines]).encode()


def online_request(symbols: Sequence[str], features: Sequence[str] = (), service: str = "") -> object:
    request = serving_pb2.GetOnlineFeaturesRequest()
    if service:
        request.feature_service = service
    else:
        request.features.val.extend(features)
    for symbol in symbols:
        request.entities["symbol"].val.add().string_val = symbol
    return request


async def test_the_first_start_publishes_every_view_and_the_second_none(start_feature: StartFeature) -> None:
    broker = FakeBroker()
    async with start_feature(broker):
        await broker.wait_for(ViewRevised, len(VIEWS))
    async with start_feature(broker):
        await broker.settle()

    revised = broker.events(ViewRevised)
    assert sorted(event.feature_view for event in revised) == ALL_VIEWS
    assert {(event.version, event.data_revision, event.revision) for event in revised} == {(1, 1, 1)}


@pytest.mark.parametrize(
    "broker",
    [
        pytest.param({"redeliver": True}, id="every batch twice"),
        pytest.param({"redeliver": True, "shuffle_seed": 3}, id="partitions in any order"),
    ],
)
async def test_bars_become_readable_however_they_are_delivered(
    start_feature: StartFeature, broker: dict[str, object]
) -> None:
    quotes = recent(3, 12)
    expected = compute_features(to_bars(quotes)).filter(pl.col("event_time") == day(TODAY))
    async with start_feature(FakeBroker(**broker)) as feature:
        await feature.send(quotes)

        answer = await feature.feast.GetOnlineFeatures(
            online_request(["S2", "S0"], ["market_returns:return_5", "market_cross_section:rank_return_5"])
        )

        assert feature.broker.dead_letters() == []
        materialized = feature.broker.events(FeaturesMaterialized)
    values = [[value.double_val for value in column.values] for column in answer.results[1:]]
    by_symbol = {row["symbol"]: row for row in expected.iter_rows(named=True)}
    for column, name in zip(values, ["return_5", "rank_return_5"], strict=True):
        assert column == pytest.approx([by_symbol["S2"][name], by_symbol["S0"][name]])
    assert {event.feature_view for event in materialized} == set(VIEWS)
    assert max(event.latest_event_time.ToDatetime(day(0).tzinfo) for event in materialized) == day(TODAY)


async def test_a_crash_between_commit_and_publishing_loses_no_event(start_feature: StartFeature) -> None:
    broker = FakeBroker()
    async with start_feature(broker) as feature:
        await broker.wait_for(ViewRevised, len(VIEWS))
        loaded = await load_while_broker_is_down(feature)
        assert loaded.accepted_count == 6
        assert broker.events(FeaturesMaterialized) == []
    await broker.resume()
    async with start_feature(broker):
        materialized = await broker.wait_for(FeaturesMaterialized, len(VIEWS))

    assert {event.row_count for event in materialized} == {6}


async def load_while_broker_is_down(feature: Feature) -> resources_pb2.BarImport:
    feature.broker.is_available = False
    return await load(feature, to_csv(recent(2, 3)))


async def test_feast_answers_with_a_status_for_every_value(start_feature: StartFeature) -> None:
    old = [Quote("OLD", TODAY - 10 + index, 10.0 + index) for index in range(3)]
    async with start_feature() as feature:
        await feature.send([*recent(1, 3), *old])
        features = ["market_returns:return_1", "market_returns:return_66"]

        answer = await feature.feast.GetOnlineFeatures(online_request(["S0", "OLD", "NONE"], features))
        info = await feature.feast.GetFeastServingInfo(serving_pb2.GetFeastServingInfoRequest())

    status = serving_pb2.FieldStatus.Name
    assert list(answer.metadata.feature_names.val) == ["symbol", "return_1", "return_66"]
    assert [[status(code) for code in column.statuses] for column in answer.results[1:]] == [
        ["PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND"],
        ["NULL_VALUE", "NULL_VALUE", "NOT_FOUND"],
    ]
    values = answer.results[1].values
    assert [value.WhichOneof("val") for value in values] == ["double_val", "double_val", None]
    assert answer.results[1].event_timestamps[1].ToDatetime(day(0).tzinfo) == day(TODAY - 8)
    assert info.version == FEAST_VERSION


async def test_a_feature_service_is_read_by_name(start_feature: StartFeature) -> None:
    async with start_feature() as feature:
        request = online_request(["S0"], service="daily_market_v1")
        request.full_feature_names = True  # type: ignore[attr-defined]  # a message of stubs without types

        answer = await feature.feast.GetOnlineFeatures(request)
        with pytest.raises(RpcFailure) as caught:
            await feature.feast.GetOnlineFeatures(online_request(["S0"], service="none_v1"))

    assert len(answer.results) == 1 + len(feature_names())
    assert answer.metadata.feature_names.val[1] == "market_returns__return_1"
    assert (caught.value.code, caught.value.reason) == (
        StatusCode.INVALID_ARGUMENT,
        "UNKNOWN_FEATURE_SERVICE",
    )


async def test_a_file_of_bars_loads_once_and_tells_what_it_refused(start_feature: StartFeature) -> None:
    content = gzip.compress(to_csv(recent(3, 30)) + b"\nS9,yesterday,1.0\nS9,2022-01-03T21:00:00Z,-1")
    async with start_feature() as feature:
        loaded = await load(feature, content)
        again = await load(feature, content)
        view = await feature.api.GetFeatureView(
            service_pb2.GetFeatureViewRequest(name="featureViews/market_momentum")
        )

    assert loaded.state == resources_pb2.BarImport.STATE_SUCCEEDED
    assert (loaded.accepted_count, loaded.refused_count) == (90, 2)
    assert "EVENT_TIME_MISSING" in loaded.problems[0]
    assert again == loaded
    assert (view.row_count, view.data_revision) == (90, 1)


async def test_a_file_that_is_no_csv_fails_with_a_sentence(start_feature: StartFeature) -> None:
    async with start_feature() as feature:
        loaded = await load(feature, b"\x1f\x8bbroken")
        other = await load(feature, b"date,price\n1,2\n")
        with pytest.raises(RpcFailure) as caught:
            await feature.api.ImportBars(service_pb2.ImportBarsRequest(sha256="a" * 64))

    assert loaded.state == other.state == resources_pb2.BarImport.STATE_FAILED
    assert "gzip" in loaded.error
    assert "symbol, event_time, close" in other.error
    assert caught.value.reason == "BYTES_NOT_FOUND"


async def test_a_dataset_holds_features_and_labels_as_known(start_feature: StartFeature) -> None:
    quotes = market(3, 40)
    restated = Quote("S0", 20, 55.0, timedelta(days=3))
    bars = to_bars([*quotes, restated])
    as_of = day(30)
    async with start_feature() as feature:
        await load(feature, to_csv(quotes))
        await feature.send([restated])

        dataset = await create(feature, spec(["S1", "S0"], as_of))
        table = read(feature, dataset)

    assert dataset.state == resources_pb2.Dataset.STATE_ACTIVE, dataset.error
    assert (dataset.row_count, table.height) == (62, 62)
    assert tuple(dataset.feature_names) == feature_names(ALL_VIEWS)
    assert table.columns == ["symbol", "event_time", *dataset.feature_names, "label", "label_end_time"]
    known_then = newest_knowledge(bars.filter(pl.col("knowledge_time") <= day(20)))
    decided = compute_features(known_then).filter(pl.col("event_time") == day(20), pl.col("symbol") == "S0")
    row = table.filter(pl.col("event_time") == day(20), pl.col("symbol") == "S0")
    assert row["return_5"].item() == pytest.approx(decided["return_5"].item())
    known = newest_knowledge(bars.filter(pl.col("knowledge_time") <= as_of))
    labels = compute_labels(known, TargetKind.LOG_REALIZED_VARIANCE, 5).filter(pl.col("symbol") != "S2")
    assert table["label"].drop_nulls().to_list() == pytest.approx(labels["label"].to_list())
    assert table.filter(pl.col("label").is_null())["event_time"].min() == day(26)


async def test_a_dataset_says_who_left_the_market_and_whose_prices_are_raw(
    start_feature: StartFeature,
) -> None:
    stays = [Quote("S0", index, 10.0 + index) for index in range(31)]
    lines = to_csv([*stays, *(quote for quote in market(2, 12) if quote.symbol == "S1")]).decode().split()
    flags = ["adjusted", *("false" if line.startswith("S1") else "true" for line in lines[1:])]
    content = "\n".join(f"{line},{flag}" for line, flag in zip(lines, flags, strict=True))
    async with start_feature() as feature:
        loaded = await load(feature, content.encode())
        created = await create(feature, spec(["S0", "S1"], day(30)))
        again = await feature.api.GetDataset(service_pb2.GetDatasetRequest(name=created.name))

    universe = again.universe
    assert loaded.accepted_count == 43
    assert [(edge.symbol, edge.event_time.ToDatetime(day(0).tzinfo)) for edge in universe.ended_symbols] == [
        ("S1", day(11))
    ]
    assert (universe.began_symbols, universe.symbols_without_bars) == ([], [])
    assert universe.unadjusted_symbols == ["S1"]
    assert universe.first_event_time.ToDatetime(day(0).tzinfo) == day(0)
    assert universe.last_event_time.ToDatetime(day(0).tzinfo) == day(30)
    assert "Ended inside the span: S1 (2021-01-15)" in universe.statement


async def test_a_dataset_is_written_once_and_anew_after_a_late_bar(start_feature: StartFeature) -> None:
    quotes = market(2, 20)
    async with start_feature() as feature:
        await load(feature, to_csv(quotes))
        first = await create(feature, spec(["S0"], day(15)))
        same = await create(feature, spec(["S0", "S0"], day(15), [f"{view}@1" for view in ALL_VIEWS]))
        await feature.send([Quote("S2", 10, 7.0)])
        after = await create(feature, spec(["S0"], day(15)))
        page = await feature.api.ListDatasets(service_pb2.ListDatasetsRequest(page_size=1))
        rest = await feature.api.ListDatasets(
            service_pb2.ListDatasetsRequest(page_size=1, page_token=page.next_page_token)
        )
        revised = feature.broker.events(ViewRevised)

    assert first == same
    assert after.name != first.name
    assert {view.data_revision for view in after.view_revisions} == {2}
    assert [event.data_revision for event in revised if event.feature_view == ALL_VIEWS[0]] == [1, 2]
    assert [page.datasets[0].name, rest.datasets[0].name] == [after.name, first.name]
    assert rest.next_page_token == ""


async def test_a_dataset_that_was_being_written_is_finished_after_a_restart(
    start_feature: StartFeature, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start_feature() as feature:
        await load(feature, to_csv(market(2, 20)))
    with monkeypatch.context() as patch:
        patch.setattr("mltrainer_feature.bootstrap.write_datasets", _sleep_for_ever)
        async with start_feature() as feature:
            request = service_pb2.CreateDatasetRequest(spec=spec(["S0"], day(15)))
            begun = await feature.api.CreateDataset(request)
    async with start_feature() as feature:
        finished = await create(feature, spec(["S0"], day(15)))

    assert begun.state == resources_pb2.Dataset.STATE_CREATING
    assert (finished.name, finished.state) == (begun.name, resources_pb2.Dataset.STATE_ACTIVE)


async def test_a_dataset_can_be_stopped_and_asked_for_again(
    start_feature: StartFeature, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start_feature() as feature:
        await load(feature, to_csv(market(2, 20)))
    with monkeypatch.context() as patch:
        patch.setattr("mltrainer_feature.bootstrap.write_datasets", _sleep_for_ever)
        async with start_feature() as feature:
            request = service_pb2.CreateDatasetRequest(spec=spec(["S0"], day(15)))
            begun = await feature.api.CreateDataset(request)
            stopped = await feature.api.CancelDataset(service_pb2.CancelDatasetRequest(name=begun.name))
    async with start_feature() as feature:
        again = await create(feature, spec(["S0"], day(15)))
        kept = await feature.api.CancelDataset(service_pb2.CancelDatasetRequest(name=again.name))

    assert stopped.state == resources_pb2.Dataset.STATE_CANCELLED
    assert (again.name, again.state) == (begun.name, resources_pb2.Dataset.STATE_ACTIVE)
    assert kept == again


async def _sleep_for_ever(*_arguments: object) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        pytest.param(spec([], day(1)), "INVALID_DATASET_SPEC", id="no symbols"),
        pytest.param(spec(["S0"], day(1), ["market_mood"]), "UNKNOWN_FEATURE_VIEW", id="an unknown view"),
        pytest.param(spec(["S0"], day(1), ["market_returns@2"]), "UNKNOWN_FEATURE_VIEW", id="its version"),
        pytest.param(spec(["S0", "XX"], day(1)), "UNKNOWN_SYMBOL", id="an unknown symbol"),
        pytest.param(spec(["S0"], MARKET_NOW + timedelta(days=1)), "AS_OF_IN_FUTURE", id="tomorrow"),
    ],
)
async def test_an_impossible_dataset_is_refused(
    start_feature: StartFeature, wanted: resources_pb2.DatasetSpec, reason: str
) -> None:
    async with start_feature() as feature:
        await feature.send([Quote("S0", 0, 1.0)])

        with pytest.raises(RpcFailure) as caught:
            await feature.api.CreateDataset(service_pb2.CreateDatasetRequest(spec=wanted))

    assert (caught.value.code, caught.value.reason) == (StatusCode.INVALID_ARGUMENT, reason)


async def test_rows_are_listed_in_pages(start_feature: StartFeature) -> None:
    async with start_feature() as feature:
        await feature.send(recent(2, 5))
        request = service_pb2.ListFeatureRowsRequest(
            parent="featureViews/market_returns", symbol="S1", page_size=3
        )
        first = await feature.api.ListFeatureRows(request)
        request.page_token = first.next_page_token
        second = await feature.api.ListFeatureRows(request)
        with pytest.raises(RpcFailure) as caught:
            await feature.api.ListFeatureRows(service_pb2.ListFeatureRowsRequest(parent="featureViews/none"))

    times = [row.event_time.ToDatetime(day(0).tzinfo) for row in [*first.rows, *second.rows]]
    assert times == [day(TODAY - back) for back in (4, 3, 2, 1, 0)]
    assert second.next_page_token == ""
    assert first.feature_names == [feature.name for feature in VIEWS["market_returns"].features]
    assert caught.value.code is StatusCode.NOT_FOUND


async def test_views_are_described(start_feature: StartFeature) -> None:
    async with start_feature() as feature:
        page = await feature.api.ListFeatureViews(service_pb2.ListFeatureViewsRequest(page_size=3))
        rest = await feature.api.ListFeatureViews(
            service_pb2.ListFeatureViewsRequest(page_size=3, page_token=page.next_page_token)
        )

    views = [*page.feature_views, *rest.feature_views]
    assert [view.name for view in views] == [f"featureViews/{name}" for name in ALL_VIEWS]
    assert not views[0].HasField("latest_event_time")


async def test_every_feature_names_its_unit_and_the_time_zone(start_feature: StartFeature) -> None:
    async with start_feature() as feature:
        stored = await feature.api.ListFeatureViews(service_pb2.ListFeatureViewsRequest())
        computed = await feature.api.ListOnDemandFeatureViews(service_pb2.ListOnDemandFeatureViewsRequest())

    described = [one for view in stored.feature_views for one in view.features]
    described += [one.feature for view in computed.views for one in view.features]
    described += [field for view in computed.views for field in view.request_fields]
    assert len(described) > len(feature_names())
    assert [one.name for one in described if not (one.unit and one.unit_meaning)] == []
    assert [one.name for one in described if "UTC" not in one.times] == []


async def test_an_unusable_bar_blocks_nobody(start_feature: StartFeature) -> None:
    async with start_feature() as feature:
        wrong = to_event(Quote("S0", TODAY, 1.0))
        wrong.close = -1.0
        await feature.broker.send(wrong)
        await feature.send([Quote("S0", TODAY, 1.0)])
        view = await feature.api.GetFeatureView(
            service_pb2.GetFeatureViewRequest(name="featureViews/market_returns")
        )

        assert feature.broker.dead_letters() == []
    assert view.row_count == 1
