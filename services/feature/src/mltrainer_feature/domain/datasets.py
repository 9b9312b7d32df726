"""Datasets: their specification, their name and their rows."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import polars as pl
from mltrainer_features import TargetKind, compute_labels, feature_names

from mltrainer_feature.domain.bars import Bars, is_symbol, newest_knowledge
from mltrainer_feature.domain.errors import AsOfInFutureError, InvalidDatasetSpecError, Violation
from mltrainer_feature.domain.rows import EventRange, Rows
from mltrainer_feature.domain.universes import Universe
from mltrainer_feature.domain.views import ViewState

MAX_HORIZON_BARS = 1_000
MAX_SYMBOLS = 10_000


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """What a dataset must hold.

    `features` are its feature columns by `view:feature`, found when it was asked for; empty where it has
    whole stored views alone.
    """

    symbols: tuple[str, ...]
    feature_views: tuple[str, ...]
    as_of: datetime | None
    target_kind: TargetKind | None
    horizon_bars: int
    start_time: datetime | None = None
    features: tuple[str, ...] = ()


class DatasetState(StrEnum):
    """Progress of a dataset."""

    CREATING = "CREATING"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    COLLECTED = "COLLECTED"


@dataclass(frozen=True, slots=True)
class ViewRevision:
    """The state of a view that entered a dataset."""

    name: str
    version: int
    definition_digest: str
    data_revision: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """A snapshot of features and labels, or the attempt to write one.

    `used_time` is when it was last asked for, on the wall clock. `uri` is empty where there are no bytes.
    """

    name: str
    spec: DatasetSpec
    state: DatasetState
    view_revisions: tuple[ViewRevision, ...]
    create_time: datetime
    revision: int = 1
    sha256: str = ""
    uri: str = ""
    row_count: int = 0
    progress: float = 0.0
    error: str = ""
    universe: Universe | None = None
    used_time: datetime | None = None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The feature columns in order."""
        if self.spec.features:
            return tuple(reference.partition(":")[2] for reference in self.spec.features)
        return feature_names([view.name for view in self.view_revisions])

    def changed(self, state: DatasetState, **facts: object) -> "Dataset":
        """Returns the dataset in another state."""
        return replace(self, state=state, revision=self.revision + 1, **facts)  # type: ignore[arg-type]  # names are checked at run time


def validated_spec(spec: DatasetSpec, now: datetime) -> DatasetSpec:
    """Returns the specification with its symbols sorted and without repetition.

    Raises:
        InvalidDatasetSpecError: Fields are missing or out of range; all of them are named.
        AsOfInFutureError: `as_of` lies after now.
    """
    violations = [*_list_violations(spec), *_time_violations(spec)]
    if spec.target_kind is None:
        violations.append(Violation("spec.target.kind", "name what is predicted"))
    if not 1 <= spec.horizon_bars <= MAX_HORIZON_BARS:
        violations.append(Violation("spec.target.horizon_bars", f"must lie between 1 and {MAX_HORIZON_BARS}"))
    if violations:
        raise InvalidDatasetSpecError(violations)
    assert spec.as_of is not None
    if spec.as_of > now:
        raise AsOfInFutureError(spec.as_of, now)
    return replace(spec, symbols=tuple(sorted(set(spec.symbols))))


def _list_violations(spec: DatasetSpec) -> list[Violation]:
    violations = []
    if not 1 <= len(spec.symbols) <= MAX_SYMBOLS:
        violations.append(Violation("spec.symbols", f"name 1 to {MAX_SYMBOLS} symbols"))
    violations += [
        Violation(f"spec.symbols[{index}]", "is no symbol: 1 to 32 of A-Z a-z 0-9 . - _ ^ =")
        for index, symbol in enumerate(spec.symbols)
        if not is_symbol(symbol)
    ]
    if not spec.feature_views:
        violations.append(Violation("spec.feature_views", "name at least one feature view or service"))
    return violations


def _time_violations(spec: DatasetSpec) -> list[Violation]:
    if spec.as_of is None:
        return [Violation("spec.as_of", "is missing or no valid time")]
    if spec.start_time is not None and spec.start_time > spec.as_of:
        return [Violation("spec.start_time", "must not lie after as_of")]
    return []


def dataset_name(spec: DatasetSpec, views: Sequence[ViewRevision], layout_digest: str) -> str:
    """Names the dataset of a specification and of the state of its views; equal contents, equal names."""
    assert spec.as_of is not None
    assert spec.target_kind is not None
    facts = {
        "symbols": sorted(set(spec.symbols)),
        "as_of": spec.as_of.isoformat(),
        "start_time": spec.start_time.isoformat() if spec.start_time else "",
        "target": [spec.target_kind.value, spec.horizon_bars],
        "views": [[view.name, view.version, view.definition_digest, view.data_revision] for view in views],
        "layout": layout_digest,
    }
    if spec.features:
        facts["features"] = list(spec.features)
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return f"datasets/{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def view_revisions(views: Sequence[ViewState]) -> tuple[ViewRevision, ...]:
    """Notes which state of each view enters a dataset."""
    return tuple(
        ViewRevision(view.name, view.version, view.definition_digest, view.data_revision) for view in views
    )


def dataset_labels(spec: DatasetSpec, bars: Bars) -> pl.DataFrame:
    """Computes the labels of a dataset from the bars that were known at its `as_of`."""
    assert spec.target_kind is not None
    return compute_labels(newest_knowledge(bars), spec.target_kind, spec.horizon_bars)


def assemble_part(names: Sequence[str], rows: Rows, labels: pl.DataFrame) -> pl.DataFrame:
    """Joins decided rows with labels, one row per symbol and event time, sorted by event time and symbol.

    A label that is not complete at `as_of` is null.
    """
    return (
        rows.select("symbol", "event_time", *names)
        .join(labels, on=["symbol", "event_time"], how="left")
        .sort("event_time", "symbol")
    )


def partition(counts: Sequence[tuple[datetime, int]], max_rows: int) -> list[EventRange]:
    """Cuts event times, in order with their numbers of rows, into ranges of at most so many rows.

    An event time is never cut, however many rows it has.
    """
    parts: list[EventRange] = []
    held = 0
    for event_time, count in counts:
        if parts and held + count <= max_rows:
            parts[-1] = EventRange(parts[-1].since, event_time)
            held += count
        else:
            parts.append(EventRange(event_time, event_time))
            held = count
    return parts
