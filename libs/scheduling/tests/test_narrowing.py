import numpy as np
from mltrainer_scheduling.jobs import Job, Share
from mltrainer_scheduling.narrowing import narrowed
from mltrainer_scheduling.nodes import Node
from mltrainer_scheduling.policies import policy
from mltrainer_scheduling.snapshot import Snapshot, snapshot

NOW_S = 1_000.0


def _cluster() -> Snapshot:
    """Three nodes of two GPUs: one just became free by half, one is full, a gang spans two."""
    nodes = [
        Node("n0", 2, free_gpu_millis=(1_000, 0)),
        Node("n1", 2, free_gpu_millis=(0, 0)),
        Node("n2", 2, free_gpu_millis=(0, 0)),
    ]
    jobs = [
        Job("kept", shares=(Share("n0", 1),), started_s=0.0, attained_s=5.0),
        Job("gang", workers=3, shares=(Share("n1", 2), Share("n2", 1)), started_s=0.0, attained_s=5.0),
        Job("other", shares=(Share("n2", 1),), started_s=0.0, attained_s=9.0),
        Job("first", 1.0),
        Job("second", 2.0),
        Job("third", 3.0),
    ]
    return snapshot(NOW_S, jobs, nodes)


def test_a_narrowed_snapshot_keeps_whole_what_it_keeps() -> None:
    seen = _cluster()

    small = narrowed(seen, np.arange(6.0), np.arange(6.0), np.array([0]), waiting=2, spare_nodes=0)

    assert small.jobs.job_id.tolist() == ["kept", "first", "second"]
    assert small.nodes.name.tolist() == ["n0"]
    assert small.jobs.share_node.tolist() == [0]
    assert small.jobs.share_job.tolist() == [0]


def test_a_plan_for_the_narrowed_snapshot_uses_what_became_free() -> None:
    seen = _cluster()

    plan = policy("default").plan(
        narrowed(seen, np.arange(6.0), np.arange(6.0), np.array([0]), waiting=2, spare_nodes=0)
    )

    assert [start.job_id for start in plan.starts] == ["first"]
    assert plan.starts[0].shares == (Share("n0", 1),)
    assert plan.preemptions == ()


def test_gangs_that_reach_beyond_the_kept_nodes_are_left_alone() -> None:
    seen = _cluster()

    small = narrowed(seen, np.arange(6.0), np.arange(6.0), np.array([1]), waiting=1, spare_nodes=0)

    assert "gang" not in small.jobs.job_id.tolist()
    assert policy("default").plan(small).starts == ()


def test_new_jobs_come_before_ranked_ones() -> None:
    rank = np.array([0.0, 1.0, 2.0, 3.0, 4.0, np.nan])

    small = narrowed(_cluster(), rank, rank, np.array([0]), waiting=1, spare_nodes=0)

    assert "third" in small.jobs.job_id.tolist()
