"""Decides where trainings execute, on values only: the same input gives the same answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from math import ceil, floor

from mltrainer_scheduler.domain.specification import Resources
from mltrainer_scheduler.domain.training import Share

NO_NODE = "NO_NODE"
GANG_LARGER_THAN_CLUSTER = "GANG_LARGER_THAN_CLUSTER"
LARGER_THAN_ANY_NODE = "LARGER_THAN_ANY_NODE"
GPU_TYPE_UNAVAILABLE = "GPU_TYPE_UNAVAILABLE"
ON_DEMAND_UNAVAILABLE = "ON_DEMAND_UNAVAILABLE"
INSUFFICIENT_CPUS = "INSUFFICIENT_CPUS"
INSUFFICIENT_MEMORY = "INSUFFICIENT_MEMORY"
INSUFFICIENT_GPUS = "INSUFFICIENT_GPUS"
BEHIND_OTHERS = "BEHIND_OTHERS"
AWAITING_PLACEMENT = "AWAITING_PLACEMENT"

_PERMILLE = 1_000
# Undoes the representation error of decimal fractions before rounding to thousandths.
_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Capacity:
    """Amounts in whole thousandths and bytes, so that sums are exact."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    gpu_millis: int = 0

    def __add__(self, other: "Capacity") -> "Capacity":
        """Adds component by component."""
        return Capacity(
            self.cpu_millis + other.cpu_millis,
            self.memory_bytes + other.memory_bytes,
            self.gpu_millis + other.gpu_millis,
        )

    def less(self, other: "Capacity", times: int = 1) -> "Capacity":
        """Takes an amount away several times; nothing falls below zero."""
        return Capacity(
            max(self.cpu_millis - times * other.cpu_millis, 0),
            max(self.memory_bytes - times * other.memory_bytes, 0),
            max(self.gpu_millis - times * other.gpu_millis, 0),
        )


def offered(cpus: float, memory_bytes: int, gpus: float) -> Capacity:
    """Rounds what a node offers down."""
    return Capacity(
        floor(round(cpus * _PERMILLE, _DECIMALS)),
        memory_bytes,
        floor(round(gpus * _PERMILLE, _DECIMALS)),
    )


@dataclass(frozen=True, slots=True)
class Demand:
    """What a training needs: equal workers that start together or not at all."""

    training: str
    worker: Capacity
    workers: int = 1
    gpu_type: str = ""
    allows_spot: bool = True


def demand_of(training: str, resources: Resources) -> Demand:
    """Rounds what a training asks for up."""
    worker = Capacity(
        ceil(round(resources.cpus * _PERMILLE, _DECIMALS)),
        resources.memory_bytes,
        ceil(round(resources.gpus * _PERMILLE, _DECIMALS)),
    )
    return Demand(
        training, worker, resources.gang_workers or 1, resources.gpu_type, resources.spot_policy != "NEVER"
    )


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A node as it last described itself; `seen_time` is when that was true at the latest."""

    name: str
    total: Capacity
    gpu_type: str
    schedulable: bool
    spot: bool
    zone: str
    revision: int
    seen_time: datetime


@dataclass(frozen=True, slots=True)
class Node:
    """A node that may start attempts."""

    name: str
    total: Capacity
    free: Capacity
    gpu_type: str = ""
    spot: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """Every worker has a node."""

    training: str
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """No worker has a node, for this reason; `is_lasting` where even an empty cluster could not help."""

    training: str
    reason: str
    message: str
    is_lasting: bool


Decision = Placement | Refusal


def usable_nodes(
    reports: Iterable[NodeReport], used: Mapping[str, Capacity], now: datetime, silence_s: float
) -> tuple[Node, ...]:
    """Returns the nodes that are schedulable and not silent for too long, with what is free on them."""
    heard_since = now - timedelta(seconds=silence_s)
    return tuple(
        Node(
            report.name,
            report.total,
            report.total.less(used.get(report.name, Capacity())),
            report.gpu_type,
            report.spot,
        )
        for report in sorted(reports, key=lambda report: report.name)
        if report.schedulable and report.seen_time >= heard_since
    )


def place(demand: Demand, nodes: Sequence[Node]) -> Decision:
    """Places every worker of a gang, or none.

    One node that holds the whole gang is preferred, the fullest such node first; else as few as possible.
    """
    suitable = [node for node in nodes if _suits(demand, node)]
    slots = {node.name: _slots(node.free, demand.worker) for node in suitable}
    if sum(slots.values()) < demand.workers:
        return _refuse(demand, nodes, suitable)
    fullest_first = sorted(suitable, key=lambda node: (_emptiness(node), node.name))
    for node in fullest_first:
        if slots[node.name] >= demand.workers:
            return Placement(demand.training, (Share(node.name, demand.workers, node.spot),))
    shares: list[Share] = []
    missing = demand.workers
    for node in sorted(suitable, key=lambda node: (-slots[node.name], _emptiness(node), node.name)):
        if missing:
            workers = min(slots[node.name], missing)
            shares.append(Share(node.name, workers, node.spot))
            missing -= workers
    return Placement(demand.training, tuple(shares))


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A training that waits, in a queue with a priority; the name orders by age."""

    demand: Demand
    queue: str
    priority: int


def plan(entries: Iterable[QueueEntry], nodes: Sequence[Node]) -> tuple[Decision, ...]:
    """Decides for the trainings of all queues, in turn, each queue by priority and then age.

    A training that must wait for capacity holds back those behind it in its queue, so that none starves;
    one that no capacity of this cluster can serve holds back nobody. Those held back get no decision.
    """
    free = {node.name: node for node in nodes}
    queues = by_queue(entries)
    decisions: list[Decision] = []
    while queues:
        for name in sorted(queues):
            decision = _next_decision(queues[name], free)
            if decision is not None:
                decisions.append(decision)
            if decision is None or _holds_back(decision) or not queues[name]:
                del queues[name]
    return tuple(decisions)


def by_queue(entries: Iterable[QueueEntry]) -> dict[str, list[QueueEntry]]:
    """Groups entries by queue, next ones first."""
    ordered = sorted(entries, key=lambda entry: (entry.queue, -entry.priority, entry.demand.training))
    return {name: list(group) for name, group in groupby(ordered, key=lambda entry: entry.queue)}


def _next_decision(queue: list[QueueEntry], free: dict[str, Node]) -> Decision | None:
    if not queue:
        return None
    demand = queue.pop(0).demand
    decision = place(demand, tuple(free.values()))
    if isinstance(decision, Placement):
        for share in decision.shares:
            node = free[share.node]
            free[share.node] = replace(node, free=node.free.less(demand.worker, share.workers))
    return decision


def _holds_back(decision: Decision) -> bool:
    return isinstance(decision, Refusal) and not decision.is_lasting


def _suits(demand: Demand, node: Node) -> bool:
    has_type = not demand.gpu_type or demand.gpu_type == node.gpu_type
    return has_type and (demand.allows_spot or not node.spot)


def _emptiness(node: Node) -> tuple[int, int, int]:
    return (node.free.gpu_millis, node.free.cpu_millis, node.free.memory_bytes)


def _slots(free: Capacity, worker: Capacity) -> int:
    counts = [count for count in _slots_by_resource(free, worker).values() if count is not None]
    return min(counts, default=0)


def _slots_by_resource(free: Capacity, worker: Capacity) -> dict[str, int | None]:
    return {
        INSUFFICIENT_GPUS: free.gpu_millis // worker.gpu_millis if worker.gpu_millis else None,
        INSUFFICIENT_MEMORY: free.memory_bytes // worker.memory_bytes if worker.memory_bytes else None,
        INSUFFICIENT_CPUS: free.cpu_millis // worker.cpu_millis if worker.cpu_millis else None,
    }


def _refuse(demand: Demand, nodes: Sequence[Node], suitable: Sequence[Node]) -> Refusal:
    if not nodes:
        return Refusal(demand.training, NO_NODE, "no node that accepts attempts has reported lately", True)  # noqa: FBT003 - the field name is two lines away
    if not suitable:
        return _unsuitable(demand, nodes)
    most = sum(_slots(node.total, demand.worker) for node in suitable)
    if most < demand.workers:
        return _too_large(demand, most, len(suitable))
    lacking: dict[str, int] = {}
    for node in suitable:
        for reason, count in _slots_by_resource(node.free, demand.worker).items():
            if count is not None:
                lacking[reason] = lacking.get(reason, 0) + count
    reason = min(lacking, key=lambda reason: lacking[reason])
    free = sum(_slots(node.free, demand.worker) for node in suitable)
    message = f"{free} of {demand.workers} workers would fit into what is free now"
    return Refusal(demand.training, reason, message, is_lasting=False)


def _unsuitable(demand: Demand, nodes: Sequence[Node]) -> Refusal:
    if demand.gpu_type and all(node.gpu_type != demand.gpu_type for node in nodes):
        message = f"no node offers GPUs of type {demand.gpu_type!r}"
        return Refusal(demand.training, GPU_TYPE_UNAVAILABLE, message, is_lasting=True)
    message = "every suitable node is interruptible, which the request does not allow"
    return Refusal(demand.training, ON_DEMAND_UNAVAILABLE, message, is_lasting=True)


def _too_large(demand: Demand, most: int, nodes: int) -> Refusal:
    if demand.workers == 1:
        message = "one worker needs more than any node has in total"
        return Refusal(demand.training, LARGER_THAN_ANY_NODE, message, is_lasting=True)
    message = (
        f"the gang needs {demand.workers} workers; {nodes} suitable nodes have room for {most} when empty"
    )
    return Refusal(demand.training, GANG_LARGER_THAN_CLUSTER, message, is_lasting=True)
