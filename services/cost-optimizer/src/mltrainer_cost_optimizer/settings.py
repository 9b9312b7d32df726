"""Reads what cost-optimizer is told by its environment."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class CostOptimizerSettings(BaseSettings):
    """Settings of cost-optimizer, prefix `MLTRAINER_COST_OPTIMIZER_`.

    Attributes:
        database_url: `sqlite:///…` or `postgresql://…`; a SQLite file in the data directory by default.
        price_file: A TOML file of prices; the packaged one by default. It applies to allocations that start
            from now on: what was priced before stays.
        idle_used_share: An allocation is idle while it uses at most this part of its CPU and GPU time …
        idle_after_s: … for so long,
        idle_closed_after_s: … or over its whole life if that lasted so long and was sampled to its end,
        idle_closing_gap_s: … which a sample does that is at most so much older than the end.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_COST_OPTIMIZER_", frozen=True, extra="ignore")

    database_url: str | None = None
    price_file: Path | None = None
    idle_used_share: float = Field(default=0.01, ge=0, lt=1)
    idle_after_s: float = Field(default=600.0, gt=0)
    idle_closed_after_s: float = Field(default=60.0, gt=0)
    idle_closing_gap_s: float = Field(default=15.0, ge=0)
