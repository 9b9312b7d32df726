"""Takes capacity back: from nodes that have shrunk, and for queues from those that borrowed their guarantee.

Victims are those that lose least work, measured from their last checkpoint. What was reclaimed cannot be
reclaimed back, so plans never go round in a circle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Flags, Floats, Integers, JobTable
from mltrainer_scheduling.nodes import NodeTable
from mltrainer_scheduling.quotas import QuotaBook
from mltrainer_scheduling.snapshot import Snapshot

from mltrainer_scheduler.domain.columns import Account
from mltrainer_scheduler.domain.free_capacity import with_free
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
    lost = work_lost(jobs)
    left = np.ones(len(jobs.share_job), np.bool_)
    stopped: list[int] = []
    for node in np.flatnonzero(_holds_too_much(jobs, nodes, left)):
        there = np.unique(jobs.share_job[(jobs.share_node == node) & left])
        for job in there[np.argsort(lost[there], kind="stable")].tolist():
            if not _holds_too_much(jobs, nodes, left)[node]:
                break
            stopped.append(job)
            left &= jobs.share_job != job
    return np.array(stopped, np.int64)


def _holds_too_much(jobs: JobTable, nodes: NodeTable, left: Flags) -> Flags:
    """Returns which nodes cannot hold the shares that are left: in amounts, or device by device."""
    job, node, workers, device = (getattr(jobs, name)[left] for name in _SHARE_COLUMNS)
    cpu, memory, whole = (np.zeros(len(nodes), np.int64) for _ in range(3))
    np.add.at(cpu, node, workers * jobs.cpu_millis[job])
    np.add.at(memory, node, workers * jobs.memory_bytes[job])
    each = jobs.gpu_millis[job]
    is_shared = (each < WHOLE_GPU_MILLIS) & (device >= 0)
    shared = np.zeros((len(nodes), max(int(device.max(initial=-1)) + 1, 1)), np.int64)
    np.add.at(shared, (node[is_shared], device[is_shared]), (workers * each)[is_shared])
    np.add.at(whole, node[~is_shared], (workers * -(-each // WHOLE_GPU_MILLIS))[~is_shared])
    is_missing = (shared > 0) & (np.arange(shared.shape[1]) >= nodes.gpus[:, None])
    too_much = (cpu > nodes.cpu_millis) | (memory > nodes.memory_bytes) | is_missing.any(axis=1)
    too_much |= (shared > WHOLE_GPU_MILLIS).any(axis=1) | (whole + (shared > 0).sum(axis=1) > nodes.gpus)
    return np.asarray(too_much, np.bool_)


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
