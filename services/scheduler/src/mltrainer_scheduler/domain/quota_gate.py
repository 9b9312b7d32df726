"""Bounds what queues hold while a plan is made."""

from collections.abc import Mapping
from math import inf

from mltrainer_scheduling.fair_share import dominant_share
from mltrainer_scheduling.quotas import Amounts, QuotaBook

from mltrainer_scheduler.domain.columns import Account

# Of shares of the cluster, far below one GPU of a million.
_ROUNDING = 1e-9


class QuotaGate:
    """Lets a queue have its allowance, one gang more at most, and never more than a ceiling."""

    def __init__(
        self,
        book: QuotaBook,
        capacity: Amounts,
        accounts: Mapping[str, Account],
        allowed: Mapping[str, float],
    ) -> None:
        self._book = book
        self._capacity = capacity
        self._accounts = accounts
        self._allowed = allowed
        self.refused_for_fairness = False

    @property
    def is_open(self) -> bool:
        """Tells whether nothing bounds any queue."""
        return not self._allowed and not self._book.is_bounded

    def admits(self, queue: str, gpu_millis: int) -> bool:  # noqa: ARG002 - the account knows all amounts
        """Says whether a gang may start."""
        account = self._accounts[queue]
        if self._book.ceiling_in_the_way(account.queue, account.amounts):
            return False
        if self.is_within_allowance(account.queue):
            return True
        self.refused_for_fairness = True
        return False

    def is_within_allowance(self, queue: str) -> bool:
        """Says whether a queue and all its ancestors hold less than their allowances."""
        return all(
            dominant_share(self._book.used(name), self._capacity) < self._allowed.get(name, inf) - _ROUNDING
            for name in self._book.path(queue)
        )

    def started(self, queue: str, gpu_millis: int) -> None:  # noqa: ARG002 - the account knows all amounts
        """Counts a gang that starts."""
        account = self._accounts[queue]
        self._book.take(account.queue, account.amounts)

    def stopped(self, queue: str, gpu_millis: int) -> None:  # noqa: ARG002 - the account knows all amounts
        """Counts a gang that is preempted."""
        account = self._accounts[queue]
        self._book.take(account.queue, account.amounts, -1)
