"""Reads the service's own settings, once, in `__main__`."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class FeatureSettings(BaseSettings):
    """Settings of feature, prefix `MLTRAINER_FEATURE_`.

    Attributes:
        database_url: SQLite in the data directory by default.
        redis_url: Online store, `redis://[user:password@]host[:port][/database]` or `rediss://…`; by default
            rows are read from the memory of the process.
        online_registry: A Feast registry (file) whose views are served online too, from the same Redis.
        artifact_url: Directory or fsspec URL of the artifact store; `<data_directory>/artifacts` by default.
        exchanges: Where instruments trade: `pattern=exchange[:daily]`, separated by commas, the first match
            counts, such as `BTC-*=24/7,*=XNYS:daily`; by default every symbol trades always.
        bar_close_offset_s: Close of a bar after midnight UTC, for files that give dates only.
        decision_delay_s: How long after a bar's close a row is decided; changing it computes all rows again.
        skew_share: Share of the predictions whose vectors are kept for comparison.
        skew_vectors: Vectors kept; the oldest go first.
        import_max_bytes: Largest file of bars, uncompressed.
        dataset_grace_s: How long a dataset is kept after it was last asked for, if no model was made of it.
        least_dataset_grace_s: A call that collects datasets may not ask for less.
        dataset_collection_interval_s: Seconds between collections; 0 leaves them to calls.
        drop_folder: A folder whose files of bars are taken, CSV or Parquet; none by default.
        drop_settle_s: How long a file in the drop folder must be unchanged before it is taken.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_FEATURE_", frozen=True, extra="ignore")

    database_url: str | None = None
    redis_url: SecretStr | None = None
    online_registry: Path | None = None
    artifact_url: str | None = None
    exchanges: str = "*=24/7"
    bar_close_offset_s: int = Field(default=75_600, ge=0, lt=86_400)
    decision_delay_s: int = Field(default=43_200, ge=0, le=864_000)
    skew_share: float = Field(default=0.1, ge=0.0, le=1.0)
    skew_vectors: int = Field(default=10_000, gt=0)
    import_max_bytes: int = Field(default=512 * 1024 * 1024, gt=0)
    dataset_grace_s: float = Field(default=30 * 86_400.0, gt=0)
    least_dataset_grace_s: float = Field(default=3_600.0, ge=0)
    dataset_collection_interval_s: float = Field(default=3_600.0, ge=0)
    drop_folder: Path | None = None
    drop_settle_s: float = Field(default=5.0, ge=0.0)
