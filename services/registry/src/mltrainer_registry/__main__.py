"""Runs the registry until SIGTERM or SIGINT."""

from mltrainer_common.service import run_service

from mltrainer_registry.bootstrap import assemble
from mltrainer_registry.settings import RegistrySettings

if __name__ == "__main__":
    raise SystemExit(run_service("registry", RegistrySettings, assemble))
