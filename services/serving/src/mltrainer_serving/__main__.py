"""Runs serving until SIGTERM or SIGINT."""

from mltrainer_common.service import run_service

from mltrainer_serving.bootstrap import assemble
from mltrainer_serving.settings import ServingSettings

if __name__ == "__main__":
    raise SystemExit(run_service("serving", ServingSettings, assemble))
