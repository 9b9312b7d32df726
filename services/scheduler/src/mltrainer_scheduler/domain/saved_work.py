"""What an attempt would keep if it ended now: what its checkpoints are known to hold, and nothing else."""

from collections.abc import Iterable
from datetime import datetime
from math import nan

import numpy as np
from mltrainer_scheduling.jobs import Floats

from mltrainer_scheduler.domain.training import Allocation


def saved_s(begin_s: Floats | float, checkpoint_s: Floats | float, now_s: float) -> Floats:
    """Returns how much of the time since an attempt began is safe.

    Not a number stands for no checkpoint, or no attempt. Nothing is safe that nobody reported: an interval is
    a promise. What was reported can neither be from before the attempt nor from the future.
    """
    run_s = np.maximum(now_s - np.asarray(begin_s, np.float64), 0.0)
    kept_s = np.clip(np.asarray(checkpoint_s, np.float64) - begin_s, 0.0, run_s)
    return np.asarray(np.nan_to_num(kept_s, nan=0.0))


def later_checkpoint(allocation: Allocation, reported: datetime | None, now: datetime) -> datetime | None:
    """Returns the time of the last checkpoint after a report; a checkpoint is older than the report of it.

    One from before the allocation is none of this attempt, and checkpoints do not go back.
    """
    known = allocation.checkpoint_time
    if reported is None or reported <= allocation.start_time:
        return known
    bounded = min(reported, now)
    return bounded if known is None else max(known, bounded)


def last_checkpoint_s(times: Iterable[datetime | None]) -> float:
    """Returns the last checkpoint of a gang in seconds since 1970; not a number without any."""
    return max((time.timestamp() for time in times if time is not None), default=nan)
