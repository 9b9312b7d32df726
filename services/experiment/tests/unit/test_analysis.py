from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from mltrainer_experiment.domain.analysis import Conclusion, DayTally, Observations, analyse

DAY = date(2022, 1, 3)
EVEN = {"champion": 500, "challenger": 500}


def _tally(day: int, variant: str, mean: float, count: int = 10) -> DayTally:
    return DayTally(DAY + timedelta(days=day), variant, count, mean * count, (mean * mean + 1.0) * count)


def _tallies(days: int, effect: float, spread: float = 0.1, seed: int = 1) -> list[DayTally]:
    noise = np.random.default_rng(seed).standard_normal((days, 2)) * spread
    pairs = [
        (
            _tally(day, "champion", 1.0 + noise[day, 0]),
            _tally(day, "challenger", 1.0 + effect + noise[day, 1]),
        )
        for day in range(days)
    ]
    return [tally for pair in pairs for tally in pair]


def _analyse(make: Any, tallies: list[DayTally], exposed: dict[str, int] = EVEN, **changes: Any) -> Any:
    active = make.active(**changes)
    return analyse(active, Observations(exposed, tallies), 20, active.start_time)


@pytest.mark.parametrize(
    ("effect", "conclusion"),
    [
        pytest.param(-0.3, Conclusion.CHALLENGER_BETTER, id="smaller"),
        pytest.param(0.3, Conclusion.CONTROL_BETTER, id="larger"),
        pytest.param(0.0, Conclusion.UNDECIDED, id="equal"),
    ],
)
def test_the_arm_with_the_smaller_metric_is_better(make: Any, effect: float, conclusion: Conclusion) -> None:
    result = _analyse(make, _tallies(40, effect))

    assert result.conclusion is conclusion
    assert result.lower <= result.effect <= result.upper
    assert "squared_error" in result.explanation
    assert result.conclusion.is_final is (conclusion is not Conclusion.UNDECIDED)


def test_a_conclusion_is_that_of_the_first_look_that_decides(make: Any) -> None:
    decided = _tallies(30, -0.3)
    reversal = [_tally(day, variant, 9.0) for day in range(30, 60) for variant in ("champion", "challenger")]

    result = _analyse(make, decided + reversal)

    assert (result.conclusion, result.days) == (Conclusion.CHALLENGER_BETTER, 20)


def test_below_the_minimum_of_closed_days_nothing_is_concluded(make: Any) -> None:
    result = _analyse(make, _tallies(20, -5.0))

    assert (result.conclusion, result.days, result.p_value) == (Conclusion.NOT_ENOUGH_DATA, 19, 1.0)
    assert result.explanation.startswith("19 of the 20 closed days")


def test_days_with_one_arm_only_and_the_open_day_are_left_out(make: Any) -> None:
    tallies = [
        _tally(0, "champion", 1.0),
        _tally(0, "challenger", 2.0),
        _tally(1, "champion", 7.0),
        _tally(2, "champion", 1.0),
        _tally(2, "challenger", 9.0),
    ]

    result = _analyse(make, tallies)

    assert (result.days, result.effect) == (1, 1.0)


def test_a_broken_split_forbids_every_conclusion(make: Any) -> None:
    result = _analyse(make, _tallies(40, -0.3), {"champion": 500, "challenger": 700})

    assert result.conclusion is Conclusion.SAMPLE_RATIO_MISMATCH
    assert not result.conclusion.is_final
    assert "500 to 700" in result.explanation


def test_a_harmful_challenger_is_rolled_back_before_the_first_ordinary_look(make: Any) -> None:
    tallies = _tallies(14, 2.0)

    assert _analyse(make, tallies).conclusion is Conclusion.NOT_ENOUGH_DATA
    guarded = _analyse(make, tallies, max_loss=0.5)

    assert (guarded.conclusion, guarded.days) == (Conclusion.CONTROL_BETTER, 10)
    assert guarded.lower > 0.5


def test_an_arm_is_summarised_over_its_outcomes(make: Any) -> None:
    tallies = [DayTally(DAY, "champion", 2, 4.0, 10.0)]  # outcomes 1 and 3

    (champion, challenger) = _analyse(make, tallies, {"champion": 2}).variants

    assert (champion.exposed_units, champion.outcome_count, champion.mean) == (2, 2, 2.0)
    assert champion.standard_error == pytest.approx(1.0)
    assert (challenger.exposed_units, challenger.outcome_count) == (0, 0)


def test_nothing_observed_is_not_enough(make: Any) -> None:
    result = _analyse(make, [], {})

    assert (result.conclusion, result.effect, result.srm_p_value) == (Conclusion.NOT_ENOUGH_DATA, 0.0, 1.0)
