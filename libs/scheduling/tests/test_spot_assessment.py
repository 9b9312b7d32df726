"""Before launch a job is told its price, the risk of missing its deadline and when it will be done."""

from math import inf, nan

import pytest
from mltrainer_scheduling.spot_assessment import (
    AvailabilityHistory,
    SpotJob,
    SpotPrices,
    assess,
)
from mltrainer_scheduling.spot_plan import PriceError, SpotTerms

HOUR_S = 3_600.0
JOB = SpotJob(work_s=2 * HOUR_S, deadline_s=4 * HOUR_S)
PRICES = SpotPrices(on_demand_usd_per_hour=3.0, spot_usd_per_hour=1.0)
MIXED = AvailabilityHistory(((True,) * 40 + (False,) * 20) * 10)


def test_with_a_fallback_nothing_is_at_risk_and_the_price_lies_between_spot_and_on_demand() -> None:
    told = assess(JOB, PRICES, MIXED)

    assert told.miss_risk == 0
    assert told.on_demand_usd is not None
    assert told.on_demand_usd / 3.2 <= told.expected_usd <= told.on_demand_usd
    assert told.low_usd <= told.expected_usd <= told.high_usd
    assert JOB.work_s <= told.earliest_finish_s <= told.latest_finish_s <= JOB.deadline_s


def test_without_a_fallback_the_risk_is_the_chance_that_spot_does_not_suffice() -> None:
    told = assess(JOB, SpotPrices(None, 1.0), MIXED)

    assert 0 < told.miss_risk < 1
    assert told.on_demand_usd is None


def test_a_job_longer_than_its_deadline_is_certain_to_miss_it() -> None:
    told = assess(SpotJob(5 * HOUR_S, 4 * HOUR_S), PRICES, MIXED)

    assert (told.miss_risk, told.earliest_finish_s, told.latest_finish_s) == (1.0, 5 * HOUR_S + 390, inf)


@pytest.mark.parametrize(
    "prices",
    [pytest.param(SpotPrices(3.0), id="not offered"), pytest.param(SpotPrices(3.0, 3.5), id="dearer")],
)
def test_where_spot_is_no_gain_the_answer_is_on_demand(prices: SpotPrices) -> None:
    told = assess(JOB, prices, MIXED)

    assert (told.expected_usd, told.on_demand_share) == (told.on_demand_usd, 1.0)


@pytest.mark.parametrize(
    "prices",
    [
        pytest.param(SpotPrices(None), id="none at all"),
        pytest.param(SpotPrices(0.0, 1.0), id="on-demand for nothing"),
        pytest.param(SpotPrices(3.0, 0.0), id="spot for nothing"),
        pytest.param(SpotPrices(nan, 1.0), id="not a number"),
        pytest.param(SpotPrices(3.0, -1.0), id="negative"),
    ],
)
def test_a_price_that_cannot_be_is_refused(prices: SpotPrices) -> None:
    with pytest.raises(PriceError):
        assess(JOB, prices, MIXED)


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(SpotJob(0, 1), id="no work"),
        pytest.param(SpotJob(-1, 1), id="negative work"),
        pytest.param(SpotJob(1, inf), id="no deadline"),
        pytest.param(SpotJob(1, 2, nan), id="changeover not a number"),
    ],
)
def test_a_duration_that_cannot_be_is_refused(job: SpotJob) -> None:
    with pytest.raises(ValueError, match=r"duration|work"):
        assess(job, PRICES, MIXED)


def test_a_zone_that_was_never_up_costs_about_what_on_demand_does() -> None:
    told = assess(JOB, PRICES, AvailabilityHistory((False,) * 2_000))

    assert told.on_demand_usd is not None
    assert told.expected_usd == pytest.approx(told.on_demand_usd, rel=0.1)


def test_equal_questions_have_equal_answers() -> None:
    assert assess(JOB, PRICES, MIXED) == assess(JOB, PRICES, MIXED)


@pytest.mark.parametrize("ratio", [nan, inf, 0.0, -0.3])
def test_terms_whose_prices_cannot_be_are_refused(ratio: float) -> None:
    with pytest.raises(PriceError, match="no number above zero"):
        SpotTerms(work_ticks=20, changeover_ticks=2, spot_ratio=ratio)
