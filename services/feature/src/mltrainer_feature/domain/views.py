"""The state of a feature view: what defines it, and when rows that others may rely on have changed."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl
from mltrainer_features import VIEWS, view_digest

from mltrainer_feature.domain.bars import Bars
from mltrainer_feature.domain.errors import FeatureViewRemovedError, UnknownFeatureViewError


@dataclass(frozen=True, slots=True)
class ViewState:
    """A view as it is published.

    `data_revision` counts changes of published rows, `revision` changes of the view, `log_revision` writes.
    """

    name: str
    version: int
    definition_digest: str
    data_revision: int
    revision: int
    log_revision: int


@dataclass(frozen=True, slots=True)
class StoreState:
    """The aggregate that every write of rows locks.

    `sealed_time` is the latest `as_of` that a dataset has answered for; what is said to have been known
    before must not change in silence.
    """

    layout_digest: str
    decision_delay: timedelta
    latest_event_time: datetime | None
    sealed_time: datetime | None
    views: tuple[ViewState, ...]


@dataclass(frozen=True, slots=True)
class ViewRevised:
    """A definition or published rows changed."""

    view: ViewState


@dataclass(frozen=True, slots=True)
class FeaturesMaterialized:
    """Rows became readable."""

    view: ViewState
    row_count: int
    latest_event_time: datetime


def layout_digest() -> str:
    """Identifies the definitions behind stored columns; another digest means: compute them again."""
    return hashlib.sha256("\n".join(map(view_digest, VIEWS.values())).encode()).hexdigest()


def open_store(known: StoreState | None, decision_delay: timedelta) -> StoreState:
    """Brings the published views to the definitions and the decision delay of this process."""
    if known is None:
        return StoreState(layout_digest(), decision_delay, None, None, _define_views((), rows_change=False))
    if (known.layout_digest, known.decision_delay) == (layout_digest(), decision_delay):
        return known
    defined = _define_views(known.views, rows_change=known.decision_delay != decision_delay)
    views = tuple(replace(view, log_revision=view.log_revision + 1) for view in defined)
    return replace(known, layout_digest=layout_digest(), decision_delay=decision_delay, views=views)


def _define_views(known: Sequence[ViewState], *, rows_change: bool) -> tuple[ViewState, ...]:
    by_name = {view.name: view for view in known}
    return tuple(_define(name, by_name.get(name), rows_change=rows_change) for name in sorted(VIEWS))


def _define(name: str, known: ViewState | None, *, rows_change: bool) -> ViewState:
    version, digest = VIEWS[name].version, view_digest(VIEWS[name])
    if known is None:
        return ViewState(name, version, digest, data_revision=1, revision=1, log_revision=0)
    is_redefined = (known.version, known.definition_digest) != (version, digest)
    if not is_redefined and not rows_change:
        return known
    return replace(
        known,
        version=version,
        definition_digest=digest,
        data_revision=known.data_revision + (not is_redefined),
        revision=known.revision + 1,
    )


def changes_published_rows(state: StoreState, new_bars: Bars, restated_count: int) -> bool:
    """Tells whether new bars change what others may have read: a restatement or a late bar.

    A bar is late when it was known too late for its own row's decision, or when it was known before an
    `as_of` that a dataset has already answered for.
    """
    if state.latest_event_time is None or new_bars.is_empty():
        return False
    knowledge = pl.col("knowledge_time")
    is_late = knowledge > pl.col("event_time") + state.decision_delay
    if state.sealed_time is not None:
        is_late = is_late | (knowledge <= state.sealed_time)
    return restated_count > 0 or not new_bars.filter(is_late).is_empty()


def advance(view: ViewState, *, changes_published: bool) -> ViewState:
    """Counts one write of rows."""
    return replace(
        view,
        log_revision=view.log_revision + 1,
        data_revision=view.data_revision + changes_published,
        revision=view.revision + changes_published,
    )


def resolve_views(
    references: Sequence[str], states: Mapping[str, ViewState], removed: Collection[str] = ()
) -> tuple[ViewState, ...]:
    """Finds the views that `{view}` or `{view}@{version}` name, by name and without repetition.

    Raises:
        FeatureViewRemovedError: A view was defined, and is no longer.
        UnknownFeatureViewError: A view is not defined, or not in that version.
    """
    found = {}
    for reference in references:
        name, _, version = reference.partition("@")
        view = states.get(name)
        if view is None and name in removed:
            raise FeatureViewRemovedError(name)
        if view is None or version not in {"", str(view.version)}:
            raise UnknownFeatureViewError(reference, sorted(states))
        found[name] = view
    return tuple(found[name] for name in sorted(found))
