"""Settings of what attempts take over from earlier ones."""

import time
from dataclasses import dataclass
from pathlib import Path

from mltrainer_common.settings import PlatformSettings
from mltrainer_models.sampling import is_sampled
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from mltrainer_trainer.adapters.fit_results import FileFitResults
from mltrainer_trainer.domain.recall import Recall
from mltrainer_trainer.domain.release import CodeIdentity


class ReuseSettings(BaseSettings):
    """Settings of reuse, prefix `MLTRAINER_TRAINER_REUSE_`.

    Attributes:
        enabled: Whether fits are kept and recalled.
        folder: Where they are; `trainer/fits` in the data directory by default.
        limit_bytes: What they may take; the least useful are forgotten first.
        audit_fraction: Share of recalled fits that are computed again to compare.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_TRAINER_REUSE_", frozen=True, extra="ignore")

    enabled: bool = True
    folder: Path | None = None
    limit_bytes: int = Field(default=2 << 30, ge=0)
    audit_fraction: float = Field(default=0.01, ge=0.0, le=1.0)

    def results(self, platform: PlatformSettings) -> FileFitResults:
        """Returns where fits are kept."""
        return FileFitResults(self.folder or platform.data_directory / "trainer" / "fits")


@dataclass(frozen=True, slots=True)
class SampledAudit:
    """Chooses what is audited by its name, other ones for another salt; workers are sent it."""

    salt: str
    fraction: float

    def __call__(self, key: str) -> bool:
        """Tells whether a recalled result is computed again."""
        return is_sampled(self.salt, key, self.fraction)


def make_recall(platform: PlatformSettings, code: CodeIdentity, salt: str) -> Recall | None:
    """Puts reuse together; None where it is switched off."""
    settings = ReuseSettings()
    if not settings.enabled:
        return None
    results = settings.results(platform)
    results.prune(settings.limit_bytes, time.time())
    context = {"code_digest": code.code_digest, "environment_digest": code.environment_digest}
    return Recall(results, context, SampledAudit(salt, settings.audit_fraction), time.process_time)
