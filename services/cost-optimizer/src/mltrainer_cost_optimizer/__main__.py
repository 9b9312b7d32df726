"""Runs cost-optimizer until SIGTERM or SIGINT."""

from mltrainer_common.service import run_service

from mltrainer_cost_optimizer.bootstrap import assemble
from mltrainer_cost_optimizer.settings import CostOptimizerSettings

if __name__ == "__main__":
    raise SystemExit(run_service("cost-optimizer", CostOptimizerSettings, assemble))
