"""Runs scheduler until SIGTERM or SIGINT."""

from mltrainer_common.service import run_service

from mltrainer_scheduler.bootstrap import assemble
from mltrainer_scheduler.settings import SchedulerSettings

if __name__ == "__main__":
    raise SystemExit(run_service("scheduler", SchedulerSettings, assemble))
