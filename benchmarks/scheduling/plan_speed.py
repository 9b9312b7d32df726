"""Times plans of 10,000 queued jobs over 1,024 nodes of 8 GPUs: empty, full and changing."""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from mltrainer_scheduling.jobs import Job, Topology
from mltrainer_scheduling.narrowing import narrowed
from mltrainer_scheduling.nodes import Node, free_devices
from mltrainer_scheduling.plan import Plan
from mltrainer_scheduling.policies import policy
from mltrainer_scheduling.snapshot import History, Snapshot, snapshot

NOW_S = 1_000_000.0
WIDTHS = np.array([1, 1, 1, 1, 1, 1, 2, 4, 8, 8, 16, 32])


def history(random: np.random.Generator, count: int) -> History:
    """Finished jobs of forty groups, in campaigns."""
    group = random.integers(0, 40, count)
    wall_s = np.exp(random.normal(6.5 + 0.05 * group, 1.5))
    return History(
        wall_s,
        random.choice(WIDTHS, count).astype(float),
        tuple(f"g{one}" for one in group.tolist()),
        np.sort(random.uniform(NOW_S - 400_000.0, NOW_S, count)),
    )


def queued(random: np.random.Generator, count: int) -> list[Job]:
    """Jobs that wait, in campaigns of ten."""
    return [
        Job(
            f"q{index:05}",
            submit_s=NOW_S - 50_000.0 + 5.0 * index,
            workers=int(random.choice(WIDTHS)),
            topology=Topology.COMPACT,
            group=f"g{(index // 10) % 40}",
            restore_s=60.0,
        )
        for index in range(count)
    ]


def carried_out(seen: list[Job], plan: Plan, now_s: float) -> list[Job]:
    """Returns the jobs after a plan."""
    stopped = {one.job_id for one in plan.preemptions}
    shares = {one.job_id: one.shares for one in plan.starts}
    after = []
    for job in seen:
        one = job
        if one.job_id in stopped:
            one = replace(one, shares=(), preemptions=one.preemptions + 1, waiting_since_s=now_s)
        if one.job_id in shares:
            one = replace(one, shares=shares[one.job_id], started_s=now_s)
        after.append(one)
    return after


def seen_by(jobs: list[Job], nodes: int, now_s: float, past: History) -> Snapshot:
    """Builds the snapshot, free amounts included."""
    used: dict[str, int] = {}
    for job in jobs:
        for share in job.shares:
            used[share.node] = used.get(share.node, 0) + share.workers
    names = [f"n{row:04}" for row in range(nodes)]
    rows = [
        Node(name, 8, free_gpu_millis=free_devices(8, 8_000 - 1_000 * used.get(name, 0))) for name in names
    ]
    return snapshot(now_s, jobs, rows, past)


def timed(
    name: str, seen: Snapshot, repeats: int, narrow: Callable[[Snapshot], Snapshot] = lambda seen: seen
) -> tuple[list[tuple[float, float]], Plan]:
    """Plans again and again, what was learned from the history being known."""
    chosen = policy(name)
    plan = chosen.plan(narrow(seen))
    seconds = []
    for _ in range(repeats):
        begin, cpu = time.perf_counter(), time.process_time()
        plan = chosen.plan(narrow(seen))
        seconds.append((time.perf_counter() - begin, time.process_time() - cpu))
    return seconds, plan


def line(what: str, seconds: list[tuple[float, float]], plan: Plan) -> str:
    """Formats one measurement."""
    (p50, cpu50), (p99, cpu99) = np.quantile(seconds, [0.5, 0.99], axis=0) * 1e3
    return (
        f"{what:42} CPU p50 {cpu50:6.1f} p99 {cpu99:6.1f} ms  wall p50 {p50:6.1f} p99 {p99:6.1f} ms  "
        f"{len(plan.starts):5} starts {len(plan.preemptions):5} stops {len(plan.waits):6} waits"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--nodes", type=int, default=1_024)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--policy", default="default")
    options = parser.parse_args()
    random = np.random.default_rng(7)
    past = history(random, 20_000)
    jobs = queued(random, options.queued)
    empty = seen_by(jobs, options.nodes, NOW_S, past)
    seconds, plan = timed(options.policy, empty, options.repeats)
    print(line("empty cluster, all queued", seconds, plan))
    running = carried_out(jobs, plan, NOW_S)
    later_s = NOW_S + 3_600.0
    running = [replace(job, attained_s=3_600.0 * bool(job.shares)) for job in running]
    more = [replace(job, job_id=f"m{job.job_id}", submit_s=later_s) for job in jobs[: len(plan.starts)]]
    full = seen_by(running + more, options.nodes, later_s, past)
    seconds, second = timed(options.policy, full, options.repeats)
    print(line("full cluster an hour later, queue refilled", seconds, second))
    settled = carried_out(running + more, second, later_s)
    third = policy(options.policy).plan(seen_by(settled, options.nodes, later_s + 600.0, past))
    settled = carried_out(settled, third, later_s + 600.0)
    chosen = policy(options.policy)
    before = chosen.plan(seen_by(settled, options.nodes, later_s + 800.0, past))
    known = {
        job_id: (float(place), urgency_s)
        for place, (job_id, urgency_s) in enumerate(zip(before.order, before.urgency_s, strict=True))
    }
    nothing = (float("nan"), float("nan"))
    ended = next(job for job in settled if job.shares)
    rest = [job for job in settled if job is not ended]
    after = seen_by(rest, options.nodes, later_s + 900.0, past)
    seconds, plan = timed(options.policy, after, options.repeats)
    print(line("one job ended, all planned anew", seconds, plan))
    rank, urgency_s = np.array([known.get(job.job_id, nothing) for job in rest]).T
    changed = np.array([after.nodes.rows()[share.node] for share in ended.shares])
    seconds, plan = timed(
        options.policy, after, 4 * options.repeats, lambda seen: narrowed(seen, rank, urgency_s, changed)
    )
    print(line("one job ended, narrowed to the event", seconds, plan))
    new = Job("new", later_s + 900.0, topology=Topology.COMPACT, group="g3", restore_s=60.0)
    after = seen_by([*settled, new], options.nodes, later_s + 900.0, past)
    rank, urgency_s = np.array([*(known.get(job.job_id, nothing) for job in settled), nothing]).T
    none = np.zeros(0, np.int64)
    seconds, plan = timed(
        options.policy, after, 4 * options.repeats, lambda seen: narrowed(seen, rank, urgency_s, none)
    )
    print(line("one job arrived, narrowed to the event", seconds, plan))


if __name__ == "__main__":
    main()
