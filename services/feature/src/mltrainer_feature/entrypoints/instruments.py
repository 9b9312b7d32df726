"""Names the metrics of feature; `docs/telemetry.yaml` lists them."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from mltrainer_feature.application.queries import DescribedView
from mltrainer_feature.domain.skew import Match, SkewReport


class FeatureInstruments:
    """Tells how old rows are, whether models were given what was known, and what collections removed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._age = Gauge(
            "mltrainer_feature_age_seconds",
            "Age of a view's newest row on the market clock; absent before the first row.",
            ["view"],
            registry=registry,
        )

        self._skew = Gauge(
            "mltrainer_feature_served_vectors",
            "The newest vectors given to models, by how they agree with the rows known then.",
            ["match"],
            registry=registry,
        )

        self._collected = Counter(
            "mltrainer_feature_collected_datasets",
            "Datasets given up because nobody refers to them.",
            registry=registry,
        )
        self._collected_bytes = Counter(
            "mltrainer_feature_collected_bytes",
            "Bytes of datasets given up because nobody refers to them.",
            registry=registry,
        )
        self._stopped = Counter(
            "mltrainer_feature_stopped_collections",
            "Collections of datasets that stopped because a service did not say what it refers to.",
            registry=registry,
        )

    def dataset_collected(self, size_bytes: int) -> None:
        """Counts a dataset that was given up, with its bytes."""
        self._collected.inc()
        self._collected_bytes.inc(size_bytes)

    def collection_stopped(self) -> None:
        """Counts a collection that stopped because a service did not say what it refers to."""
        self._stopped.inc()

    def show_skew(self, report: SkewReport) -> None:
        """Takes over how vectors compare."""
        for match in Match:
            self._skew.labels(match.value.lower()).set(report.matches.get(match, 0))

    def show_ages(self, views: Sequence[DescribedView]) -> None:
        """Takes over the ages of views."""
        for view in views:
            latest_time = view.statistics.latest_event_time
            if latest_time is not None:
                self._age.labels(view.state.name).set((view.now - latest_time).total_seconds())
