"""Settings of serving."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServingSettings(BaseSettings):
    """Settings of serving, prefix `MLTRAINER_SERVING_`.

    Attributes:
        database_url: Where deployments are remembered; SQLite in the data directory by default.
        artifact_url: The content store; `<data_directory>/artifacts` by default.
        log_interval_s: How long predictions wait before they become events; a kill loses at most these.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_SERVING_", frozen=True, extra="ignore")

    database_url: str | None = None
    artifact_url: str | None = None
    log_interval_s: float = Field(default=0.2, gt=0, le=10)
