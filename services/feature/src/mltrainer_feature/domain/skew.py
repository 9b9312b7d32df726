"""Compares the vectors that models were given with what the stored rows say was known then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from mltrainer_feature.domain.bar_grid import Floats, Integers, integers
from mltrainer_feature.domain.rows import FEATURE_NAMES, Rows

MAX_EXAMPLES = 20
MIN_FOR_STABILITY = 100
"""Fewer values say nothing about the shape of a distribution."""
_BINS = 10
_LEAST_SHARE = 1e-4
_ROWS_BACK = 5
_PLACES = {name: place for place, name in enumerate(FEATURE_NAMES)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Match(StrEnum):
    """How a served vector and the stored rows agree.

    STALE equals an older row than the newest known, PROVISIONAL was served before its row was decided.
    """

    EXACT = "EXACT"
    STALE = "STALE"
    PROVISIONAL = "PROVISIONAL"
    DIFFERENT = "DIFFERENT"
    MISSING = "MISSING"


@dataclass(frozen=True, slots=True)
class ServedVector:
    """What a model was given for one symbol; `served_time` is the market's.

    `event_time` is None where the caller did not say which row it sent.
    """

    event_id: str
    row: int
    version: str
    symbol: str
    event_time: datetime | None
    served_time: datetime
    feature_names: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One served value that is not what was known."""

    vector: ServedVector
    feature: str
    served: float
    recomputed: float


@dataclass(frozen=True, slots=True)
class FeatureSkew:
    """How one feature was served, beside the same values recomputed.

    `mean_shift` counts standard deviations of the recomputed values, `stability_index` is the population
    stability index over their deciles; each is None where too little was served to tell.
    """

    feature: str
    compared_count: int
    different_count: int
    largest_difference: float
    mean_shift: float | None
    stability_index: float | None


@dataclass(frozen=True, slots=True)
class SkewReport:
    """What became of the comparison."""

    matches: Mapping[Match, int]
    features: tuple[FeatureSkew, ...] = ()
    examples: tuple[Difference, ...] = ()
    unknown_features: tuple[str, ...] = ()
    first_served_time: datetime | None = None
    last_served_time: datetime | None = None

    @property
    def different_share(self) -> float | None:
        """Share of the compared vectors that differ; None where none was compared."""
        compared = sum(count for match, count in self.matches.items() if match is not Match.MISSING)
        return self.matches.get(Match.DIFFERENT, 0) / compared if compared else None


def feature_of(name: str) -> str:
    """Returns the feature that `view:feature` or `view__feature` names."""
    return name.rpartition(":")[2].rpartition("__")[2]


def compare(vectors: Sequence[ServedVector], versions: Rows) -> SkewReport:
    """Compares vectors with rows; `versions` holds every version of the rows that can have been served."""
    histories = {
        str(symbol[0]): _History.of(rows) for symbol, rows in versions.group_by("symbol", maintain_order=True)
    }
    pairs = [_judge(vector, histories.get(vector.symbol)) for vector in vectors]
    matches = {match: sum(pair.match is match for pair in pairs) for match in Match}
    served_times = [vector.served_time for vector in vectors]
    unknown = {name for vector in vectors for name in vector.feature_names if feature_of(name) not in _PLACES}
    return SkewReport(
        matches,
        tuple(_skew(name, pairs) for name in FEATURE_NAMES if any(name in pair.served for pair in pairs)),
        tuple(_differences(pairs))[:MAX_EXAMPLES],
        tuple(sorted(unknown)),
        min(served_times, default=None),
        max(served_times, default=None),
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    vector: ServedVector
    match: Match
    served: Mapping[str, float]
    recomputed: Mapping[str, float]

    def differs(self, feature: str) -> bool:
        """Tells whether a value counts as another one."""
        is_skew = self.match in {Match.DIFFERENT, Match.PROVISIONAL}
        return is_skew and not _same(self.served[feature], self.recomputed[feature])


@dataclass(frozen=True, slots=True)
class _History:
    """The versions of a symbol's rows, by event time, then by created time."""

    event_times: Integers
    created_times: Integers
    values: Floats

    @classmethod
    def of(cls, rows: Rows) -> "_History":
        ordered = rows.sort("event_time", "created_time")
        values = ordered.select(FEATURE_NAMES).fill_null(float("nan")).to_numpy()
        return cls(integers(ordered["event_time"]), integers(ordered["created_time"]), values)

    def known_at(self, vector: ServedVector) -> tuple[NDArray[np.intp], bool]:
        """Returns places of rows that may have been served, the likeliest last, and whether all are later."""
        served_us = _microseconds(vector.served_time)
        is_known = (self.created_times <= served_us) & (self.event_times <= served_us)
        if vector.event_time is None:
            return np.flatnonzero(is_known), False
        is_asked = self.event_times == _microseconds(vector.event_time)
        known = np.flatnonzero(is_asked & is_known)
        return (known, False) if known.size else (np.flatnonzero(is_asked)[:1], True)


def _judge(vector: ServedVector, history: _History | None) -> _Pair:
    given = {feature_of(name): value for name, value in zip(vector.feature_names, vector.values, strict=True)}
    served = {name: value for name, value in given.items() if name in _PLACES}
    places, is_later = history.known_at(vector) if history else (np.empty(0, dtype=np.intp), False)
    if history is None or not places.size:
        return _Pair(vector, Match.MISSING, {}, {})
    columns = [_PLACES[name] for name in served]
    candidates = history.values[places][:, columns]
    recomputed = dict(zip(served, candidates[-1].tolist(), strict=True))
    sent = np.array(list(served.values()))
    is_equal = ((candidates == sent) | (np.isnan(candidates) & np.isnan(sent))).all(axis=1)
    match = Match.DIFFERENT
    if is_equal[-1]:
        match = Match.EXACT
    elif is_later:
        match = Match.PROVISIONAL
    elif is_equal[-1 - _ROWS_BACK : -1].any():
        match = Match.STALE
    return _Pair(vector, match, served, recomputed)


def _differences(pairs: Sequence[_Pair]) -> list[Difference]:
    return [
        Difference(pair.vector, name, pair.served[name], pair.recomputed[name])
        for pair in pairs
        for name in pair.served
        if pair.differs(name)
    ]


def _skew(feature: str, pairs: Sequence[_Pair]) -> FeatureSkew:
    compared = [pair for pair in pairs if feature in pair.served]
    served = np.array([pair.served[feature] for pair in compared])
    recomputed = np.array([pair.recomputed[feature] for pair in compared])
    gaps = np.abs(served - recomputed)[[pair.differs(feature) for pair in compared]]
    return FeatureSkew(
        feature,
        len(compared),
        sum(pair.differs(feature) for pair in compared),
        float(np.nanmax(gaps)) if np.isfinite(gaps).any() else 0.0,
        _mean_shift(served, recomputed),
        stability_index(served, recomputed),
    )


def _mean_shift(served: Floats, recomputed: Floats) -> float | None:
    was, now = recomputed[np.isfinite(recomputed)], served[np.isfinite(served)]
    if was.size < 2 or not now.size or not (spread := float(was.std())):
        return None
    return (float(now.mean()) - float(was.mean())) / spread


def stability_index(served: Floats, recomputed: Floats) -> float | None:
    """Sums (served - recomputed) ln(served / recomputed) over shares by decile and of undefined ones."""
    if min(served.size, recomputed.size) < MIN_FOR_STABILITY or not np.isfinite(recomputed).any():
        return None
    deciles = np.quantile(recomputed[np.isfinite(recomputed)], np.arange(1, _BINS) / _BINS)
    was, now = (np.maximum(_shares(values, deciles), _LEAST_SHARE) for values in (recomputed, served))
    return float(((now - was) * np.log(now / was)).sum())


def _shares(values: Floats, edges: Floats) -> Floats:
    bins = np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), _BINS)
    shares: Floats = np.bincount(bins, minlength=_BINS + 1) / values.size
    return shares


def _same(left: float, right: float) -> bool:
    return left == right or (np.isnan(left) and np.isnan(right))


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
