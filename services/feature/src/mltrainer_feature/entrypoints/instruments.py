"""Names the metrics of feature; `docs/telemetry.yaml` lists them."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge

from mltrainer_feature.application.queries import DescribedView


class FeatureInstruments:
    """Tells how old the newest rows are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._age = Gauge(
            "mltrainer_feature_age_seconds",
            "Age of a view's newest row on the market clock; absent before the first row.",
            ["view"],
            registry=registry,
        )

    def show_ages(self, views: Sequence[DescribedView]) -> None:
        """Takes over the ages of views."""
        for view in views:
            latest_time = view.statistics.latest_event_time
            if latest_time is not None:
                self._age.labels(view.state.name).set((view.now - latest_time).total_seconds())
