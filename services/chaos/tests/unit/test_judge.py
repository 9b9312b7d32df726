import pytest
from mltrainer_chaos.domain.judge import SteadyStateJudge


def test_a_failure_within_the_tolerance_after_a_fault_is_no_deviation() -> None:
    judge = SteadyStateJudge(recovery_tolerance_s=5.0)
    judge.fault_injected(10.0, 10.1)

    judge.sampled(10.2, 10.3, met=False)
    recovered = judge.sampled(13.0, 13.5, met=True)

    assert recovered
    assert (judge.deviation, judge.recovery_s) == (None, 3.5)


def test_a_failure_beyond_the_tolerance_is_a_deviation() -> None:
    judge = SteadyStateJudge(recovery_tolerance_s=5.0)
    judge.fault_injected(10.0, 10.0)

    judge.sampled(14.9, 15.1, met=False)

    assert judge.deviation == "the steady state did not hold 5.10 s after the fault; the tolerance is 5 s"


def test_a_failure_without_a_fault_is_a_deviation() -> None:
    judge = SteadyStateJudge(recovery_tolerance_s=5.0)

    judge.sampled(1.0, 1.1, met=False)

    assert judge.deviation is not None
    assert "nothing had been injected" in judge.deviation


def test_a_good_sample_that_began_before_the_fault_had_its_effect_proves_no_recovery() -> None:
    judge = SteadyStateJudge(recovery_tolerance_s=5.0)
    judge.fault_injected(10.0, 10.2)

    recovered = judge.sampled(10.1, 10.3, met=True)

    assert not recovered
    assert judge.awaits_recovery


def test_a_recovery_that_comes_late_is_measured_and_a_deviation() -> None:
    judge = SteadyStateJudge(recovery_tolerance_s=5.0)
    judge.fault_injected(10.0, 10.0)

    judge.sampled(15.5, 16.0, met=True)

    assert judge.recovery_s == 6.0
    assert judge.deviation is not None


def test_of_several_faults_the_slowest_recovery_counts() -> None:
    judge = SteadyStateJudge(recovery_tolerance_s=5.0)
    judge.fault_injected(10.0, 10.0)
    judge.sampled(12.0, 13.0, met=True)
    judge.fault_injected(20.0, 20.0)

    judge.sampled(20.5, 21.0, met=True)

    assert judge.recovery_s == 3.0


def test_a_sample_that_sees_a_fault_before_the_injector_returns_is_no_deviation() -> None:
    judge = SteadyStateJudge(recovery_tolerance_s=5.0)

    judge.fault_begins(10.0)
    judge.sampled(10.01, 10.02, met=False)
    judge.fault_injected(10.0, 10.1)
    judge.sampled(12.0, 12.1, met=True)

    assert judge.deviation is None
    assert judge.recovery_s == pytest.approx(2.1)
