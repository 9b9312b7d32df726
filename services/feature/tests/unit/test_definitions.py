"""What applying declarations changes, and what it refuses."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer_feature.application.definitions import require_readable, with_definitions
from mltrainer_feature.application.on_demand import select, select_asked
from mltrainer_feature.domain.declarations import check_declared
from mltrainer_feature.domain.definitions import (
    Action,
    Content,
    DefinitionKind,
    Definitions,
    FeatureList,
    follow_release,
    plan_changes,
)
from mltrainer_feature.domain.errors import (
    FeatureListRemovedError,
    FeatureViewRemovedError,
    InvalidDefinitionsError,
    UnknownFeatureError,
)
from mltrainer_feature.domain.online import OnlineSchema
from mltrainer_feature.domain.views import ViewState
from mltrainer_feature.wire.on_demand import to_apply
from mltrainer_features import OnDemandFeature, OnDemandView
from mltrainer_features.definitions import Unit
from mltrainer_features.on_demand import RequestField

from .feast_messages import features, schema, view

SLOPE = OnDemandFeature("slope", "log_variance_5 - log_variance_22", Unit.RATIO, "Recent over a month.")
LIMIT = OnDemandFeature("limit", "gap / exp(log_variance_22 / 2)", Unit.RATIO, "In volatilities.")
GAP = RequestField("gap", Unit.LOG_RETURN, "ln(limit / last close)")
DESK = OnDemandView("desk", 0, "What the desk looks at.", (GAP,), (SLOPE, LIMIT))
SERVICE = FeatureList("desk_v1", 0, "What the desk reads.", ("desk:slope", "market_returns:return_1"))
STORED = schema(
    {
        **features(view("market_returns", "symbol"), "return_1"),
        **features(view("market_volatility", "symbol"), "log_variance_5", "log_variance_22"),
    }
)


def applied(known: Definitions, declared: Sequence[Content], *, prune: bool = False) -> Definitions:
    changes = plan_changes(known, declared, prune=prune)
    return known.changed([change.after for change in changes if change.action is not Action.KEEP])


def actions(known: Definitions, declared: Sequence[Content], *, prune: bool = False) -> list[tuple[str, int]]:
    changes = plan_changes(known, declared, prune=prune)
    return [(change.action.value, change.after.version) for change in changes]


DEFINED = applied(Definitions(), [DESK, SERVICE])


def test_applying_the_same_again_changes_nothing() -> None:
    assert actions(Definitions(), [SERVICE, DESK]) == [("CREATE", 1), ("CREATE", 1)]
    assert actions(DEFINED, [DESK, SERVICE], prune=True) == [("KEEP", 1), ("KEEP", 1)]
    assert applied(DEFINED, [DESK, SERVICE]).revision == DEFINED.revision == 1


def test_a_change_counts_the_version_up_and_names_what_differs() -> None:
    changed = replace(DESK, features=(replace(SLOPE, expression="log_variance_5"), LIMIT))

    (view_change, service_change) = plan_changes(DEFINED, [changed], prune=False)

    assert (view_change.action, view_change.after.version) == (Action.UPDATE, 2)
    assert view_change.differences == (
        "- feature slope: log_variance_5 - log_variance_22; RATIO; Recent over a month.",
        "+ feature slope: log_variance_5; RATIO; Recent over a month.",
    )
    assert service_change.action is Action.KEEP


def test_what_is_not_declared_stays_unless_pruned() -> None:
    pruned = applied(DEFINED, [DESK], prune=True)

    assert actions(DEFINED, [DESK]) == [("KEEP", 1), ("KEEP", 1)]
    assert [service.name for service in applied(DEFINED, [DESK]).services] == ["desk_v1"]
    assert (pruned.services, pruned.removed(DefinitionKind.FEATURE_SERVICE)) == ((), {"desk_v1"})


def test_a_removed_definition_comes_back_with_the_next_version() -> None:
    removed = applied(DEFINED, [], prune=True)

    again = applied(removed, [DESK])

    assert [view.version for view in again.views] == [2]
    assert again.removed(DefinitionKind.ON_DEMAND_VIEW) == frozenset()


def test_a_name_declared_twice_is_refused() -> None:
    with pytest.raises(InvalidDefinitionsError, match="twice"):
        plan_changes(Definitions(), [DESK, DESK], prune=False)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(replace(DESK, name="Desk-1"), "Desk-1: begin with a lower-case", id="name"),
        pytest.param(replace(DESK, name="trade_context"), "is a view of this release", id="released"),
        pytest.param(replace(DESK, name="market_returns"), "is a view of this release", id="stored view"),
        pytest.param(replace(DESK, features=()), "desk.features: declare at least one", id="no features"),
        pytest.param(replace(DESK, features=(SLOPE, SLOPE)), "slope: is named twice", id="feature twice"),
        pytest.param(
            replace(DESK, features=(replace(SLOPE, expression="__import__('os')"),)), "slope", id="no formula"
        ),
        pytest.param(
            replace(DESK, features=(replace(SLOPE, expression="tomorrow + return_1"),)),
            "tomorrow is neither",
            id="unknown column",
        ),
        pytest.param(
            replace(DESK, features=(replace(SLOPE, expression="gap * 2"),)),
            "reads no stored feature",
            id="of the request alone",
        ),
        pytest.param(
            replace(DESK, request_fields=(replace(GAP, name="return_1"), GAP)),
            "the name of a stored feature",
            id="field hides a feature",
        ),
        pytest.param(
            replace(DESK, request_fields=(replace(GAP, name="symbol"), GAP)),
            "the name of an entity",
            id="field hides the entity",
        ),
        pytest.param(replace(SERVICE, features=()), "name at least one", id="empty service"),
        pytest.param(replace(SERVICE, features=("a:b", "a:b")), "is named twice", id="reference twice"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused_with_its_place(content: Content, problem: str) -> None:
    with pytest.raises(InvalidDefinitionsError, match=problem):
        check_declared([DESK, SERVICE, content], ["symbol"])


def test_what_is_declared_well_is_accepted() -> None:
    check_declared([DESK, SERVICE], ["symbol"])


def test_a_service_reads_stored_and_applied_features_in_its_order() -> None:
    served = with_definitions(STORED, DEFINED)

    selection = select_asked("desk_v1", [], served)

    assert selection is not None
    assert selection.names() == [("desk", "slope"), ("market_returns", "return_1")]
    assert select_asked("", ["trade_context:variance_slope"], served) is not None


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        pytest.param([replace(SERVICE, features=("desk:steep",))], "desk:steep", id="unknown feature"),
        pytest.param([replace(DESK, features=(LIMIT,))], "desk_v1.features.desk:slope", id="needed feature"),
        pytest.param([replace(SERVICE, name="all_v1")], "served already", id="service of a registry"),
    ],
)
def test_what_would_leave_a_service_unreadable_is_refused(declared: list[Any], problem: str) -> None:
    stored = replace(STORED, services={"all_v1": ()})
    after = applied(DEFINED, declared)

    with pytest.raises(InvalidDefinitionsError, match=problem):
        require_readable(after, DEFINED, {content.name for content in declared}, stored)


def test_a_view_that_a_service_reads_cannot_be_pruned_from_under_it() -> None:
    after = applied(DEFINED, [SERVICE], prune=True)

    with pytest.raises(InvalidDefinitionsError, match="the feature view desk was removed"):
        require_readable(after, DEFINED, {"desk"}, STORED)


def test_a_service_that_others_have_broken_does_not_hold_up_other_changes() -> None:
    gone = schema(features(view("market_volatility", "symbol"), "log_variance_5", "log_variance_22"))
    other = replace(DESK, name="other")

    require_readable(applied(DEFINED, [other]), DEFINED, {"other"}, gone)

    with pytest.raises(InvalidDefinitionsError, match="market_returns:return_1"):
        require_readable(DEFINED, DEFINED, {"desk_v1"}, gone)


def test_reads_of_a_removed_view_or_service_name_it() -> None:
    served = with_definitions(STORED, applied(DEFINED, [], prune=True))

    with pytest.raises(FeatureViewRemovedError, match="desk"):
        select(["desk:slope"], served)
    with pytest.raises(FeatureListRemovedError, match="desk_v1"):
        served.service("desk_v1")
    with pytest.raises(UnknownFeatureError):
        select(["never:there"], served)


def test_a_release_without_a_view_remembers_it_until_it_is_back() -> None:
    one, two = (ViewState(name, 3, "digest", 1, 1, 1) for name in ("one", "two"))
    without = Definitions().changed(follow_release(Definitions(), [one, two], [two]))

    served = with_definitions(OnlineSchema({}, {}), without)
    back = without.changed(follow_release(without, [two], [one, two]))

    assert served.removed_views == {"one"}
    assert (without.revision, back.revision) == (1, 2)
    assert back.removed(DefinitionKind.STORED_VIEW) == frozenset()
    assert without.standing() == back.standing() == []
    assert follow_release(back, [one, two], [one, two]) == []


def test_a_unit_that_is_none_is_refused_with_its_place() -> None:
    request = service_pb2.ApplyFeatureDefinitionsRequest()
    feature = request.on_demand_views.add(name="desk").features.add(expression="return_1").feature
    feature.name, feature.unit = "slope", "PARSEC"

    with pytest.raises(InvalidDefinitionsError, match=r"desk\.features\.slope\.unit: 'PARSEC'"):
        to_apply(request)
