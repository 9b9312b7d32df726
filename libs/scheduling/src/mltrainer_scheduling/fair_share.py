"""Divides the cluster between queues: hierarchical, weighted, with fading history.

Shares are dominant shares: of CPUs, memory or GPUs, whichever is largest of the cluster. At every inner
queue, from the root down, what it may hold is poured over its children until one level is reached: weight
times level, less what the child held on average lately, but never less than its guarantee nor more than it
asks for or its ceiling allows. What one child does not ask for is thus lent to the others. The allowance of
an inner queue bounds its own trainings together with those of its children.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mltrainer_scheduling.jobs import Floats
from mltrainer_scheduling.quotas import NOTHING, Amounts, QuotaBook, plus

DEFAULT_HALF_LIFE_S = 24 * 3_600.0
AmountSeconds = tuple[float, float, float]
NO_HISTORY: AmountSeconds = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class PastUse:
    """Amounts times seconds that a queue has held, faded to `time_s`."""

    amount_s: AmountSeconds = NO_HISTORY
    time_s: float = 0.0


def faded(use: PastUse, now_s: float, half_life_s: float) -> PastUse:
    """Lets time pass; a clock that went back changes nothing."""
    if now_s <= use.time_s:
        return use
    left = math.exp2((use.time_s - now_s) / half_life_s)
    cpus, memory, gpus = use.amount_s
    return PastUse((cpus * left, memory * left, gpus * left), now_s)


def with_held(use: PastUse, amounts: Amounts, begin_s: float, end_s: float, half_life_s: float) -> PastUse:
    """Adds what was held from a beginning to an end; the answer is faded to the later of end and `time_s`."""
    now_s = max(end_s, use.time_s)
    ages = held_seconds(np.array([now_s - begin_s, now_s - end_s]), half_life_s)
    seconds = float(ages[0] - ages[1]) if end_s > begin_s else 0.0
    return with_amount_seconds(faded(use, now_s, half_life_s), amounts, seconds)


def with_amount_seconds(use: PastUse, amounts: Amounts, seconds: float) -> PastUse:
    """Adds an amount times seconds that have faded already."""
    cpus, memory, gpus = use.amount_s
    held = (cpus + seconds * amounts[0], memory + seconds * amounts[1], gpus + seconds * amounts[2])
    return PastUse(held, use.time_s)


def held_seconds(age_s: Floats, half_life_s: float) -> Floats:
    """Returns the seconds since ages ago until now, each counting as much as it has not faded."""
    left = np.exp2(-np.maximum(age_s, 0.0) / half_life_s)
    return np.asarray(half_life_s / math.log(2.0) * (1.0 - left), np.float64)


def mean_amounts(use: PastUse, half_life_s: float) -> AmountSeconds:
    """Returns what was held on average, recent times counting more."""
    window_s = half_life_s / math.log(2.0)
    cpus, memory, gpus = use.amount_s
    return (cpus / window_s, memory / window_s, gpus / window_s)


def dominant_share(amounts: Sequence[float], capacity: Amounts) -> float:
    """Returns the largest share of a resource of the cluster."""
    return max(
        (amount / available for amount, available in zip(amounts, capacity, strict=True) if available),
        default=0.0,
    )


@dataclass(frozen=True, slots=True)
class _Claim:
    """Bounds of what one queue may get, as shares of the cluster."""

    queue: str
    weight: float
    past: float
    least: float
    most: float

    def at(self, level: float) -> float:
        return min(max(self.weight * level - self.past, self.least), self.most)


def allowances(
    book: QuotaBook,
    capacity: Amounts,
    past: Mapping[str, AmountSeconds],
    demand: Mapping[str, Amounts],
) -> dict[str, float]:
    """Returns the dominant share that each queue with demand may hold now.

    `demand` is what the trainings of each queue hold and wait for, `past` what they held on average lately.
    """
    asked: dict[str, Amounts] = {}
    for queue, amounts in demand.items():
        for name in book.path(queue):
            asked[name] = plus(asked.get(name, NOTHING), amounts)
    held: dict[str, AmountSeconds] = {}
    for queue, mean in past.items():
        for name in book.path(queue) if queue in book.queues else ():
            known = held.get(name, NO_HISTORY)
            held[name] = (known[0] + mean[0], known[1] + mean[1], known[2] + mean[2])
    children: dict[str, list[_Claim]] = {}
    for name in sorted(asked):
        claim = _claim(book, capacity, name, asked[name], held.get(name, NO_HISTORY))
        children.setdefault(book.queues[name].parent, []).append(claim)
    granted: dict[str, float] = {"": 1.0}
    todo = [""]
    while todo:
        parent = todo.pop()
        for claim, share in _poured(children.get(parent, []), granted[parent]):
            granted[claim.queue] = share
            todo.append(claim.queue)
    del granted[""]
    return granted


def _claim(book: QuotaBook, capacity: Amounts, name: str, asked: Amounts, held: AmountSeconds) -> _Claim:
    queue = book.queues[name]
    most = min(dominant_share(asked, capacity), dominant_share(queue.ceiling, capacity))
    least = min(dominant_share(book.guaranteed(name), capacity), most)
    return _Claim(name, queue.weight, dominant_share(held, capacity), least, most)


_ROUNDS = 60


def _poured(claims: Sequence[_Claim], total: float) -> list[tuple[_Claim, float]]:
    if sum(claim.most for claim in claims) <= total:
        return [(claim, claim.most) for claim in claims]
    low, high = 0.0, max((claim.most + claim.past) / claim.weight for claim in claims)
    for _ in range(_ROUNDS):
        level = (low + high) / 2.0
        if sum(claim.at(level) for claim in claims) > total:
            high = level
        else:
            low = level
    return [(claim, claim.at(high)) for claim in claims]
