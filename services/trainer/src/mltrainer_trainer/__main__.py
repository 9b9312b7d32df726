"""Runs the trainer until SIGTERM or SIGINT."""

from mltrainer_common.service import run_service

from mltrainer_trainer.bootstrap import assemble
from mltrainer_trainer.settings import TrainerSettings

if __name__ == "__main__":
    raise SystemExit(run_service("trainer", TrainerSettings, assemble))
