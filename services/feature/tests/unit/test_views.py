from dataclasses import replace
from datetime import timedelta

import pytest
from mltrainer_feature.application.queries import MAX_AGE
from mltrainer_feature.domain.errors import UnknownFeatureViewError
from mltrainer_feature.domain.views import (
    StoreState,
    advance,
    changes_published_rows,
    open_store,
    resolve_views,
)
from mltrainer_feature.wire.feast_registry import REGISTRY_FILE, read_schema
from mltrainer_features import VIEWS

from .quotes import Quote, day, to_bars

DELAY = timedelta(hours=12)


def opened() -> StoreState:
    return open_store(None, DELAY)


def test_a_first_start_publishes_every_view_once() -> None:
    state = opened()

    assert {view.name for view in state.views} == set(VIEWS)
    assert {(view.data_revision, view.revision) for view in state.views} == {(1, 1)}
    assert open_store(state, DELAY) is state


def test_a_redefined_view_is_revised_and_the_others_are_not() -> None:
    state = opened()
    old = replace(state.views[0], definition_digest="of an older release")
    known = replace(state, layout_digest="older", views=(old, *state.views[1:]))

    views = open_store(known, DELAY).views

    assert (views[0].revision, views[0].data_revision) == (2, 1)
    assert views[0].definition_digest == state.views[0].definition_digest
    assert {view.revision for view in views[1:]} == {1}


def test_another_decision_delay_changes_the_rows_of_every_view() -> None:
    views = open_store(opened(), timedelta(hours=1)).views

    assert {(view.revision, view.data_revision) for view in views} == {(2, 2)}


@pytest.mark.parametrize(
    ("quote", "restated_count", "expected"),
    [
        pytest.param(Quote("A", 11, 1.0), 0, False, id="a new bar"),
        pytest.param(Quote("B", 10, 1.0), 0, False, id="another symbol of the same day"),
        pytest.param(Quote("A", 10, 1.0, timedelta(hours=1)), 1, True, id="a restatement"),
        pytest.param(Quote("B", 9, 1.0, timedelta(days=1)), 0, True, id="a bar known after its decision"),
        pytest.param(Quote("B", 5, 1.0), 0, True, id="a bar that a dataset lacked"),
    ],
)
def test_only_late_or_restated_bars_change_published_rows(
    quote: Quote, restated_count: int, expected: bool
) -> None:
    state = replace(opened(), latest_event_time=day(10), sealed_time=day(7))

    assert changes_published_rows(state, to_bars([quote]), restated_count) is expected


def test_the_first_bars_change_nothing_published() -> None:
    assert not changes_published_rows(opened(), to_bars([Quote("B", 9, 1.0, timedelta(days=9))]), 0)


def test_a_write_counts_in_the_log_and_only_a_change_in_the_data() -> None:
    view = opened().views[0]

    written = advance(view, changes_published=False)
    changed = advance(written, changes_published=True)

    assert (written.log_revision, written.data_revision, written.revision) == (1, 1, 1)
    assert (changed.log_revision, changed.data_revision, changed.revision) == (2, 2, 2)


def test_views_are_found_by_name_or_by_present_version() -> None:
    states = {view.name: view for view in opened().views}

    found = resolve_views(["market_returns@1", "market_momentum", "market_returns"], states)

    assert [view.name for view in found] == ["market_momentum", "market_returns"]
    for unknown in ("market_mood", "market_returns@2", "market_returns@x"):
        with pytest.raises(UnknownFeatureViewError, match=unknown):
            resolve_views([unknown], states)


def test_the_objective_of_age_is_what_the_compiled_registry_declares() -> None:
    schema = read_schema(REGISTRY_FILE.read_bytes())

    ages_us = {feature.view.max_age_us for feature in schema.features.values()}

    assert ages_us == {MAX_AGE // timedelta(microseconds=1)}
