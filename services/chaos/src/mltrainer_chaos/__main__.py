"""Runs chaos until SIGTERM or SIGINT."""

from mltrainer_common.service import run_service

from mltrainer_chaos.bootstrap import assemble
from mltrainer_chaos.settings import ChaosSettings

if __name__ == "__main__":
    raise SystemExit(run_service("chaos", ChaosSettings, assemble))
