"""Reads what chaos is told by its environment."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ChaosSettings(BaseSettings):
    """Settings of chaos, prefix `MLTRAINER_CHAOS_`.

    Attributes:
        database_url: SQLite file in the data directory unless set.
        record_file: The supervisor's record of its processes; in the data directory unless set.
        allowed_services: Comma-separated services that faults may hit; `kafka` is the broker.
        offered_variables: Comma-separated environment variables that experiments may read.
        max_targets: Most processes that one run may hit.
        max_duration_s: Longest run.
        reap_interval_s: Time between two looks at the leases.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_CHAOS_", frozen=True, extra="ignore")

    database_url: str | None = None
    record_file: Path | None = None
    allowed_services: str = (
        "registry,feature,experiment,scheduler,trainer,serving,monitor,cost-optimizer,kafka"
    )
    offered_variables: str = ""
    max_targets: int = Field(default=3, ge=1)
    max_duration_s: float = Field(default=600.0, gt=0.0)
    reap_interval_s: float = Field(default=0.25, gt=0.0)
