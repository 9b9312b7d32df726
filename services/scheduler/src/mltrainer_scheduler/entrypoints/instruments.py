"""Names the metrics of the scheduler."""

import structlog
from prometheus_client import CollectorRegistry, Counter

from mltrainer_scheduler.application.accept_trainings import Accepted
from mltrainer_scheduler.domain.events import ComputationAudited, SchedulerEvent, TrainingDeduplicated

_log = structlog.get_logger()


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

        self.saved_cpu_seconds = Counter(
            "mltrainer_scheduler_saved_cpu_seconds",
            "CPU time of known results that trainings took instead of computing them.",
            registry=registry,
        )
        self.saved_usd = Counter(
            "mltrainer_scheduler_saved_usd",
            "What known results cost that trainings took instead of computing them.",
            registry=registry,
        )
        self.audits = Counter(
            "mltrainer_scheduler_audits",
            "Known results computed again, by whether the same model came out: EQUAL, DIFFERENT.",
            ["outcome"],
            registry=registry,
        )

    def count_accepted(self, accepted: list[Accepted]) -> None:
        """Counts a batch of requests."""
        for item in accepted:
            self.requests.labels(item.outcome).inc()
            for event in item.events:
                self.observe(event)

    def observe(self, event: SchedulerEvent) -> None:
        """Counts what a known result saved, or what an audit found."""
        match event:
            case TrainingDeduplicated(worth=worth):
                self.saved_cpu_seconds.inc(worth.cpu_seconds)
                self.saved_usd.inc(worth.cost_usd)
            case ComputationAudited():
                self.audits.labels("EQUAL" if event.is_equal else "DIFFERENT").inc()
                if not event.is_equal:
                    _log.error("audit_failed", training=event.training.name, audited=event.training.audit_of)
