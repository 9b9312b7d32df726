"""Reads what every process of the platform is told by its environment, once, in `__main__`."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mltrainer_common.clock import parse_market_clock


class DiscoveryKind(StrEnum):
    """Where the addresses of other services come from."""

    STATIC = "static"
    CONSUL = "consul"


class Environment(StrEnum):
    """Development adds gRPC reflection; nothing else may depend on it."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class PlatformSettings(BaseSettings):
    """Settings shared by all services, prefix `MLTRAINER_`.

    Attributes:
        data_directory: Holds databases, traces, endpoints and the token key of the embedded mode.
        instance: Ordinal of this replica; also its Kafka group instance and Consul id.
        kafka_bootstrap_servers: Comma-separated `host:port`.
        discovery: `static` reads `endpoints.json`, `consul` asks the agent.
        consul_address: `host:port` of the Consul agent.
        environment: Development turns reflection on.
        bind_host: Interface of the gRPC and the metrics port; loopback unless told otherwise.
        advertise_host: Host that others are told to call; the bind host by default.
        grpc_port: 0 means the previous port of this instance, else any free one.
        token_key_file: Signing key; `<data_directory>/token.key` by default, created when missing.
        otlp_endpoint: OTLP/HTTP collector; spans always go to `<data_directory>/traces` in development.
        trace_ratio: Share of new traces that are recorded, 0 to 1.
        market_clock: `wall` or `replay:<market start>@<wall anchor>x<speed>`.
        log_level: Lowest level that is written.
    """

    model_config = SettingsConfigDict(env_prefix="MLTRAINER_", frozen=True, extra="ignore")

    data_directory: Path = Path(".mltrainer")
    instance: str = Field(default="0", pattern=r"^[0-9]{1,4}$")
    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    discovery: DiscoveryKind = DiscoveryKind.STATIC
    consul_address: str = "127.0.0.1:8500"
    environment: Environment = Environment.DEVELOPMENT
    bind_host: str = "127.0.0.1"
    advertise_host: str | None = None
    grpc_port: int = Field(default=0, ge=0, le=65535)
    token_key_file: Path | None = None
    otlp_endpoint: str | None = None
    trace_ratio: float = Field(default=1.0, ge=0.0, le=1.0)
    market_clock: str = "wall"
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")

    @field_validator("data_directory")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("market_clock")
    @classmethod
    def _known_clock(cls, value: str) -> str:
        parse_market_clock(value)
        return value

    @property
    def key_file(self) -> Path:
        """The token key file in force."""
        return self.token_key_file or self.data_directory / "token.key"

    @property
    def endpoints_file(self) -> Path:
        """The file in which the embedded processes find one another."""
        return self.data_directory / "endpoints.json"


def default_database_url(data_directory: Path, slug: str) -> str:
    """Names the SQLite database of a service inside the data directory."""
    return f"sqlite:///{data_directory / slug / slug}.db"
