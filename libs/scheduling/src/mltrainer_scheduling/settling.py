"""Plans until another plan of the outcome would change nothing.

A plan changes what the next one sees: whoever starts is harder to stop from then on, or must not be stopped
for a while, and so moves ahead of others in the count of who may run. One plan alone may therefore give a
place that the next would take back. Here the outcome of a plan is planned again at the same moment, and what
all of these plans change together is decided at once.

Whoever was started here and is stopped here waits on, as if nothing had been, and is not started here again.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from mltrainer_scheduling.draft import Draft
from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Flags, Floats, JobTable
from mltrainer_scheduling.plan import Gate, Plan
from mltrainer_scheduling.replanning import Terms, drafted, forget_moves_to_the_same_place
from mltrainer_scheduling.room import Spot
from mltrainer_scheduling.snapshot import Snapshot

# Two are usual, and more than four have not been seen.
_MOST_ROUNDS = 16


def settled(snapshot: Snapshot, gate: Gate, urgency_s: Floats, terms: Terms, review_s: float) -> Plan:
    """Returns the plan; `urgency_s` is smaller for jobs that should run sooner."""
    if bool(snapshot.jobs.running.all()):
        return Plan()
    draft = drafted(snapshot, gate, urgency_s, terms)
    last, barred = draft, set[int]()
    for _ in range(_MOST_ROUNDS):
        if not last.starts and not last.stops:
            break
        last = drafted(_outcome(snapshot, draft), gate, urgency_s, terms, barred=barred, before=draft)
        if last.starts or last.stops:
            barred |= last.stops.keys() & draft.starts.keys()
            draft = last = _together(snapshot, draft, last)
    return draft.plan(review_s)


def _together(snapshot: Snapshot, draft: Draft, last: Draft) -> Draft:
    """Returns the last draft with all that changes against the snapshot."""
    starts, stops = dict(draft.starts), dict(draft.stops)
    for row, reason in last.stops.items():
        starts.pop(row, None)
        if snapshot.jobs.running[row]:
            stops.setdefault(row, reason)
    last.amend(snapshot, starts | last.starts, stops)
    forget_moves_to_the_same_place(last)
    return last


def _outcome(snapshot: Snapshot, draft: Draft) -> Snapshot:
    """Returns the snapshot after a plan, as the next plan would see it at the same moment."""
    jobs, nodes, room = snapshot.jobs, snapshot.nodes, draft.room
    started, stopped = np.array(list(draft.starts), np.int64), np.array(list(draft.stops), np.int64)
    running, unsaved_s = jobs.running.copy(), jobs.unsaved_s.copy()
    preemptions, started_s = jobs.preemptions.copy(), jobs.started_s.copy()
    waiting_since_s = jobs.waiting_since_s.copy()
    running[stopped], started_s[stopped], waiting_since_s[stopped] = False, np.nan, snapshot.now_s
    preemptions[stopped] += 1
    unsaved_s[stopped] = unsaved_s[started] = 0.0
    running[started], started_s[started] = True, snapshot.now_s
    free = room.devices
    if free is None:
        free = (np.arange(nodes.free_gpu_millis.shape[1]) < room.whole[:, None]) * WHOLE_GPU_MILLIS
    left = ~np.isin(jobs.share_job, stopped)
    after = replace(
        jobs,
        running=running,
        unsaved_s=unsaved_s,
        preemptions=preemptions,
        started_s=started_s,
        waiting_since_s=waiting_since_s,
        **_shares(jobs, left, draft.starts),
    )
    there = replace(nodes, free_gpu_millis=free, free_cpu_millis=room.cpu, free_memory_bytes=room.memory)
    return replace(snapshot, jobs=after, nodes=there)


def _shares(jobs: JobTable, left: Flags, starts: dict[int, list[Spot]]) -> dict[str, Any]:
    added = np.array([(row, *spot) for row, spots in starts.items() for spot in spots], np.int64)
    columns = ("share_job", "share_node", "share_workers", "share_device")
    held = np.column_stack([getattr(jobs, name)[left] for name in columns])
    rows = np.concatenate([held, added.reshape(-1, len(columns))])
    rows = rows[np.lexsort((rows[:, 3], rows[:, 1], rows[:, 0]))]
    return {name: rows[:, place] for place, name in enumerate(columns)}
