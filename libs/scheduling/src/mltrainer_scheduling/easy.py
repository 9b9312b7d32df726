"""Backfilling with one reservation, for which run times must be known."""

from collections.abc import Sequence

from mltrainer_scheduling.draft import Draft
from mltrainer_scheduling.plan import Cause
from mltrainer_scheduling.room import Room


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
    due_s = _reserved_s(draft, draft.room, head)
    remaining = draft.jobs.remaining_s
    for row in rows:
        if not draft.admits(row):
            draft.causes[row] = (Cause.QUOTA_EXHAUSTED, ())
            continue
        before = draft.room.copy()
        spots = draft.room.place(draft.shape(row))
        if spots is None:
            continue
        draft.starts[row] = spots
        if float(remaining[row]) > due_s and _reserved_s(draft, draft.room, head) > due_s:
            del draft.starts[row]
            draft.room = before
            draft.causes[row] = (Cause.BEHIND_OTHERS, (head,))
        else:
            draft.started(row, spots)


def _reserved_s(draft: Draft, room: Room, head: int) -> float:
    """Returns how many seconds from now the head fits, if nobody else starts."""
    jobs, shape = draft.jobs, draft.shape(head)
    ends = [(float(jobs.remaining_s[row]), row) for row in jobs.running.nonzero()[0].tolist()]
    ends += [(float(jobs.remaining_s[row]), row) for row in draft.starts]
    room = room.copy()
    for end_s, row in sorted(ends):
        room.give_back(draft.shape(row), draft.starts.get(row) or draft.spots(row))
        if room.copy().place(shape) is not None:
            return end_s
    return float("inf")
