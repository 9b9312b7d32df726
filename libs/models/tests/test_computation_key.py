from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_models import (
    ComputationInputs,
    EvaluationInputs,
    FieldDifference,
    SearchInputs,
    ViewInputs,
    computation_key,
    explain_difference,
    floor_to_closed_bar,
)

INPUTS = ComputationInputs(
    code_digest="c0de",
    environment_digest="e0",
    catalogue_digest="ca",
    views=(ViewInputs("market_returns", "d1", "r7"), ViewInputs("market_volatility", "d2", "r7")),
    target_kind="LOG_REALIZED_VARIANCE",
    horizon_bars=5,
    symbols=("AAPL", "MSFT"),
    as_of=datetime(2022, 12, 28, 21, tzinfo=UTC),
    evaluation=EvaluationInputs("2019-01-02", "1y", 0),
    search=SearchInputs(("har", "ridge"), 10, 7),
    budget={"cpu_seconds": 60.0},
)
CHANGES = [
    pytest.param({"code_digest": "x"}, ["code_digest"], id="code"),
    pytest.param({"environment_digest": "x"}, ["environment_digest"], id="environment"),
    pytest.param({"catalogue_digest": "x"}, ["catalogue_digest"], id="catalogue"),
    pytest.param({"horizon_bars": 6}, ["target.horizon_bars"], id="horizon"),
    pytest.param({"target_kind": "DIRECTION"}, ["target.kind"], id="target"),
    pytest.param({"symbols": ("AAPL", "AMD")}, ["symbols.AMD", "symbols.MSFT"], id="symbols"),
    pytest.param({"as_of": datetime(2022, 12, 29, 21, tzinfo=UTC)}, ["as_of_us"], id="as-of"),
    pytest.param(
        {"evaluation": EvaluationInputs("2019-01-02", "1y", 5)}, ["evaluation.embargo_bars"], id="embargo"
    ),
    pytest.param({"search": SearchInputs(("har", "ridge"), 10, 8)}, ["search.seed"], id="seed"),
    pytest.param({"budget": {"cpu_seconds": 61.0}}, ["budget.cpu_seconds"], id="budget"),
    pytest.param(
        {"views": (ViewInputs("market_returns", "d1", "r8"), INPUTS.views[1])},
        ["views.market_returns.data_revision"],
        id="data-revision",
    ),
]


def test_the_key_is_stable_across_releases() -> None:
    assert computation_key(INPUTS) == "e9f6ccd36f0a41b14d749adc51260109761714fbf866e6985e9fc95aefbd9eab"


@pytest.mark.parametrize(("change", "fields"), CHANGES)
def test_every_input_changes_the_key_and_is_explained(change: dict[str, object], fields: list[str]) -> None:
    changed = replace(INPUTS, **change)

    assert computation_key(changed) != computation_key(INPUTS)
    assert [difference.field for difference in explain_difference(INPUTS, changed)] == fields


def test_an_explanation_shows_both_values() -> None:
    assert explain_difference(INPUTS, replace(INPUTS, horizon_bars=6)) == (
        FieldDifference("target.horizon_bars", "5", "6"),
    )


def test_order_within_sets_does_not_count() -> None:
    reordered = replace(
        INPUTS,
        symbols=("MSFT", "AAPL"),
        views=INPUTS.views[::-1],
        search=SearchInputs(("ridge", "har"), 10, 7),
    )

    assert computation_key(reordered) == computation_key(INPUTS)
    assert explain_difference(INPUTS, reordered) == ()


def test_the_same_instant_in_another_zone_has_the_same_key() -> None:
    there = INPUTS.as_of.astimezone(timezone(timedelta(hours=9)))

    assert computation_key(replace(INPUTS, as_of=there)) == computation_key(INPUTS)


@pytest.mark.parametrize(
    ("as_of", "floored"),
    [
        pytest.param(
            datetime(2022, 12, 28, 21, tzinfo=UTC), datetime(2022, 12, 28, 21, tzinfo=UTC), id="at-close"
        ),
        pytest.param(
            datetime(2022, 12, 28, 20, tzinfo=UTC), datetime(2022, 12, 27, 21, tzinfo=UTC), id="before"
        ),
        pytest.param(
            datetime(2022, 12, 29, 3, tzinfo=UTC), datetime(2022, 12, 28, 21, tzinfo=UTC), id="after"
        ),
    ],
)
def test_knowledge_time_moves_back_to_the_last_closed_bar(as_of: datetime, floored: datetime) -> None:
    assert floor_to_closed_bar(as_of, timedelta(days=1), timedelta(hours=21)) == floored


@given(
    as_of=st.datetimes(timezones=st.just(UTC)).filter(lambda time: 1960 < time.year < 2100),
    minutes=st.integers(1, 1440),
)
def test_flooring_is_idempotent_and_never_looks_ahead(as_of: datetime, minutes: int) -> None:
    interval = timedelta(minutes=minutes)

    floored = floor_to_closed_bar(as_of, interval)

    assert floored <= as_of < floored + interval
    assert floor_to_closed_bar(floored, interval) == floored


@pytest.mark.parametrize(
    ("as_of", "interval"),
    [
        pytest.param(datetime(2022, 1, 1), timedelta(days=1), id="no-zone"),  # noqa: DTZ001 - the refused input
        pytest.param(datetime(2022, 1, 1, tzinfo=UTC), timedelta(), id="no-interval"),
    ],
)
def test_flooring_refuses_what_has_no_meaning(as_of: datetime, interval: timedelta) -> None:
    with pytest.raises(ValueError, match=r"must have|positive"):
        floor_to_closed_bar(as_of, interval)
