"""Runs monitor until SIGTERM or SIGINT."""

from mltrainer_common.service import run_service

from mltrainer_monitor.bootstrap import assemble
from mltrainer_monitor.settings import MonitorSettings

if __name__ == "__main__":
    raise SystemExit(run_service("monitor", MonitorSettings, assemble))
