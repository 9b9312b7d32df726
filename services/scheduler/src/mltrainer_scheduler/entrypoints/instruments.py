"""Names the metrics of the scheduler."""

from prometheus_client import CollectorRegistry, Counter

from mltrainer_scheduler.application.accept_trainings import Accepted


class SchedulerInstruments:
    """Counts what becomes of requests, attempts and leases."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "mltrainer_scheduler_requests",
            "Requests taken in, by outcome; JOINED and DEDUPLICATED cost no execution.",
            ["outcome"],
            registry=registry,
        )
        self.placements = Counter(
            "mltrainer_scheduler_placements", "Attempts given their place.", registry=registry
        )
        self.preemptions = Counter(
            "mltrainer_scheduler_preemptions", "Attempts that gave their place to others.", registry=registry
        )
        self.reports = Counter(
            "mltrainer_scheduler_attempt_reports",
            "Ends of attempts, by outcome; STALE ones came under an old token.",
            ["outcome"],
            registry=registry,
        )
        self.lapses = Counter(
            "mltrainer_scheduler_lapsed_leases", "Attempts taken back for their lease.", registry=registry
        )

    def count_accepted(self, accepted: list[Accepted]) -> None:
        """Counts a batch of requests."""
        for item in accepted:
            self.requests.labels(item.outcome).inc()
