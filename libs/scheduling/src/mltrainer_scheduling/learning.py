"""Estimates how urgent jobs are, from how long jobs like them took.

Three sources, from far to near: all jobs that finished, those of the same group or width, and the job's own
campaign: jobs of one group and width submitted within minutes of each other, which last alike. Members of a
campaign that still run count as well, as jobs that last at least as long as they have (a product-limit
estimate). From the distribution so obtained, and the time a job has attained, follows its Gittins index: the
best ratio of chance to finish and time spent, over all ways to give up on it.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mltrainer_scheduling.jobs import WHOLE_GPU_MILLIS, Floats, Integers
from mltrainer_scheduling.snapshot import History, Snapshot

_FIRST_EDGE_S = 45.0
_LAST_EDGE_S = 8e6
_EDGE_RATIO = 1.25
EDGES: Floats = np.concatenate(
    [
        [0.0],
        _FIRST_EDGE_S
        * _EDGE_RATIO ** np.arange(np.ceil(np.log(_LAST_EDGE_S / _FIRST_EDGE_S) / np.log(_EDGE_RATIO))),
    ]
)
CELLS = len(EDGES) - 1
_WIDTHS = np.array([1.0, 4.0, 8.0])
# A finished neighbour speaks for durations around its own: factors and their weights.
_SMEAR = np.exp(np.array([-0.5, -0.25, 0.0, 0.25, 0.5]))
_SMEAR_WEIGHTS = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
_LAGS = 20
_FARTHEST = 7.0
_PIECE = 512

Kind = tuple[str, int]


def cell_of(seconds: Floats) -> Integers:
    """Returns the cell of each duration; edges belong to the cell below."""
    return np.clip(np.searchsorted(EDGES, seconds, "left") - 1, 0, CELLS - 1)


def width_class(gpus: Floats) -> Integers:
    """Sorts widths into one, up to four, up to eight, more."""
    return np.searchsorted(_WIDTHS, gpus, "left")


@dataclass(slots=True)
class _Members:
    """Finished jobs of one kind, by submission."""

    submits: list[float] = field(default_factory=list)
    cells: list[Integers] = field(default_factory=list)
    # What they say to jobs submitted at these times; forgotten when a member nearby is added.
    told: dict[float, Floats | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lessons:
    """What is learned from.

    Attributes:
        campaign_s: Neighbours submitted within so long count at least half.
        campaign_weight: Weight of a neighbour, where the distribution behind it has weight one.
        group_weight: Jobs for which all jobs, those of the group and those of the width count each.
        by_kind: Whether groups and widths are told apart at all.
        by_service: Whether GPU seconds are learned instead of wall time.
    """

    campaign_s: float = 1_200.0
    campaign_weight: float = 1.0
    group_weight: float = 100.0
    by_kind: bool = True
    by_service: bool = False

    def sizes(self, wall_s: Floats, gpus: Floats) -> Floats:
        """Returns what jobs take, in the unit that is learned."""
        return wall_s * gpus if self.by_service else wall_s


class Experience:
    """What a history teaches, extended as it grows; a pure function of the history it was last given."""

    def __init__(self, lessons: Lessons) -> None:
        self.lessons = lessons
        self._forget()

    def _forget(self) -> None:
        self._seen = History()
        # By group and width class; None and -1 stand for any.
        self._counts: dict[tuple[str | None, int], Floats] = {}
        self._members: dict[Kind, _Members] = {}
        self._bases: dict[tuple[str, int], Floats] = {}

    def learn(self, history: History) -> None:
        """Takes in what is new in a history that continues the one before; starts over with any other."""
        if history is self._seen:
            return
        seen = len(self._seen)
        if not (
            seen <= len(history)
            and np.array_equal(history.wall_s[:seen], self._seen.wall_s)
            and np.array_equal(history.gpus[:seen], self._seen.gpus)
            and history.group[:seen] == self._seen.group
        ):
            self._forget()
            seen = 0
        self._seen = history
        sizes = self.lessons.sizes(history.wall_s[seen:], history.gpus[seen:])
        cells, widths = cell_of(sizes), width_class(history.gpus[seen:])
        for row, (cell, width) in enumerate(zip(cells.tolist(), widths.tolist(), strict=True), seen):
            group = history.group[row]
            for kind in ((group, width), (group, -1), (None, width), (None, -1)):
                self._counts.setdefault(kind, np.zeros(CELLS))[cell] += 1.0
            self._add_member(history, row)
        if len(cells):
            self._bases.clear()

    def _add_member(self, history: History, row: int) -> None:
        if not self.lessons.campaign_weight or len(history.submit_s) < len(history):
            return
        if not np.isfinite(history.submit_s[row]):
            return
        members = self._members.setdefault((history.group[row], int(history.gpus[row])), _Members())
        submit = float(history.submit_s[row])
        place = bisect_right(members.submits, submit)
        members.submits.insert(place, submit)
        members.cells.insert(place, cell_of(history.wall_s[row] * _SMEAR))
        reach = _FARTHEST * self.lessons.campaign_s
        for other in [one for one in members.told if abs(one - submit) <= reach]:
            del members.told[other]

    def base(self, group: str, width: int) -> Floats:
        """Returns the distribution over cells for a group and a width class; sums to one."""
        found = self._bases.get((group, width))
        if found is None:
            found = self._bases[group, width] = self._base(group, width)
        return found

    def _base(self, group: str, width: int) -> Floats:
        low = np.maximum(EDGES[:-1], 30.0)
        # Before anything is known: survival falls as one over time, as it does where sizes are heavy-tailed.
        total = 60.0 * (1.0 / low - 1.0 / EDGES[1:])
        nothing = np.zeros(CELLS)
        if not self.lessons.by_kind:
            total = total + self._counts.get((None, -1), nothing)
            return np.asarray(total / total.sum())
        for kind in ((None, -1), (group, -1), (None, width)):
            counts = self._counts.get(kind, nothing)
            total = total + self.lessons.group_weight * counts / max(counts.sum(), 1.0)
        total = total + self._counts.get((group, width), nothing)
        normal: Floats = total / total.sum()
        return normal

    def campaign(self, kind: Kind, submit_s: float) -> Floats | None:
        """Returns what finished members of a job's campaign say, as weights over cells."""
        members = self._members.get(kind)
        if members is None:
            return None
        try:
            return members.told[submit_s]
        except KeyError:
            told = members.told[submit_s] = self._told(members, submit_s)
            return told

    def _told(self, members: _Members, submit_s: float) -> Floats | None:
        reach = _FARTHEST * self.lessons.campaign_s
        first = bisect_left(members.submits, submit_s - reach)
        last = bisect_right(members.submits, submit_s + reach)
        if first == last:
            return None
        near = bisect_left(members.submits, submit_s, first, last)
        here = slice(max(first, near - _LAGS), min(last, near + _LAGS))
        weights = self.nearness(np.abs(np.array(members.submits[here]) - submit_s))
        spread = np.outer(weights, _SMEAR_WEIGHTS).ravel()
        return np.bincount(np.concatenate(members.cells[here]), spread, CELLS).astype(np.float64)

    def nearness(self, gap_s: Floats) -> Floats:
        """Returns the weight of a neighbour that was submitted so much earlier or later."""
        return self.lessons.campaign_weight / (1.0 + (gap_s / self.lessons.campaign_s) ** 2)


def expected_s(snapshot: Snapshot, experience: Experience) -> Floats:
    """Returns the inverse Gittins index of each job: the shorter, the sooner it should run."""
    jobs = snapshot.jobs
    experience.learn(snapshot.history)
    lessons = experience.lessons
    widths = -(-jobs.gang_gpu_millis // WHOLE_GPU_MILLIS)
    attained = lessons.sizes(jobs.attained_s, widths.astype(np.float64))
    deaths = _deaths(snapshot, widths, experience)
    alive = _alive(snapshot, widths, experience) if lessons.campaign_weight else np.zeros_like(deaths)
    # In pieces that stay in the processor's cache.
    pieces = [
        _inverse_index(deaths[at : at + _PIECE], alive[at : at + _PIECE], attained[at : at + _PIECE])
        for at in range(0, len(jobs), _PIECE)
    ]
    return np.concatenate(pieces) if pieces else np.zeros(0)


def _deaths(snapshot: Snapshot, widths: Integers, experience: Experience) -> Floats:
    """Weighs, per job and cell, the finished jobs that speak for it."""
    jobs = snapshot.jobs
    classes = width_class(widths.astype(np.float64))
    kinds, code = np.unique(jobs.group * (len(_WIDTHS) + 1) + classes, return_inverse=True)
    bases = [
        experience.base(jobs.groups[group], width)
        for group, width in (divmod(kind, len(_WIDTHS) + 1) for kind in kinds.tolist())
    ]
    deaths: Floats = np.array(bases).reshape(-1, CELLS)[code]
    if not experience.lessons.campaign_weight:
        return deaths
    groups = jobs.groups
    rows: list[int] = []
    told: list[Floats] = []
    columns = zip(jobs.group.tolist(), widths.tolist(), jobs.submit_s.tolist(), strict=True)
    for row, (group, width, submit_s) in enumerate(columns):
        says = experience.campaign((groups[group], width), submit_s)
        if says is not None:
            rows.append(row)
            told.append(says)
    if rows:
        deaths[rows] += np.array(told)
    return deaths


def _alive(snapshot: Snapshot, widths: Integers, experience: Experience) -> Floats:
    """Weighs, per job and cell, the members of its campaign that have attained so much and not finished."""
    jobs = snapshot.jobs
    alive = np.zeros((len(jobs), CELLS))
    order = np.lexsort((jobs.submit_s, widths, jobs.group))
    submit, cells = jobs.submit_s[order], cell_of(jobs.attained_s)[order]
    kind = jobs.group[order] * (int(widths.max(initial=0)) + 1) + widths[order]
    has_run = jobs.attained_s[order] > 0.0
    reach = _FARTHEST * experience.lessons.campaign_s
    for lag in range(1, min(_LAGS + 1, len(order))):
        gap = submit[lag:] - submit[:-lag]
        near = (kind[lag:] == kind[:-lag]) & (gap <= reach)
        if not near.any():
            break
        for whose, of in ((slice(lag, None), slice(None, -lag)), (slice(None, -lag), slice(lag, None))):
            pair = np.flatnonzero(near & has_run[of])
            weight = experience.nearness(gap[pair])
            alive[order[whose][pair], cells[of][pair]] += weight
    return alive


def _inverse_index(deaths: Floats, alive: Floats, attained_s: Floats) -> Floats:
    at_risk = np.cumsum((deaths + alive)[:, ::-1], axis=1)[:, ::-1]
    hazard = deaths / np.maximum(at_risk, 1e-12)
    survival = np.ones((len(deaths), CELLS + 1))
    np.cumprod(1.0 - hazard, axis=1, out=survival[:, 1:])
    spent = np.zeros_like(survival)
    np.cumsum((survival[:, 1:] + survival[:, :-1]) / 2.0 * np.diff(EDGES), axis=1, out=spent[:, 1:])
    rows, cell = np.arange(len(deaths)), cell_of(attained_s)
    share = (np.minimum(attained_s, EDGES[-1]) - EDGES[cell]) / (EDGES[cell + 1] - EDGES[cell])
    now = survival[rows, cell] * (1.0 - share) + survival[rows, cell + 1] * share
    gone = spent[rows, cell] + (survival[rows, cell] + now) / 2.0 * share * (EDGES[cell + 1] - EDGES[cell])
    ahead = np.arange(CELLS + 1) > cell[:, None]
    time = np.where(ahead, spent - gone[:, None], np.inf)
    ratio = np.where(time > 0.0, (now[:, None] - survival) / np.maximum(time, 1e-9), 0.0).max(
        axis=1, initial=0.0
    )
    # Whoever outlives all experience is expected to take as long again, and half more.
    beyond = (now < 1e-9) | (ratio <= 0.0)
    result: NDArray[np.float64] = np.where(
        beyond, 1.5 * np.maximum(attained_s, 60.0), 1.0 / np.maximum(ratio, 1e-12)
    )
    return result
