"""Reads what the experiment service is told by its environment."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from mltrainer_experiment.domain.analysis import SMALLEST_MINIMUM_DAYS


class ExperimentSettings(BaseSettings):
    """Settings of the experiment service, prefix `MLTRAINER_EXPERIMENT_`.

    Attributes:
        database_url: `sqlite:///…` or `postgresql://…`; a SQLite file in the data directory by default.
        minimum_days: Closed market days with outcomes of both arms before anything is concluded.
        decide_interval_s: Seconds between looks at the active experiments.
        refresh_interval_s: Seconds between looks at what other instances have changed.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_EXPERIMENT_", frozen=True, extra="ignore")

    database_url: str | None = None
    minimum_days: int = Field(default=SMALLEST_MINIMUM_DAYS, ge=SMALLEST_MINIMUM_DAYS)
    decide_interval_s: float = Field(default=5.0, gt=0)
    refresh_interval_s: float = Field(default=1.0, gt=0)
