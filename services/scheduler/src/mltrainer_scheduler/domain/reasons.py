"""Says in one sentence why a training waits."""

from mltrainer_scheduling.plan import Cause

from mltrainer_scheduler.domain.cluster import Demand
from mltrainer_scheduler.domain.decisions import FAIR_SHARE_REACHED, LARGER_THAN_QUOTA, Hindrance

_SENTENCES: dict[str, str] = {
    Cause.NO_NODE: "no node that accepts attempts has reported lately",
    Cause.GPU_TYPE_UNAVAILABLE: "no node offers GPUs of type {gpu_type!r}",
    Cause.ON_DEMAND_UNAVAILABLE: "every suitable node is interruptible, which the request does not allow",
    Cause.LARGER_THAN_ANY_NODE: "one worker needs more than any node has in total",
    Cause.GANG_LARGER_THAN_CLUSTER: "{workers} workers are more than all suitable nodes hold when empty",
    Cause.INSUFFICIENT_GPUS: "not enough GPUs are free for its {workers} workers",
    Cause.INSUFFICIENT_CPUS: "not enough CPUs are free for its {workers} workers",
    Cause.INSUFFICIENT_MEMORY: "not enough memory is free for its {workers} workers",
    Cause.FRAGMENTED: "enough is free in total, but not on nodes that could hold its {workers} workers",
    Cause.BEHIND_OTHERS: "it would fit, but what is free is kept for trainings that go first",
    Cause.QUOTA_EXHAUSTED: "queue {queue!r}, or one above it, holds as much as its ceiling allows",
    FAIR_SHARE_REACHED: "queue {queue!r} holds its fair share while others wait for theirs",
    LARGER_THAN_QUOTA: "it needs more than the ceiling of queue {queue!r}, or of one above it, ever allows",
}


def sentence(wait: Hindrance, demand: Demand, queue: str) -> str:
    """Returns the sentence of a reason."""
    text = _SENTENCES.get(wait.reason, "waits for capacity")
    return text.format(gpu_type=demand.gpu_type, workers=demand.workers, queue=queue)
