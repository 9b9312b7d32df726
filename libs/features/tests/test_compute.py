from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mltrainer_features import (
    MAX_LOOK_BACK_BARS,
    VIEWS,
    FeatureView,
    InvalidBarsError,
    UnknownViewError,
    bounded_history,
    compute_features,
    compute_latest,
    cross_section_readiness,
    feature_names,
    view_digest,
)

START = datetime(2020, 1, 1, 21, tzinfo=UTC)


def day(index: int) -> datetime:
    return START + timedelta(days=index)


def make_bars(closes: dict[str, list[float | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"symbol": symbol, "event_time": day(index), "close": close}
            for symbol, prices in closes.items()
            for index, close in enumerate(prices)
            if close is not None
        ],
        schema={"symbol": pl.String, "event_time": pl.Datetime("us", "UTC"), "close": pl.Float64},
    )


def random_bars(seed: int, dates: int, symbols: int, missing_share: float) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (symbols, dates)), axis=1))
    gone = rng.random((symbols, dates)) < missing_share
    return make_bars(
        {
            f"S{row}": [None if gone[row, column] else float(prices[row, column]) for column in range(dates)]
            for row in range(symbols)
        }
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    extra=st.integers(1, 40),
    symbols=st.integers(1, 4),
    missing_share=st.sampled_from([0.0, 0.02, 0.2]),
    last=st.integers(1, 5),
)
def test_a_bounded_look_back_gives_what_the_whole_history_gives(
    seed: int, extra: int, symbols: int, missing_share: float, last: int
) -> None:
    bars = random_bars(seed, MAX_LOOK_BACK_BARS + 60 + extra, symbols, missing_share)
    since = day(MAX_LOOK_BACK_BARS + 60 + extra - last)

    whole = compute_features(bars).filter(pl.col("event_time") >= since)
    streamed = compute_features(bounded_history(bars, since), since_event_time=since)

    assert streamed.drop(feature_names()).equals(whole.drop(feature_names()))
    np.testing.assert_allclose(
        streamed.select(feature_names()).to_numpy(),
        whole.select(feature_names()).to_numpy(),
        rtol=0,
        atol=1e-12,
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    symbols=st.integers(1, 5),
    missing_share=st.sampled_from([0.0, 0.02, 0.6]),
    dates=st.sampled_from([7, 30, MAX_LOOK_BACK_BARS + 10]),
    last=st.integers(1, 5),
)
def test_a_matrix_of_closes_gives_the_same_bits_as_its_bars(
    seed: int, symbols: int, missing_share: float, dates: int, last: int
) -> None:
    bars = random_bars(seed, dates, symbols, missing_share)
    wide = bars.pivot("symbol", index="event_time", values="close", sort_columns=True).sort("event_time")
    assume(wide.height > last)
    first_date = wide.height - last

    found, places, values = compute_latest(wide.drop("event_time").to_numpy(), first_date)

    expected = compute_features(bars, since_event_time=wide["event_time"][first_date])
    assert wide["event_time"][found].to_list() == expected["event_time"].to_list()
    names = np.array(wide.columns[1:])
    assert names[places].tolist() == expected["symbol"].to_list()
    assert values.tobytes() == expected.select(feature_names()).fill_null(np.nan).to_numpy().tobytes()


@pytest.mark.parametrize("missing_share", [0.0, 0.5])
def test_ranks_share_ties_and_leave_the_absent_out(missing_share: float) -> None:
    bars = random_bars(5, 40, 6, missing_share).with_columns(pl.col("close").round(0))

    computed = compute_features(bars, ["market_returns", "market_cross_section"])

    ranked = pl.col("return_5").rank("average") - 0.5
    expected = (ranked / pl.col("return_5").count()).over("event_time")
    assert computed["rank_return_5"].equals(computed.select(expected)["return_5"])


def test_a_bounded_history_leaves_old_bars_out() -> None:
    bars = random_bars(1, 600, 2, 0.0)

    kept = bounded_history(bars, day(599))

    assert kept["event_time"].min() == day(599 - MAX_LOOK_BACK_BARS)


def test_a_later_bar_changes_no_earlier_feature() -> None:
    bars = random_bars(3, 320, 3, 0.05)
    earlier = bars.filter(pl.col("event_time") <= day(300))

    before = compute_features(earlier)
    after = compute_features(bars).filter(pl.col("event_time") <= day(300))

    assert before.equals(after)


def test_log_variance_is_the_floored_mean_of_squared_returns() -> None:
    prices: list[float | None] = [100.0, 110.0, 99.0, 99.0, 105.0, 100.0]
    returns = np.diff(np.log(np.array(prices, dtype=float)))

    last = compute_features(make_bars({"A": prices}), ["market_volatility"]).row(-1, named=True)

    assert last["log_variance_1"] == pytest.approx(np.log(returns[-1] ** 2))
    assert last["log_variance_5"] == pytest.approx(np.log(np.mean(returns**2)))
    assert last["log_variance_22"] is None


def test_an_unchanged_price_has_the_floor_as_variance() -> None:
    last = compute_features(make_bars({"A": [10.0] * 300, "B": [20.0] * 300})).row(-1, named=True)

    assert last["log_variance_5"] == pytest.approx(np.log(1e-8))
    assert last["correlation_market_66"] == 0.0
    assert last["drawdown_252"] == 0.0
    assert all(np.isfinite(last[name]) for name in feature_names())


def test_market_features_average_over_the_symbols_present() -> None:
    bars = make_bars({"A": [100.0, 110.0, 110.0], "B": [100.0, 100.0, None], "C": [None, 100.0, 121.0]})

    market = compute_features(bars, ["market_returns"]).select("event_time", "market_return_1").unique()

    by_time = dict(market.rows())
    assert by_time[day(1)] == pytest.approx(np.log(1.1) / 2)
    assert by_time[day(2)] == pytest.approx(np.log(1.21) / 2)


def test_ranks_lie_in_the_middle_of_their_place() -> None:
    rising: list[float | None] = [100 + index for index in range(30)]
    bars = make_bars({"A": rising, "B": [100.0] * 30, "C": rising[::-1]})

    last = compute_features(bars, ["market_cross_section"]).tail(3)

    assert last["rank_return_5"].to_list() == pytest.approx([5 / 6, 3 / 6, 1 / 6])


def test_a_single_symbol_ranks_in_the_middle() -> None:
    bars = random_bars(2, 30, 1, 0.0)

    assert compute_features(bars, ["market_cross_section"])["rank_return_5"][-1] == 0.5


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_every_window_is_as_long_as_its_definition_says(view: FeatureView) -> None:
    bars = random_bars(4, MAX_LOOK_BACK_BARS + 2, 3, 0.0)

    features = compute_features(bars, [view.name]).filter(pl.col("symbol") == "S0")

    for definition in view.features:
        assert features[definition.name].null_count() == definition.window - 1, definition.name


def test_there_are_four_views_and_more_than_26_features() -> None:
    assert set(VIEWS) == {"market_returns", "market_volatility", "market_momentum", "market_cross_section"}
    assert len(set(feature_names())) == len(feature_names()) > 26


def test_a_changed_definition_changes_the_digest_of_its_view() -> None:
    digests = {view_digest(view) for view in VIEWS.values()}
    volatility = VIEWS["market_volatility"]

    changed = FeatureView(volatility.name, 2, volatility.description, volatility.features)

    assert len(digests) == len(VIEWS)
    assert view_digest(changed) not in digests


def test_an_unknown_view_is_named() -> None:
    with pytest.raises(UnknownViewError, match="market_mood"):
        compute_features(random_bars(5, 5, 1, 0.0), ["market_mood"])


def test_unusable_bars_are_refused() -> None:
    with pytest.raises(InvalidBarsError, match="PRICE_NOT_POSITIVE"):
        compute_features(make_bars({"A": [1.0, -1.0]}))


def test_no_bars_have_no_features() -> None:
    assert compute_features(make_bars({})).height == 0


def test_readiness_names_the_symbols_without_a_bar() -> None:
    bars = make_bars({"A": [1.0, 1.0], "B": [1.0]})

    assert cross_section_readiness(bars, ["A", "B"], day(0)).complete
    assert cross_section_readiness(bars, ["A", "B"], day(1)).missing_symbols == ("B",)
