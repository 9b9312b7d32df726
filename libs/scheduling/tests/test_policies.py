import os
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltrainer_scheduling.jobs import Job, Share, Topology
from mltrainer_scheduling.nodes import Node
from mltrainer_scheduling.plan import Cause, Plan, PreemptionReason
from mltrainer_scheduling.policies import DEFAULT_TERMS, POLICY_NAMES, policy
from mltrainer_scheduling.snapshot import History, Snapshot, snapshot

NOW_S = 100_000.0
# Ten in a usual run; benchmarks/scheduling/README.md tells how to look at ten thousand.
_EXAMPLES = int(os.environ.get("MLTRAINER_SCHEDULES", "10"))
_WIDTHS = (1, 1, 1, 2, 3, 4, 8, 12)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Clusters of mixed nodes, part of which is in use by gangs that were placed there one by one."""
    sizes = draw(st.lists(st.sampled_from((2, 4, 8)), min_size=1, max_size=5))
    types = [draw(st.sampled_from(("A100", "H100"))) for _ in sizes]
    free = [[1_000] * size for size in sizes]
    cpu = [size * 8_000 for size in sizes]
    jobs = []
    for index in range(draw(st.integers(1, 14))):
        millis = draw(st.sampled_from((1_000, 1_000, 1_000, 500, 2_000)))
        job = Job(
            f"j{index:02}",
            submit_s=float(draw(st.integers(0, 90_000))),
            workers=draw(st.sampled_from(_WIDTHS)),
            gpu_millis=millis,
            cpu_millis=draw(st.sampled_from((0, 1_000, 6_000))),
            gpu_type=draw(st.sampled_from(("", "", "H100"))),
            topology=draw(st.sampled_from(tuple(Topology))),
            priority=draw(st.sampled_from((0, 0, 1))),
            attained_s=float(draw(st.sampled_from((0, 50, 5_000)))),
            preemptions=draw(st.sampled_from((0, 1, 100))),
            restore_s=60.0,
            remaining_s=float(draw(st.integers(1, 50_000))),
        )
        if draw(st.booleans()):
            job = _run(job, free, cpu, types)
        jobs.append(job)
    nodes = [
        Node(f"n{row}", size, size * 8_000, 0, tuple(free[row]), cpu[row], gpu_type=types[row])
        for row, size in enumerate(sizes)
    ]
    return snapshot(NOW_S, jobs, nodes, History(np.array([60.0, 9_000.0]), np.array([1.0, 8.0]), ("", "")))


def _run(job: Job, free: list[list[int]], cpu: list[int], types: list[str]) -> Job:
    """Runs a job on the first node that has room for its whole gang, if one has."""
    for row, devices in enumerate(free):
        idle = [device for device, millis in enumerate(devices) if millis == 1_000]
        count = job.workers * -(-job.gpu_millis // 1_000)
        need = job.workers * job.cpu_millis
        if len(idle) < count or cpu[row] < need or job.gpu_type not in {"", types[row]}:
            continue
        cpu[row] -= need
        for device in idle[:count]:
            devices[device] -= min(job.gpu_millis, 1_000)
        shares = (Share(f"n{row}", job.workers),)
        if job.gpu_millis < 1_000:
            shares = tuple(Share(f"n{row}", 1, device) for device in idle[:count])
        return replace(job, shares=shares, started_s=NOW_S - 5_000.0)
    return job


def _held(seen: Snapshot, plan: Plan) -> tuple[dict[str, float], dict[str, int]]:
    """Returns GPUs and CPUs that are in use on each node once the plan is carried out."""
    jobs, names = seen.jobs, seen.nodes.name
    stopped = {one.job_id for one in plan.preemptions}
    row_of = {name: row for row, name in enumerate(jobs.job_id)}
    shares = [
        (int(jobs.share_job[k]), str(names[jobs.share_node[k]]), int(jobs.share_workers[k]))
        for k in range(len(jobs.share_job))
        if jobs.job_id[jobs.share_job[k]] not in stopped
    ]
    shares += [(row_of[one.job_id], share.node, share.workers) for one in plan.starts for share in one.shares]
    gpus, cpus = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
    for row, node, workers in shares:
        gpus[node] += workers * jobs.gpu_millis[row] / 1_000
        cpus[node] += workers * int(jobs.cpu_millis[row])
    return gpus, cpus


@pytest.mark.parametrize("name", POLICY_NAMES)
@settings(max_examples=_EXAMPLES, deadline=None)
@given(seen=snapshots())
def test_no_plan_over_allocates_or_splits_a_gang(name: str, seen: Snapshot) -> None:
    plan = policy(name).plan(seen)

    gpus, cpus = _held(seen, plan)
    row_of = {str(job_id): row for row, job_id in enumerate(seen.jobs.job_id)}
    for row, node in enumerate(seen.nodes.name):
        assert gpus[node] <= seen.nodes.gpus[row]
        assert cpus[node] <= seen.nodes.cpu_millis[row]
    for start in plan.starts:
        row = row_of[start.job_id]
        assert sum(share.workers for share in start.shares) == seen.jobs.workers[row]
        wanted = seen.jobs.gpu_types[seen.jobs.gpu_type[row]]
        node_rows = seen.nodes.rows()
        assert not wanted or all(
            seen.nodes.gpu_type[node_rows[share.node]] == wanted for share in start.shares
        )


@pytest.mark.parametrize("name", POLICY_NAMES)
@settings(max_examples=_EXAMPLES, deadline=None)
@given(seen=snapshots())
def test_every_job_that_stays_pending_has_exactly_one_cause(name: str, seen: Snapshot) -> None:
    plan = policy(name).plan(seen)

    started = {start.job_id for start in plan.starts}
    pending = {str(seen.jobs.job_id[row]) for row in seen.pending}
    running = {str(name) for name in seen.jobs.job_id} - pending
    stopped = {one.job_id for one in plan.preemptions}
    assert set(plan.waits) == pending - started
    assert stopped <= running
    assert started <= pending | stopped
    assert len(plan.starts) == len(started)
    for job_id, wait in plan.waits.items():
        assert job_id not in wait.blockers
        assert not (wait.cause.is_lasting and wait.blockers)


@pytest.mark.parametrize("name", POLICY_NAMES)
@settings(max_examples=_EXAMPLES, deadline=None)
@given(seen=snapshots())
def test_equal_snapshots_give_equal_plans_whatever_was_planned_before(name: str, seen: Snapshot) -> None:
    used = policy(name)
    other = History(np.array([5.0] * 9), np.array([1.0] * 9), ("",) * 9, np.arange(9.0))
    used.plan(replace(seen, history=other))

    assert used.plan(seen) == used.plan(seen) == policy(name).plan(seen)


@settings(max_examples=3 * _EXAMPLES, deadline=None)
@given(seen=snapshots())
def test_the_default_policy_leaves_alone_who_was_preempted_often_enough(seen: Snapshot) -> None:
    plan = policy("default").plan(seen)

    preemptions = dict(zip(seen.jobs.job_id.tolist(), seen.jobs.preemptions.tolist(), strict=True))
    assert all(preemptions[one.job_id] < DEFAULT_TERMS.most_preemptions for one in plan.preemptions)


@settings(max_examples=3 * _EXAMPLES, deadline=None)
@given(seen=snapshots())
def test_the_default_policy_leaves_nothing_idle_that_a_waiting_job_could_use(seen: Snapshot) -> None:
    plan = policy("default").plan(seen)

    gpus, cpus = _held(seen, plan)
    idle = [
        (seen.nodes.gpus[row] - gpus[node], seen.nodes.cpu_millis[row] - cpus[node], seen.nodes.gpu_type[row])
        for row, node in enumerate(seen.nodes.name)
    ]
    for row in seen.pending.tolist():
        millis, need = int(seen.jobs.gpu_millis[row]), int(seen.jobs.cpu_millis[row])
        label = seen.jobs.gpu_types[seen.jobs.gpu_type[row]]
        # One whole GPU per worker, on one node: what is idle there can be counted without knowing devices.
        if str(seen.jobs.job_id[row]) in plan.waits and millis == 1_000 and not _shares_devices(seen):
            workers = int(seen.jobs.workers[row])
            assert not any(
                gpu >= workers and cpu >= workers * need and label in {"", kind} for gpu, cpu, kind in idle
            )


def _shares_devices(seen: Snapshot) -> bool:
    return bool((seen.jobs.gpu_millis < 1_000).any())


def test_a_wide_gang_gets_a_node_that_narrower_jobs_leave_by_moving() -> None:
    nodes = [
        Node("n0", 4, free_gpu_millis=(1_000,) * 3 + (0,)),
        Node("n1", 4, free_gpu_millis=(1_000,) * 3 + (0,)),
    ]
    jobs = [
        Job("a", shares=(Share("n0", 1),), started_s=0.0, attained_s=10.0),
        Job("b", shares=(Share("n1", 1),), started_s=0.0, attained_s=10.0),
        Job("wide", workers=4, topology=Topology.COMPACT),
    ]

    plan = policy("default").plan(snapshot(NOW_S, jobs, nodes))

    assert [(one.job_id, one.reason) for one in plan.preemptions] == [("a", PreemptionReason.MOVED)]
    assert {one.job_id: one.shares for one in plan.starts} == {
        "wide": (Share("n0", 4),),
        "a": (Share("n1", 1),),
    }


def test_members_of_a_campaign_are_expected_to_last_alike() -> None:
    history = History()
    for submit_s in (99_000.0, 99_100.0, 99_200.0):
        history = history.with_finished(90.0, 1.0, "short", submit_s)
    for index in range(40):
        history = history.with_finished(50_000.0, 1.0, "short", 1_000.0 * index)
    nodes = [Node("n0", 1)]
    jobs = [Job("alone", 20_000.0, group="long"), Job("mate", 99_300.0, group="short")]

    plan = policy("default").plan(snapshot(NOW_S, jobs, nodes, history))

    assert [start.job_id for start in plan.starts] == ["mate"]
    assert plan.waits["alone"].cause is Cause.INSUFFICIENT_GPUS
    assert plan.waits["alone"].blockers == ("mate",)


@pytest.mark.parametrize(
    ("job", "cause"),
    [
        pytest.param(Job("x", gpu_type="B200"), Cause.GPU_TYPE_UNAVAILABLE, id="type"),
        pytest.param(Job("x", allows_spot=False), Cause.ON_DEMAND_UNAVAILABLE, id="spot only"),
        pytest.param(Job("x", gpu_millis=9_000), Cause.LARGER_THAN_ANY_NODE, id="worker"),
        pytest.param(Job("x", workers=17), Cause.GANG_LARGER_THAN_CLUSTER, id="gang"),
        pytest.param(Job("x", workers=8, topology=Topology.COMPACT), Cause.FRAGMENTED, id="scattered"),
        pytest.param(Job("x", workers=11), Cause.INSUFFICIENT_GPUS, id="GPUs"),
        pytest.param(Job("x", cpu_millis=9_000), Cause.INSUFFICIENT_CPUS, id="CPUs"),
    ],
)
def test_the_cause_of_waiting_is_the_one_that_dominates(job: Job, cause: Cause) -> None:
    free = (1_000,) * 5 + (0,) * 3
    nodes = [Node(f"n{row}", 8, 16_000, 0, free, 4_000, spot=True) for row in range(2)]
    busy = [
        Job(f"b{row}", workers=3, preemptible=False, shares=(Share(f"n{row}", 3),), started_s=0.0)
        for row in range(2)
    ]

    plan = policy("default").plan(snapshot(NOW_S, [*busy, job], nodes))

    assert plan.waits["x"].cause is cause
    assert set(plan.waits["x"].blockers) == (set() if cause.is_lasting else {"b0", "b1"})


def test_whoever_waited_for_a_week_is_next_however_long_it_may_last() -> None:
    week_s = 7 * 86_400.0
    long_ago = Job("long", NOW_S - week_s - 1.0, attained_s=1e6, waiting_since_s=NOW_S - week_s - 1.0)
    short = Job("short", NOW_S - 5.0)

    plan = policy("default").plan(snapshot(NOW_S, [short, long_ago], [Node("n0", 1)]))

    assert [start.job_id for start in plan.starts] == ["long"]
    assert plan.waits["short"].blockers == ("long",)


def test_of_two_alike_the_one_that_loses_less_work_is_stopped() -> None:
    jobs = [
        Job("unsaved", shares=(Share("n0", 1),), started_s=0.0, attained_s=9_000.0, unsaved_s=8_000.0),
        Job("saved", shares=(Share("n1", 1),), started_s=0.0, attained_s=9_000.0),
        Job("urgent", NOW_S, priority=1),
    ]
    nodes = [Node(name, 1, free_gpu_millis=(0,)) for name in ("n0", "n1")]

    plan = policy("default").plan(snapshot(NOW_S, jobs, nodes))

    assert [(one.job_id, one.beneficiary) for one in plan.preemptions] == [("saved", "urgent")]


def test_fifo_names_the_head_that_holds_the_others_back() -> None:
    jobs = [Job("wide", 1.0, workers=3), Job("narrow", 2.0)]
    busy = Job("busy", 0.0, shares=(Share("n0", 1),), started_s=0.0)
    nodes = [Node("n0", 3, free_gpu_millis=(0, 1_000, 1_000))]

    plan = policy("fifo").plan(snapshot(NOW_S, [busy, *jobs], nodes))

    assert plan.starts == ()
    assert plan.waits["narrow"].cause is Cause.BEHIND_OTHERS
    assert plan.waits["narrow"].blockers == ("wide",)


def test_a_gate_closes_a_queue_and_its_jobs_say_so() -> None:
    class OneGpuPerQueue:
        def __init__(self) -> None:
            self.held: dict[str, int] = {}

        def admits(self, queue: str, gpu_millis: int) -> bool:
            return self.held.get(queue, 0) + gpu_millis <= 1_000

        def started(self, queue: str, gpu_millis: int) -> None:
            self.held[queue] = self.held.get(queue, 0) + gpu_millis

        def stopped(self, queue: str, gpu_millis: int) -> None:
            self.held[queue] -= gpu_millis

    for name in POLICY_NAMES:
        gate = OneGpuPerQueue()
        jobs = [
            Job(f"{queue}{index}", float(index), queue=queue, remaining_s=9.0)
            for queue in "ab"
            for index in range(3)
        ]

        plan = policy(name).plan(snapshot(NOW_S, jobs, [Node("n0", 8)]), gate)

        assert {start.job_id for start in plan.starts} <= {"a0", "b0"}
        assert plan.waits["b2"].cause in {Cause.QUOTA_EXHAUSTED, Cause.BEHIND_OTHERS}
        assert gate.held == {"a": 1_000, "b": 1_000} or name == "fifo"


def test_an_empty_queue_asks_for_no_review() -> None:
    for name in POLICY_NAMES:
        assert policy(name).plan(snapshot(NOW_S, [], [Node("n0", 1)])).review_s == inf


def test_a_gang_keeps_its_place_only_where_all_its_workers_fit_together() -> None:
    running = Job(
        "low",
        workers=2,
        gpu_millis=200,
        cpu_millis=1_000,
        attained_s=50.0,
        started_s=NOW_S - 500.0,
        shares=(Share("n0", 1, 0), Share("n0", 1, 0)),
    )
    urgent = Job("urgent", NOW_S, workers=2, gpu_millis=400, cpu_millis=1_000, priority=1)
    nodes = [Node("n0", 2, 3_000, 0, (600, 1_000), 1_000)]

    plan = policy("default").plan(snapshot(NOW_S, [running, urgent], nodes))

    assert [start.job_id for start in plan.starts] == ["urgent"]
    assert [stop.job_id for stop in plan.preemptions] == ["low"]
