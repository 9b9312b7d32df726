"""Settings of serving."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServingSettings(BaseSettings):
    """Settings of serving, prefix `MLTRAINER_SERVING_`.

    Attributes:
        database_url: Where deployments are remembered; SQLite in the data directory by default.
        artifact_url: The content store; `<data_directory>/artifacts` by default.
        signing_folder: Holds `trusted/*.pem`, the public keys of those whose models are served;
            `<data_directory>/signing` by default.
        require_signatures: Whether only signed versions are served; in production unless told otherwise.
        check_feature_views: Whether a version is loaded only where the feature service defines the views it
            was trained on as they were then.
        cached_model_bytes: Loaded models are kept up to this sum of their files, for aliases that move back.
        log_interval_s: How long predictions wait before they become events; a kill loses at most these.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_SERVING_", frozen=True, extra="ignore")

    database_url: str | None = None
    artifact_url: str | None = None
    signing_folder: Path | None = None
    require_signatures: bool | None = None
    check_feature_views: bool = True
    cached_model_bytes: int = Field(default=512 << 20, ge=0)
    log_interval_s: float = Field(default=0.2, gt=0, le=10)
