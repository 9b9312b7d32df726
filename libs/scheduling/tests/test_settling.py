"""A plan of what a plan leaves changes nothing."""

import os
from dataclasses import dataclass, replace
from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltrainer_scheduling.jobs import Job, Share
from mltrainer_scheduling.nodes import Node
from mltrainer_scheduling.plan import Plan
from mltrainer_scheduling.policies import policy
from mltrainer_scheduling.snapshot import Snapshot, snapshot

# benchmarks/scheduling/README.md tells how to look at ten thousand.
_EXAMPLES = int(os.environ.get("MLTRAINER_SCHEDULES", "25"))
_NOW_S = 1_000_000.0
_LATER_S = (0.0, 4.0, 400.0, 90_000.0, 700_000.0)


@dataclass
class Cluster:
    """Jobs on small nodes to which things happen; urgencies are drawn, so that all orders occur."""

    random: np.random.Generator
    now_s: float = _NOW_S

    def __post_init__(self) -> None:
        draw = self.random
        self.nodes = [self._node(number) for number in range(draw.integers(1, 6))]
        jobs = [self._job(number) for number in range(draw.integers(3, 16))]
        self.urgency_s = {job.job_id: float(draw.exponential(100.0)) for job in jobs}
        self.jobs, self.later = jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]

    def _node(self, number: int) -> Node:
        draw = self.random
        gpus, cpus = int(draw.integers(0, 9)), int(draw.integers(2, 17))
        is_spot, takes_work = bool(draw.random() < 0.2), bool(draw.random() < 0.9)
        return Node(f"n{number}", gpus, cpu_millis=1_000 * cpus, spot=is_spot, schedulable=takes_work)

    def _job(self, number: int) -> Job:
        draw = self.random
        return Job(
            f"j{number:02}",
            submit_s=_NOW_S - float(draw.choice([0.0, 100.0, 700_000.0])),
            workers=int(draw.choice([1, 1, 1, 2, 3, 4])),
            gpu_millis=int(draw.choice([0, 400, 600, 1_000, 1_000, 1_000, 2_000, 4_000])),
            cpu_millis=int(draw.choice([0, 500, 1_000, 2_000])),
            priority=int(draw.choice([0, 0, 0, 1, -1])),
            allows_spot=bool(draw.random() < 0.8),
            preemptible=bool(draw.random() < 0.85),
            preemptions=int(draw.choice([0, 0, 1, 2])),
            restore_s=60.0,
        )

    def seen(self) -> Snapshot:
        """Returns the snapshot, jobs by name, whole devices laid out before parts are told apart."""
        jobs = sorted(self.jobs, key=lambda job: job.job_id)
        seen = snapshot(self.now_s, jobs, [self._with_free(node) for node in self.nodes])
        known = np.array([self.urgency_s[job.job_id] for job in jobs])
        return replace(seen, jobs=replace(seen.jobs, known_urgency_s=known))

    def _with_free(self, node: Node) -> Node:
        devices, cpu, whole = [1_000] * node.gpus, node.cpu_millis, 0
        held = [(job, share) for job in self.jobs for share in job.shares if share.node == node.name]
        for job, share in held:
            cpu -= share.workers * job.cpu_millis
            if share.device >= 0:
                devices[share.device] -= share.workers * job.gpu_millis
            else:
                whole += share.workers * job.gpu_millis // 1_000
        untouched = [device for device, free in enumerate(devices) if free == 1_000]
        assert cpu >= 0
        assert whole <= len(untouched)
        assert min(devices, default=0) >= 0
        for device in untouched[:whole]:
            devices[device] = 0
        return replace(node, free_gpu_millis=tuple(devices), free_cpu_millis=cpu)

    def carry_out(self, plan: Plan) -> None:
        """Stops and starts what a plan says."""
        jobs = {job.job_id: job for job in self.jobs}
        for stop in plan.preemptions:
            jobs[stop.job_id] = self._stopped(jobs[stop.job_id])
        for start in plan.starts:
            assert not jobs[start.job_id].shares
            jobs[start.job_id] = replace(jobs[start.job_id], shares=start.shares, started_s=self.now_s)
        self.jobs = list(jobs.values())

    def _stopped(self, job: Job) -> Job:
        count = job.preemptions + 1
        return replace(
            job, shares=(), preemptions=count, waiting_since_s=self.now_s, started_s=nan, unsaved_s=0.0
        )

    def go_on(self) -> None:
        """Lets time pass, and a job end or a node shrink or grow, and perhaps a job arrive."""
        draw = self.random
        self.now_s += float(draw.choice(_LATER_S))
        self.jobs = [
            replace(job, unsaved_s=min(self.now_s - job.started_s, 50.0)) if job.shares else job
            for job in self.jobs
        ]
        what = draw.random()
        if what < 0.4 and self.jobs:
            self.jobs.pop(int(draw.integers(len(self.jobs))))
        elif what < 0.6:
            self._resize(int(draw.integers(len(self.nodes))))
        if self.later and draw.random() < 0.7:
            self.jobs.append(replace(self.later.pop(), submit_s=self.now_s))

    def _resize(self, number: int) -> None:
        gpus, cpus = (int(self.random.integers(0, most)) for most in (9, 17))
        node = self.nodes[number] = replace(self.nodes[number], gpus=gpus, cpu_millis=1_000 * cpus)
        self.jobs = [
            self._stopped(job) if any(share.node == node.name for share in job.shares) else job
            for job in self.jobs
        ]


@pytest.mark.timeout(300 + _EXAMPLES)
@pytest.mark.parametrize("name", ["default", "gittins"])
@settings(max_examples=_EXAMPLES, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_second_look_at_the_same_moment_changes_nothing(name: str, seed: int) -> None:
    chosen, cluster = policy(name), Cluster(np.random.default_rng(seed))

    for _ in range(4):
        cluster.carry_out(chosen.plan(cluster.seen()))
        again = chosen.plan(cluster.seen())

        assert (again.starts, again.preemptions) == ((), ())
        cluster.go_on()


def test_whoever_waited_for_a_week_keeps_the_place_it_got() -> None:
    chosen, started_s = policy("default"), _NOW_S
    shares = (Share("n0", 1),)
    long = Job("long", started_s - 700_000.0, attained_s=500_000.0, started_s=started_s, shares=shares)
    short = Job("short", started_s)
    node = Node("n0", 1, free_gpu_millis=(0,))

    plans = [chosen.plan(snapshot(started_s + later_s, [long, short], [node])) for later_s in (1.0, 299.0)]

    assert [plan.preemptions for plan in plans] == [(), ()]


def test_a_device_that_a_stopped_job_of_whole_devices_leaves_is_shared_in_the_same_plan() -> None:
    held = Job("whole", 0.0, started_s=0.0, attained_s=9e5, shares=(Share("n0", 1),))
    part = Job("part", _NOW_S - 5.0, gpu_millis=500, priority=1)
    node = Node("n0", 1, free_gpu_millis=(0,))

    plan = policy("default").plan(snapshot(_NOW_S, [held, part], [node]))

    assert [stop.job_id for stop in plan.preemptions] == ["whole"]
    assert [(start.job_id, start.shares) for start in plan.starts] == [("part", (Share("n0", 1, 0),))]


def test_a_gang_on_parts_of_one_device_gives_all_its_parts_back() -> None:
    gang = Job("gang", 0.0, workers=2, gpu_millis=400, started_s=0.0, shares=(Share("n0", 2, 0),))
    whole = Job("whole", _NOW_S - 5.0, gpu_millis=1_000, priority=1)
    node = Node("n0", 1, free_gpu_millis=(200,))

    plan = policy("default").plan(snapshot(_NOW_S, [gang, whole], [node]))

    assert [start.job_id for start in plan.starts] == ["whole"]
