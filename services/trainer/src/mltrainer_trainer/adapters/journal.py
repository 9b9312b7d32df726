"""Makes safe what a training has finished, and recalls what earlier attempts of it have finished."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import structlog
from mltrainer_common.content_store import ContentNotFoundError, ContentStore, DigestMismatchError

from mltrainer_trainer.domain.checkpoints import CheckpointTimer, FinishedStep, SearchProgress
from mltrainer_trainer.domain.plan import AttemptPlan
from mltrainer_trainer.domain.recall import FitResults, Recalled
from mltrainer_trainer.domain.search import Trial
from mltrainer_trainer.wire.trials import (
    from_fit_step,
    from_trial,
    from_trial_step,
    is_better,
    to_fit_step,
    to_trial_step,
)

_log = structlog.get_logger()
# What is larger goes to the artifact store: messages and rows stay small.
_LARGEST_INLINE_BYTES = 16 << 10


class Record(Protocol):
    """Makes trials and steps durable together, and returns when they are."""

    def __call__(self, trials: Sequence[bytes], steps: Sequence[FinishedStep]) -> None:
        """Records them."""
        ...


class StepContents:
    """Keeps large contents in the artifact store; one that has gone from there was never finished."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store

    def put(self, step: FinishedStep) -> FinishedStep | None:
        """Returns the step as it is recorded; None where its content cannot be stored now."""
        if len(step.content) <= _LARGEST_INLINE_BYTES:
            return step
        try:
            digest = self._store.put_bytes(step.content)
        except OSError as error:
            _log.warning("checkpoint_skipped", step=step.key, error=str(error))
            return None
        return replace(step, content=b"", content_sha256=digest)

    def fetch(self, step: FinishedStep) -> FinishedStep | None:
        """Returns the step with its content."""
        if not step.content_sha256:
            return step
        try:
            return replace(step, content=self._store.read_bytes(step.content_sha256))
        except (ContentNotFoundError, DigestMismatchError, OSError):
            return None


class Journal:
    """Records every trial when it ends, and finished fits as often as the checkpoint interval asks for.

    Called by the thread that computes, or by several. What is recalled is charged with the CPU time it once
    took, so that a search under a budget takes the same course.
    """

    def __init__(
        self,
        record: Record,
        contents: StepContents,
        finished: Mapping[str, FinishedStep],
        interval_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.charged_cpu_seconds = 0.0
        self._record = record
        self._contents = contents
        self._finished = finished
        self._monotonic = monotonic
        self._timer = CheckpointTimer(interval_s, safe_s=monotonic(), last_s=monotonic())
        self._pending: list[FinishedStep] = []
        self._lock = threading.RLock()
        self._done = self._total = 0
        self._best: float | None = None

    def find_trial(self, digest: str) -> Trial | None:
        """Returns a trial that an earlier attempt has finished."""
        step = self._finished.get(digest)
        if step is None:
            return None
        trial = from_trial_step(step)
        with self._lock:
            self.charged_cpu_seconds += trial.cpu_seconds
        return trial

    def keep_trial(self, trial: Trial) -> None:
        """Records a trial unless it was found; what its fits arrived at is no longer needed."""
        with self._lock:
            self._done += 1
            if is_better(trial, self._best):
                self._best = trial.objective
            if trial.configuration_digest not in self._finished:
                self._pending.clear()
                self._checkpoint([from_trial(trial)], [to_trial_step(trial)])

    def progress(self, trials_total: int) -> SearchProgress:
        """Says how far the search is; its total stays known."""
        self._total = max(self._total, trials_total, self._done)
        return SearchProgress(self._done, self._total, self._best)

    def find_fit(self, key: str) -> Recalled | None:
        """Returns the predictions of a fit that an earlier attempt has finished."""
        step = self._finished.get(key)
        found = self._contents.fetch(step) if step is not None else None
        return from_fit_step(found) if found is not None else None

    def keep_fit(self, key: str, result: Recalled) -> None:
        """Takes the predictions of a fit, and makes a checkpoint where it is time for one."""
        with self._lock:
            self._pending.append(to_fit_step(key, result))
            if self._timer.is_due(self._monotonic()):
                self._store_pending()

    def checkpoint(self) -> None:
        """Makes safe what is finished, whether or not it is time."""
        with self._lock:
            if self._pending:
                self._store_pending()

    def _store_pending(self) -> None:
        stored = [self._contents.put(step) for step in self._pending]
        self._pending.clear()
        self._checkpoint([], [step for step in stored if step is not None])

    def _checkpoint(self, trials: Sequence[bytes], steps: Sequence[FinishedStep]) -> None:
        self._record(trials, steps)
        self._timer.made(self._monotonic())


class FinishedWork(Protocol):
    """Talks to the trainer about what is finished."""

    async def finished_steps(self, plan: AttemptPlan) -> Mapping[str, FinishedStep]:
        """Returns by its key what earlier attempts have finished."""
        ...

    async def record_trials(
        self, plan: AttemptPlan, trials: Sequence[bytes], steps: Sequence[FinishedStep] = ()
    ) -> int:
        """Makes trials and steps durable together."""
        ...


class Journals:
    """Opens the journal of an attempt, and makes safe what is in it when the attempt must end."""

    def __init__(self, reports: FinishedWork, contents: StepContents) -> None:
        self._reports = reports
        self._contents = contents
        self._opened: Journal | None = None

    async def open(self, plan: AttemptPlan) -> Journal:
        """Asks what is finished; what follows is recorded through the present loop while a thread waits."""
        loop, finished = asyncio.get_running_loop(), await self._reports.finished_steps(plan)
        _log.info("attempt_begins", attempt=plan.identity.name, finished_steps=len(finished))

        def record(trials: Sequence[bytes], steps: Sequence[FinishedStep]) -> None:
            asyncio.run_coroutine_threadsafe(self._record(plan, trials, steps), loop).result()

        self._opened = Journal(record, self._contents, finished, plan.checkpoint_interval_s)
        return self._opened

    async def _record(
        self, plan: AttemptPlan, trials: Sequence[bytes], steps: Sequence[FinishedStep]
    ) -> None:
        await self._reports.record_trials(plan, trials, steps)

    def checkpoint(self) -> None:
        """Makes safe what is finished; called by a thread of its own."""
        if self._opened is not None:
            self._opened.checkpoint()


class JournaledFits:
    """Fits that this training has finished, before those that any training of this machine has."""

    def __init__(self, journal: Journal, others: FitResults) -> None:
        self._journal = journal
        self._others = others

    def find(self, key: str) -> Recalled | None:
        """Returns what was kept."""
        return self._journal.find_fit(key) or self._others.find(key)

    def keep(self, key: str, result: Recalled) -> None:
        """Keeps predictions for later trainings, and for a later attempt of this one."""
        self._others.keep(key, result)
        self._journal.keep_fit(key, result)

    @contextmanager
    def lead(self, key: str) -> Iterator[object]:
        """Has one process at a time compute."""
        with self._others.lead(key) as leads:
            yield leads
