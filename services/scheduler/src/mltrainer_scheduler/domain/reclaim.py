"""Takes capacity back: from nodes that have shrunk, and for queues from those that borrowed their guarantee.

Victims are those that lose least work, measured from their last checkpoint. What was reclaimed cannot be
reclaimed back, so plans never go round in a circle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Floats, Integers, JobTable
from mltrainer_scheduling.quotas import QuotaBook
from mltrainer_scheduling.snapshot import Snapshot

from mltrainer_scheduler.domain.cluster_state import Account, held_by_node, with_free
from mltrainer_scheduler.domain.gangs import place_gang
from mltrainer_scheduler.domain.training import Share, Terms

MOST_CLAIMS = 32
_MOST_VICTIMS = 64
_SHARE_COLUMNS = ("share_job", "share_node", "share_workers", "share_device")
_TEXTS = ("gpu_types", "queues", "groups")
_JOB_COLUMNS = tuple(one.name for one in fields(JobTable) if one.name not in {*_SHARE_COLUMNS, *_TEXTS})


@dataclass(frozen=True, slots=True)
class Claim:
    """A waiting training, where it goes, and the rows of those that make room."""

    training: str
    shares: tuple[Share, ...]
    victims: Integers


def work_lost(jobs: JobTable) -> Floats:
    """Returns the worker-seconds each running training would lose if it were stopped now."""
    return jobs.unsaved_s * jobs.workers


def without(snapshot: Snapshot, rows: Integers) -> Snapshot:
    """Returns a snapshot in which some trainings do not exist and hold nothing."""
    jobs = snapshot.jobs
    keep = np.ones(len(jobs), np.bool_)
    keep[rows] = False
    position = np.cumsum(keep) - 1
    shares = keep[jobs.share_job]
    columns: dict[str, Any] = {name: column[keep] for name, column in _job_columns(jobs)}
    held: dict[str, Any] = {name: getattr(jobs, name)[shares] for name in _SHARE_COLUMNS}
    held["share_job"] = position[held["share_job"]]
    left = replace(jobs, **columns, **held)
    return replace(snapshot, jobs=left, nodes=with_free(left, snapshot.nodes))


def _job_columns(jobs: JobTable) -> list[tuple[str, Any]]:
    columns = ((name, getattr(jobs, name)) for name in _JOB_COLUMNS)
    return [(name, column) for name, column in columns if column is not None]


def with_started(snapshot: Snapshot, training: str, shares: Sequence[Share]) -> Snapshot:
    """Returns a snapshot in which a waiting training executes."""
    jobs = snapshot.jobs
    row = int(np.flatnonzero(jobs.job_id == training)[0])
    nodes = snapshot.nodes.rows()
    running = jobs.running.copy()
    running[row] = True
    added = {
        "share_job": [row] * len(shares),
        "share_node": [nodes[share.node] for share in shares],
        "share_workers": [share.workers for share in shares],
        "share_device": [share.device for share in shares],
    }
    held = {name: np.concatenate([getattr(jobs, name), np.array(added[name])]) for name in _SHARE_COLUMNS}
    order = np.argsort(held["share_job"], kind="stable")
    started = jobs.started_s.copy()
    started[row] = snapshot.now_s
    left = replace(
        jobs,
        running=running,
        started_s=started,
        share_job=held["share_job"][order],
        share_node=held["share_node"][order],
        share_workers=held["share_workers"][order],
        share_device=held["share_device"][order],
    )
    return replace(snapshot, jobs=left, nodes=with_free(left, snapshot.nodes))


def overfull(snapshot: Snapshot) -> Integers:
    """Returns the trainings to stop so that no node holds more than it has, those that lose least first."""
    jobs, nodes = snapshot.jobs, snapshot.nodes
    totals = (nodes.cpu_millis, nodes.memory_bytes, nodes.gpus * WHOLE_GPU_MILLIS)
    held = held_by_node(jobs, len(nodes))
    over = [amounts > total for amounts, total in zip(held, totals, strict=True)]
    stopped: list[int] = []
    for node in np.flatnonzero(over[0] | over[1] | over[2]):
        there = np.unique(jobs.share_job[jobs.share_node == node])
        for job in there[np.argsort(work_lost(jobs)[there], kind="stable")]:
            if all(amounts[node] <= total[node] for amounts, total in zip(held, totals, strict=True)):
                break
            if job not in stopped:
                stopped.append(int(job))
                _give_back(jobs, int(job), held)
    return np.array(stopped, np.int64)


def _give_back(jobs: JobTable, job: int, held: Sequence[Integers]) -> None:
    mine = jobs.share_job == job
    for amounts, each in zip(held, (jobs.cpu_millis, jobs.memory_bytes, jobs.gpu_millis), strict=True):
        np.subtract.at(amounts, jobs.share_node[mine], jobs.share_workers[mine] * each[job])


def next_claim(
    snapshot: Snapshot, book: QuotaBook, accounts: Mapping[str, Account], terms: Terms
) -> Claim | None:
    """Finds room for a training whose queue holds less than its guarantee; None where none can be helped."""
    jobs, pending = snapshot.jobs, snapshot.pending
    entitled = [
        code for code in np.unique(jobs.queue[pending]) if _is_entitled(book, accounts[jobs.queues[code]])
    ]
    rows = pending[np.isin(jobs.queue[pending], entitled)]
    order = np.lexsort((jobs.submit_s[rows], -jobs.priority[rows]))
    for row in rows[order][:MOST_CLAIMS]:
        if not place_gang(jobs, snapshot.nodes, row):
            account = accounts[jobs.queues[jobs.queue[row]]]
            claim = _claim(snapshot, int(row), _candidates(snapshot, account, book, accounts, terms))
            if claim is not None:
                return claim
    return None


def _is_entitled(book: QuotaBook, account: Account) -> bool:
    return book.ceiling_in_the_way(account.queue, account.amounts) is None and any(
        book.may_reclaim(account.queue, account.amounts, 1, other) for other in book.queues
    )


def _claim(snapshot: Snapshot, row: int, candidates: Integers) -> Claim | None:
    jobs = snapshot.jobs
    victims: list[int] = []
    for victim in candidates:
        victims.append(int(victim))
        shares = _shares_without(snapshot, row, victims)
        if shares:
            spared, shares = _spared(snapshot, row, victims, shares)
            return Claim(str(jobs.job_id[row]), shares, np.array(spared, np.int64))
    return None


def _candidates(
    snapshot: Snapshot, account: Account, book: QuotaBook, accounts: Mapping[str, Account], terms: Terms
) -> Integers:
    jobs = snapshot.jobs
    lenders = {
        code: book.may_reclaim(account.queue, account.amounts, 1, accounts[text].queue)
        for code, text in enumerate(jobs.queues)
        if text and accounts[text].queue in book.queues
    }
    owes = np.array([lenders.get(int(code), False) for code in jobs.queue], np.bool_)
    may = jobs.running & owes & (jobs.preemptions < terms.max_preemptions)
    may &= snapshot.now_s - jobs.started_s >= terms.minimum_run_s
    rows = np.flatnonzero(may)
    order = np.lexsort((-jobs.started_s[rows], work_lost(jobs)[rows], jobs.priority[rows]))
    return rows[order][:_MOST_VICTIMS]


def _shares_without(snapshot: Snapshot, row: int, victims: Sequence[int]) -> tuple[Share, ...]:
    jobs = snapshot.jobs
    left = ~np.isin(jobs.share_job, victims)
    columns: dict[str, Any] = {name: getattr(jobs, name)[left] for name in _SHARE_COLUMNS}
    held = replace(jobs, **columns)
    return place_gang(jobs, with_free(held, snapshot.nodes), row)


def _spared(
    snapshot: Snapshot, row: int, victims: list[int], shares: tuple[Share, ...]
) -> tuple[list[int], tuple[Share, ...]]:
    """Lets go of those that lose most and need not."""
    for victim in victims[:-1][::-1]:
        fewer = [one for one in victims if one != victim]
        enough = _shares_without(snapshot, row, fewer)
        if enough:
            victims, shares = fewer, enough
    return victims, shares
