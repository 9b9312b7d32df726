"""Runs the experiment service until SIGTERM or SIGINT."""

from mltrainer_common.service import run_service

from mltrainer_experiment.bootstrap import assemble
from mltrainer_experiment.settings import ExperimentSettings

if __name__ == "__main__":
    raise SystemExit(run_service("experiment", ExperimentSettings, assemble))
