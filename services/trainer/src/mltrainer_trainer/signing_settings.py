"""Settings of how attempts sign."""

from pathlib import Path

from mltrainer_common.settings import PlatformSettings
from pydantic_settings import BaseSettings, SettingsConfigDict


class SigningSettings(BaseSettings):
    """Settings of the process of an attempt, prefix `MLTRAINER_TRAINER_`.

    Attributes:
        sign: Whether models are signed.
        signing_folder: Holds `key.pem`, which development makes where it is missing;
            `<data_directory>/signing` by default.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_TRAINER_", frozen=True, extra="ignore")

    sign: bool = True
    signing_folder: Path | None = None

    def folder(self, platform: PlatformSettings) -> Path:
        """The folder in force."""
        return self.signing_folder or platform.data_directory / "signing"
