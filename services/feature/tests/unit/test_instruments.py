from datetime import timedelta

from mltrainer_feature.application.ports import RowStatistics
from mltrainer_feature.application.queries import DescribedView
from mltrainer_feature.domain.views import ViewState
from mltrainer_feature.entrypoints.instruments import FeatureInstruments
from mltrainer_features import VIEWS
from prometheus_client import CollectorRegistry

from .quotes import day


def test_the_age_of_a_view_is_shown_from_its_first_row_on() -> None:
    registry = CollectorRegistry()
    statistics = {"market_returns": RowStatistics(1, day(3)), "market_momentum": RowStatistics(0, None)}
    views = [
        DescribedView(VIEWS[name], ViewState(name, 1, "", 1, 1, 1), found, day(5))
        for name, found in statistics.items()
    ]

    FeatureInstruments(registry).show_ages(views)

    shown = {
        view: registry.get_sample_value("mltrainer_feature_age_seconds", {"view": view})
        for view in statistics
    }
    assert shown == {"market_returns": timedelta(days=2).total_seconds(), "market_momentum": None}
