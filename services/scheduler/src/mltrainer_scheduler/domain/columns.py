"""Columns that grow, and codes for texts: what the copy of the cluster is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mltrainer_scheduling.quotas import NOTHING, Amounts, plus

from mltrainer_scheduler.domain.cluster import Demand

_FIRST_ROWS = 64


class Column:
    """An array that grows."""

    def __init__(self, kind: Any) -> None:
        self.values = np.zeros(_FIRST_ROWS, kind)

    def double(self) -> None:
        """Makes room for as many rows again."""
        self.values = np.concatenate([self.values, np.zeros_like(self.values)])


@dataclass(frozen=True, slots=True)
class Account:
    """The queue that a gang counts against, and what the whole gang counts."""

    queue: str
    amounts: Amounts


class Accounts:
    """Texts that stand for accounts where policies expect queues, so that a gate knows all amounts."""

    def __init__(self) -> None:
        self.by_text: dict[str, Account] = {"": Account("", NOTHING)}
        self._codes: dict[tuple[str, Amounts, int], int] = {}

    def code(self, queue: str, demand: Demand) -> int:
        """Returns the number of an account, a new one for a new account."""
        amounts = demand.worker.amounts
        code = self._codes.get((queue, amounts, demand.workers))
        if code is None:
            code = self._codes[queue, amounts, demand.workers] = len(self.by_text)
            self.by_text[f"{queue}#{code}"] = Account(queue, plus(NOTHING, amounts, demand.workers))
        return code

    @property
    def texts(self) -> tuple[str, ...]:
        """Returns the texts by number."""
        return tuple(self.by_text)


class Codes:
    """Numbers for texts, the empty one first."""

    def __init__(self) -> None:
        self._codes = {"": 0}

    def code(self, text: str) -> int:
        """Returns the number of a text, a new one for a new text."""
        return self._codes.setdefault(text, len(self._codes))

    @property
    def texts(self) -> tuple[str, ...]:
        """Returns the texts by number."""
        return tuple(self._codes)


@dataclass(slots=True)
class ShareRows:
    """Shares of placed trainings as rows; a free row has no workers."""

    job: Column = field(default_factory=lambda: Column(np.int64))
    node: Column = field(default_factory=lambda: Column(np.int64))
    workers: Column = field(default_factory=lambda: Column(np.int64))
    device: Column = field(default_factory=lambda: Column(np.int64))
    rows_of: dict[int, list[int]] = field(default_factory=dict)
    free: list[int] = field(default_factory=list)
    count: int = 0

    def replace(self, job: int, shares: Sequence[tuple[int, int, int]]) -> list[int]:
        """Gives a training other shares, and returns the nodes that it leaves."""
        left = []
        for row in self.rows_of.pop(job, ()):
            left.append(int(self.node.values[row]))
            self.workers.values[row] = 0
            self.free.append(row)
        for node, workers, device in shares:
            row = self.free.pop() if self.free else self._new_row()
            self.job.values[row], self.node.values[row] = job, node
            self.workers.values[row], self.device.values[row] = workers, device
            self.rows_of.setdefault(job, []).append(row)
        return left

    def _new_row(self) -> int:
        self.count += 1
        if self.count > len(self.job.values):
            for column in (self.job, self.node, self.workers, self.device):
                column.double()
        return self.count - 1
