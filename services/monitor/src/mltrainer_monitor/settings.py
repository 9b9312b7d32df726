"""Reads what monitor is told by its environment."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class MonitorSettings(BaseSettings):
    """Settings of monitor, prefix `MLTRAINER_MONITOR_`.

    Attributes:
        database_url: SQLite file in the data directory unless set.
        artifact_url: The content store; `<data_directory>/artifacts` by default.
        objectives_file: TOML with objectives; those in the package by default.
        scrape_interval_s: Time between two looks at every service.
        scrape_timeout_s: A service that takes longer counts as unavailable.
        judge_interval_s: Time between two looks at the burn rates.
        drift_interval_s: Time between two looks at models with new predictions.
        drift_level: Chance of an alarm for a whole report when nothing has changed.
        window_rows: Newest rows of a version that are compared with its reference.
        history_rows: Predictions, and labels, kept of each model.
        retention_interval_s: Time between two rounds of compacting and forgetting.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_MONITOR_", frozen=True, extra="ignore")

    database_url: str | None = None
    artifact_url: str | None = None
    objectives_file: Path | None = None
    scrape_interval_s: float = Field(default=2.0, gt=0)
    scrape_timeout_s: float = Field(default=1.0, gt=0)
    judge_interval_s: float = Field(default=10.0, gt=0)
    drift_interval_s: float = Field(default=5.0, gt=0)
    drift_level: float = Field(default=0.01, gt=0, lt=1)
    window_rows: int = Field(default=5_000, ge=20)
    history_rows: int = Field(default=200_000, ge=1_000)
    retention_interval_s: float = Field(default=600.0, gt=0)
