"""Tells why trainings wait after a plan."""

from collections.abc import Iterator, Mapping

import numpy as np
from mltrainer_scheduling.plan import Cause, Wait
from mltrainer_scheduling.quotas import QuotaBook
from mltrainer_scheduling.snapshot import Snapshot

from mltrainer_scheduler.domain.columns import Account
from mltrainer_scheduler.domain.decisions import FAIR_SHARE_REACHED, LARGER_THAN_QUOTA, Hindrance
from mltrainer_scheduler.domain.quota_gate import QuotaGate


class Waits(Mapping[str, Hindrance]):
    """Tells why a training waits when it is asked: nearly nobody asks for most."""

    def __init__(
        self,
        waits: Mapping[str, Wait],
        snapshot: Snapshot,
        accounts: Mapping[str, Account],
        book: QuotaBook,
        gate: QuotaGate,
    ) -> None:
        self._waits = waits
        self._jobs = snapshot.jobs
        self._accounts = accounts
        self._book = book
        self._gate = gate

    def __getitem__(self, training: str) -> Hindrance:
        wait = self._waits[training]
        is_bounded = wait.cause is Cause.QUOTA_EXHAUSTED or self._gate.refused_for_fairness
        if wait.cause.is_lasting or not is_bounded:
            return Hindrance(wait.cause, wait.blockers, wait.cause.is_lasting)
        row = int(np.searchsorted(self._jobs.job_id, training))
        account = self._accounts[self._jobs.queues[self._jobs.queue[row]]]
        if self._book.lasting_ceiling(account.queue, account.amounts):
            return Hindrance(LARGER_THAN_QUOTA, is_lasting=True)
        if self._book.ceiling_in_the_way(account.queue, account.amounts):
            return Hindrance(Cause.QUOTA_EXHAUSTED, wait.blockers)
        if wait.cause is Cause.QUOTA_EXHAUSTED or not self._gate.is_within_allowance(account.queue):
            return Hindrance(FAIR_SHARE_REACHED, wait.blockers)
        return Hindrance(wait.cause, wait.blockers)

    def __contains__(self, training: object) -> bool:
        """Spares working out the cause."""
        return training in self._waits

    def __iter__(self) -> Iterator[str]:
        return iter(self._waits)

    def __len__(self) -> int:
        return len(self._waits)
