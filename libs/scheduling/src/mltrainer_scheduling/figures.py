"""The figures by which policies are compared."""

import numpy as np

from mltrainer_scheduling.jobs import Flags
from mltrainer_scheduling.simulation import Replay

_HOUR_S = 3_600.0


def summarize(result: Replay) -> dict[str, float]:
    """Summarizes a replay.

    Starved is who waited more than a week in one go, and ten times as long as it runs.
    """
    jct, wait = result.finish_s - result.submit_s, result.finish_s - result.submit_s - result.duration_s
    steps = np.diff(result.time_s)
    backlog: Flags = result.waiting[:-1] > 0
    offered = float(steps[backlog].sum()) * result.total_gpus
    used = float((steps * result.used_gpus[:-1])[backlog].sum())
    whole = float(steps.sum()) * result.total_gpus
    starved = (result.longest_wait_s > 168 * _HOUR_S) & (result.longest_wait_s > 10 * result.duration_s)
    unallocated = result.total_gpus - used / offered * result.total_gpus if offered else 0.0
    return {
        "jobs": float(len(jct)),
        "mean_jct_s": float(jct.mean()),
        "p50_jct_s": float(np.quantile(jct, 0.5)),
        "p99_jct_s": float(np.quantile(jct, 0.99)),
        "mean_wait_s": float(wait.mean()),
        "max_jct_s": float(jct.max()),
        "makespan_s": float(result.finish_s.max()),
        "utilization_under_backlog": used / offered if offered else 1.0,
        "allocation_ratio": float((steps * result.used_gpus[:-1]).sum()) / whole if whole else 0.0,
        "unallocated_gpus": unallocated,
        "preemptions_per_job": float(result.preemptions.mean()),
        "max_preemptions_of_a_job": float(result.preemptions.max()),
        "starved_jobs": float(starved.sum()),
        "longest_wait_s": float(result.longest_wait_s.max()),
    }
