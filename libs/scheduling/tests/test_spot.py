"""Spot policies keep every deadline that on-demand could keep, and cost no less than knowing the future."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltrainer_scheduling.jobs import Flags
from mltrainer_scheduling.spot import DeadlineTooShortError, SpotPolicy, choice_for, stake
from mltrainer_scheduling.spot_forecast import AvailabilityModel, learn_availability, run_ages, run_lengths
from mltrainer_scheduling.spot_plan import SpotTerms, plan_costs
from mltrainer_scheduling.spot_simulation import (
    SpotJobs,
    jobs_in_zone,
    offline_costs,
    plan_for,
    simulate_spot,
)
from mltrainer_scheduling.spot_zones import simulate_zones

TERMS = SpotTerms(work_ticks=20, changeover_ticks=2, spot_ratio=0.3)
DEADLINE = 32
NEVER = np.zeros(0, np.bool_)
MARKET = AvailabilityModel((3.0, 15.0), (0.5, 0.5), (3.0, 10.0), (0.5, 0.5))
PLAN = plan_costs([MARKET], TERMS, 60)
PLANS = {ratio: plan_costs([MARKET], replace(TERMS, spot_ratio=ratio), 60) for ratio in (0.05, 0.3, 0.95)}
SERIES = st.lists(st.booleans(), min_size=60, max_size=60).map(np.array)
WITH_FALLBACK = [policy for policy in SpotPolicy if policy is not SpotPolicy.SPOT_ONLY]


def jobs(*series: Flags) -> SpotJobs:
    available = np.array(series, np.bool_)
    ages = np.array([run_ages(one, NEVER) for one in available])
    return SpotJobs(available, ages, np.zeros(available.shape, np.int64))


def adversary(pattern: str) -> Flags:
    return np.array([letter == "1" for letter in pattern * 60][:60])


@settings(deadline=None, max_examples=60)
@given(SERIES, st.sampled_from(WITH_FALLBACK), st.integers(22, 60))
def test_no_policy_misses_a_deadline_that_on_demand_keeps(
    series: Flags, policy: SpotPolicy, deadline: int
) -> None:
    runs = simulate_spot(jobs(series), TERMS, deadline, policy, PLAN)

    assert not runs.missed.any()
    assert runs.finish_tick[0] <= deadline


@pytest.mark.parametrize("policy", WITH_FALLBACK)
@pytest.mark.parametrize("pattern", ["0", "1", "10", "110", "1110", "001", "11111111100000"])
@pytest.mark.parametrize("deadline", [22, 23, 30, 60])
def test_availability_made_to_hurt_does_not_miss_a_deadline(
    policy: SpotPolicy, pattern: str, deadline: int
) -> None:
    runs = simulate_spot(jobs(adversary(pattern)), TERMS, deadline, policy, PLAN)

    assert not runs.missed.any()


@settings(deadline=None, max_examples=60)
@given(SERIES, st.sampled_from(list(SpotPolicy)))
def test_knowing_the_future_costs_no_more_than_any_policy(series: Flags, policy: SpotPolicy) -> None:
    runs = simulate_spot(jobs(series), TERMS, DEADLINE, policy, PLAN)

    least = offline_costs(series[None, :], TERMS, DEADLINE)

    finished = ~runs.missed
    assert (runs.cost[finished] >= least[finished] - 1e-4).all()


@settings(deadline=None, max_examples=30)
@given(SERIES)
def test_more_time_never_makes_the_best_plan_dearer(series: Flags) -> None:
    costs = [offline_costs(series[None, :], TERMS, deadline)[0] for deadline in (22, 30, 40, 60)]

    assert costs == sorted(costs, reverse=True)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([0.2, 0.5, 0.8]))
def test_on_average_the_forecast_is_never_dearer_than_on_demand(seed: int, share: float) -> None:
    market = AvailabilityModel((3.0, 30.0), (0.5, 0.5), (3.0, 30.0 * (1 - share) / share), (0.5, 0.5))
    series = market.sample(100, 60, np.random.default_rng(seed))
    plan = plan_costs([market], TERMS, 60)

    runs = simulate_spot(jobs(*series), TERMS, DEADLINE, SpotPolicy.DEFAULT, plan)

    assert runs.cost.mean() <= TERMS.work_ticks + TERMS.changeover_ticks


def test_spot_alone_misses_the_deadline_where_there_is_none() -> None:
    runs = simulate_spot(jobs(adversary("0")), TERMS, DEADLINE, SpotPolicy.SPOT_ONLY)

    assert runs.missed.all()
    assert runs.cost[0] == 0


def test_a_zone_that_is_always_up_costs_the_spot_price_and_one_start() -> None:
    runs = simulate_spot(jobs(adversary("1")), TERMS, DEADLINE, SpotPolicy.DEFAULT, PLAN)

    assert (runs.cost[0], runs.starts[0]) == (pytest.approx(22 * 0.3), 1)


def test_too_little_time_for_on_demand_is_refused_with_what_would_be_needed() -> None:
    with pytest.raises(DeadlineTooShortError) as refused:
        simulate_spot(jobs(adversary("1")), TERMS, 21, SpotPolicy.ON_DEMAND)

    assert (refused.value.needed_ticks, refused.value.deadline_ticks) == (22, 21)


def test_the_default_policy_needs_a_plan() -> None:
    with pytest.raises(ValueError, match="plan"):
        choice_for(SpotPolicy.DEFAULT, TERMS)


def test_a_choice_is_a_pure_function_of_the_states() -> None:
    series = jobs(*MARKET.sample(20, 60, np.random.default_rng(1)))

    first, second = (simulate_spot(series, TERMS, DEADLINE, SpotPolicy.DEFAULT, PLAN) for _ in range(2))

    assert np.array_equal(first.cost, second.cost)


def test_the_forecast_knows_only_what_came_before_the_lesson() -> None:
    series = np.arange(4_000) % 40 < 20
    changed = series.copy()
    changed[2_000:] = False

    _, known = jobs_in_zone(series, [0], 60)
    _, other = jobs_in_zone(changed, [0], 60)

    assert known[:2] == other[:2]
    assert known[2] != other[2]


def test_an_unwatched_zone_has_the_forecast_of_the_prior() -> None:
    model = learn_availability(NEVER)

    assert model.up_ticks[0] < model.up_ticks[1]


def test_the_fit_finds_both_lengths_of_a_mixture() -> None:
    truth = AvailabilityModel((4.0, 80.0), (0.6, 0.4), (4.0, 60.0), (0.6, 0.4))
    series = truth.sample(1, 30_000, np.random.default_rng(3))[0]

    model = learn_availability(series)

    assert model.up_ticks == pytest.approx((4.0, 80.0), rel=0.25)
    assert model.down_ticks == pytest.approx((4.0, 60.0), rel=0.25)


def test_run_lengths_and_ages_agree() -> None:
    series = np.array([True, True, False, True])

    available, ticks = run_lengths(series)

    assert (available.tolist(), ticks.tolist()) == ([True, False, True], [2, 1, 1])
    assert run_ages(series, np.array([True])).tolist() == [2, 3, 1, 1]


@settings(deadline=None, max_examples=20)
@given(SERIES, SERIES, st.integers(22, 60), st.sampled_from([0.0, 1.0, 50.0]))
def test_moving_between_zones_misses_no_deadline_either(
    first: Flags, second: Flags, deadline: int, egress: float
) -> None:
    zones = {"a": jobs(first), "b": jobs(second)}

    runs = simulate_zones(zones, {"a": PLAN, "b": PLAN}, TERMS, deadline, egress_ticks=egress)

    assert not runs.missed.any()


def test_a_move_is_made_when_it_is_cheap_and_not_when_it_is_dear() -> None:
    leaves, comes = adversary("1111111111" + "0" * 50), adversary("0000000000" + "1" * 50)
    zones, plans = {"a": jobs(leaves), "b": jobs(comes)}, {"a": PLAN, "b": PLAN}

    cheap, dear = (
        simulate_zones(zones, plans, TERMS, DEADLINE, egress_ticks=egress).moves[0] for egress in (0.5, 100.0)
    )

    assert (cheap, dear) == (1, 0)


def test_plans_are_solved_for_the_default_policy_only() -> None:
    assert plan_for(SpotPolicy.GREEDY, [MARKET], TERMS, DEADLINE) is None
    assert plan_for(SpotPolicy.DEFAULT, [MARKET], TERMS, DEADLINE) is not None


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 38), st.sampled_from([0.05, 0.3, 0.95]), st.integers(0, 2**32))
def test_where_spot_never_comes_the_default_costs_what_on_demand_costs(
    slack_ticks: int, ratio: float, seed: int
) -> None:
    up, down = np.random.default_rng(seed).uniform(1.5, 60.0, 2)
    hopeful = AvailabilityModel((up, 2 * up), (0.5, 0.5), (down, 2 * down), (0.5, 0.5))
    terms = replace(TERMS, spot_ratio=ratio)

    runs = simulate_spot(
        jobs(adversary("0")), terms, 22 + slack_ticks, SpotPolicy.DEFAULT, plan_costs([hopeful], terms, 60)
    )

    assert runs.cost[0] == pytest.approx(22.0)
    assert not runs.missed.any()


@settings(deadline=None, max_examples=100)
@given(SERIES, st.integers(22, 60), st.sampled_from(list(PLANS)))
def test_on_any_series_the_default_is_dearer_than_on_demand_by_its_stake_at_most(
    series: Flags, deadline: int, ratio: float
) -> None:
    terms = replace(TERMS, spot_ratio=ratio)

    runs = simulate_spot(jobs(series), terms, deadline, SpotPolicy.DEFAULT, PLANS[ratio])

    assert runs.cost[0] <= 22.0 + stake(terms) + 1e-6
    assert not runs.missed.any()


def test_a_job_of_two_days_stakes_a_hundredth() -> None:
    terms = SpotTerms(work_ticks=886, changeover_ticks=2, spot_ratio=0.318)

    assert stake(terms) == pytest.approx(0.01 * 888)
