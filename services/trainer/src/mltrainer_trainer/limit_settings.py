"""Settings of what one attempt may do to its machine."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LimitSettings(BaseSettings):
    """Limits of an attempt, prefix `MLTRAINER_TRAINER_LIMIT_`; its order brings those on CPU time and memory.

    Attributes:
        file_bytes: Largest file it may write, its output included.
        scratch_bytes: What its files may take together, in the directory that it starts in.
        stall_s: So long it may compute without using CPU time.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_TRAINER_LIMIT_", frozen=True, extra="ignore")

    file_bytes: int = Field(default=1 << 30, ge=1 << 20)
    scratch_bytes: int = Field(default=4 << 30, ge=1 << 20)
    stall_s: float = Field(default=600.0, gt=0)
