import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltrainer_scheduling.figures import summarize
from mltrainer_scheduling.policies import DEFAULT_TERMS, ORACLES, POLICY_NAMES, policy
from mltrainer_scheduling.simulation import Replay, StalledError, TraceJob, cluster, replay, unplaceable

# Five in a usual run; benchmarks/scheduling/README.md tells how to look at ten thousand.
_EXAMPLES = int(os.environ.get("MLTRAINER_SCHEDULES", "10")) // 2


@st.composite
def traces(draw: st.DrawFn) -> list[TraceJob]:
    return [
        TraceJob(
            f"j{index}",
            float(draw(st.integers(0, 3_000))),
            draw(st.sampled_from((1, 1, 2, 4, 6, 8, 12))),
            float(draw(st.sampled_from((60, 300, 5_000)))),
            draw(st.sampled_from("ab")),
        )
        for index in range(draw(st.integers(1, 16)))
    ]


def _replay(jobs: list[TraceJob], name: str) -> Replay:
    return replay(jobs, cluster(16, 8), policy(name), restore_s=60.0, knows_durations=name in ORACLES)


@pytest.mark.parametrize("name", POLICY_NAMES)
@settings(max_examples=_EXAMPLES, deadline=None)
@given(jobs=traces())
def test_every_job_finishes_within_what_was_offered_and_never_before_its_time(
    name: str, jobs: list[TraceJob]
) -> None:
    seen = _replay(jobs, name)

    assert np.isfinite(seen.finish_s).all()
    assert (seen.finish_s - seen.submit_s >= seen.duration_s - 1e-6).all()
    assert (seen.used_gpus <= seen.total_gpus).all()
    work = sum(job.gpus * job.duration_s for job in jobs)
    assert float((np.diff(seen.time_s) * seen.used_gpus[:-1]).sum()) >= work - 1e-3


@settings(max_examples=_EXAMPLES, deadline=None)
@given(jobs=traces())
def test_a_replay_gives_the_same_each_time(jobs: list[TraceJob]) -> None:
    first, second = _replay(jobs, "default"), _replay(jobs, "default")

    assert first.finish_s.tolist() == second.finish_s.tolist()
    assert first.preemptions.tolist() == second.preemptions.tolist()


@settings(max_examples=_EXAMPLES, deadline=None)
@given(jobs=traces())
def test_preemptions_of_a_job_are_bounded_by_its_length(jobs: list[TraceJob]) -> None:
    seen = _replay(jobs, "default")

    # After the first preemption, each further one is preceded by a minimum run of progress.
    bound = 1 + np.ceil(seen.duration_s / DEFAULT_TERMS.minimum_run_s)
    assert (seen.preemptions <= np.minimum(bound, DEFAULT_TERMS.most_preemptions)).all()


def test_a_preempted_job_keeps_its_progress_and_pays_to_restore() -> None:
    jobs = [TraceJob("long", 0.0, 1, 1_000.0), TraceJob("short", 100.0, 1, 10.0)]

    seen = replay(jobs, cluster(1, 1), policy("srtf"), restore_s=60.0, knows_durations=True)

    assert seen.finish_s.tolist() == [1_070.0, 110.0]
    assert seen.preemptions.tolist() == [1, 0]


def test_utilisation_counts_only_while_somebody_waits() -> None:
    jobs = [TraceJob("a", 0.0, 1, 100.0), TraceJob("b", 0.0, 2, 100.0)]

    figures = summarize(replay(jobs, cluster(2, 2), policy("fifo")))

    assert figures["utilization_under_backlog"] == pytest.approx(0.5)
    assert figures["mean_jct_s"] == pytest.approx(150.0)
    assert figures["makespan_s"] == pytest.approx(200.0)


def test_a_gang_that_never_fits_stalls_the_replay_by_name() -> None:
    with pytest.raises(StalledError, match="'wide'"):
        replay([TraceJob("wide", 0.0, 3, 1.0)], cluster(2, 1), policy("default"))


def test_gangs_that_no_empty_cluster_holds_are_named_beforehand() -> None:
    jobs = [TraceJob(f"w{gpus}", 0.0, gpus, 1.0) for gpus in (8, 9, 12, 13)]

    assert [job.job_id for job in unplaceable(jobs, cluster(12, 8))] == ["w13"]
