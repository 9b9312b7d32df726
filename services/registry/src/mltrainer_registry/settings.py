"""Reads what the registry is told by its environment."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class RegistrySettings(BaseSettings):
    """Settings of the registry, prefix `MLTRAINER_REGISTRY_`.

    Attributes:
        database_url: `sqlite:///…` or `postgresql://…`; a SQLite file in the data directory by default.
        artifact_url: Directory or fsspec URL of the content store; `<data_directory>/artifacts` by default.
        max_file_bytes: Largest file of a version.
        max_artifact_bytes: Largest sum of the files of one version.
        max_model_bytes: Largest sum of the contents of all versions of a model, each counted once; also of
            all uploads that name no model.
        garbage_grace_s: Content that nothing refers to, and uploads without a version, are kept for so long.
        least_garbage_grace_s: A call that collects garbage may not ask for less.
        garbage_interval_s: Seconds between collections; 0 leaves them to calls.
        watch_heartbeat_s: Seconds between bookmarks while nothing changes.
        max_watchers: Watchers that one instance follows at a time.
        buffered_changes: How many changes a watcher may fall behind before it is cut off.
        change_poll_s: Seconds between looks at what other instances have changed.
        change_retention_s: Entries of the change log that later ones have overtaken are kept for so long.
        change_prune_interval_s: Seconds between looks for older ones.
        max_revision_wait_s: Longest that a read waits for its `min_revision`, whatever its deadline.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_REGISTRY_", frozen=True, extra="ignore")

    database_url: str | None = None
    artifact_url: str | None = None
    max_file_bytes: int = Field(default=2 << 30, gt=0)
    max_artifact_bytes: int = Field(default=2 << 30, gt=0)
    max_model_bytes: int = Field(default=64 << 30, gt=0)
    garbage_grace_s: float = Field(default=7 * 86_400.0, gt=0)
    least_garbage_grace_s: float = Field(default=3_600.0, ge=0)
    garbage_interval_s: float = Field(default=3_600.0, ge=0)
    watch_heartbeat_s: float = Field(default=5.0, gt=0)
    max_watchers: int = Field(default=256, gt=0)
    buffered_changes: int = Field(default=1_024, gt=0)
    change_poll_s: float = Field(default=0.25, gt=0)
    change_retention_s: float = Field(default=30 * 86_400.0, gt=0)
    change_prune_interval_s: float = Field(default=3_600.0, gt=0)
    max_revision_wait_s: float = Field(default=10.0, gt=0)
