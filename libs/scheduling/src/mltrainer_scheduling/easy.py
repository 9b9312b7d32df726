"""Backfilling with one reservation, for which run times must be known."""

from collections.abc import Sequence

from mltrainer_scheduling.draft import Draft
from mltrainer_scheduling.plan import Cause


def easy_backfill(draft: Draft, rows: Sequence[int]) -> None:
    """Starts in order; nobody may delay the first that does not fit beyond when it could start."""
    waiting = [row for row in rows if not draft.lasting[draft.code[row]]]
    for place, head in enumerate(waiting):
        if not draft.admits(head):
            draft.causes[head] = (Cause.QUOTA_EXHAUSTED, ())
        elif not draft.start(head):
            _behind(draft, head, waiting[place + 1 :])
            return


def _behind(draft: Draft, head: int, rows: Sequence[int]) -> None:
    due_s = _reserved_s(draft, head)
    remaining = draft.jobs.remaining_s
    for row in rows:
        if not draft.admits(row):
            draft.causes[row] = (Cause.QUOTA_EXHAUSTED, ())
            continue
        spots = draft.room.place(draft.shape(row))
        if spots is None:
            continue
        draft.started(row, spots)
        if float(remaining[row]) > due_s and _reserved_s(draft, head) > due_s:
            del draft.starts[row]
            draft.room.give_back(draft.shape(row), spots)
            draft.gate.stopped(draft.jobs.queues[draft.jobs.queue[row]], int(draft.jobs.gang_gpu_millis[row]))
            draft.causes[row] = (Cause.BEHIND_OTHERS, (head,))


def _reserved_s(draft: Draft, head: int) -> float:
    """Returns how many seconds from now the head fits, if nobody else starts."""
    jobs, room, shape = draft.jobs, draft.room, draft.shape(head)
    ends = [(float(jobs.remaining_s[row]), row) for row in jobs.running.nonzero()[0].tolist()]
    ends += [(float(jobs.remaining_s[row]), row) for row in draft.starts]
    gone: list[int] = []
    due_s = float("inf")
    for end_s, row in sorted(ends):
        room.give_back(draft.shape(row), draft.starts.get(row) or draft.spots(row))
        gone.append(row)
        spots = room.place(shape)
        if spots is not None:
            room.give_back(shape, spots)
            due_s = end_s
            break
    for row in gone:
        room.take_back(draft.shape(row), draft.starts.get(row) or draft.spots(row))
    return due_s
