"""Reads what the scheduler is told by its environment."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_MOST_SILENCE_S = 15.0


def _silence_s(settings: dict[str, Any]) -> float:
    # A lease that is refused is missing here; what is returned then is never used.
    return min(_MOST_SILENCE_S, float(settings.get("lease_s", _MOST_SILENCE_S)) / 2)


class SchedulerSettings(BaseSettings):
    """Settings of scheduler, prefix `MLTRAINER_SCHEDULER_`.

    Attributes:
        database_url: SQLite file in the data directory unless set.
        lease_s: How long an allocation holds without renewal.
        max_attempts: Attempts of one training, lapsed ones included.
        node_silence_s: A node that has not reported for this long gets nothing new; half a lease, at most
            15 s, unless set. It must be shorter than a lease: else what lapsed returns to its dead node.
        view_grace_s: How long a request waits for a feature view that is not announced before it is refused.
        retry_backoff_s: Wait before the second attempt; doubles up to `max_retry_backoff_s`.
        bar_interval_s: Time between two closes of a bar.
        bar_close_offset_s: Close of a bar after midnight UTC.
        placement_interval_s: Longest time between two looks at the queues.
        lease_check_interval_s: Time between two looks at the leases.
        policy: Which policy of the library plans, by name.
        minimum_run_s: An attempt keeps its place at least for so long.
        max_preemptions: So often a training gives its place to others at most.
        half_life_s: After so long, what a queue has held counts half in its fair share.
        leader_lease_s: After so long without a sign of the leading scheduler, another one takes over.
        audit_fraction: Share of trainings with a known result that are executed all the same, to compare.
        audit_minimum_age_s: Younger results are taken without doubt.
        price_file: Prices for previews, in the form of the cost-optimizer's; none are known where unset.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_SCHEDULER_", frozen=True, extra="ignore")

    database_url: str | None = None
    lease_s: float = Field(default=30.0, ge=1.0)
    max_attempts: int = Field(default=8, ge=1)
    node_silence_s: float = Field(default_factory=_silence_s, gt=0.0)
    view_grace_s: float = Field(default=15.0, ge=0.0)
    retry_backoff_s: float = Field(default=0.5, ge=0.0)
    max_retry_backoff_s: float = Field(default=15.0, ge=0.0)
    bar_interval_s: float = Field(default=86_400.0, gt=0.0)
    bar_close_offset_s: float = Field(default=75_600.0, ge=0.0)
    placement_interval_s: float = Field(default=0.5, gt=0.0)
    lease_check_interval_s: float = Field(default=1.0, gt=0.0)
    policy: str = "default"
    minimum_run_s: float = Field(default=60.0, ge=0.0)
    max_preemptions: int = Field(default=3, ge=0)
    half_life_s: float = Field(default=86_400.0, gt=0.0)
    leader_lease_s: float = Field(default=5.0, gt=0.0)
    audit_fraction: float = Field(default=0.01, ge=0.0, le=1.0)
    audit_minimum_age_s: float = Field(default=3_600.0, ge=0.0)
    price_file: Path | None = None

    @model_validator(mode="after")
    def _a_node_falls_silent_before_its_leases_end(self) -> Self:
        if self.node_silence_s >= self.lease_s:
            raise ValueError(
                f"node_silence_s ({self.node_silence_s:g}) must be shorter than lease_s ({self.lease_s:g})"
            )
        return self
