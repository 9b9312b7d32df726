"""Settings of the trainer."""

from mltrainer_common.settings import PlatformSettings
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class TrainerSettings(BaseSettings):
    """Settings of the trainer, prefix `MLTRAINER_TRAINER_`.

    Attributes:
        database_url: SQLite file of the data directory by default.
        node: Id of the node; `local-<instance>` by default.
        cpus: Cores offered to attempts; 0 means all.
        memory_bytes: Memory offered to attempts; 0 means three quarters of the machine's.
        gpus: GPUs offered.
        gpu_type: Their model.
        zone: Zone for prices.
        spot: Whether the machine is interruptible.
        renew_interval_s: Between renewals of leases.
        report_interval_s: Between node reports and between usage samples.
        supervise_interval_s: Between looks at the processes, where nothing wakes the trainer before.
        grace_s: From asking a process to end to ending it.
        keep_attempts_s: How long is kept what ended attempts have left.
        output_limit_bytes: Output of an attempt that is kept on this machine.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_TRAINER_", frozen=True, extra="ignore")

    database_url: str | None = None
    node: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9\-]{0,61}$")
    cpus: float = Field(default=0.0, ge=0)
    memory_bytes: int = Field(default=0, ge=0)
    gpus: float = Field(default=0.0, ge=0)
    gpu_type: str = ""
    zone: str = ""
    spot: bool = False
    renew_interval_s: float = Field(default=3.0, gt=0)
    report_interval_s: float = Field(default=2.0, gt=0)
    supervise_interval_s: float = Field(default=0.5, gt=0)
    grace_s: float = Field(default=10.0, gt=0)
    keep_attempts_s: float = Field(default=86_400.0, gt=0)
    output_limit_bytes: int = Field(default=16 << 20, ge=1024)


def artifact_url(platform: PlatformSettings) -> str:
    """Names the content store that feature, registry, serving and the attempts share."""
    return str(getattr(platform, "artifact_url", None) or platform.data_directory / "artifacts")
