"""Queues as a tree with guarantees and ceilings: who may take what, who borrows, who may take it back.

A guarantee is what a queue can always get back; what nobody needs is lent. A ceiling bounds a queue with
everything below it, borrowed amounts included. An inner queue without a guarantee of its own guarantees the
sum of its children. A queue that nobody described has weight 1, guarantees nothing and has no ceiling.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Amounts = tuple[int, int, int]
"""Thousandths of a CPU, bytes of memory, thousandths of a GPU."""

NOTHING: Amounts = (0, 0, 0)
UNLIMITED = 1 << 62
RESOURCES = ("cpus", "memory", "gpus")
_NO_CEILING: Amounts = (UNLIMITED, UNLIMITED, UNLIMITED)


def plus(left: Amounts, right: Amounts, times: int = 1) -> Amounts:
    """Adds an amount several times; a negative number takes it away."""
    return (left[0] + times * right[0], left[1] + times * right[1], left[2] + times * right[2])


@dataclass(frozen=True, slots=True)
class Queue:
    """What an operator says about one queue; the root has the empty name and is never listed."""

    name: str
    parent: str = ""
    weight: float = 1.0
    guaranteed: Amounts = NOTHING
    ceiling: Amounts = _NO_CEILING


class QueueTreeError(Exception):
    """A list of queues is no tree that can be kept.

    Attributes:
        queue: The queue to change.
        field: What is wrong with it.
    """

    def __init__(self, queue: str, field: str, description: str) -> None:
        self.queue = queue
        self.field = field
        self.description = description
        super().__init__(f"queue {queue!r}: {field} {description}")


def check_queues(queues: Sequence[Queue]) -> None:
    """Finds the first thing that is wrong with a list of queues.

    Raises:
        QueueTreeError: A name twice, an unknown parent, a cycle, a weight or an amount that is none, a
            ceiling below the guarantee, or children that are guaranteed more than their parent.
    """
    by_name: dict[str, Queue] = {}
    for queue in queues:
        if not queue.name or queue.name in by_name:
            raise QueueTreeError(queue.name, "name", "is given twice" if queue.name else "is empty")
        by_name[queue.name] = queue
    for queue in queues:
        _check_amounts(queue)
    for queue in queues:
        _check_ancestors(queue, by_name)
    _check_sums(queues, by_name)


def _check_amounts(queue: Queue) -> None:
    if not math.isfinite(queue.weight) or queue.weight <= 0.0:
        raise QueueTreeError(queue.name, "weight", f"is {queue.weight}, not above zero")
    for resource, guaranteed, ceiling in zip(RESOURCES, queue.guaranteed, queue.ceiling, strict=True):
        if guaranteed < 0:
            raise QueueTreeError(queue.name, f"guaranteed.{resource}", f"is negative: {guaranteed}")
        if ceiling < 0:
            raise QueueTreeError(queue.name, f"ceiling.{resource}", f"is negative: {ceiling}")
        if ceiling < guaranteed:
            text = f"{ceiling} lies below its guarantee {guaranteed}"
            raise QueueTreeError(queue.name, f"ceiling.{resource}", text)


def _check_ancestors(queue: Queue, by_name: Mapping[str, Queue]) -> None:
    path = [queue.name]
    while queue.parent:
        parent = by_name.get(queue.parent)
        if parent is None:
            raise QueueTreeError(queue.name, "parent", f"names {queue.parent!r}, which is not in the tree")
        path.append(parent.name)
        if parent.name in path[:-1]:
            raise QueueTreeError(path[0], "parent", f"closes a cycle: {' -> '.join(path)}")
        queue = parent


def _check_sums(queues: Sequence[Queue], by_name: Mapping[str, Queue]) -> None:
    sums: dict[str, Amounts] = {}
    for queue in queues:
        sums[queue.parent] = plus(sums.get(queue.parent, NOTHING), queue.guaranteed)
    for name, total in sums.items():
        parent = by_name.get(name)
        if parent is None:
            continue
        bound = parent.guaranteed if any(parent.guaranteed) else parent.ceiling
        for resource, promised, available in zip(RESOURCES, total, bound, strict=True):
            if promised > available:
                text = f"is overcommitted: its children are guaranteed {promised} of {available}"
                raise QueueTreeError(name, f"guaranteed.{resource}", text)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The queue whose ceiling is in the way, and of what."""

    queue: str
    resource: str


class QuotaBook:
    """Counts what every queue holds, its descendants included. One plan owns one book."""

    def __init__(self, queues: Iterable[Queue], leaves: Iterable[str] = ()) -> None:
        self._queues = {queue.name: queue for queue in queues}
        for leaf in leaves:
            self._queues.setdefault(leaf, Queue(leaf))
        self._paths: dict[str, tuple[str, ...]] = {}
        self._used = dict.fromkeys(self._queues, NOTHING)
        self._guaranteed = self._guarantees()
        self._bounded = {name for name, queue in self._queues.items() if queue.ceiling != _NO_CEILING}

    @property
    def queues(self) -> Mapping[str, Queue]:
        """Returns the described queues and those that were only named."""
        return self._queues

    @property
    def is_bounded(self) -> bool:
        """Tells whether any queue has a ceiling."""
        return bool(self._bounded)

    def path(self, queue: str) -> tuple[str, ...]:
        """Returns a queue and its ancestors, nearest first; the root is left out."""
        known = self._paths.get(queue)
        if known is None:
            names = []
            name = queue
            while name:
                names.append(name)
                name = self._queues[name].parent
            known = self._paths[queue] = tuple(names)
        return known

    def used(self, queue: str) -> Amounts:
        """Returns what a queue and its descendants hold."""
        return self._used[queue]

    def guaranteed(self, queue: str) -> Amounts:
        """Returns what a queue can always get back."""
        return self._guaranteed[queue]

    def take(self, queue: str, amounts: Amounts, times: int = 1) -> None:
        """Counts an allocation; a negative number takes it back."""
        for name in self.path(queue):
            self._used[name] = plus(self._used[name], amounts, times)

    def ceiling_in_the_way(self, queue: str, amounts: Amounts, times: int = 1) -> Ceiling | None:
        """Returns the nearest ceiling that would be exceeded; None where none would."""
        for name in self.path(queue):
            if name not in self._bounded:
                continue
            used, ceiling = self._used[name], self._queues[name].ceiling
            for index, resource in enumerate(RESOURCES):
                wanted = times * amounts[index]
                if wanted and used[index] + wanted > ceiling[index]:
                    return Ceiling(name, resource)
        return None

    def lasting_ceiling(self, queue: str, amounts: Amounts, times: int = 1) -> Ceiling | None:
        """Returns the nearest ceiling that an empty tree would exceed as well."""
        for name in self.path(queue):
            for index, resource in enumerate(RESOURCES):
                if times * amounts[index] > self._queues[name].ceiling[index]:
                    return Ceiling(name, resource)
        return None

    def may_reclaim(self, claimant: str, amounts: Amounts, times: int, holder: str) -> bool:
        """Tells whether an allocation of `holder` may be taken back for a demand of `claimant`.

        Below the nearest common ancestor, the side that claims stays within its guarantee of every resource
        that it names, and the side that holds has more of such a resource than its own. What was reclaimed
        can thus never be reclaimed back: the side that gained does not borrow.
        """
        sides = self._below_common_ancestor(claimant, holder)
        if sides is None:
            return False
        gaining, losing = sides
        used, guaranteed = self._used[gaining], self._guaranteed[gaining]
        wanted = [index for index, bound in enumerate(guaranteed) if bound and times * amounts[index]]
        if any(used[index] + times * amounts[index] > guaranteed[index] for index in wanted):
            return False
        return any(self._borrows(losing, index) for index in wanted)

    def _borrows(self, queue: str, resource: int) -> bool:
        """Tells whether a queue holds more than it is guaranteed of a resource that its guarantee names."""
        own = self._guaranteed[queue]
        is_named = own[resource] > 0 or not any(own)
        return is_named and self._used[queue][resource] > own[resource]

    def _below_common_ancestor(self, one: str, other: str) -> tuple[str, str] | None:
        left, right = self.path(one)[::-1], self.path(other)[::-1]
        for first, second in zip(left, right, strict=False):
            if first != second:
                return first, second
        return None

    def _guarantees(self) -> dict[str, Amounts]:
        sums: dict[str, Amounts] = {}
        ordered = sorted(self._queues, key=lambda name: -len(self.path(name)))
        effective: dict[str, Amounts] = {}
        for name in ordered:
            queue = self._queues[name]
            own = queue.guaranteed if any(queue.guaranteed) else sums.get(name, NOTHING)
            effective[name] = own
            sums[queue.parent] = plus(sums.get(queue.parent, NOTHING), own)
        return effective
